"What `make drills` does for longer: a few broken inputs with a fixed seed, and what the drills have found before."
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from conftest import ROOT

from fer_nb.core import FerError, models_dir, replacing
from fer_nb.inference.image import MOST_PIXELS, open_image, picture_size
from fer_nb.inference.zoo import load_model

sys.path.insert(0, str(ROOT/'tools'))
pytest.importorskip('hypothesis')
linux = pytest.mark.skipif(sys.platform != 'linux', reason="the drills watch memory by /proc")


@linux
@pytest.mark.parametrize('target', ['pictures', 'zips', 'cards', 'votes'])
def test_broken_inputs_are_refused_in_one_sentence(target, tmp_path):
    from drills import fuzz
    done = fuzz.drill(target, 7, 40, 120, tmp_path)
    assert done['findings'] == [] and done['cases'] == done['accepted'] + done['refused'] == 40
    assert done['refused'] > 4 and done['highest_mb'] < 500


@linux
def test_the_drill_finds_what_is_wrong(tmp_path, monkeypatch):
    "A target that crashes, hangs, takes memory, raises what it likes and writes where it may not."
    from drills import fuzz
    outside = tmp_path/'outside.txt'
    (tmp_path/'drills').mkdir()
    (tmp_path/'drills/__init__.py').write_text(f"__path__.append({str(ROOT/'tools/drills')!r})\n")
    (tmp_path/'drills/targets.py').write_text((ROOT/'tools/drills/targets.py').read_text() + f'''
class Wrong(Target):
    "Everything that may not be."
    def seeds(self): return [('a.txt', b'hello')]
    def warm(self, i): pass
    def case(self, seed, i): return 'a.txt', str(i).encode()
    def read(self, name, data):
        import os
        i = int(data)
        if i == 1: raise KeyError('lost')
        if i == 2: os.abort()
        if i == 3: bytearray(2**40)
        if i == 4:
            while True: pass
        if i == 5: open({str(outside)!r}, 'w').close()
''')
    monkeypatch.setattr(fuzz, 'TOOLS', tmp_path)
    sys.modules.pop('drills.targets', None)
    monkeypatch.setattr(fuzz.targets, 'TARGETS', fuzz.targets.TARGETS | {'wrong': fuzz.targets.TARGETS['votes']})
    done = fuzz.drill('wrong', 0, 7, 120, tmp_path, hang=1)
    assert [(o['case'], o['kind']) for o in done['findings']] == [
        (1, 'exception'), (2, 'crash'), (3, 'memory'), (4, 'hang'), (5, 'outside')]
    assert 'SIGABRT' in done['findings'][1]['text'] and done['cases'] == 7


def test_the_same_seed_makes_the_same_inputs(tmp_path):
    from drills.targets import TARGETS
    a, b = (TARGETS['pictures'](tmp_path) for _ in range(2))
    assert [a.case(1, i) for i in range(20)] == [b.case(1, i) for i in range(20)] != [a.case(2, i) for i in range(20)]


# -- What was found, and mended


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.tiff', '.ppm', '.gif'])
def test_a_small_file_that_declares_much_is_refused_before_it_is_decoded(suffix):
    data = bytearray(cv2.imencode(suffix, np.zeros((9, 7, 3), np.uint8))[1].tobytes())
    if suffix == '.jpg': at, kind, n = data.index(b'\xff\xc0') + 5, '>HH', 60_000
    elif suffix == '.png': at, kind, n = 16, '>II', 60_000
    elif suffix == '.gif': at, kind, n = 6, '<HH', 60_000
    elif suffix == '.bmp': at, kind, n = 18, '<ii', 60_000
    if suffix == '.ppm': data = b'P6\n60000 60000\n255\n' + bytes(999)
    elif suffix == '.tiff':
        first, = struct.unpack_from('<I', data, 4)
        for k in range(struct.unpack_from('<H', data, first)[0]):
            tag = first + 2 + 12*k
            if struct.unpack_from('<H', data, tag)[0] in (256, 257): struct.pack_into('<HHII', data, tag,
                *struct.unpack_from('<H', data, tag), 4, 1, 60_000)
    else: struct.pack_into(kind, data, at, n, n)
    assert picture_size(bytes(data)) == (60_000, 60_000)
    with pytest.raises(FerError, match=f'60,000 x 60,000 pixels, but the maximum is {MOST_PIXELS:,}'):
        open_image(bytes(data), f'a{suffix}')


def vouched(folder, content):
    "A changed network with a card that has its hash."
    card = json.loads((models_dir()/'lenet.json').read_text())
    card['file'] = dict(name='lenet.tflite', sha256=hashlib.sha256(content).hexdigest())
    (folder/'lenet.json').write_text(json.dumps(card))
    (folder/'lenet.tflite').write_bytes(content)
    return folder/'lenet.tflite'


