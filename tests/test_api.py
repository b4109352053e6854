"The API as programs see it: a real server in a process of its own, and real requests."
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from fer_nb import Client, EmotionRecognizer, FerError, read_pictures

for module in 'fastapi', 'uvicorn', 'prometheus_client': pytest.importorskip(module)
httpx = pytest.importorskip('httpx')
FER_NB = str(Path(sys.executable).parent/'fer-nb')
KEY = '0123456789abcdef'


class Running:
    "A running `fer-nb api`, which is patient, since a test's machine may be slow."
    def __init__(self, *words):
        command = [FER_NB, 'api', '--port', '0', '--seconds', '60', *map(str, words)]
        self.process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        assert 'The API is at' in line, line + self.process.stderr.read()
        self.url = re.search(r'http://\S+', line)[0]
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def post(self, content=None, status=200, **how):
        "The JSON of an answer."
        reply = self.http.post('/v1/faces', content=content, **how)
        assert reply.status_code == status, reply.text
        if status != 200: assert reply.headers['content-type'] == 'application/problem+json'
        return reply.json()

    def end(self):
        "Exit code, and what it said, after SIGTERM."
        self.http.close()
        if self.process.poll() is None: self.process.terminate()
        said = ''.join(self.process.communicate(timeout=60))
        return self.process.returncode, said


@contextmanager
def running(*words):
    server = Running(*words)
    try: yield server
    finally: server.end()


@pytest.fixture(scope='module')
def api():
    "A server for most tests, with small limits and room for four requests."
    words = '--model se_resnet --model lenet --workers 2 --queue 1 --max-wait 60 --drain 0'
    limits = '--max-bytes 2e6 --max-pixels 1000000 --max-pictures 3'
    with running(*words.split(), *limits.split()) as server:
        server.post(b'x', 415)
        yield server


@pytest.fixture(scope='module')
def photo(sample): return sample.read_bytes()


@pytest.fixture(scope='module')
def local(sample):
    "What the package says of the sample photo."
    return next(read_pictures([sample])).to_dict()['faces']


def as_text(data): return b64encode(data).decode()


def encoded(image, suffix='.png'): return cv2.imencode(suffix, image)[1].tobytes()


# -- What is sent


def test_every_form_of_a_request_gets_what_the_package_says(api, photo, local):
    forms = [dict(content=photo), dict(content=photo, headers={'Content-Type': 'image/jpeg'}),
             dict(content=photo, headers={'Content-Type': 'application/x-www-form-urlencoded'}),
             dict(content=(photo[i:i+9999] for i in range(0, len(photo), 9999))),
             dict(files={'image': ('photo.jpg', photo)}), dict(json={'image': as_text(photo)}),
             dict(json={'image': f'data:image/jpeg;base64,{as_text(photo)}'}), dict(json={'images': [as_text(photo)]})]
    for o in forms:
        (picture,) = api.post(**o)['pictures']
        assert picture['faces'] == local, o.keys()


def test_an_answer_says_by_what_it_was_made(api, photo):
    said = api.post(photo)
    assert [*said] == ['model', 'versions', 'milliseconds', 'pictures'] and said['model'] == 'se_resnet'
    card = api.http.get('/v1/models/se_resnet').json()
    assert said['versions']['model'] == card['file']['sha256'] and said['milliseconds'] > 0


def test_many_pictures_come_back_in_order_and_a_bad_one_alone_has_an_error(api, photo, local):
    files = [('a', ('/home/me/one.jpg', photo)), ('b', ('notes.txt', b'Dear all')), ('c', ('three.jpg', photo))]
    one, notes, three = api.post(files=files)['pictures']
    assert (one['file'], one['faces'], three['faces']) == ('one.jpg', local, local)
    assert notes['status'] == 415 and 'notes.txt is not a picture' in notes['error'] and notes['faces'] == []
    good, bad = api.post(json={'images': [as_text(photo), '!']})['pictures']
    assert good['faces'] == local and (bad['status'], bad['file']) == (422, 'picture 2')


def test_options(api, photo, sample):
    ask = lambda **options: api.post(photo, params=options)
    assert ask(model='lenet')['model'] == 'lenet'
    here = [o.to_dict() for o in EmotionRecognizer(min_face=200)(photo)]
    assert ask(min_face=200)['pictures'][0]['faces'] == here
    face = cv2.imread(str(sample))[70:175, 170:275]
    (crop,) = api.post(encoded(face), params=dict(crops=True, threshold=0))['pictures'][0]['faces']
    assert crop['box'] == [0, 0, 105, 105] and crop['label'] == 'happy'
    turned = cv2.warpAffine(cv2.imread(str(sample)), cv2.getRotationMatrix2D((224, 122), 40, 1), (512, 512))
    for align in True, False:
        (there,) = api.post(encoded(turned), params=dict(align=align))['pictures'][0]['faces']
        (here,) = EmotionRecognizer(align=align)(turned)
        assert there == here.to_dict()


