"""The benchmark: what it writes, what it refuses, and how it treats the peer, whose place a made-up `fer` takes here.
No times are asserted."""
import json
import math
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT

from fer_nb.bench.cases import QUICK
from fer_nb.bench.measure import WORKER, Peer
from fer_nb.bench.report import SECTIONS, bench, summary
from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.inference.zoo import DEFAULT, list_models

ORDER = ('angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral')     # fer's
FER = '''
import cv2, numpy as np
print("fer talks on stdout")
ORDER = {!r}
class FER:
    "Answers by the brightness of a face, if it comes as fer's own network wants it; neutral where it is padded."
    def __init__(self, offsets=(10, 10)): self.offsets = offsets
    def _classify_emotions(self, faces):
        assert faces.shape[1:] == (64, 64) and faces.dtype == np.float32 and abs(faces).max() <= 1, faces.shape
        return np.eye(7)[[round((o.mean() + 1)*3) for o in faces]]*.97 + .0042857
    def detect_emotions(self, img, face_rectangles=None):
        assert img.dtype == np.uint8 and img.ndim == 3
        if face_rectangles is None:
            file = cv2.data.haarcascades + 'haarcascade_frontalface_default.xml'
            face_rectangles = cv2.CascadeClassifier(file).detectMultiScale(img, 1.1, 5)
        def read(x, y, w, h):
            i = 6 if self.offsets[0] else round(img[y:y+h, x:x+w].mean()/255*6)
            return {{o: .97 if o == ORDER[i] else 0. for o in ORDER}}
        return [dict(box=o, emotions=read(*o)) for o in face_rectangles]
'''


def environment(folder, package=FER.format(ORDER)):
    "A folder like the one that tools/peer.py makes: this Python, which finds the made-up fer."
    (folder/'fer').mkdir(parents=True)
    (folder/'bin').mkdir()
    (folder/'fer/__init__.py').write_text('')
    record = folder/'fer-25.10.2.dist-info'
    record.mkdir()
    (record/'METADATA').write_text('Metadata-Version: 2.1\nName: fer\nVersion: 25.10.2\nRequires-Dist: numpy\n')
    (record/'RECORD').write_text('fer/fer.py,,\n')
    (folder/'fer/fer.py').write_text(package)
    python = folder/'bin/python'
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.fixture(scope='module')
def peer(tmp_path_factory): return environment(tmp_path_factory.mktemp('peer')/'env')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Ten flat faces of each emotion in PublicTest, as bright as the made-up fer has it; PrivateTest holds none."
    folder = tmp_path_factory.mktemp('data')
    for i, emotion in enumerate(ORDER):
        (folder/'PublicTest'/emotion).mkdir(parents=True)
        face = np.full((48, 48), round(i*255/6), np.uint8)
        for k in range(10): cv2.imwrite(str(folder/'PublicTest'/emotion/f'{k}.png'), face)
    return folder


@pytest.fixture(scope='module')
def run(peer, data, tmp_path_factory):
    "What a quick run of everything returned, what it wrote and what it said."
    path, said = tmp_path_factory.mktemp('out')/'bench.json', []
    return bench(data=data, peer=peer, quick=True, path=path, command='fer-nb bench', say=said.append), path, said


def rows(run, section, **wanted):
    return [o for o in run[0]['sections'][section] if all(o.get(k) == v for k, v in wanted.items())]


def test_the_file_holds_what_is_returned(run):
    result, path, said = run
    assert json.loads(path.read_text()) == result
    assert list(result['sections']) == list(SECTIONS) == list(result['seconds'])
    assert result['quick'] and result['command'] == 'fer-nb bench' and result['data'].startswith('public of ')
    assert result['machine']['cores'] > 0 and len(result['machine']['load']) == 3
    assert [o['name'] for o in result['models']][0] == DEFAULT and len(result['models']) == len(list_models())
    assert [o.split(':')[0] for o in said if 'busy' not in o] == list(SECTIONS)


