"Many pictures on several threads: in order, bad files among them, bounded in memory, and nothing left behind."
import gc
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb import EmotionRecognizer, FerError, read_pictures
from fer_nb.inference import batch
from fer_nb.inference.batch import PictureFaces, picture_files

@pytest.fixture(scope='module')
def recognizer(): return EmotionRecognizer('lenet')

@pytest.fixture(scope='module')
def crops(tmp_path_factory):
    "A folder with 150 crops of 40 to 60 pixels, no two alike."
    root, rng = tmp_path_factory.mktemp('crops'), np.random.default_rng(0)
    for i in range(150):
        side = 40 + i % 21
        face = cv2.resize(rng.integers(0, 256, (9, 9), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root/f'{i:03}.png'), face)
    return root

def ours(): return [o for o in threading.enumerate() if o.name.startswith('read_pictures')]

class Counted:
    "The same path again and again, and how often it was asked for."
    def __init__(self, path, n): self.path, self.n, self.drawn = path, n, 0
    def __iter__(self):
        for _ in range(self.n):
            self.drawn += 1
            yield self.path


def test_the_front_door_has_it(sample):
    import fer_nb
    assert 'read_pictures' in fer_nb.__all__ and fer_nb.read_pictures is batch.read_pictures
    (only,) = read_pictures(sample)
    assert only.path == sample and only.error is None and [o.label for o in only.faces] == ['happy']
    assert json.loads(json.dumps(only.to_dict()))['faces'][0]['label'] == 'happy'


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_order_is_kept_though_the_first_take_longest(recognizer, sample, tmp_path, threads):
    photo = cv2.imread(str(sample))
    for i in range(12):
        side = 900 if i % 4 == 0 else 64
        cv2.imwrite(str(tmp_path/f'{i:02}.png'), cv2.resize(photo, (side, side)))
    found = list(read_pictures(tmp_path, recognizer, threads=threads))
    assert [o.path.name for o in found] == [f'{i:02}.png' for i in range(12)]
    assert [len(found[i].faces) for i in (0, 4, 8)] == [1, 1, 1]
    assert not ours()


@pytest.mark.parametrize('as_crops', [False, True])
def test_a_broken_file_is_a_result_and_the_others_go_on(recognizer, sample, tmp_path, as_crops):
    for name in ('a.jpg', 'c.jpg', 'e.jpg'): shutil.copy(sample, tmp_path/name)
    (tmp_path/'b.jpg').write_text('shopping list')
    (tmp_path/'d.jpg').write_bytes(sample.read_bytes()[:3000])
    paths = [*sorted(tmp_path.iterdir()), tmp_path/'f.jpg']
    found = list(read_pictures(paths, recognizer, crops=as_crops, threads=2))
    assert [o.path for o in found] == paths
    assert [bool(o.faces) for o in found] == [o.error is None for o in found] == [True, False, True, False, True, False]
    for o, words in zip(found[1::2], ('holds text', 'breaks off', 'does not exist')):
        assert o.path.name in o.error and words in o.error and o.error.endswith('.') and o.to_dict()['error'] == o.error


def test_files_folders_and_patterns(sample, recognizer, crops, tmp_path):
    (tmp_path/'in/deep').mkdir(parents=True)
    (tmp_path/'empty').mkdir()
    for o in ('in/b.jpg', 'in/deep/c.jpg', 'in/a.JPG', 'in/[x].jpg'): shutil.copy(sample, tmp_path/o)
    (tmp_path/'in/notes.txt').touch()
    inside = ['[x].jpg', 'a.JPG', 'b.jpg', 'c.jpg']
    names = lambda paths: [o.path.name for o in read_pictures(paths, recognizer, crops=True)]
    assert names(tmp_path/'in') == names(str(tmp_path/'in')) == inside == [o.name for o in picture_files(tmp_path/'in')]
    assert names(f'{tmp_path}/in/?.jpg') == ['b.jpg'] and names(tmp_path/'in/[x].jpg') == ['[x].jpg']
    assert names(f'{tmp_path}/**/c.*') == ['c.jpg']
    assert names([tmp_path/'in', tmp_path/'in/b.jpg']) == [*inside, 'b.jpg']           # read_pictures leaves none out,
    assert len(picture_files([tmp_path/'in', tmp_path/'in/b.jpg'])) == 4               # picture_files has each once
    mixed = list(read_pictures(iter([tmp_path/'empty', sample, 'no*.jpg']), recognizer, crops=True))
    assert [o.error is None for o in mixed] == [False, True, False] and 'holds no pictures' in mixed[0].error
    with pytest.raises(FerError, match='holds no pictures'): picture_files([tmp_path/'empty'])


