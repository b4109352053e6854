"The commands that train, on folders as people have them: which split is chosen, and what can be done with the run."
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import fer_nb.cli.main  # noqa: F401, all commands
from fer_nb.cli.base import app, typed_command
from fer_nb.core import FerError
from fer_nb.training.faces import drawn_faces

pytest.importorskip('keras')

FACES = drawn_faces(350)
ENV = os.environ | {'COLUMNS': '200', 'TF_CPP_MIN_LOG_LEVEL': '3', 'CUDA_VISIBLE_DEVICES': '-1'}
SHORT = ('--arch', 'lenet', '--epochs', 2, '--batch', 28, '--rate', .003, '--quiet')
FLOAT = ('--export', 'models', '--export-precision', 'float32')


def fer_nb(*args, cwd):
    "A command in a process of its own."
    command = [Path(sys.executable).parent/'fer-nb', *args]
    r = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=ENV, cwd=cwd)
    assert r.returncode == 0 and 'Traceback' not in r.stderr, r.stdout + r.stderr
    return r


def call(*args, cwd):
    "A command in this process, whose errors pass through."
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        return CliRunner().invoke(app, list(map(str, args)), catch_exceptions=False)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A folder with drawn faces in three layouts: train and test; train alone; class folders without splits."
    root = tmp_path_factory.mktemp('place')
    for i, image in enumerate(FACES.images):
        learn, label = FACES.split[i] == 'train', FACES.names[FACES.labels[i]]
        for path in (f"both/{'train' if learn else 'test'}/{label}", f'flat/{label}', *[f'alone/train/{label}']*learn):
            (root/path).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root/path/f'{i}.png'), image)
    return root


@pytest.fixture(scope='module')
def tested(place):
    "What `train` says of a folder with `train` and `test`, whose run is `tested`."
    return fer_nb('train', '--data', 'both', *SHORT, '--out', 'tested', *FLOAT, cwd=place)


def test_a_folder_with_train_and_test_is_trained_on(tested, place):
    assert "Chosen on the split 'test': its figure is no longer a held-out figure" in tested.stderr
    assert 'best test accuracy' in tested.stdout
    assert json.loads((place/'tested/recipe.json').read_text())['recipe']['validation'] == 'test'
    card = json.loads((place/'models/tested.json').read_text())
    assert card['evaluation']['split'] == 'test' and card['evaluation']['n'] == 70
    told = call('evaluate', '--data', 'both', '--model', 'models/tested.tflite', '--json', '-', cwd=place)
    figures = json.loads(told.stdout)
    assert figures['split'] == 'test' and figures['accuracy'] == card['evaluation']['accuracy']


def test_the_same_command_goes_on_and_another_split_does_not(tested, place):
    assert '2 epochs' in call('train', '--data', 'both', *SHORT, '--out', 'tested', cwd=place).stdout
    with pytest.raises(FerError, match="has no split 'public': it has train, test"):
        call('train', '--data', 'both', *SHORT, '--validation', 'public', '--out', 'x', cwd=place)
    assert not (place/'x').exists()


@pytest.mark.parametrize('data', ['alone', 'flat'])
def test_a_tenth_is_held_out_where_there_is_nothing_to_choose_on(place, data):
    run = call('train', '--data', data, *SHORT, '--out', f'runs/{data}', *FLOAT, cwd=place)
    counts = json.loads((place/f'runs/{data}/recipe.json').read_text())['data']['counts']
    learned, held = (sum(counts[o].values()) for o in ('train', 'validation'))
    assert f"Chosen on the split 'validation': {held} faces held out of folders in {data}." in run.stderr
    assert learned + held == (280 if data == 'alone' else 350) and .05 < held/(learned + held) < .17
    # what comes later holds the same faces out
    call('export', '--run', f'runs/{data}', '--data', data, '--name', f'{data}2', '--precision', 'float32', cwd=place)
    one, two = (json.loads((place/f'models/{o}.json').read_text())['evaluation'] for o in (data, f'{data}2'))
    assert one == two and one['n'] == held
    model = f'models/{data}.tflite'
    figures = json.loads(call('evaluate', '--data', data, '--model', model, '--json', '-', cwd=place).stdout)
    assert (figures['split'], figures['n'], figures['accuracy']) == ('validation', held, one['accuracy'])


def test_distill_prune_average_and_sweep_choose_alike(tested, place):
    said = call('distill', '--recipe', 'lenet', '--teacher', 'tested', '--data', 'both', '--epochs', 1, '--batch', 28,
                '--once', '--begin', 'tested', '--quiet', '--out', 'student', cwd=place)
    assert "Chosen on the split 'test'" in said.stderr and 'best test accuracy' in said.stdout
    said = call('average', '--run', 'tested', '--run', 'tested', '--data', 'both', '--out', 'mean', cwd=place)
    assert '2 runs averaged: test accuracy' in said.stdout
    said = call('prune', '--run', 'tested', '--data', 'both', '--epochs', 1, '--quiet', cwd=place)
    assert said.stdout.count('\n| tested') == 6
    pytest.importorskip('optuna')
    said = call('sweep', '--data', 'both', '--arch', 'mlp', '--epochs', 1, '--trials', 1, '--over', 'rate=0.001:0.01',
                cwd=place)
    assert "Chosen on the split 'test'" in said.stderr
    assert json.loads((place/'runs/mlp-sweep/sweep.json').read_text())['recipe']['validation'] == 'test'