def test_a_network_that_ends_its_process_is_refused(tmp_path, monkeypatch):
    content = (models_dir()/'lenet.tflite').read_bytes()
    assert load_model(vouched(tmp_path, content)).size == 48
    from fer_nb.inference import zoo
    zoo._tried.clear()
    hook = tmp_path/'sitecustomize.py'            # the process of the trial, as if LiteRT had ended it
    hook.write_text("import sys, os\nif 'zoo import _attempt' in ' '.join(sys.orig_argv): os.abort()\n")
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join((str(tmp_path), os.environ.get('PYTHONPATH', ''))))
    with pytest.raises(FerError, match='lenet.tflite fails when it is run .*signal 6.*somebody you trust'):
        load_model(tmp_path/'lenet.tflite')


def test_zips_of_an_unknown_version_or_with_names_in_no_coding(tmp_path, command):
    path = tmp_path/'faces.zip'
    with zipfile.ZipFile(path, 'w') as z: z.writestr('train/happy/é.png', b'x')
    whole = path.read_bytes()
    at = whole.index(b'PK\1\2')
    for changed in (whole[:at+6] + b'\xff' + whole[at+7:], whole.replace('é'.encode(), b'\xff\xfe')):
        path.write_bytes(changed)
        result = command('data', 'audit', path)
        assert result.returncode == 2 and 'Traceback' not in result.stderr and 'faces.zip' in result.stderr


def test_what_a_killed_process_left_half_written_is_removed_by_the_next_that_writes(tmp_path):
    code = ("import sys, os; from fer_nb.core import replacing\n"
            "with replacing(sys.argv[1]) as part: part.write_text('half'); os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path/'a.json')])
    assert done.returncode == -signal.SIGKILL and len([*tmp_path.iterdir()]) == 1
    with replacing(tmp_path/'a.json') as part: part.write_text('{}')
    assert [o.name for o in tmp_path.iterdir()] == ['a.json']


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(sample, tmp_path):
    "Files may not grow here, which programs see as they see a full disk."
    import resource
    (tmp_path/'old.json').write_text('["old"]')
    def limit(): resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
    words = ['fer-nb', 'predict', str(sample), '--json', 'old.json', '--model', 'lenet']
    code = f"import sys; sys.argv = {words!r}; from fer_nb.cli.main import main; main()"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, preexec_fn=limit, cwd=tmp_path)
    assert done.returncode == 2 and 'Traceback' not in done.stderr, done.stderr
    assert 'old.json cannot be written: the disk is full; make room, and give the same command again.' in done.stderr
    assert [o.name for o in tmp_path.iterdir()] == ['old.json'] and (tmp_path/'old.json').read_text() == '["old"]'


@pytest.mark.parametrize('kind', [['x'], {'a': 1}, None, 7])
def test_messages_of_any_kind_are_answered(kind):
    pytest.importorskip('anywidget')
    from fer_nb.apps.widgets import answer_message
    reply, _ = answer_message({}, dict(kind=kind, id=3), [])
    assert reply['id'] == 3 and 'unknown kind' in reply['error']


def test_a_run_that_goes_on_is_the_same_to_the_last_bit(tmp_path):
    keras = pytest.importorskip('keras')
    from fer_nb.training.faces import drawn_faces
    from fer_nb.training.recipes import Recipe
    from fer_nb.training.train import train

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1: raise KeyboardInterrupt
    recipe = Recipe('mlp', epochs=3, batch=28, optimizer='adamw', weight_decay=.01, average=.9, schedule='cosine')
    faces = drawn_faces(84)
    with pytest.raises(KeyboardInterrupt): train(recipe, faces, tmp_path/'stopped', verbose=0, callbacks=[Stop()])
    a, b = (train(recipe, faces, tmp_path/o, verbose=0) for o in ('stopped', 'whole'))
    assert all(np.array_equal(x, y) for x, y in zip(a.best().get_weights(), b.best().get_weights()))
    assert a.history['val_loss'] == b.history['val_loss']


@pytest.mark.parametrize('name', ['recipe.json', 'state.json', 'best.keras', 'history.csv'])
def test_a_damaged_run_is_named(name, tmp_path):
    pytest.importorskip('keras')
    from fer_nb.training.faces import drawn_faces
    from fer_nb.training.recipes import Recipe
    from fer_nb.training.runs import Run
    from fer_nb.training.train import train
    faces = drawn_faces(42)
    run = train(Recipe('lenet', epochs=1, batch=28), faces, tmp_path/'run', verbose=0)
    (tmp_path/'run'/name).write_bytes(b'loss,\xff\n\x80,')
    with pytest.raises(FerError, match=name):
        run.best(), Run(tmp_path/'run').history
        train(Recipe('lenet', epochs=1, batch=28), faces, tmp_path/'run', verbose=0)


def test_the_lock_is_compared_with_what_is_installed(tmp_path):
    from drills import supply
    (tmp_path/'lock').write_text('a-b==1.0 \\\n    --hash=sha256:00\nc==2 ; python_full_version < "3.11" \\\nc==3\n')
    installed = {'A_b': '1.0', 'c': '3', 'd': '4', 'pip': '1'}
    assert supply.lock_problems(tmp_path/'lock', installed) == ['d is 4, the lock lacks it']
    assert supply.lock_problems(tmp_path/'lock', installed | {'c': '1', 'd': '4'})[0] == 'c is 1, the lock says 2 or 3'
    assert supply.licence({'name': 'namex'}) != 'not stated'
