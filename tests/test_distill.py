"A student learns from teachers that fit it, goes on where it was killed, and becomes a model like any other."
# ruff: noqa: E402, the imports stand behind importorskip
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.inference.zoo import load_model
from fer_nb.training.distill import average, distill, ensemble, load_teachers
from fer_nb.training.export import export_run
from fer_nb.training.faces import drawn_faces
from fer_nb.training.recipes import Recipe
from fer_nb.training.train import train

@pytest.fixture(scope='module')
def faces(): return drawn_faces(420)


@pytest.fixture(scope='module')
def teachers(faces, tmp_path_factory):
    "Folders of two short runs."
    folder = tmp_path_factory.mktemp('teachers')
    plan = dict(epochs=5, batch=28, rate=3e-3)
    return [train(Recipe('lenet', seed=s, **plan), faces, folder/str(s), verbose=0).folder for s in (1, 2)]


def test_a_student_that_only_hears_its_teachers_agrees_with_them(faces, teachers, tmp_path):
    plan = Recipe('lenet', epochs=8, batch=28, rate=3e-3, seed=5)
    run = distill(plan, faces, tmp_path/'s', teachers, truth=0, verbose=0)
    public = faces.of('public').images[..., None].astype(np.float32)
    taught = ensemble(load_teachers(teachers, faces.names, 48)).predict(public, verbose=0)
    answers = run.best().predict(public, verbose=0)
    assert (answers.argmax(1) == taught.argmax(1)).mean() > .8
    history = run.history
    assert history['distillation_loss'][-1] < history['distillation_loss'][0]/2
    assert all(len(v) == 8 for v in history.values())


def test_the_card_names_the_teachers(faces, teachers, tmp_path):
    plan = Recipe('lenet', epochs=2, batch=28, average=.9)
    run = distill(plan, faces, tmp_path/'s', teachers, temperature=3, verbose=0)
    card = export_run(run, 'student', faces, tmp_path/'models')
    told = card['distillation']
    assert (told['temperature'], len(told['teachers'])) == (3, 2)
    assert all(len(o['sha256']) == 64 for o in told['teachers'])
    assert 'taught by 2 networks' in card['description']
    assert load_model(tmp_path/'models/student.tflite').predict(faces.images[:3]).shape == (3, 7)


def test_the_mean_of_two_runs_is_a_model_that_names_them(faces, teachers, tmp_path):
    plan = Recipe('lenet', epochs=2, batch=28, rate=5e-4)
    second = distill(plan, faces, tmp_path/'second', teachers, temperature=1, once=True, begin=teachers[0], verbose=0)
    mean = average([teachers[0], second.folder], faces, tmp_path/'mean')
    card = export_run(mean, 'mean', faces, tmp_path/'models', precision='float32')
    assert [o['run'] for o in card['averaged']] == ['1', 'second']
    assert all(o['command'] and len(o['sha256']) == 64 for o in card['averaged'])
    assert len(card['averaged'][1]['distillation']['teachers']) == len(teachers) # a member's teachers are known
    assert card['epochs'] == 7 and 'mean weights of the runs 1, second' in card['description']
    assert card['evaluation']['accuracy'] == pytest.approx(mean.history['val_accuracy'][0], abs=.02)


def test_a_mean_that_is_worse_than_its_members_is_refused(faces, teachers, tmp_path):
    with pytest.raises(FerError, match='worse than each of them'): average(teachers, faces, tmp_path/'mean')
    assert not (tmp_path/'mean').exists()