@pytest.mark.parametrize('as_crops', [False, True])
def test_a_generator_of_many_paths_is_read_as_far_as_needed(recognizer, crops, as_crops):
    paths = Counted(crops/'000.png', 100_000)
    results = read_pictures(paths, recognizer, crops=as_crops, threads=2)
    assert paths.drawn == 0
    first = list(islice(results, 10))
    assert len(first) == 10 and len({o.path for o in first}) == 1
    assert 10 <= paths.drawn <= 400, paths.drawn
    results.close()
    assert not ours()


def test_memory_stays_as_it_is(recognizer, crops, monkeypatch):
    "Results of 20,000 crops are alive only while the caller has them."
    born, gone, plain = [], [], PictureFaces.__init__
    def counted(self, *args, **named):
        plain(self, *args, **named)
        born.append(1)
        weakref.finalize(self, gone.append, 1)
    monkeypatch.setattr(PictureFaces, '__init__', counted)
    n = most = 0
    for _ in read_pictures(Counted(crops/'000.png', 20_000), recognizer, crops=True, threads=2):
        n, most = n + 1, max(most, len(born) - len(gone))
    assert n == 20_000 and 0 < most < 600, most


def test_closed_early_or_forgotten_it_leaves_no_threads(recognizer, crops):
    results = read_pictures(crops, recognizer, crops=True, threads=3)
    next(results)
    results.close()
    assert not ours()
    for o in read_pictures(crops, recognizer, crops=True, threads=3):
        if o.path.stem == '003': break
    del o
    gc.collect()
    assert not ours()
    with pytest.raises(ZeroDivisionError):                                  # the caller's own generator fails
        for _ in read_pictures((1/0 for _ in range(3)), recognizer): pass
    assert not ours()


def test_what_is_no_fault_of_a_picture_goes_through(recognizer, crops, monkeypatch):
    def broken(*_): raise ZeroDivisionError
    monkeypatch.setattr(batch, 'whole_crops', broken)
    with pytest.raises(ZeroDivisionError): list(read_pictures(crops, recognizer, crops=True, threads=2))
    assert not ours()


