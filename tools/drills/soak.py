"""Soak: visitors with photos and cameras on the page, and clients of the API, for a given time. No request may fail,
and memory, open files and kernels must not grow after the first tenth."""

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import numpy as np
import psutil

from drills.targets import photo

VISITORS, CLIENTS = 20, 8


class Visitor:
    "An open page: the browser's messages on the websocket, without the browser."

    def __init__(self, url):
        import websocket

        opener = build_opener(ProxyHandler({}), cookies := HTTPCookieProcessor())
        html = opener.open(url, timeout=120).read().decode()
        told = json.loads(re.search(r'jupyter-config-data"[^>]*>(.*?)</script>', html, re.S)[1])
        self.kernel, self.session, self.url, self.opener = told['kernelId'], uuid.uuid4().hex, url, opener
        self.token = next(o.value for o in cookies.cookiejar if o.name == '_xsrf')
        cookie = '; '.join(f'{o.name}={o.value}' for o in cookies.cookiejar)
        address = f"{url.replace('http', 'ws', 1)}/api/kernels/{self.kernel}/channels?session_id={self.session}"
        self.socket = websocket.create_connection(address, timeout=60, cookie=cookie, origin=url, suppress_origin=False)
        self.views = self._views()

    def send(self, kind, content, buffers=()):
        from jupyter_server.services.kernels.connection.base import serialize_binary_message

        header = dict(msg_id=uuid.uuid4().hex, msg_type=kind, username='', session=self.session, version='5.3', date='')
        said = dict(header=header, parent_header={}, metadata=dict(version='1.0.0'), content=content, channel='shell')
        if buffers:
            self.socket.send_binary(serialize_binary_message(said | dict(buffers=list(buffers))))
        else:
            self.socket.send(json.dumps(said | dict(buffers=[])))

    def receive(self):
        from jupyter_server.services.kernels.connection.base import deserialize_binary_message

        data = self.socket.recv()
        if not data:
            raise ConnectionError('the page was closed by the server')
        return json.loads(data) if isinstance(data, str) else deserialize_binary_message(data)

    def _views(self):
        "{kind of view: id of its model}, requested as by a page when it opens."
        control = uuid.uuid4().hex
        self.send('comm_open', dict(comm_id=control, target_name='jupyter.widget.control', data={}))
        self.send('comm_msg', dict(comm_id=control, data=dict(method='request_states')))
        while True:
            said = self.receive()
            if said['header']['msg_type'] == 'comm_msg' and said['content']['comm_id'] == control:
                break
        states = said['content']['data'].get('states', {})
        return {o['state']['kind']: k for k, o in states.items() if 'kind' in o['state']}

    def ask(self, view, content, picture):
        "A view's reply to a message with a picture."
        name = uuid.uuid4().hex
        self.send(
            'comm_msg',
            dict(comm_id=self.views[view], data=dict(method='custom', content=content | dict(id=name))),
            [picture],
        )
        while True:
            said = self.receive()
            if said['header']['msg_type'] != 'comm_msg':
                continue
            data = said['content']['data']
            if data.get('method') == 'custom' and data['content'].get('id') == name:
                return data['content']

    def close(self):
        "The actions of a browser when its page is closed."
        self.socket.close()
        address = f'{self.url}/voila/api/shutdown/{self.kernel}'
        with suppress(OSError):
            self.opener.open(Request(address, data=f'_xsrf={self.token}'.encode()), timeout=20)


class Watch(threading.Thread):
    "Samples the state of processes at intervals."

    def __init__(self, trees, every):
        super().__init__(daemon=True)
        self.trees, self.every, self.rows, self.over = trees, every, [], threading.Event()

    def look(self):
        row = dict(seconds=round(time.monotonic() - self.begin, 1))
        for name, pid in self.trees.items():
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            megabytes = files = 0
            for o in family:
                with suppress(psutil.Error):
                    megabytes, files = megabytes + o.memory_info().rss / 2**20, files + o.num_fds()
            row |= {f'{name}_mb': round(megabytes), f'{name}_files': files, f'{name}_processes': len(family)}
        return row

    def run(self):
        self.begin = time.monotonic()
        while not self.over.wait(self.every):
            self.rows.append(self.look())