def test_all_figures_are_finite_and_positive(run):
    may_be_zero = {'gain', 'false', 'accuracy', 'low', 'macro_f1', 'calibration_error'}
    for name, found in run[0]['sections'].items():
        assert found
        for o in found:
            for k, v in o.items():
                if isinstance(v, (int, float)): assert math.isfinite(v) and (v > 0 or k in may_be_zero), (name, o)


def test_models_and_peer_stand_beside_each_other(run):
    models = {o.name for o in list_models()}
    for section in ('accuracy', 'latency'):
        assert {o['model'] for o in rows(run, section, who='fer_nb')} == models and rows(run, section, who='fer')
    assert {o['batch'] for o in rows(run, 'latency')} == {1, 32}
    for how in ('one crop', 'and its mirror image', 'five crops'):
        assert len(rows(run, 'accuracy', who='fer_nb', how=how)) == len(models)
    for section in ('frames', 'start', 'growth'): assert {o['who'] for o in rows(run, section)} == {'fer_nb', 'fer'}


def test_the_peer_gets_its_own_preprocessing_and_label_order(run):
    assert {o['how']: o['accuracy'] for o in rows(run, 'accuracy', who='fer')} == \
        {'one crop': 1, 'public call': pytest.approx(1/7, abs=1e-5), 'public call, offsets=(0, 0)': 1}
    assert all(o['faces'] == 70 for o in rows(run, 'accuracy'))


def test_faces_are_found_in_the_frames(run):
    for o in rows(run, 'frames'):
        assert o['shown'] == o['faces']*QUICK.frames
        if o['min_face'] <= 50: assert (o['found'], o['false']) == (o['shown'], 0), o
        assert o['peer_takes'] == 1 or o['who'] == 'fer_nb'
    assert {o['faces'] for o in rows(run, 'frames', who='fer')} == {1, 4, 12}


def test_start_growth_and_limit(run):
    ours, theirs = rows(run, 'start', what='library')
    assert ours['memory_mb'] > 10 and 50 < ours['installed_mb'] < 2000
    assert (theirs['who'], theirs['packages']) == ('fer', 2) and 10 < theirs['installed_mb'] < 200     # with NumPy
    assert {o['n'] for o in rows(run, 'growth', what='crops in files, by the command')} == set(QUICK.images)
    assert {o['n'] for o in rows(run, 'growth', what='faces a frame')} == set(QUICK.faces)
    assert [o['rows'] for o in rows(run, 'video')] == [n*QUICK.film for n in (1, 2, 4)]         # one per face and frame
    best = [o for o in rows(run, 'limit') if o['of_limit'] == 1]
    assert sorted(o['precision'] for o in best) == ['float32', 'int8']


def test_the_tables_say_that_a_quick_run_means_nothing(run):
    text = summary(run[0])
    assert 'its figures mean nothing' in text
    for name in SECTIONS: assert f'\n## {name}\n' in text


def test_sections_are_chosen(tmp_path):
    said = []
    result = bench(only=['limit', 'latency'], models=[DEFAULT], peer=None, quick=True, say=said.append)
    assert list(result['sections']) == ['latency', 'limit'] and result['peer'] is None
    assert {o['who'] for o in result['sections']['latency']} == {'fer_nb'}
    with pytest.raises(FerError, match="no section 'speed': choose among accuracy, latency"): bench(only=['speed'])
    with pytest.raises(FerError, match="section accuracy needs a dataset"): bench(only=['accuracy'])


def test_a_model_from_a_path(tmp_path):
    card = list_models()[0]
    for o in ('.tflite', '.json'): shutil.copy(card.path.with_suffix(o), tmp_path)
    result = bench(models=[tmp_path/card.model_path.name], only=['latency'], peer=None, quick=True, say=str)
    assert [o['name'] for o in result['models']] == [card.name]


