"Whole archives: rows as `read_pictures` gives them, whatever dies, hangs or is broken on the way."
import csv
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

pa, pq = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
pytest.importorskip('fsspec')
import s3  # noqa: E402

from fer_nb import FerError, read_pictures  # noqa: E402
from fer_nb.emotions import EMOTIONS  # noqa: E402
from fer_nb.inference.score import on_cores, score  # noqa: E402
from fer_nb.inference.tables import PICTURE_COLUMNS, parquet_writer, picture_rows  # noqa: E402

FER_NB = str(Path(sys.executable).parent/'fer-nb')
ENV = os.environ | dict(RAY_AUTH_MODE='disabled')


@pytest.fixture(scope='session')
def archive(tmp_path_factory, sample):
    "A folder with 30 pictures: a face, none, several; one broken file, one that breaks off, one deeper down."
    root, photo = tmp_path_factory.mktemp('archive'), cv2.imread(str(sample))
    for i in range(28):
        side = 300 + 10*i
        kinds = [photo, np.full_like(photo, 90), np.hstack([photo, photo[:, ::-1]])]
        picture = kinds[0 if i % 4 < 2 else i % 4 - 1]
        cv2.imwrite(str(root/f'{i:02}.jpg'), cv2.resize(picture, (side*picture.shape[1]//512, side)))
    (root/'05.jpg').write_text('shopping list')
    (root/'half.jpg').write_bytes(sample.read_bytes()[:9000])
    (root/'deep').mkdir()
    shutil.copy(sample, root/'deep/ü.jpg')
    return root


@pytest.fixture(scope='session')
def expected(archive, tmp_path_factory):
    "The rows by `read_pictures`."
    path = tmp_path_factory.mktemp('expected')/'rows.parquet'
    with parquet_writer(path, (*PICTURE_COLUMNS, *EMOTIONS, 'error')) as write:
        write(picture_rows(read_pictures(archive, model='lenet', threads=1), EMOTIONS, errors=True))
    return pq.read_table(path).to_pylist()


def rows(out):
    "All rows of a job, and that its folder holds nothing else."
    parts = sorted(out.glob('part-*.parquet'))
    assert {o.name for o in out.iterdir()} == {'inputs.parquet', 'manifest.json', *(o.name for o in parts)}
    return [row for o in parts for row in pq.read_table(o).to_pylist()]


def command(*arguments): return [FER_NB, 'score', *map(str, arguments), '--model', 'lenet', '--workers', '2']


def call(*arguments, **how):
    return subprocess.run(command(*arguments), env=ENV, text=True, capture_output=True, timeout=600, **how)


def wait_for(what, process, seconds=600):
    "Until `what()`; the process still runs then."
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None and time.monotonic() < end, 'it ended too early, or nothing happened'
        time.sleep(.01)


def processes(pid, words):
    "The processes below one whose command has these words."
    try: return [o for o in psutil.Process(pid).children(recursive=True) if words in ' '.join(o.cmdline())]
    except psutil.NoSuchProcess: return []


def test_killed_it_goes_on_and_nothing_is_lost_or_twice(archive, expected, tmp_path):
    out, arguments = tmp_path/'out', (archive, '--out', tmp_path/'out', '--batch', 2)
    process = subprocess.Popen(command(*arguments), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(out.glob('part-*'))) > 2, process)
    readers = processes(process.pid, 'inference.score')
    process.kill(); process.wait()
    there = {o: o.read_bytes() for o in out.glob('part-*')}
    assert 2 < len(there) < 15 and all(pq.read_table(o).num_rows >= 2 for o in there)       # whole, every one
    assert not json.loads((out/'manifest.json').read_text())['complete']
    gone, left = psutil.wait_procs(readers, timeout=30)
    assert len(gone) == 2 and not left                                                 # nobody reads for nobody

    (archive/'zz_new.jpg').write_bytes(b'')                        # came too late: not in this job
    try: r = call(*arguments)
    finally: (archive/'zz_new.jpg').unlink()
    assert r.returncode == 2 and 'Traceback' not in r.stderr
    assert '2 of 30 pictures could not be read:' in r.stderr and '05.jpg' in r.stderr and 'half.jpg' in r.stderr
    assert rows(out) == expected
    assert all(o.read_bytes() == data for o, data in there.items())                    # nothing was done twice
    done = json.loads((out/'manifest.json').read_text())
    assert done['complete'] and done['pictures'] == 30 and done['errors'] == 2 and len(done['parts']) == 15
    assert done['faces'] == sum(o['face'] > 0 for o in expected) > 25
    assert str(tmp_path) not in done['command']
    again = call(*arguments, '--batch', 3)
    assert again.returncode == 2 and 'holds another job (batch differ)' in again.stderr


def test_a_reader_is_killed_and_its_picture_read_again(archive, expected, tmp_path):
    out, killed = tmp_path/'out', []
    def done(n, total):
        if 0 < n < 12:
            (reader,) = processes(os.getpid(), 'inference.score')
            reader.kill()
            killed.append(reader.pid)
    score([archive], out, on_cores(1), batch=3, model='lenet', progress=done)
    assert len(set(killed)) == 3 and rows(out) == expected


class Slow(BaseHTTPRequestHandler):
    "/a.jpg is a photo, /slow.jpg takes a minute, all else is absent."
    def log_message(self, *_): pass

    def do_GET(self):
        if self.path == '/slow.jpg': self.server.free.wait(60)
        self.send_response(404 if 'gone' in self.path else 200)
        self.end_headers()
        self.wfile.write(self.server.photo)

    do_HEAD = do_GET


def test_a_slow_picture_and_bad_addresses_are_named(tmp_path, sample):
    pytest.importorskip('aiohttp')
    server = ThreadingHTTPServer(('127.0.0.1', 0), Slow)
    server.photo, server.free = sample.read_bytes(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        closed = f'http://127.0.0.1:{free.getsockname()[1]}/a.jpg'
    at = f'http://127.0.0.1:{server.server_port}'
    table = tmp_path/'list.csv'
    table.write_text('\n'.join(['url', f'{at}/a.jpg', f'{at}/slow.jpg', f'{at}/gone.jpg', closed, 'attic://a.jpg',
                                str(sample), f'{at}/a.jpg']))
    begin = time.monotonic()
    r = call(table, '--out', tmp_path/'out', '--seconds', 6)
    assert r.returncode == 2 and 'Traceback' not in r.stderr and time.monotonic() - begin < 55
    server.free.set(); server.shutdown()
    found = [(o['label'], o['error']) for o in rows(tmp_path/'out')]
    assert [label for label, _ in found] == ['happy', None, None, None, None, 'happy', 'happy']
    for (_, error), words in zip(found[1:5], ('slow.jpg took longer than 6 seconds', 'gone.jpg does not exist',
                                              f'{closed} cannot be read', 'attic:// is unknown')):
        assert words in error and error in r.stderr
    r = call(tmp_path/'lists.csv', '--out', tmp_path/'none')
    assert r.returncode == 2 and 'lists.csv does not exist' in r.stderr


def test_tables_of_bytes_give_the_same_rows(archive, expected, tmp_path):
    files = sorted(archive.glob('*.jpg'))
    data = [o.read_bytes() for o in files]
    names = [str(o) for o in files]
    pq.write_table(pa.table(dict(id=range(len(files)), file=names, jpeg=data)), tmp_path/'a.parquet', row_group_size=7)
    nested = [dict(path=n, bytes=d) for n, d in zip(names, data)]
    pq.write_table(pa.table(dict(image=nested, label=[0]*len(files))), tmp_path/'b.parquet')
    with (tmp_path/'c.csv').open('w', newline='') as f:
        csv.writer(f).writerows([['file', 'base64'], *zip(names, (b64encode(o).decode() for o in data))])
    bare = [o for o in expected if 'deep' not in o['file']]
    for name in 'a.parquet', 'b.parquet', 'c.csv':
        score([tmp_path/name], tmp_path/name[0], on_cores(1), batch=10, model='lenet')
        assert rows(tmp_path/name[0]) == bare, name


def test_a_bucket(archive, expected, tmp_path, monkeypatch):
    pytest.importorskip('pyarrow._s3fs')
    (tmp_path/'buckets').mkdir()
    shutil.copytree(archive, tmp_path/'buckets/archive')
    server = s3.serve(tmp_path/'buckets')
    for k, v in dict(ENDPOINT_URL=f'http://127.0.0.1:{server.server_port}', ACCESS_KEY_ID='who', SECRET_ACCESS_KEY='?',
                     REGION='us-east-1', EC2_METADATA_DISABLED='true').items(): monkeypatch.setenv(f'AWS_{k}', v)
    try: score(['s3://archive'], tmp_path/'out', on_cores(1), model='lenet')
    finally: server.shutdown()
    plain = lambda found, root: [{k: v.replace(str(root), 's3://archive') if k in ('file', 'error') and v else v
                                  for k, v in o.items()} for o in found]
    key = lambda o: (o['file'], o['face'])
    assert sorted(rows(tmp_path/'out'), key=key) == sorted(plain(expected, archive), key=key)


def test_crops_are_read_together(archive, tmp_path):
    score([archive], tmp_path/'out', on_cores(1), model='lenet', crops=True)
    direct = list(picture_rows(read_pictures(archive, model='lenet', crops=True), EMOTIONS, errors=True))
    found = rows(tmp_path/'out')
    assert [(o['file'], o['label'], o['error']) for o in found] == \
        [(o['file'], o['label'] or None, o['error'] or None) for o in direct]


def test_out_of_disk_is_one_sentence_and_the_same_command_goes_on(archive, expected, tmp_path):
    out = tmp_path/'out'
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))          # no file grows above 6 kB
    r = call(archive, '--out', out, '--batch', 15, preexec_fn=small)
    assert r.returncode == 2 and 'Traceback' not in r.stderr and 'cannot be written: the disk is full' in r.stderr
    assert [o.name for o in out.glob('part-*')] == [] and not list(out.glob('.*.part.*'))
    assert call(archive, '--out', out, '--batch', 15).returncode == 2 and rows(out) == expected


def test_only_a_folder_that_can_be_made_and_listed(tmp_path, sample):
    (tmp_path/'file').write_text('')
    with pytest.raises(FerError, match='cannot be made'): score([sample], tmp_path/'file', model='lenet')
    (tmp_path/'empty').mkdir()
    with pytest.raises(FerError, match='holds no pictures'): score([tmp_path/'empty'], tmp_path/'o', model='lenet')
    (tmp_path/'bad.csv').write_text('id,what\n1,2\n')
    with pytest.raises(FerError, match='no column of pic'): score([tmp_path/'bad.csv'], tmp_path/'o', model='lenet')


# -- On Ray


def test_ray_gives_the_same_rows(archive, expected, tmp_path):
    pytest.importorskip('ray.data')
    from fer_nb.inference.cluster import on_ray
    score([archive], tmp_path/'out', on_ray('local'), model='lenet')
    assert rows(tmp_path/'out') == expected


@pytest.mark.slow
def test_an_actor_of_ray_dies(archive, expected, tmp_path):
    pytest.importorskip('ray.data')
    out = tmp_path/'out'
    process = subprocess.Popen([*command(archive, '--out', out, '--batch', 2), '--ray', 'local'], env=ENV, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: len(list(out.glob('part-*'))) > 1, process)
        actor, *_ = processes(process.pid, 'ray::MapWorker')
        actor.kill()
        _, told = process.communicate(timeout=600)
    finally: process.kill()
    assert process.returncode == 2 and 'Traceback' not in told and '2 of 30 pictures could not be read' in told
    assert rows(out) == expected


@pytest.mark.slow
def test_a_cluster_of_two_nodes(archive, expected, tmp_path, monkeypatch):
    pytest.importorskip('ray.data')
    monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
    from ray.cluster_utils import Cluster
    how = dict(num_cpus=1, object_store_memory=100*2**20)
    cluster = Cluster(initialize_head=True, head_node_args=how)
    try:
        cluster.add_node(**how)
        r = call(archive, '--out', tmp_path/'out', '--batch', 2, '--ray', cluster.address)
        assert r.returncode == 2 and 'Traceback' not in r.stderr and rows(tmp_path/'out') == expected
    finally: cluster.shutdown()


def test_no_ray_answers(archive, tmp_path):
    pytest.importorskip('ray.data')
    r = call(archive, '--out', tmp_path/'out', '--ray', 'ray://head:10001')
    assert r.returncode == 2 and 'with --ray auto' in r.stderr and 'Traceback' not in r.stderr
