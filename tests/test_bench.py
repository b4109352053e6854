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

from fer_nb.bench.cases import QUICK, Setting
from fer_nb.bench.measure import WORKER, Peer
from fer_nb.bench.report import SECTIONS, bench, summary
from fer_nb.bench.robust import conditions, plot_robust, robust
from fer_nb.bench.scenes import KINDS
from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS, FERPLUS_COLUMNS, canonical
from fer_nb.inference.zoo import DEFAULT, list_models, load_model
from fer_nb.training.data import load

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
    may_be_zero = {'gain', 'false', 'accuracy', 'low', 'macro_f1', 'calibration_error', 'level', 'lost', 'same',
                   'from_fiftieth', 'from_fortieth', 'from_twentieth', *KINDS}
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
    assert all((o['faces'], o['ruler']) == (70, 'label') for o in rows(run, 'accuracy'))


def test_every_defect_is_measured_beside_the_undamaged_face(run):
    names = {o['model'] for o in rows(run, 'robust')}
    assert names == {o.name for o in list_models()} | {'mini-Xception'}
    for name in names:
        found = rows(run, 'robust', model=name)
        assert [(o['defect'], o['level']) for o in found] == [o[:2] for o in conditions(QUICK.defects)]
        for o in found: assert o['lost'] == pytest.approx(found[0]['accuracy'] - o['accuracy'], abs=1e-5)
    for o in rows(run, 'robust', who='fer'):                # flat faces have nothing to blur
        assert (o['accuracy'], o['lost'], o['same'], o['ruler']) == (1, 0, 1, 'label') and 'agreement' not in o


def test_what_a_defect_costs(peer, data):
    setting = Setting([load_model('lenet')], QUICK._replace(defects=4), folder=peer, splits={48: load(data)})
    try: found = [o for o in robust(setting) if o['who'] == 'fer' and o['defect'] in ('none', 'dark', 'bright')]
    finally: setting.close()
    def kept(gamma): return sum(round(6*(i/6)**gamma) == i for i in range(7))/7      # it reads the brightness
    assert [o['accuracy'] for o in found] == pytest.approx([1, *(kept(o['strength']) for o in found[1:])])
    assert [o['lost'] for o in found] == pytest.approx([1 - o['accuracy'] for o in found]) and found[1]['lost'] > .5


def vote_table(path, faces, votes):
    "FER+ votes for each of `faces`: `votes` gives {label: number} for a label."
    columns = {canonical(o): o for o in FERPLUS_COLUMNS if canonical(o)}
    lines = [','.join(('file', 'Usage', *FERPLUS_COLUMNS))]
    for source, label in zip(faces.source, faces.labels):
        cast = {columns[k]: n for k, n in votes(faces.names[label]).items()}
        lines.append(','.join((source, 'PublicTest', *(str(cast.get(o, 0)) for o in FERPLUS_COLUMNS))))
    path.write_text('\n'.join(lines) + '\n')
    return path


@pytest.fixture(scope='module')
def voted(peer, data, tmp_path_factory):
    "A run by both rulers: people say happy of what is labelled sad, and are divided about what is labelled fear."
    def cast(label): return {'sad': {'happy': 8, 'sad': 2}, 'fear': {'fear': 5, 'sad': 5}}.get(label, {label: 10})
    table = vote_table(tmp_path_factory.mktemp('votes')/'votes.csv', load(data), cast)
    return bench(['lenet'], data, votes=table, peer=peer, only=['accuracy', 'robust'], quick=True, say=str),


def test_votes_are_a_second_ruler(voted):
    label, votes = rows(voted, 'accuracy', who='fer', how='one crop')
    assert (label['ruler'], label['faces'], label['accuracy']) == ('label', 70, 1) and 'agreement' not in label
    assert (votes['ruler'], votes['faces'], votes['accuracy']) == ('votes', 60, pytest.approx(5/6, abs=1e-5))
    sure = .97 + .0042857
    assert votes['agreement'] == pytest.approx((5*sure + .2 + .0042857 + .5 + .0042857)/7, abs=1e-4)
    assert voted[0]['votes'] == 'votes.csv'


def test_robust_is_judged_by_the_votes_where_there_are_some(voted):
    found = rows(voted, 'robust', who='fer')
    assert {(o['ruler'], o['faces'], o['accuracy']) for o in found} == {('votes', 60, .833333)}
    assert all(0 < o['agreement'] < 1 for o in rows(voted, 'robust'))
    text = summary(voted[0])
    assert 'by the majority of the votes on 60 faces' in text and '| small | 24 px |' in text
    assert 'Agreement with the shares of the votes' in text
    assert len(plot_robust(voted[0]['sections']['robust']).subfigs) == 2          # accuracy, and agreement


def test_votes_of_other_faces_are_refused(data, tmp_path):
    table = vote_table(tmp_path/'votes.csv', load(data), lambda label: {label: 10})
    table.write_text(table.read_text().replace('angry/0.png', 'angry/nobody.png'))
    with pytest.raises(FerError, match=r'votes for .*angry/nobody.png, which is not among the faces'):
        bench(['lenet'], data, votes=table, peer=None, only=['robust'], quick=True, path=tmp_path/'x.json')
    vote_table(table, load(data), lambda label: {label: 5, 'happy' if label == 'sad' else 'sad': 5})
    with pytest.raises(FerError, match='has no face of the split public with a single most frequent emotion'):
        bench(['lenet'], data, votes=table, peer=None, only=['robust'], quick=True, path=tmp_path/'x.json')
    with pytest.raises(FerError, match='Votes need their dataset'): bench(votes=table, peer=None)
    assert not (tmp_path/'x.json').exists()


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
    with pytest.raises(FerError, match="no section 'speed': choose among accuracy, robust"): bench(only=['speed'])
    with pytest.raises(FerError, match="section robust needs a dataset"): bench(only=['robust'])


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
    ("import os; os._exit(1)", "it ends without a message"),
    ("class FER:\n    def __init__(self): raise OSError('no such weights')", "OSError: no such weights")])
def test_a_peer_that_cannot_run_is_one_sentence(tmp_path, package, why):
    folder = environment(tmp_path/'env', package)
    with pytest.raises(FerError, match="cannot run fer") as e: bench(peer=folder, path=tmp_path/'x.json')
    assert why in str(e.value) and 'tools/peer.py' in str(e.value) and '\n' not in str(e.value)
    assert not (tmp_path/'x.json').exists()


@pytest.mark.parametrize('section', ['limit', 'video'])
def test_the_limit_and_films_need_no_peer(section, tmp_path):
    assert bench(only=[section], models=[DEFAULT], peer=tmp_path/'nowhere', quick=True, say=str)['sections'][section]


def test_a_model_with_other_labels_is_refused_by_name(data, tmp_path):
    card = list_models()[0]
    shutil.copy(card.model_path, tmp_path)
    labels = ['wink', *card.labels[1:]]
    (tmp_path/card.path.name).write_text(json.dumps(dict(card) | {'labels': labels, 'name': 'winks'}))
    with pytest.raises(FerError, match="winks has the labels wink, .* but the data has angry, .*: omit that model"):
        bench([tmp_path/card.model_path.name], data, peer=None, only=['robust'], quick=True)


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