@pytest.mark.skipif(sys.platform == 'win32', reason='no SIGINT to another process')
def test_ctrl_c_ends_it_at_once(crops):
    code = ("import sys; from itertools import repeat; from fer_nb import read_pictures\n"
            "for i,o in enumerate(read_pictures(repeat(sys.argv[1]), model='lenet', crops=True)):\n"
            "    if i == 100: print('running', flush=True)\n")
    p = subprocess.Popen([sys.executable, '-c', code, str(crops/'000.png')], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'running\n'
    p.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert 'KeyboardInterrupt' in p.communicate(timeout=30)[1] and time.monotonic() - start < 10


def test_crops_together_answer_as_one_by_one(recognizer, crops):
    together = list(read_pictures(crops, recognizer, crops=True))
    assert len(together) == 150
    for o in together:
        (alone,) = recognizer.crops([o.path])
        (face,) = o.faces
        assert face.box == alone.box and face.label == alone.label
        np.testing.assert_allclose(face.probabilities, alone.probabilities, atol=1e-5)


def test_settings_reach_every_thread(crops):
    name = 'se_resnet_fer2013'                                             # LeNet is too sure of a drawn face
    strict = EmotionRecognizer(name, threshold=1., flip=True)
    given = [o.faces[0] for o in read_pictures(crops, strict, crops=True, threads=3)]
    named = [o.faces[0] for o in read_pictures(crops, crops=True, threads=3, model=name, threshold=1., flip=True)]
    plain = [o.faces[0] for o in read_pictures(crops, EmotionRecognizer(name), crops=True, threads=3)]
    assert all(f.uncertain for f in given) and not all(f.uncertain for f in plain)
    assert np.array_equal([f.probabilities for f in given], [f.probabilities for f in named])
    assert np.abs(np.subtract([f.probabilities for f in given], [f.probabilities for f in plain])).max() > .01


def test_annotated_copies_have_names_of_their_own(recognizer, sample, tmp_path):
    for o in ('one', 'two', 'three'): (tmp_path/'in'/o).mkdir(parents=True)
    for o in ('one/a.jpg', 'two/a.jpg', 'three/a_faces.jpg'): shutil.copy(sample, tmp_path/'in'/o)
    cv2.imwrite(str(tmp_path/'in/two/a.png'), cv2.imread(str(sample))[:40, :40])
    (tmp_path/'in/two/b.jpg').write_text('shopping list')
    out = tmp_path/'in/zz_copies/of today'                                # in the folder itself: copies are no pictures
    for _ in range(2):
        found = list(read_pictures(tmp_path/'in', recognizer, out=out, shape='circle', threads=3))
        assert [o.error is None for o in found] == [True, True, True, True, False]
        names = ['a_faces.jpg', 'a_faces_2.jpg', 'a_faces_3.jpg', 'a_faces_faces.jpg']
        assert sorted(o.name for o in out.iterdir()) == names
    photo = cv2.imread(str(sample))
    drawn = cv2.imread(str(out/'a_faces.jpg'))
    assert drawn.shape == photo.shape and (drawn != photo).any()
    assert cv2.imread(str(out/'a_faces_3.jpg')).shape[:2] == (40, 40)                 # two/a.jpg, then two/a.png
    framed = list(read_pictures(sample, recognizer, crops=True, out=tmp_path/'crops'))
    assert framed[0].faces[0].box == (0, 0, 512, 512) and (tmp_path/'crops/sample_faces.jpg').is_file()


@pytest.mark.parametrize('wrong, words', [
    (dict(threads=0), 'threads is 0'), (dict(shape='star'), "'star'"), (dict(model='resnet9000'), 'resnet9000'),
    (dict(detector='eyes'), "no detector 'eyes'"), (dict(threshold=7), 'threshold is 7'),
    (dict(recognizer='lenet'), 'model=NAME')])
def test_settings_that_cannot_work_are_said_before_anything_is_read(crops, wrong, words):
    with pytest.raises(FerError, match=words): read_pictures(crops, **wrong)


def test_arguments_that_are_no_paths(recognizer, crops, sample, tmp_path):
    for wrong in (7, None, b'a.jpg', np.zeros((9, 9), np.uint8)):
        with pytest.raises(FerError, match='paths is'): read_pictures(wrong, recognizer)
    with pytest.raises(FerError, match='give flip to it'): read_pictures(crops, recognizer, flip=True)
    with pytest.raises(FerError, match='cannot be made'): read_pictures(crops, recognizer, out=crops/'000.png')
    results = list(read_pictures([7, sample, Path('a\0b.jpg')], recognizer, crops=True))
    assert '7 is not a path' in results[0].error and results[1].faces and 'does not exist' in results[2].error


def test_the_import_stays_light():
    code = "import sys; from fer_nb import read_pictures; import fer_nb.inference.tables; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not {'tensorflow', 'keras', 'matplotlib', 'pyarrow', 'pandas', 'typer', 'av'} & {*loaded}
