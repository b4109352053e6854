"Every architecture builds, learns and is exported; a killed run goes on as if nothing had happened."
# ruff: noqa: E402, the imports stand behind importorskip
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.training.augment import AUGMENTS
from fer_nb.training.faces import drawn_faces
from fer_nb.training.models import ARCHITECTURES, build, multiply_adds
from fer_nb.training.recipes import Recipe
from fer_nb.training.runs import read_history
from fer_nb.training.train import train

@pytest.mark.parametrize('size', [48, 28])
@pytest.mark.parametrize('arch', list(ARCHITECTURES))
def test_each_architecture_trains_a_step_and_is_exported(arch, size, tmp_path):
    from fer_nb.training.litert import to_litert
    faces = drawn_faces(70, size=size)
    run = train(Recipe(arch, size=size, epochs=1, batch=28), faces, tmp_path/'run', verbose=0)
    model = run.best()
    assert multiply_adds(model) > 100_000
    to_litert(model, tmp_path/'m.tflite', 'float32')
    from ai_edge_litert.interpreter import Interpreter
    i = Interpreter(str(tmp_path/'m.tflite')); i.allocate_tensors()
    x = faces.images[:1, ..., None].astype(np.float32)
    i.set_tensor(i.get_input_details()[0]['index'], x); i.invoke()
    logits = i.get_tensor(i.get_output_details()[0]['index'])
    p = np.exp(logits - logits.max())
    assert np.allclose(p/p.sum(), model.predict(x, verbose=0), atol=1e-3)


def test_the_same_seed_gives_the_same_run(tmp_path):
    faces, recipe = drawn_faces(140), Recipe('lenet', epochs=2, batch=28, augment='strong', seed=7)
    a, b = (train(recipe, faces, tmp_path/o, verbose=0).history for o in 'ab')
    assert np.allclose(a['loss'], b['loss'], atol=1e-3) and np.allclose(a['val_loss'], b['val_loss'], atol=1e-3)


@pytest.mark.parametrize('change', [
    {}, dict(schedule='cosine', warmup=1, average=.9, optimizer='adamw', weight_decay=.01)])
def test_a_process_that_is_killed_goes_on(tmp_path, change):
    code = ("import sys; from fer_nb.training.recipes import *; from fer_nb.training.train import *\n"
            "from fer_nb.training.faces import drawn_faces\n"
            f"train(Recipe('lenet', epochs=5, batch=28, **{change!r}), drawn_faces(420), sys.argv[1], verbose=0)")
    history = tmp_path/'killed/history.csv'
    p = subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'killed')])
    deadline = time.time() + 240
    begun = lambda: history.exists() and len(history.read_text().splitlines()) > 2
    while time.time() < deadline and p.poll() is None and not begun(): time.sleep(.02)
    assert p.poll() is None, 'it ended before it could be killed'
    p.send_signal(signal.SIGKILL); p.wait()
    for o in ('killed', 'whole'):
        train(Recipe('lenet', epochs=5, batch=28, **change), drawn_faces(420), tmp_path/o, verbose=0)
    a, b = read_history(history), read_history(tmp_path/'whole/history.csv')
    assert a['epoch'] == b['epoch'] == [1, 2, 3, 4, 5]
    assert a['learning_rate'] == b['learning_rate']
    assert np.allclose(a['val_loss'], b['val_loss'], rtol=.02)
    assert len(list((tmp_path/'killed').glob('state-*.keras'))) == 1 and not list((tmp_path/'killed').glob('.*part*'))


def test_early_stopping_ends_a_run_that_learns_nothing(tmp_path):
    faces = drawn_faces(70)
    faces.labels[:] = np.random.default_rng(0).permutation(faces.labels)
    recipe = Recipe('mlp', epochs=40, batch=28, patience=3, rate=3e-3, augment='none')
    run = train(recipe, faces, tmp_path/'r', verbose=0)
    assert len(run.history['epoch']) < 40
    assert len(train(recipe, faces, tmp_path/'r', verbose=0).history['epoch']) == len(run.history['epoch'])


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    faces = drawn_faces(70)
    train(Recipe('mlp', epochs=1, batch=28), faces, tmp_path/'r', verbose=0)
    with pytest.raises(FerError, match=r'other settings \(rate\)'):
        train(Recipe('mlp', epochs=1, batch=28, rate=.1), faces, tmp_path/'r', verbose=0)
    with pytest.raises(FerError, match=r'\(data\)'):
        train(Recipe('mlp', epochs=1, batch=28), drawn_faces(77), tmp_path/'r', verbose=0)


def test_bfloat16_and_class_weights(tmp_path):
    recipe = Recipe('lenet', epochs=1, batch=28, precision='bfloat16', class_weights='balanced', optimizer='sgd',
                    rate=.01)
    run = train(recipe, drawn_faces(70), tmp_path/'r', verbose=0)
    assert np.isfinite(run.history['loss'][0]) and keras.config.dtype_policy().name == 'float32'


@pytest.mark.parametrize('name', list(AUGMENTS))
def test_augmentation_keeps_form_and_range(name):
    faces = drawn_faces(70)
    before = faces.images.copy()
    x, y = AUGMENTS[name](faces.images, faces.targets(), np.random.default_rng(0))
    assert x.shape == (70, 48, 48, 1) and x.dtype == np.float32 and 0 <= x.min() and x.max() <= 255
    assert np.allclose(y.sum(1), 1, atol=1e-5) and (faces.images == before).all()
    assert (name == 'none') == (x[..., 0] == before).all()


def test_options_of_builders():
    assert build('simple_cnn', width=.5).count_params() < build('simple_cnn').count_params()/2
    with pytest.raises(FerError, match='no option'): build('simple_cnn', depth=3)
    with pytest.raises(FerError, match='lenet'): build('nonesuch')