def test_the_annotated_picture_comes_back(api, photo):
    plain = cv2.imdecode(np.frombuffer(photo, np.uint8), 1)
    for shape in 'rectangle', 'circle':
        text = api.post(photo, params=dict(annotate=shape))['pictures'][0]['annotated']
        drawn = cv2.imdecode(np.frombuffer(b64decode(text), np.uint8), 1)
        assert drawn.shape == plain.shape and np.abs(drawn.astype(int) - plain).mean() > 1


@pytest.mark.parametrize('query', ['min_face=0', 'min_face=nan', 'threshold=2', 'align=perhaps', 'annotate=star',
                                   'treshold=.5'])
def test_an_option_that_cannot_be_is_named(api, photo, query):
    said = api.post(photo, 422, params=query)
    assert query.split('=')[0] in said['detail'] and said['detail'].endswith('.') and said['type'] == 'about:blank'


# -- Limits


def test_limits_each_have_their_status_and_sentence(api, photo):
    large, text = encoded(np.zeros((1001, 1000), np.uint8)), as_text(photo)
    kind = lambda o: {'Content-Type': o}
    for status, why, how in [
        (413, '2.0 MB', dict(content=b'x'*2_000_001)), (413, '1000x1001', dict(content=large)),
        (413, '2.0 MB', dict(content=(b'x'*100_000 for _ in range(21)))),
        (413, '3 pictures', dict(json={'images': [text]*4})),
        (413, '3 pictures', dict(files=[('a', ('a', b'x'))]*4)), (415, 'not a picture', dict(content=b'Dear all')),
        (415, 'PDF', dict(content=b'%PDF-1.4')), (422, 'breaks off', dict(content=photo[:9000])),
        (422, 'empty', dict(content=b'')), (422, 'base64', dict(json={'image': 'x'})),
        (422, 'has no image', dict(json={'photo': text})),
        (400, 'JSON', dict(content=b'{', headers=kind('application/json'))),
        (400, 'form', dict(content=b'x', headers=kind('multipart/form-data'))),
        (422, 'not a file', dict(data={'model': 'lenet'}, files={'a': ('a', photo)})),
        (404, 'resnet9000', dict(content=photo, params=dict(model='resnet9000')))]:
        said = api.post(status=status, **how)
        assert why in said['detail'] and said['status'] == status and '\n' not in said['detail'], said
    assert api.http.get('/etc/passwd').json()['status'] == 404
    assert api.http.get('/v1/faces').json()['status'] == 405


def test_no_byte_above_the_limit_is_waited_for(api):
    "The answer comes while the client still sends, and while it says that it will."
    host, port = api.url.removeprefix('http://').split(':')
    for head in b'Content-Length: 9999999999', b'Transfer-Encoding: chunked':
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(b'POST /v1/faces HTTP/1.1\r\nHost: x\r\n' + head + b'\r\n\r\n')
            if b'chunked' in head:
                for _ in range(32): s.sendall(b'10000\r\n' + b'x'*65536 + b'\r\n')
            assert s.recv(4096).startswith(b'HTTP/1.1 413')


def test_no_picture_touches_the_disk_or_the_log(photo, tmp_path):
    "Files that the server and its processes write to, by /proc."
    grey = encoded(np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8))    # a form of 2 MB is spooled
    with running('--model', 'lenet', '--workers', 1) as server:
        for i in range(3): server.post(files=[('a', (f'secret{i}.png', grey))]*2)
        server.post(b'secret', 415)
        everybody = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        if sys.platform == 'linux': assert sum(o.io_counters().write_bytes for o in everybody) < len(grey)
        code, said = server.end()
    assert code == 0 and 'secret' not in said and said.count('\n') <= 1, said


def test_a_request_that_takes_too_long_gets_504(photo):
    with running('--model', 'lenet', '--workers', 1, '--seconds', .2) as server:
        large = encoded(np.zeros((7000, 7000, 3), np.uint8), '.jpg')
        assert 'took too long' in server.post(large, 504)['detail']
        until(lambda: server.http.get('/readyz').status_code == 200)
        host, port = server.url.removeprefix('http://').split(':')
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(b'POST /v1/faces HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx')
            assert s.recv(4096).startswith(b'HTTP/1.1 408')


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true within {seconds} s"
        time.sleep(.05)


