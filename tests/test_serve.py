"The server of the dashboard from outside: what it sends, what it keeps to itself, and how it ends."
import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import nbformat
import psutil
import pytest
from conftest import ROOT

from fer_nb.apps import serve
from fer_nb.core import FerError

pytest.importorskip('voila')
FER_NB = str(Path(sys.executable).parent/'fer-nb')
NAME, LINE = 'fer_nb', 'Facial expressions, read on this machine'


def browser():
    "Opens addresses and keeps cookies; reaches this machine without a proxy."
    return build_opener(ProxyHandler({}), HTTPCookieProcessor())


def get(url, open_with=None):
    "Status and text."
    try:
        with (open_with or browser()).open(url, timeout=60) as r: return r.status, r.read().decode()
    except urllib.error.HTTPError as e: return e.code, e.read().decode()


def kernel_of(html): return json.loads(re.search(r'type="application/json">(.*?)</script>', html)[1])['kernelId']


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true within {seconds} s"
        time.sleep(.1)


@pytest.fixture(scope='module')
def html(server):
    "The whole page, once."
    status, text = get(server.url)
    assert status == 200
    return text


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(o) for o in sources]
    kernelspec = dict(name='python3', display_name='Python 3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernelspec)), path)
    return path


# -- the page ---------------------------------------------------------------------------------------------------------

def test_the_first_bytes_show_name_and_sign_before_a_kernel_is_there(server):
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    connection.request('GET', '/')
    response = connection.getresponse()
    first = response.read1().decode()
    assert f'<h1>{NAME}</h1>' in first and LINE in first and 'class="sign"' in first and '<noscript>' in first
    assert 'kernelId' not in first
    assert response.getheader('Content-Type') == 'text/html; charset=UTF-8'
    connection.close()


def test_the_page_is_whole(html):
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">') and html.rstrip().endswith('</html>')
    assert re.search(r'<title>[^<]*fer_nb', html) and 'name="viewport"' in html
    assert 'application/vnd.jupyter.widget-view+json' in html and 'ferNb.fail(' not in html


def test_the_page_names_no_other_host(html):
    addresses = set(re.findall(r'''(?:https?:|wss?:)?//[\w.-]+\.\w+''', html)) - {'http://www.w3.org'}
    assert not addresses
    for link in re.findall(r'(?:href|src)="([^"]*)"', html): assert link.startswith(('/', 'data:')), link


def test_the_browser_is_told_to_ask_no_other_host(server):
    with browser().open(server.url) as r: policy = r.headers['Content-Security-Policy']
    assert "default-src 'self';" in policy and '*' not in policy and 'http' not in policy


def test_the_page_shows_no_source(html):
    code = ''.join(c.source for c in nbformat.read(serve.page(), 4).cells if c.cell_type == 'code')
    assert 'Dashboard' in code
    for line in filter(None, map(str.strip, code.splitlines())): assert line not in html


def test_a_visitor_cannot_change_the_template(server):
    text = get(f'{server.url}/?template=reveal&theme=dark&voila-template=lab&voila-theme=dark')[1]
    assert f'<h1>{NAME}</h1>' in text and 'theme-dark' not in text and 'reveal' not in text


@pytest.mark.parametrize('path', [
    'app.ipynb', 'apps/00_widgets.ipynb', 'images/', 'favicon.ico', 'voila/files/app.ipynb',
    'voila/files/14_app.ipynb', 'voila/files/', 'voila/files/images/x.png', 'voila/tree', 'voila/render/app.ipynb',
    'voila/api/contents', 'voila/api/themes/x', 'api/contents', 'api/contents/app.ipynb', 'api/kernels',
    'api/sessions', 'api/terminals', 'api/kernelspecs', 'terminals/1', 'tree', 'lab', 'login', 'logout', 'metrics',
    'static/', 'voila/static/', 'voila/labextensions/', 'voila/templates/fer_nb/static/',
    'voila/templates/fer_nb/static/%2e%2e/opening.html', 'voila/templates/base/static/voila.js', 'voila/templates/..',
    'voila/static/%2e%2e/%2e%2e/conf.json', 'voila/labextensions/%2e%2e/%2e%2e/pyvenv.cfg',
    'api/kernels/01234567-0123-0123-0123-0123456789ab'])
def test_nothing_else_is_served(server, path):
    status, text = get(f'{server.url}/{path}')
    assert status in (403, 404), text
    assert 'Traceback' not in text and str(ROOT) not in text


# -- kernels ----------------------------------------------------------------------------------------------------------

def test_a_page_can_end_its_kernel_and_nobody_elses_page_can(server):
    visitor = browser()
    kernel = kernel_of(get(server.url, visitor)[1])
    alive = lambda: json.loads(get(f'{server.url}/health/{kernel}')[1])['alive']
    assert alive()
    url = f'{server.url}/voila/api/shutdown/{kernel}'
    assert get(Request(url, data=b''), browser())[0] == 403
    assert alive()
    cookies = next(o for o in visitor.handlers if isinstance(o, HTTPCookieProcessor)).cookiejar
    token = next(c.value for c in cookies if c.name == '_xsrf')
    assert get(Request(url, data=f'_xsrf={token}'.encode()), visitor)[0] == 204
    assert not alive()


def in_a_loop(work):
    "Runs `work` in a thread of its own: Playwright keeps a loop in this one while its browser is open."
    with ThreadPoolExecutor(1) as pool: return pool.submit(asyncio.run, work).result()


def test_the_websocket_takes_large_messages_and_only_some_kinds(server):
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    def message(kind, **content):
        header = dict(msg_id=kind, msg_type=kind, username='', session='s', date='', version='5.3')
        rest = dict(parent_header={}, metadata={}, channel='shell', buffers=[])
        return json.dumps(dict(header=header, content=content, **rest))

    async def talk():
        kernel = kernel_of((await asyncio.to_thread(get, server.url))[1])
        url = f"{server.url.replace('http', 'ws')}/api/kernels/{kernel}/channels?session_id=s"
        ws = await websocket_connect(HTTPRequest(url, headers={'Origin': server.url}), max_message_size=2**26)
        await ws.write_message(message('execute_request', code='print(6*7*11)', silent=False))
        await ws.write_message(message('comm_msg', comm_id='none', data='x'*(20 * 2**20)))
        await ws.write_message(message('kernel_info_request'))
        seen = []
        while 'kernel_info_reply' not in seen:
            reply = await asyncio.wait_for(ws.read_message(), 30)
            assert reply is not None, "the connection was closed"
            seen.append(json.loads(reply)['msg_type'])
        ws.close()
        return seen

    seen = in_a_loop(talk())
    assert not {'execute_reply', 'execute_input'} & set(seen)


def test_another_site_cannot_open_the_websocket(server, html):
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect
    url = f"{server.url.replace('http', 'ws')}/api/kernels/{kernel_of(html)}/channels"
    async def talk(): await websocket_connect(HTTPRequest(url, headers={'Origin': 'https://elsewhere.example'}))
    with pytest.raises(HTTPClientError, match='40[34]'): in_a_loop(talk())


def test_the_configuration_that_is_in_force():
    from fer_nb.apps.server import PageServer, PromptConnection
    server = PageServer(notebook_path=str(serve.page()))
    server.load_config_file('voila')
    assert server.kernel_websocket_connection_class is PromptConnection
    assert PromptConnection.__mro__[1].connect is not PromptConnection.connect
    c = server.config
    assert c.VoilaConfiguration.preheat_kernel and c.VoilaConfiguration.strip_sources
    assert c.VoilaConfiguration.allow_template_override == c.VoilaConfiguration.allow_theme_override == 'NO'
    assert not c.VoilaConfiguration.show_tracebacks and c.VoilaConfiguration.file_allowlist == []
    assert c.Voila.tornado_settings['websocket_max_message_size'] == 32 * 2**20
    settings = c.Voila.tornado_settings                   # a page whose first answer is not there yet stays open
    assert settings['ws_ping_timeout'] >= 2 * settings['ws_ping_interval']
    assert c.MappingKernelManager.cull_idle_timeout > 0 and not c.MappingKernelManager.cull_connected


def test_an_own_configuration_a_failing_page_and_a_full_house(tmp_path, monkeypatch, capfd):
    "What lies in the current folder and in ~/.jupyter is not read; the operator's file is."
    theirs = json.dumps({'VoilaConfiguration': {'template': 'lab', 'show_tracebacks': True, 'strip_sources': False}})
    for folder in (tmp_path, tmp_path/'.jupyter', tmp_path/'config'):
        folder.mkdir(exist_ok=True)
        (folder/'voila.json').write_text(theirs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('JUPYTER_CONFIG_DIR', str(tmp_path/'config'))
    config = tmp_path/'one.py'
    config.write_text("c = get_config()\nc.PageServer.max_visitors = 1\nc.VoilaConfiguration.preheat_kernel = False\n")
    with serve.start(port=0, notebook=notebook(tmp_path/'fails.ipynb', '1/0'), config=config) as running:
        status, text = get(running.url)
        assert status == 200 and f'<h1>{NAME}</h1>' in text
        assert 'ferNb.fail("The page could not be made.' in text
        assert 'ZeroDivision' not in text and '1/0' not in text
        status, text = get(running.url)
        assert status == 503 and 'All 1 places are taken' in text
    assert 'ZeroDivisionError' in capfd.readouterr().err                  # the operator sees what happened


# -- starting and ending ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_kernels(sig):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen([FER_NB, 'app', '--port', '0'], **pipes)
    try:
        line = process.stdout.readline()
        url = re.search(r'http://localhost:\d+', line)[0]
        server, = psutil.Process(process.pid).children()
        until(server.children)                                           # the kernel that is warmed up
        if sig == signal.SIGINT: get(url)                                # and one in use
        started = [server, *server.children(recursive=True)]
        process.send_signal(sig)
        out, err = process.communicate(timeout=30)
        assert process.returncode == (-9 if sig == signal.SIGKILL else 0), err
        assert not err
        until(lambda: not any(o.is_running() and o.status() != psutil.STATUS_ZOMBIE for o in started))
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_work_is_said_before_anything_starts(tmp_path):
    def answer(*args):
        r = subprocess.run([FER_NB, 'app', *map(str, args)], capture_output=True, text=True, timeout=60)
        assert r.returncode == 2 and r.stdout == '' and r.stderr.count('\n') == 1, r.stderr
        return r.stderr
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        assert f'port {port} is taken' in answer('--port', port)
    assert "no model 'resnet9000'" in answer('--port', 0, '--model', 'resnet9000')
    assert 'nowhere.py' in answer('--port', 0, '--config', 'nowhere.py')


def test_the_default_port_gives_way(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(serve, 'PORT', port)
        assert port < serve.choose_port('127.0.0.1', port) < port + 20


def test_a_broken_configuration_is_named(tmp_path, capfd):
    config = tmp_path/'broken.py'
    config.write_text('c = get_config(\n')
    with pytest.raises(FerError, match='could not be started'): serve.start(port=0, config=config)
    err = capfd.readouterr().err
    assert 'broken.py cannot be read' in err and 'Traceback' not in err


@pytest.mark.parametrize('missing', ['voila', 'anywidget'])
def test_a_missing_extra_is_named(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    said = rf"needs the package {missing}: pip install 'fer_nb\[app\]'"
    with pytest.raises(FerError, match=said): serve.start(port=0)


def test_importing_it_is_cheap(tmp_path):
    heavy = 'voila', 'jupyter_server', 'tornado', 'IPython'
    code = f"import fer_nb.apps.serve, sys; print([o for o in {heavy} if o in sys.modules])"
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert r.stdout.strip() == '[]', r.stderr
