"A search that is killed goes on, and says what it found."
# ruff: noqa: E402, the imports stand behind importorskip
import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

pytest.importorskip('keras')
pytest.importorskip('optuna')

from fer_nb.core import FerError
from fer_nb.training.faces import drawn_faces
from fer_nb.training.recipes import Recipe
from fer_nb.training.runs import Run
from fer_nb.training.sweep import parse_space, sweep

FER_NB = str(Path(sys.executable).parent/'fer-nb')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root, faces = tmp_path_factory.mktemp('data'), drawn_faces(350)
    for i,image in enumerate(faces.images):
        folder, name = ('train', 'Training') if faces.split[i] == 'train' else ('test', 'PublicTest')
        path = root/folder/faces.names[faces.labels[i]]/f'{name}_{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return root


def test_killed_in_a_trial_it_goes_on(data, tmp_path, command):
    out = tmp_path/'s'
    arguments = ['sweep', '--data', data, '--arch', 'lenet', '--epochs', '6', '--batch', '28', '--trials', '4',
                 '--over', 'rate=0.0003:0.01', '--over', 'augment=none,light', '--over', 'dropout=0.0:0.5',
                 '--out', out, '--plot', tmp_path/'s.png']
    p = subprocess.Popen([FER_NB, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    runs = lambda: sorted(o.parent for o in out.glob('*/history.csv'))
    deadline = time.time() + 240
    while time.time() < deadline and p.poll() is None and len(runs()) < 2: time.sleep(.02)
    assert p.poll() is None, 'it ended before it could be killed'
    p.send_signal(signal.SIGKILL); p.wait()
    begun = runs()
    r = command(*arguments)
    assert r.returncode == 0, r.stderr
    rows = list(csv.DictReader((out/'sweep.csv').open()))
    assert len(rows) == 4 and set(begun) <= {out/o['folder'] for o in rows}  # the killed trial was finished, not lost
    assert [float(o['accuracy']) for o in rows] == sorted((float(o['accuracy']) for o in rows), reverse=True)
    best = Run(out/rows[0]['folder'])
    assert best.info['recipe']['rate'] == float(rows[0]['rate'])
    assert best.info['recipe']['options'] == {'dropout': float(rows[0]['dropout'])}
    assert max(best.history['val_accuracy']) == float(rows[0]['accuracy'])
    assert cv2.imread(str(tmp_path/'s.png')).shape[1] > 600 and '| accuracy |' in r.stdout


def test_a_sweep_in_two_goes_draws_what_one_in_one_go_draws(tmp_path):
    recipe, faces = Recipe('mlp', size=28, epochs=1, batch=32, augment='none'), drawn_faces(140, size=28)
    search = lambda name, n: sweep(recipe, faces, tmp_path/name, n, parse_space(['rate=0.0003:0.01']))
    search('two', 1)
    assert {o['rate'] for o in search('two', 3)} == {o['rate'] for o in search('one', 3)}


def test_wrong_settings_are_named(data, tmp_path, command):
    for text in ('rate', 'rate=2:1', 'rate=', '=1:2'):
        with pytest.raises(FerError, match='neither a range nor a list'): parse_space([text])
    faces = drawn_faces(70)
    for space,words in (({'depth': (1, 3)}, 'no setting depth'), ({'augment': ['wild']}, "no augmentation 'wild'"),
                        ({'seed': [1, 2]}, 'no setting seed')):
        with pytest.raises(FerError, match=words): sweep(Recipe('lenet', epochs=1), faces, tmp_path/'x', 1, space)
    assert not (tmp_path/'x').exists()
    r = command('sweep', '--data', data, '--arch', 'lenet', '--over', 'rate=9', '--trials', 0, '--out', tmp_path/'x')
    assert r.returncode == 2 and 'trials is 0' in r.stderr and 'Traceback' not in r.stderr


@pytest.mark.slow
def test_on_ray_a_killed_trial_is_finished(data, tmp_path):
    pytest.importorskip('ray.data')
    import psutil
    out = tmp_path/'s'
    arguments = ['sweep', '--data', data, '--arch', 'lenet', '--epochs', '6', '--batch', '28', '--trials', '4',
                 '--over', 'rate=0.0003:0.01', '--over', 'augment=none,light', '--out', out, '--ray', 'local']
    p = subprocess.Popen([FER_NB, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline, begun = time.time() + 300, []
        while time.time() < deadline and p.poll() is None and not begun:
            begun = sorted(o.parent.name for o in out.glob('*/history.csv'))
            time.sleep(.02)
        below = psutil.Process(p.pid).children(recursive=True)
        next(o for o in below if 'ray::_once' in ' '.join(o.cmdline())).kill()
        told = p.communicate(timeout=600)[1]
    finally: p.kill()
    assert p.returncode == 0 and 'Traceback' not in told, told
    rows = list(csv.DictReader((out/'sweep.csv').open()))
    assert len(rows) == 4 and set(begun) <= {o['folder'] for o in rows}