# -- Overload and the end


def test_overload_is_answered_at_once_with_200_or_429(api, photo):
    def client(_):
        seen = []
        with httpx.Client(base_url=api.url, timeout=120, trust_env=False) as http:
            for _ in range(6):
                reply = http.post('/v1/faces', content=photo)
                if reply.status_code == 429: assert int(reply.headers['retry-after']) >= 1
                seen.append(reply.status_code)
        return seen
    with concurrent.futures.ThreadPoolExecutor(24) as clients: seen = sum(clients.map(client, range(24)), [])
    assert {*seen} == {200, 429}, seen
    assert api.post(photo)['pictures'][0]['faces']
    figures = api.http.get('/metrics').text
    assert 'fer_nb_places_taken 0.0' in figures and 'fer_nb_waiting 0.0' in figures


def test_the_client_waits_for_a_place(api, sample, local):
    def ask(_):
        with Client(api.url, trust_env=False) as client: return client.faces(sample)
    with concurrent.futures.ThreadPoolExecutor(8) as clients: assert [*clients.map(ask, range(8))] == [local]*8


def test_a_process_that_dies_is_replaced_and_its_picture_read(photo, local):
    with running('--workers', 1) as server:
        (child,) = psutil.Process(server.process.pid).children()
        child.kill()
        assert server.post(photo)['pictures'][0]['faces'] == local
        assert server.http.get('/readyz').status_code == 200


def test_sigterm_drains(photo):
    "readyz says so, what is under way is answered, and the exit code is 0."
    with running('--model', 'lenet', '--workers', 1, '--drain', 1, '--max-wait', 60) as server:
        with concurrent.futures.ThreadPoolExecutor(5) as clients:
            asked = [clients.submit(server.post, files=[('a', ('a.jpg', photo))]*8) for _ in range(4)]
            until(lambda: 'fer_nb_places_taken 4.0' in server.http.get('/metrics').text)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.http.get('/readyz').status_code == 503)
            assert server.http.get('/readyz').json() == {'status': 'draining'}
            for o in asked: assert len(o.result()['pictures']) == 8
        assert server.process.wait(60) == 0
        with pytest.raises(httpx.ConnectError): httpx.get(f'{server.url}/healthz', trust_env=False)


def test_nothing_is_left_when_the_server_is_killed():
    server = Running('--model', 'lenet', '--workers', 2)
    children = psutil.Process(server.process.pid).children()
    server.process.kill()
    server.end()
    assert psutil.wait_procs(children, timeout=10)[1] == []


# -- Keys, figures, documents


def test_keys(photo, tmp_path, sample, local):
    (tmp_path/'keys').write_text(f'# of the shop\n{KEY}\n')
    with running('--keys', tmp_path/'keys', '--workers', 1) as server:
        bearer = lambda key: {'Authorization': f'Bearer {key}'}
        for headers in {}, bearer('wrong'), {'X-API-Key': KEY[:-1]}, {'Authorization': f'Basic {KEY}'}:
            assert 'key' in server.post(photo, 401, headers=headers)['detail']
            assert server.http.get('/v1/models', headers=headers).status_code == 401
        for headers in bearer(KEY), {'X-API-Key': KEY}:
            assert server.post(photo, headers=headers)['pictures'][0]['faces'] == local
        assert server.http.get('/healthz').status_code == 200
        document = server.http.get('/openapi.json').json()
        assert document['paths']['/v1/faces']['post']['security'] == [{'key': []}]
        assert Client(server.url, KEY, trust_env=False).faces(sample) == local
        with pytest.raises(FerError, match='key is missing'): Client(server.url, trust_env=False).faces(sample)


def test_other_sites_get_no_permission(api, photo):
    reply = api.http.post('/v1/faces', content=photo, headers={'Origin': 'https://elsewhere.example'})
    assert not [o for o in reply.headers if o.startswith('access-control')]
    assert api.http.options('/v1/faces', headers={'Origin': 'https://elsewhere.example'}).status_code == 405


def figure(api, name):
    (value,) = re.findall(rf'^fer_nb_{re.escape(name)} (\S+)$', api.http.get('/metrics').text, re.M) or ['0']
    return float(value)


def test_metrics_count(api, photo):
    names = ['requests_total{path="/v1/faces",status="200"}', 'requests_total{path="/v1/faces",status="415"}',
             'faces_total', 'pictures_total{status="415"}', 'request_seconds_count{path="/v1/faces"}',
             'requests_total{path="other",status="404"}']
    before = [figure(api, o) for o in names]
    api.post(files=[('a', ('a.jpg', photo)), ('a', ('b.jpg', photo)), ('a', ('c', b'Dear all'))])
    api.post(b'Dear all', 415)
    api.http.get('/no/such/address')
    assert [figure(api, o) - b for o,b in zip(names, before)] == [1, 1, 2, 2, 2, 1]
    assert figure(api, 'processes') == 2 and figure(api, 'places') == 4


