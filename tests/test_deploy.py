"""The files of deploy/ at work: nginx and Caddy before the dashboard and the API, and the systemd unit.

Only names, ports and certificates of the files are changed. NGINX and CADDY name the programs where they are not on the
PATH; what is not installed is skipped."""
import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

httpx = pytest.importorskip('httpx')
pytest.importorskip('fastapi')
pytest.importorskip('voila')
DEPLOY, BIN = ROOT/'deploy', Path(sys.executable).parent

NGINX = """daemon off; master_process off; pid {0}/pid; error_log stderr crit; events {{}}
http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f;
uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
{1} }}"""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def program(name):
    path = os.environ.get(name.upper()) or shutil.which(name) or shutil.which(f'/usr/sbin/{name}')
    return path or pytest.skip(f"{name} is not installed")


@contextmanager
def api(*words):
    "The port of a running API."
    command = [BIN/'fer-nb', 'api', '--port', '0', '--model', 'lenet', '--workers', '1', '--drain', '0', *words]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        try: yield int(re.search(r':(\d+)', process.stdout.readline())[1])
        finally: process.terminate()


@pytest.fixture(scope='module')
def behind(tmp_path_factory):
    "Ports of an API and of two dashboards, one of them with a base path; and a certificate."
    from fer_nb.apps.serve import start
    folder = tmp_path_factory.mktemp('behind')
    (folder/'base.py').write_text("c = get_config()\nc.Voila.base_url = '/fer/'\n")
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-keyout', folder/'key.pem', '-out', folder/'cert.pem'], check=True, capture_output=True)
    with start(port=0) as page, api('--root-path', '/rest') as port, based(folder/'base.py') as base:
        yield dict(page=page.port, base=base, api=port, folder=folder)


@contextmanager
def based(config):
    "The port of a dashboard under /fer/; `start` would wait for /health at the root, which is there, too."
    from fer_nb.apps.serve import start
    with start(port=0, config=config) as server: yield server.port


def configured(name, behind, page='page'):
    "Port and text of a file of deploy/, for the servers of this test."
    port, text = free_port(), (DEPLOY/name).read_text()
    cert, key = behind['folder']/'cert.pem', behind['folder']/'key.pem'
    changes = {'127.0.0.1:8866': f"127.0.0.1:{behind[page]}", '127.0.0.1:8867': f"127.0.0.1:{behind['api']}"}
    if name == 'nginx.conf':
        live = '/etc/letsencrypt/live/fer.example.org'
        changes |= {'listen 443': f'listen 127.0.0.1:{port}', f'{live}/fullchain.pem': cert, f'{live}/privkey.pem': key}
        if page == 'base': changes['location / {'] = 'location /fer/ {'
    else:
        changes['\nfer.example.org {'] = f'\nhttps://localhost:{port} {{\n    bind 127.0.0.1\n    tls {cert} {key}'
        if page == 'base': changes['    handle {'] = '    handle /fer/* {'
    for old,new in changes.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return port, text


