"""Measures `fer-nb api` under load, and prints a Markdown table.

    python nbs/tutorials/bench_api.py [--seconds 20] [--peer FOLDER] [--json FILE]

Needs the extras `api` and `app`. Clients and service share this machine's cores. A client sends its next picture when
it has an answer, and after a 429 waits for the requested time. The picture is a JPEG of 640x480 with a face of 190
pixels. If tools/peer.py has made its environment, the package `fer` behind a minimal FastAPI handler is measured as
well: FOLDER, .peers/fer in the checkout by default."""
import argparse
import http.client
import json
import platform
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]


def serve_fer(port):
    "A minimal service around `fer`; runs under the peer's Python."
    import cv2
    import numpy as np
    import uvicorn
    from fastapi import FastAPI, Request
    from fer.fer import FER
    app, detector = FastAPI(), FER()

    @app.post('/')
    async def faces(request: Request):
        image = cv2.imdecode(np.frombuffer(await request.body(), np.uint8), cv2.IMREAD_COLOR)
        return [dict(box=[int(v) for v in o['box']], emotions={k: float(v) for k, v in o['emotions'].items()})
                for o in detector.detect_emotions(image)]

    uvicorn.run(app, port=port, log_level='error')


def picture():
    "A JPEG of 640x480 with one face."
    import cv2
    import numpy as np
    from fer_nb.bench.measure import frame
    image = frame(1, np.random.default_rng(0))[0]
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


class Load:
    "Clients that send the next request as soon as they have an answer."
    def __init__(self, url, body, clients, seconds):
        self.url, self.body, self.end = urlsplit(url), body, time.perf_counter() + seconds
        self.times, self.busy, self.errors, self.faces, self.lock = [], 0, [], set(), threading.Lock()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        self.seconds = seconds
        for o in self.threads: o.start()
        for o in self.threads: o.join()

    def run(self):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=60)
        while time.perf_counter() < self.end:
            try: self.one(connection)
            except (OSError, http.client.HTTPException) as e:
                with self.lock: self.errors.append(repr(e))
                connection.close()
        connection.close()

    def one(self, connection):
        begin = time.perf_counter()
        connection.request('POST', f'{self.url.path}?{self.url.query}', self.body, {'Content-Type': 'image/jpeg'})
        reply = connection.getresponse()
        said, took = json.loads(reply.read()), 1000*(time.perf_counter() - begin)
        if time.perf_counter() > self.end: return
        with self.lock:
            if reply.status == 200:
                self.times.append(took)
                self.faces.add(len(said if isinstance(said, list) else said['pictures'][0]['faces']))
            elif reply.status == 429: self.busy += 1
            else: self.errors.append(f'{reply.status} {said}')
        left = self.end - time.perf_counter()
        if reply.status == 429 and left > 0: time.sleep(min(left, float(reply.headers['Retry-After'])))

    def row(self):
        times = sorted(self.times)
        at = lambda q: times[min(len(times) - 1, int(q*len(times)))] if times else float('nan')
        return dict(clients=len(self.threads), per_second=len(times)/self.seconds, median_ms=at(.5), p99_ms=at(.99),
                    answered=len(times), busy=self.busy, errors=len(self.errors), error=self.errors[:1],
                    faces=sorted(self.faces))


def used(process):
    "Megabytes of a process and its children, shared pages counted once if the system can; core seconds."
    import psutil
    whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    megabytes = sum(getattr(o.memory_full_info(), 'pss', 0) or o.memory_info().rss for o in whole)/2**20
    return megabytes, sum(sum(o.cpu_times()[:2]) for o in whole)


@contextmanager
def service(command, pattern=None, url=None, seconds=120):
    "A running service: its process and its address."
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if pattern: url = re.search(pattern, process.stdout.readline())[0]
        end = time.monotonic() + seconds
        while True:
            try: http.client.HTTPConnection(urlsplit(url).netloc, timeout=5).connect(); break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{command[0]} does not serve: the lines above say why.")
                time.sleep(.2)
        yield process, url
    finally:
        process.terminate()
        process.wait()


def measured(who, url, process, body, seconds):
    "A row for each number of clients; memory before and after, and core time per request."
    Load(url, body, 4, min(3, seconds))                           # until every process has read a picture
    for clients in 1, 8, 64:
        before, busy = used(process)
        row = dict(who=who) | Load(url, body, clients, seconds).row()
        after, done = used(process)
        row |= dict(mb_before=before, mb_after=after, core_ms=1000*(done - busy)/max(1, row['answered']))
        shown = 'per_second', 'median_ms', 'p99_ms', 'core_ms', 'busy', 'errors', 'mb_before', 'mb_after'
        cells = [f'{row[o]:.0f}' for o in shown]
        print(f"| {who} | {clients} | {' | '.join(cells)} |", flush=True)
        if row['error']: print(row['error'][0], file=sys.stderr)
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=20, help="for each number of clients")
    parser.add_argument('--peer', type=Path, default=ROOT/'.peers/fer', help="environment of fer, if it is there")
    parser.add_argument('--json', type=Path, help="write the figures to this file as well")
    parser.add_argument('--serve-fer', type=int, metavar='PORT', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_fer: return serve_fer(args.serve_fer)
    from fer_nb.apps.serve import choose_port
    from fer_nb.core import cores
    body, rows = picture(), []
    about = f'{cores()} cores, {platform.machine()}, Python {platform.python_version()}'
    columns = ('service', 'clients', 'requests/s', 'median, ms', '99th percentile, ms', 'core, ms a request', '429',
               'errors', 'MB before', 'MB after')
    print(f'{about}, JPEG of {len(body)/1000:.0f} kB\n\n| ' + ' | '.join(columns) + ' |\n|---' + '|--:'*9 + '|')
    command = [Path(sys.executable).parent/'fer-nb', 'api', '--port', '0']
    with service(command, r'http://\S+') as (process, url):
        for who, query in ('fer_nb', ''), ('fer_nb, min_face=96', '?min_face=96'):
            rows += measured(who, f'{url}/v1/faces{query}', process, body, args.seconds)
    peer = args.peer/'bin/python'
    if peer.is_file():
        port = choose_port(port=0)
        command = [peer, __file__, '--serve-fer', str(port)]
        with service(command, url=f'http://127.0.0.1:{port}/') as (process, url):
            rows += measured('fer', url, process, body, args.seconds)
    else: print(f'\nNo {peer}: `python tools/peer.py` makes the environment of fer.')
    if args.json: args.json.write_text(json.dumps(dict(machine=about, rows=rows), indent=1) + '\n')


if __name__ == '__main__': main()
