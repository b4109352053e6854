"Pruning reaches its share and keeps it; the table measures the files themselves."
# ruff: noqa: E402, the imports stand behind importorskip
import cv2
import numpy as np
import pytest

keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.training.compress import Prune, compression_table, final, prune, sparsity
from fer_nb.training.faces import drawn_faces
from fer_nb.training.models import build
from fer_nb.training.recipes import Recipe
from fer_nb.training.train import train

@pytest.fixture(scope='module')
def faces(): return drawn_faces(350)


@pytest.fixture(scope='module')
def run(faces, tmp_path_factory):
    recipe = Recipe('lenet', epochs=20, batch=28, rate=3e-3, schedule='cosine', augment='light')
    return train(recipe, faces, tmp_path_factory.mktemp('run')/'whole', verbose=0)


def test_zeros_rise_and_stay(faces):
    model, seen = build('lenet'), []
    model.compile(keras.optimizers.AdamW(1e-2), 'categorical_crossentropy')
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(sparsity(model)))
    x = faces.images[..., None].astype(np.float32)
    model.fit(x, faces.targets(), batch_size=35, epochs=5, verbose=0, callbacks=[Prune(.7, steps=30, every=4), watch])
    assert all(a < b + 1e-6 for a,b in zip(seen, seen[1:])) and seen[0] < .6
    assert abs(seen[-1] - .7) < .01 and abs(sparsity(model) - .7) < .01
    assert (np.abs(model.get_layer('logits').get_weights()[0]) > 0).mean() > .99     # the head is left whole


def test_a_pruned_run_goes_on_and_ends_with_its_share(run, faces, tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2: raise KeyboardInterrupt
    import fer_nb.training.compress as module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'train', lambda *a, callbacks=(), **k: train(*a, callbacks=[*callbacks, Kill()], **k))
        with pytest.raises(KeyboardInterrupt): prune(run, faces, tmp_path/'p', .8, 8, verbose=0)
    done = prune(run, faces, tmp_path/'p', .8, 8, verbose=0)
    assert len(done.history['epoch']) == 8 and abs(sparsity(final(done)) - .8) < .01
    assert done.info['started_from'] == {'run': 'whole', 'pruned': .8}
    with pytest.raises(FerError, match='other settings'): prune(run, faces, tmp_path/'p', .5, 8, verbose=0)
    table = compression_table({'whole': run.best(), 'pruned': final(done)}, faces)
    rows = {(r['network'], r['precision']): r for r in table}
    assert rows['whole', 'float16']['bytes'] < .6*rows['whole', 'float32']['bytes'] > 2*rows['whole', 'int8']['bytes']
    assert rows['pruned', 'int8']['gzipped'] < .6*rows['whole', 'int8']['gzipped']
    assert rows['pruned', 'int8']['accuracy'] > rows['whole', 'int8']['accuracy'] - .15


def test_bad_arguments(run, faces, tmp_path):
    for share in (0, 1, -.5):
        with pytest.raises(FerError, match='between 0 and 1'): Prune(share)
    model = build('lenet')
    model.compile(keras.optimizers.AdamW(1e-2, use_ema=True), 'categorical_crossentropy')
    with pytest.raises(FerError, match='set average to 0'):
        pixels = faces.images[:28, ..., None].astype(np.float32)
        model.fit(pixels, faces.targets()[:28], verbose=0, callbacks=[Prune(.5)])


def test_the_command(run, tmp_path, command):
    faces = drawn_faces(350)
    for i,image in enumerate(faces.images):
        folder, name = ('train', 'Training') if faces.split[i] == 'train' else ('PublicTest', 'PublicTest')
        path = tmp_path/'data'/folder/faces.names[faces.labels[i]]/f'{name}_{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    short = '--data', tmp_path/'data', '--epochs', '1', '--quiet'
    assert command('train', '--arch', 'lenet', *short, '--out', tmp_path/'r').returncode == 0
    r = command('prune', '--run', tmp_path/'r', *short, '--share', '.5', '--table', tmp_path/'t.md')
    assert r.returncode == 0, r.stderr
    table = (tmp_path/'t.md').read_text()
    assert table.count('\n| r') == 6 and 'float16' in table and '50%' in table
    r = command('save', '--run', tmp_path/'r', '--out', tmp_path/'r.keras')
    assert r.returncode == 0 and 'same answers' in r.stdout, r.stderr