def test_the_openapi_document_is_valid_and_its_examples_are_true(api, photo, local):
    from fastapi.openapi.models import OpenAPI
    from jsonschema import Draft202012Validator
    document = api.http.get('/openapi.json').json()
    OpenAPI.model_validate(document)
    text = json.dumps(document)
    for ref in {*re.findall(r'"#/components/schemas/(\w+)"', text)}: assert ref in document['components']['schemas']
    for schema in document['components']['schemas'].values(): Draft202012Validator.check_schema(schema)
    post = document['paths']['/v1/faces']['post']
    answer = post['responses']['200']['content']['application/json']
    check = Draft202012Validator({**answer['schema'], 'components': document['components']})
    check.validate(answer['example'])
    check.validate(api.post(photo, params=dict(annotate='circle')))
    check.validate(api.post(files=[('a', ('a', photo)), ('a', ('b', b''))]))
    assert answer['example']['pictures'][0]['faces'] == local
    body = Draft202012Validator(post['requestBody']['content']['application/json']['schema'])
    for o in post['requestBody']['content']['application/json']['examples'].values(): body.validate(o['value'])
    assert {o['name'] for o in post['parameters']} == {'model', 'min_face', 'threshold', 'align', 'crops', 'annotate'}
    problem = Draft202012Validator(document['components']['schemas']['AnswerProblem'])
    for status in 413, 415: problem.validate(api.post(b'x'*2_000_001 if status == 413 else b'x', status))


def test_the_page_needs_no_other_host_and_its_curl_lines_work(api, photo, tmp_path):
    reply = api.http.get('/', follow_redirects=True)
    html = reply.text
    assert reply.status_code == 200 and "default-src 'none'" in reply.headers['content-security-policy']
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html) and '<script' not in html
    lines = [unescape(o) for o in re.findall(r'<pre>(.*?)</pre>', html, re.S) if 'curl' in o]
    assert len(lines) >= 9 and all(api.url in o for o in lines)
    if not (bash := shutil.which('bash')) or not shutil.which('curl'): pytest.skip("no bash or curl")
    for o in 'photo.jpg', 'group.jpg': (tmp_path/o).write_bytes(photo)
    for line in lines:
        line = line.replace('--json', "-H 'Content-Type: application/json' --data-binary")  # for an old curl
        line += ' --fail -sS --noproxy "*"'
        done = subprocess.run([bash, '-c', line], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, f'{line}\n{done.stderr}'
        if 'v1/faces' in line: assert all(len(o['faces']) == 1 for o in json.loads(done.stdout)['pictures'])


def test_a_base_path_behind_a_proxy():
    with running('--model', 'lenet', '--workers', 1, '--root-path', '/fer') as server:
        assert server.http.get('/openapi.json').json()['servers'] == [{'url': '/fer'}]
        assert f'{server.url}/fer/v1/faces' in server.http.get('/docs').text


# -- The client, and the command


def test_the_client(api, sample, photo, local):
    with Client(api.url, trust_env=False) as client:
        assert client.faces(sample) == client.faces(photo) == client.faces(str(sample)) == local
        assert client.faces(cv2.imread(str(sample)), model=None) == local
        assert client.read([sample, b'Dear all'])[1]['status'] == 415
        assert [o['name'] for o in client.models()] == ['se_resnet', 'lenet']
        for name, value, why in ('threshold', 2, 'threshold'), ('model', 'x', 'no model'), ('size', 1, 'no option'):
            with pytest.raises(FerError, match=why): client.faces(sample, **{name: value})
        with pytest.raises(FerError, match='not a picture'): client.faces(b'Dear all')


def test_the_client_brings_no_server():
    code = "from fer_nb import Client; Client(); import sys; " \
           "print([o for o in ('fastapi', 'uvicorn', 'ai_edge_litert', 'cv2') if o in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr


@pytest.mark.parametrize('words, why', [
    ('--workers 0', 'workers is 0'), ('--model resnet9000', 'no model'), ('--keys gone', 'gone'),
    ('--port 99999', 'no port 99999'), ('--max-pictures 0', 'pictures is 0')])
def test_the_command_says_what_cannot_be(words, why):
    done = subprocess.run([FER_NB, 'api', *shlex.split(words)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2 and why in done.stderr and 'Traceback' not in done.stderr