def _visit(visitor, pictures, over, pause, count, errors):
    while not over.wait(pause):
        n = count['page']
        count['page'] += 1
        try:
            camera = n % 4 != 0
            content = dict(kind='frame', time=time.monotonic()) if camera else dict(kind='photo', name='a.jpg')
            reply = visitor.ask('camera' if camera else 'photo', content, pictures[n % len(pictures)])
            if 'error' in reply or not reply.get('faces'):
                errors.append(str(reply.get('error', 'no face'))[:200])
        except Exception as e:
            errors.append(f'{type(e).__name__}: {e}'[:200])
            return


def _call(url, pictures, over, pause, count, errors):
    from fer_nb import Client

    with Client(url, patience=60, trust_env=False) as client:
        while not over.wait(pause):
            n = count['api']
            count['api'] += 1
            try:
                if not client.faces(pictures[n % len(pictures)]):
                    errors.append('no face')
            except Exception as e:
                errors.append(f'{type(e).__name__}: {e}'[:200])


def _encoded():
    import cv2

    return [cv2.imencode('.jpg', o)[1].tobytes() for o in (photo(240), photo(300), photo(200)[:, ::-1].copy())]


def growth(rows, key):
    "The growth from the second tenth to the last, as a share; by medians, so short peaks do not count."
    n = max(1, len(rows) // 10)
    early, late = (float(np.median([o[key] for o in part])) for part in (rows[n : 2 * n] or rows[:1], rows[-n:]))
    return round(late / early - 1, 3) if early else 0.0


def drill(seed, seconds, folder, visitors=VISITORS, clients=CLIENTS):
    "Run page and API under load for `seconds`, then without visitors; return figures and findings."
    from fer_nb.apps.serve import start

    pictures, errors, count = _encoded(), [], dict(page=0, api=0)
    config = folder / 'soak.py'
    config.write_text("c = get_config()\nc.PageServer.max_visitors = 0\n")
    words = ['fer-nb', 'api', '--port', '0', '--model', 'lenet']
    code = f"import sys; sys.argv = {words!r}; from fer_nb.cli.main import main; main()"
    api = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r'http://\S+', api.stdout.readline())[0]
        with start(port=0, model='lenet', config=config) as server:
            return _soak(server, url, api, pictures, seconds, visitors, clients, errors, count)
    finally:
        api.terminate()
        try:
            api.wait(20)
        except subprocess.TimeoutExpired:
            api.kill()
        config.unlink()


def _soak(server, url, api, pictures, seconds, visitors, clients, errors, count):
    before = server.health()['visitors']
    over, threads, open_pages = threading.Event(), [], []
    for _ in range(visitors):  # each starts at once: a page that answers no ping is closed
        open_pages.append(Visitor(server.url))
        threads.append(
            threading.Thread(target=_visit, args=(open_pages[-1], pictures, over, 0.02 * visitors, count, errors))
        )
        threads[-1].start()
    for _ in range(clients):
        threads.append(threading.Thread(target=_call, args=(url, pictures, over, 0.02 * clients, count, errors)))
        threads[-1].start()
    watch = Watch(dict(page=server.pid, api=api.pid), max(1, min(30, seconds / 60)))
    watch.start()
    time.sleep(seconds)
    over.set()
    for o in threads:
        o.join()
    watch.over.set()
    for o in open_pages:
        o.close()
    end = time.monotonic() + 60
    while server.health()['visitors'] > before and time.monotonic() < end:
        time.sleep(0.5)
    left = server.health()['visitors'] - before
    grown = {k: growth(watch.rows, k) for k in watch.rows[0] if k.endswith(('_mb', '_files', '_processes'))}
    findings = [dict(kind='error', text=o) for o in sorted({*errors})[:20]]
    findings += [dict(kind='grows', text=f'{k} by {v:.0%} since the first tenth') for k, v in grown.items() if v > 0.1]
    if left:
        findings.append(dict(kind='left over', text=f'{left} kernels of visitors who have gone'))
    return dict(
        seconds=round(seconds),
        visitors=visitors,
        clients=clients,
        page_messages=count['page'],
        api_requests=count['api'],
        errors=len(errors),
        kernels_left=left,
        growth=grown,
        rows=watch.rows,
        findings=findings,
    )