def test_a_missing_peer_is_said_before_anything_is_measured(tmp_path):
    said = r'environment .*nowhere does not exist: make it with `python tools/peer.py .*nowhere`'
    with pytest.raises(FerError, match=said):
        bench(peer=tmp_path/'nowhere', path=tmp_path/'x.json')
    assert not (tmp_path/'x.json').exists()


@pytest.mark.parametrize('package, why', [
    ("import pkg_resources_that_is_gone", "ModuleNotFoundError: No module named 'pkg_resources_that_is_gone'"),
    ("import os; os._exit(1)", "it ends without a word"),
    ("class FER:\n    def __init__(self): raise OSError('no such weights')", "OSError: no such weights")])
def test_a_peer_that_cannot_run_is_one_sentence(tmp_path, package, why):
    folder = environment(tmp_path/'env', package)
    with pytest.raises(FerError, match="cannot run fer") as e: bench(peer=folder, path=tmp_path/'x.json')
    assert why in str(e.value) and 'tools/peer.py' in str(e.value) and '\n' not in str(e.value)
    assert not (tmp_path/'x.json').exists()


@pytest.mark.parametrize('section', ['limit', 'video'])
def test_the_limit_and_films_need_no_peer(section, tmp_path):
    assert bench(only=[section], models=[DEFAULT], peer=tmp_path/'nowhere', quick=True, say=str)['sections'][section]


@pytest.mark.parametrize('options, said', [
    (dict(models=['resnet']), "no model 'resnet'"), (dict(data='nowhere.zip'), 'nowhere.zip does not exist'),
    (dict(path='nowhere/x.json', only=['limit']), 'nowhere does not exist')])
def test_bad_requests(options, said):
    with pytest.raises(FerError, match=said): bench(peer=None, quick=True, **options)


def test_private_faces_only_when_asked_for(data):
    with pytest.raises(FerError, match="has no split 'private'"):
        bench(data=data, split='private', peer=None, quick=True, only=['accuracy'])


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    path = tmp_path/'x.json'
    def stop(line):
        if line.startswith('latency'): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): bench(models=[DEFAULT], peer=None, quick=True, path=path, say=stop)
    assert list(json.loads(path.read_text())['sections']) == ['latency'] and list(tmp_path.iterdir()) == [path]


def test_the_worker_answers_in_fers_order(peer, tmp_path):
    np.save(tmp_path/'in.npy', np.stack([np.full((48, 48), round(i*255/6), np.uint8) for i in range(7)]))
    worker = Peer(peer)
    try:
        reply = worker.ask('probabilities', array=str(tmp_path/'in.npy'), out=str(tmp_path/'out.npy'), how='network')
        assert tuple(reply['labels']) == ORDER and sorted(ORDER) == sorted(EMOTIONS)
        assert np.load(tmp_path/'out.npy').argmax(1).tolist() == list(range(7))
    finally: worker.close()


def test_the_worker_says_which_fer_runs(peer):
    done = subprocess.run([peer/'bin/python', WORKER, '--check'], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == 'fer 25.10.2 runs'


def test_the_import_is_light():
    heavy = 'tensorflow', 'keras', 'matplotlib', 'sklearn', 'pandas'
    code = f"import sys, fer_nb.bench.report; print(*(o for o in {heavy} if o in sys.modules))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == ''


@pytest.mark.parametrize('arguments, said', [
    (['--python', 'no-such-python'], 'no-such-python cannot be started'), (['{full}'], 'holds something else'),
    (['{tmp}/new', '--python', '{old}'], "is 3.9: name another with --python")])
def test_the_tool_that_makes_the_peer_refuses(tmp_path, arguments, said):
    (tmp_path/'full').mkdir()
    (tmp_path/'full/letter.txt').write_text('dear')
    (tmp_path/'old').write_text('#!/bin/sh\necho 3 9\n')
    (tmp_path/'old').chmod(0o755)
    arguments = [o.format(tmp=tmp_path, full=tmp_path/'full', old=tmp_path/'old') for o in arguments]
    done = subprocess.run([sys.executable, ROOT/'tools/peer.py', *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