def test_finetune_holds_a_fifth_out(place):
    call('finetune', '--data', 'flat', '--labels', 'happy,sad', '--model', 'lenet', '--epochs', 1, '--head-epochs', 1,
         '--batch', 28, '--quiet', '--out', 'two', cwd=place)
    counts = json.loads((place/'two/recipe.json').read_text())['data']['counts']
    assert .12 < sum(counts['validation'].values())/100 < .3
    call('export', '--run', 'two', '--data', 'flat', '--precision', 'float32', cwd=place)
    assert json.loads((place/'models/two.json').read_text())['labels'] == ['happy', 'sad']


@pytest.mark.parametrize('command', [
    ('finetune', '--model', 'lenet'), ('transfer', '--weights', 'none', '--pixels', 48)])
def test_finetune_and_transfer_choose_alike(place, monkeypatch, command):
    import fer_nb.training.transfer as module
    chosen = []

    def fit(start, faces, folder, recipe, *rest, **options):
        chosen.append((recipe.validation, faces.splits))
        return SimpleNamespace(history=dict(epoch=[1], val_accuracy=[.5]))
    monkeypatch.setattr(module, 'finetune', fit)
    said = call(*command, '--data', 'both', cwd=place)
    assert chosen == [('test', ('train', 'test'))] and "Chosen on the split 'test'" in said.stderr


@pytest.mark.parametrize('name', ['net.keras', 'net.weights.h5', 'net', 'net.onnx'])
def test_a_run_is_saved_in_every_format(tested, place, name):
    if name.endswith('onnx'): pytest.importorskip('onnxruntime'); pytest.importorskip('tf2onnx')
    said = fer_nb('save', '--run', 'tested', '--out', f'saved-{name}', cwd=place)
    assert 'written, read back, same answers' in said.stdout
    from fer_nb.training.formats import load_model
    from fer_nb.training.runs import Run
    pixels = FACES.images[:9, ..., None].astype(np.float32)
    again = load_model(place/f'saved-{name}')
    assert again.labels == FACES.names
    np.testing.assert_allclose(np.asarray(again(pixels)), np.asarray(Run(place/'tested').best()(pixels)), atol=1e-5)


def test_bench_measures_what_there_is_to_measure(tested, place):
    call('bench', '--data', 'both', '--model', 'models/tested.tflite', '--only', 'accuracy', '--no-peer', '--quick',
           '--json', 'bench.json', cwd=place)
    assert json.loads((place/'bench.json').read_text())['data'] == 'test of both'


@pytest.mark.parametrize('typed, told', [
    ('train --data /somewhere/data/fer2013.zip --out runs/a', 'train --data fer2013.zip --out runs/a'),
    ('train --data ../data/fer2013.zip --export /tmp/xyz', 'train --data fer2013.zip --export xyz'),
    ('train --data={here}/faces --quiet', 'train --data=faces --quiet'),
    ('sweep --over rate=0.1:1 --option "filters=[1, 2]"', "sweep --over rate=0.1:1 --option 'filters=[1, 2]'"),
    ('train --out {here}/runs/a/../b', 'train --out runs/b'),
    ('train --data "/my data/faces"', 'train --data faces')])
def test_a_recorded_command_names_no_folder_of_this_machine(tmp_path, monkeypatch, typed, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/fer-nb', *shlex.split(typed.format(here=Path.cwd()))])
    assert typed_command() == f'fer-nb {told}'


def test_no_card_names_a_folder_of_somebodys_machine(place, tested):
    from conftest import ROOT
    cards = [*(ROOT/'models').glob('*.json'), *(ROOT/'nbs/tutorials/experiments').glob('*.json')]

    def commands(value):
        if isinstance(value, list): return [c for o in value for c in commands(o)]
        if not isinstance(value, dict): return []
        return [c for k, o in value.items() for c in ([o] if k == 'command' else commands(o))]
    recorded = [(p, c) for p in cards for c in commands(json.loads(p.read_text()))]
    assert len(recorded) >= len(cards)
    for path, command in recorded:
        assert not [o for o in shlex.split(command) if o.startswith(('/', '~', '..'))], path
    run = fer_nb('train', '--data', place/'both', *SHORT, '--out', place/'elsewhere', cwd=place.parent)
    assert 'the run is in' in run.stdout
    command = json.loads((place/'elsewhere/recipe.json').read_text())['command']
    assert f'--data {place.name}/both ' in command and str(place.parent) not in command


def test_a_thinner_network_begins_with_what_a_larger_one_learned(place):
    short = ('--data', 'both', '--epochs', 2, '--batch', 28, '--quiet')
    call('train', '--arch', 'se_resnet', '--option', 'filters=(16,32)', '--option', 'blocks=(1,2)', *short,
         '--out', 'wide', cwd=place)
    call('train', '--begin', 'wide', '--option', 'blocks=(1,1)', *short, '--out', 'thin', cwd=place)
    info = json.loads((place/'thin/recipe.json').read_text())
    assert info['recipe']['arch'] == 'se_resnet'
    assert info['recipe']['options'] == {'filters': [16, 32], 'blocks': [1, 1]}
    assert info['started_from']['run'] == 'wide'
    with pytest.raises(FerError, match="no model 'nobody'"):
        call('train', '--begin', 'nobody', *short, '--out', 'x', cwd=place)
    assert not (place/'x').exists()