@contextmanager
def proxy(name, behind, page='page'):
    "The address of a proxy before the servers; its own temporary files are in folder/name."
    port, text = configured('nginx.conf' if name == 'nginx' else 'Caddyfile', behind, page)
    folder = behind['folder']/name
    folder.mkdir(exist_ok=True)
    file = folder/'config'
    if name == 'nginx':
        file.write_text(NGINX.format(folder, text))
        command = [program('nginx'), '-c', file, '-p', folder]
    else:
        file.write_text('{\nadmin off\nauto_https disable_redirects\n}\n' + text)
        command = [program('caddy'), 'run', '--config', file, '--adapter', 'caddyfile']
    env = os.environ | dict(HOME=str(folder), XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder))
    with subprocess.Popen([str(o) for o in command], env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(100):
                if process.poll() is not None: raise AssertionError(process.stderr.read())
                try: socket.create_connection(('127.0.0.1', port), timeout=1).close()
                except OSError: time.sleep(.1)
                else: break
            yield f'https://localhost:{port}'
        finally: process.terminate()


@pytest.fixture(scope='module', params=['nginx', 'caddy'])
def site(request, behind):
    program(request.param)
    with proxy(request.param, behind) as address: yield address


@pytest.fixture(scope='module')
def client():
    with httpx.Client(verify=False, timeout=120, trust_env=False) as client: yield client


def first_bytes(url):
    "What a proxy sends first of the body of a page, compressed as for a browser."
    said = ''
    with httpx.stream('GET', url, verify=False, timeout=120, trust_env=False) as reply:
        for text in reply.iter_text():
            said += text
            if '<h1>' in said: return said


def kernel_says(url, base='/'):
    "Types of the messages that a page's kernel sends over the websocket; 20 MB go the other way."
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect
    host = url.removeprefix('https://')

    def message(kind, **content):
        header = dict(msg_id=kind, msg_type=kind, username='', session='s', date='', version='5.3')
        rest = dict(parent_header={}, metadata={}, channel='shell', buffers=[])
        return json.dumps(dict(header=header, content=content, **rest))

    async def talk():
        html = await asyncio.to_thread(lambda: httpx.get(url + base, verify=False, timeout=120, trust_env=False).text)
        kernel = json.loads(re.search(r'type="application/json">(.*?)</script>', html)[1])['kernelId']
        where = f'wss://{host}{base}api/kernels/{kernel}/channels?session_id=s'
        ws = await websocket_connect(HTTPRequest(where, headers={'Origin': url}, validate_cert=False),
                                     max_message_size=2**26)
        await ws.write_message(message('comm_msg', comm_id='none', data='x'*(20 * 2**20)))
        await ws.write_message(message('kernel_info_request'))
        seen = []
        while 'kernel_info_reply' not in seen:
            reply = await asyncio.wait_for(ws.read_message(), 60)
            assert reply is not None, "the connection was closed"
            seen.append(json.loads(reply)['msg_type'])
        ws.close()
        return seen
    with ThreadPoolExecutor(1) as pool: return pool.submit(asyncio.run, talk()).result()


def test_the_first_bytes_of_the_page_come_at_once(site):
    said = first_bytes(site)
    assert '<h1>fer_nb</h1>' in said and 'kernelId' not in said


def test_the_websocket_of_the_page(site): assert 'kernel_info_reply' in kernel_says(site)


def test_an_upload_of_30_megabytes(site, client, sample):
    photo = sample.read_bytes()
    reply = client.post(f'{site}/rest/v1/faces', content=photo + bytes(30*10**6 - len(photo)))
    assert reply.status_code == 200, reply.text
    assert len(reply.json()['pictures'][0]['faces']) == 1


def test_the_limits_of_the_api_are_told_by_the_api(site, client):
    reply = client.post(f'{site}/rest/v1/faces', content=b'x'*33*10**6)
    assert reply.status_code == 413 and reply.headers['content-type'] == 'application/problem+json'
    assert client.post(f'{site}/rest/v1/faces', content=b'Dear all').json()['status'] == 415


@pytest.mark.skipif(sys.platform != 'linux', reason="needs /proc")
def test_the_proxy_keeps_no_picture(site, client, sample, behind):
    "While it is sent, no program of this test has a file of the proxy's folder open, a deleted one neither."
    def held():
        for process in psutil.Process().children(recursive=True):
            for fd in Path(f'/proc/{process.pid}/fd').iterdir():
                try: path = os.readlink(fd)
                except OSError: continue                       # closed meanwhile
                if path.startswith(str(behind['folder'])) and path.endswith('(deleted)'): yield path
    seen = []
    def body():
        photo = sample.read_bytes()
        yield photo
        for _ in range(20): yield bytes(10**5)
        time.sleep(.3)
        seen.extend(held())
    assert client.post(f'{site}/rest/v1/faces', content=body()).status_code == 200
    assert not seen


def test_the_api_knows_its_address(site, client):
    reply = client.get(f'{site}/rest/', follow_redirects=True)
    assert str(reply.url) == f'{site}/rest/docs' and f'{site}/rest/v1/faces' in reply.text
    assert client.get(f'{site}/rest/openapi.json').json()['servers'] == [{'url': '/rest'}]
    assert client.get(f'{site}/rest/readyz').json() == {'status': 'ready'}


@pytest.mark.parametrize('name', ['nginx', 'caddy'])
def test_the_page_under_a_base_path(name, behind):
    program(name)
    with proxy(name, behind, 'base') as url:
        assert '<h1>fer_nb</h1>' in first_bytes(f'{url}/fer/')
        assert 'kernel_info_reply' in kernel_says(url, '/fer/')


# -- The systemd unit


def unit(tmp_path):
    "The unit with this environment's program, and systemd-analyze."
    analyze = shutil.which('systemd-analyze') or pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY/'fer-nb-api.service').read_text()
    assert '/opt/fer_nb/bin/fer-nb' in text
    path = tmp_path/'fer-nb-api.service'
    path.write_text(text.replace('/opt/fer_nb/bin/fer-nb', str(BIN/'fer-nb')))
    return analyze, path


def test_systemd_accepts_the_unit(tmp_path):
    analyze, path = unit(tmp_path)
    done = subprocess.run([analyze, 'verify', '--man=no', path], capture_output=True, text=True)
    assert done.returncode == 0 and path.name not in done.stderr, done.stderr


def test_the_unit_exposes_little(tmp_path):
    analyze, path = unit(tmp_path)
    command = [analyze, 'security', '--offline=true', '--no-pager', '--threshold=20', path]
    done = subprocess.run(command, capture_output=True, text=True)
    if 'unrecognized option' in done.stderr: pytest.skip("this systemd-analyze reads no file offline")
    assert done.returncode == 0, done.stdout[-300:]
    assert float(re.search(r'exposure level .*?: ([\d.]+)', done.stdout)[1]) <= 2


def test_the_command_of_the_unit_is_one(tmp_path):
    words = re.search(r'^ExecStart=\S+ (.*)$', (DEPLOY/'fer-nb-api.service').read_text(), re.M)[1].split()
    done = subprocess.run([BIN/'fer-nb', *words, '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and '--root-path' in done.stdout