def test_a_killed_student_goes_on(faces, teachers, tmp_path):
    code = ("import sys; from fer_nb.training.distill import *; from fer_nb.training.recipes import Recipe\n"
            "from fer_nb.training.faces import drawn_faces\n"
            "plan = Recipe('lenet', epochs=5, batch=28, rate=5e-4)\n"
            "distill(plan, drawn_faces(420), sys.argv[1], sys.argv[2:], verbose=0)")
    history = tmp_path/'s/history.csv'
    p = subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'s'), *map(str, teachers)])
    deadline = time.time() + 240
    begun = lambda: history.exists() and len(history.read_text().splitlines()) > 2
    while time.time() < deadline and p.poll() is None and not begun(): time.sleep(.02)
    assert p.poll() is None, 'it ended before it could be killed'
    p.send_signal(signal.SIGKILL); p.wait()
    plan = Recipe('lenet', epochs=5, batch=28, rate=5e-4)
    again, whole = (distill(plan, faces, tmp_path/o, teachers, verbose=0).history for o in ('s', 'whole'))
    assert again['epoch'] == [1, 2, 3, 4, 5] and np.allclose(again['val_loss'], whole['val_loss'], rtol=.02)


def test_teachers_that_do_not_fit_are_named(faces, teachers, tmp_path):
    two = faces[np.isin(faces.labels, (0, 1))]
    plan = Recipe('lenet', size=28, epochs=1, batch=28)
    other = train(plan, drawn_faces(70, size=28), tmp_path/'small', verbose=0).folder
    with pytest.raises(FerError, match='takes faces of 28 pixels, the student 48'):
        distill(Recipe('lenet'), faces, tmp_path/'x', [other])
    with pytest.raises(FerError, match='they must be the same, in the same order'):
        load_teachers(teachers, ('happy', 'sad'), 48)
    with pytest.raises(FerError, match='is not a training run'): distill(Recipe('lenet'), two, tmp_path/'x', [tmp_path])
    with pytest.raises(FerError, match='other settings'):
        distill(Recipe('lenet', epochs=1, batch=28), faces, tmp_path/'s', teachers, verbose=0)
        distill(Recipe('lenet', epochs=1, batch=28), faces, tmp_path/'s', teachers, truth=.5)
    assert not (tmp_path/'x').exists()


def test_the_command(tmp_path, command):
    import cv2
    for split,name in (('train', 'train'), ('public', 'validation')):
        part = drawn_faces(140).of(split)
        for i,(image,label) in enumerate(zip(part.images, part.labels)):
            path = tmp_path/'data'/name/part.names[label]/f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    common = ['--data', str(tmp_path/'data'), '--epochs', '1', '--batch', '16', '--validation', 'validation', '--quiet']
    assert command('train', '--arch', 'lenet', '--out', tmp_path/'t', *common).returncode == 0
    done = command('distill', '--recipe', 'lenet', '--teacher', tmp_path/'t', '--out', tmp_path/'s',
                   '--export', tmp_path/'m', *common)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path/'m/s.json').read_text())['command'].startswith('fer-nb distill')
    mean = command('average', '--run', tmp_path/'t', '--run', tmp_path/'t', '--data', tmp_path/'data',
                   '--out', tmp_path/'a', '--export', tmp_path/'m')
    assert mean.returncode == 0 and '2 runs averaged' in mean.stdout and (tmp_path/'m/a.tflite').is_file(), mean.stderr
    said = command('answers', '--run', tmp_path/'t', '--run', tmp_path/'s', '--data', tmp_path/'data',
                   '--out', tmp_path/'said.npz')
    assert said.returncode == 0 and '140 faces, answered by 2 networks' in said.stdout, said.stderr
    taught = command('distill', '--recipe', 'lenet', '--teacher', tmp_path/'said.npz', '--out', tmp_path/'w',
                     '--begin', tmp_path/'m/s.tflite', *common)
    assert taught.returncode == 0, taught.stderr
    info = json.loads((tmp_path/'w/recipe.json').read_text())
    assert info['distillation']['teachers'][0]['answers'] == 'said.npz' and info['started_from']['model'] == 's'
    wrong = command('distill', '--recipe', 'lenet', '--teacher', tmp_path/'nowhere', '--out', tmp_path/'v', *common)
    assert wrong.returncode == 2 and 'is not a training run' in wrong.stderr and 'Traceback' not in wrong.stderr
