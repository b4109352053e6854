"""Measures the page without a server in a real browser with a fake camera, and prints a Markdown table.

    python nbs/tutorials/bench_site.py [--frames 600] [--whole 10000] [--json FILE]

Needs the extras `all`, `site` and `dev`, npm's registry, and a Chromium (tools/browser.py finds or installs one).
Browser and server share this machine's cores. The same run measures the dashboard's camera, read by its kernel, and
two npm packages that read faces in browsers, each with its own models.
"""
import argparse
import base64
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import cv2
import numpy as np
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]/'tools'))
import browser
import fake_camera

from fer_nb.apps.serve import choose_port, start
from fer_nb.apps.site import build_site, node_command

FAKE = ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']
LONG = """window.long = [];
  new PerformanceObserver((o) => o.getEntries().forEach((e) => long.push(e.duration))).observe({type: 'longtask'})"""


@contextmanager
def static_server(folder):
    "(address, process) of Python's own static server."
    port = choose_port(port=0)
    command = [sys.executable, '-m', 'http.server', '--bind', '127.0.0.1', '--directory', str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        direct, url = build_opener(ProxyHandler({})), f'http://127.0.0.1:{port}/'
        while True:
            try: direct.open(url)
            except OSError: time.sleep(.1)
            else: break
        try: yield url, psutil.Process(process.pid)
        finally: process.terminate()


def open_page(chromium, url):
    "A page in a fresh profile, and the files that it requests, as they arrive."
    page, files = chromium.new_context(viewport=dict(width=1440, height=900)).new_page(), []
    page.set_default_timeout(120_000)
    page.on('request', lambda o: files.append(o.url.removeprefix(url).split('?')[0]))
    page.goto(url, wait_until='commit')
    page.wait_for_selector('.fer-nb .drop')
    return page, files


def first_answer(chromium, url):
    "Seconds from the page request to the answer about the sample photo, in a browser with an empty cache."
    begin = time.perf_counter()
    page, _ = open_page(chromium, url)
    page.click('text=Try the sample photo')
    page.wait_for_selector('article[data-state=done]')
    page.context.close()
    return time.perf_counter() - begin


def wire(chromium, url, folder):
    "Megabytes of a first visit to a host that compresses, and the names of its files."
    page, files = open_page(chromium, url)
    page.wait_for_selector('html[data-offline=ready]', state='attached')
    page.context.close()
    files = sorted({o or 'index.html' for o in files if (folder/(o or 'index.html')).is_file()})
    sizes = {o: len(gzip.compress((folder/o).read_bytes(), 9))/1e6 for o in files}
    part = lambda *starts: sum(v for k, v in sizes.items() if k.startswith(starts))
    return {'first visit, MB': sum(sizes.values()), 'of it the runtime, MB': part('runtime'),
            'of it the networks, MB': part('models')}, files


def visitors(url, server, files, n=200):
    "The server's cost for `n` simultaneous visitors, each of whom fetches the same files as a browser."
    direct = build_opener(ProxyHandler({}))
    visit = lambda _: sum(len(direct.open(url + o).read()) for o in files)
    begin, used = time.perf_counter(), sum(server.cpu_times()[:2])
    with ThreadPoolExecutor(50) as pool: sent = sum(pool.map(visit, range(n)))
    seconds = time.perf_counter() - begin
    return {f'{n} visitors at once, s': seconds, 'sent to them, not compressed, MB a second': sent/1e6/seconds,
            'processor time for a visit, ms': 1000*(sum(server.cpu_times()[:2]) - used)/n}


# -- Beside other packages

PEERS = {'@vladmandic/human': '3.3.6', '@vladmandic/face-api': '1.7.15', '@tensorflow/tfjs-backend-wasm': '4.22.0'}
PHOTO = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (o) => o.charCodeAt(0)), canvas = document.createElement('canvas');
  const bitmap = await createImageBitmap(new Blob([bytes]));
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  window.canvas = canvas;
  window.load = (src) => new Promise((done, fail) => {
    document.head.append(Object.assign(document.createElement('script'), {src, onload: done, onerror: fail}));
  });
  window.times = async (read) => {
    const all = [];
    let said;
    for (let i = 0; i < 40; i++) {
      const start = performance.now();
      said = await read(i);
      all.push(performance.now() - start);
    }
    return {ms: all.slice(10).sort((a, b) => a - b)[15], said};
  };
}"""
READ = {
    'this engine': """async () => {
      const told = await (await fetch('/site/engine.json')).json(), worker = new Worker('/site/worker.js'), inside = [];
      const ask = (content, buffers = []) => new Promise((done) => {
        worker.onmessage = ({data}) => done(data.content);
        worker.postMessage({content, buffers}, buffers);
      });
      await ask({kind: 'open', base: location.origin + '/site/', settings: told.settings, model: told.model});
      const found = await times(async (i) => {
        const reply = await ask({kind: 'frame', time: i/30, most: 640}, [new VideoFrame(canvas, {timestamp: i})]);
        inside.push(reply.ms);
        return reply.faces.map((o) => o.label);
      });
      return {...found, inside: inside.slice(10).sort((a, b) => a - b)[15]};
    }""",
    'Human': """async () => {
      await load('/node_modules/@vladmandic/human/dist/human.js');
      const off = {enabled: false}, base = '/node_modules/@vladmandic/human/models/';
      const human = new Human.Human({
        backend: 'wasm', wasmPath: '/node_modules/@tensorflow/tfjs-backend-wasm/dist/', modelBasePath: base,
        debug: false, cacheSensitivity: 0, filter: off,
        body: off, hand: off, object: off, gesture: off, segmentation: off,
        face: {enabled: true, mesh: off, iris: off, description: off, antispoof: off, liveness: off,
               emotion: {enabled: true}},
      });
      await human.load();
      return times(async () => (await human.detect(canvas)).face.map((o) => o.emotion?.[0]?.emotion));
    }""",
    'face-api': """async () => {
      await load('/node_modules/@vladmandic/face-api/dist/face-api.js');
      faceapi.tf.setWasmPaths('/node_modules/@tensorflow/tfjs-backend-wasm/dist/');
      await faceapi.tf.setBackend('wasm');
      await faceapi.tf.ready();
      const base = '/node_modules/@vladmandic/face-api/model';
      await faceapi.nets.tinyFaceDetector.loadFromUri(base);
      await faceapi.nets.faceExpressionNet.loadFromUri(base);
      return times(async () => (await faceapi.detectAllFaces(canvas, new faceapi.TinyFaceDetectorOptions())
        .withFaceExpressions()).map((o) => o.expressions.asSortedArray()[0].expression));
    }""",
}


def peers(chromium, folder, site):
    "Milliseconds for a camera frame with one face, for this engine and two packages; megabytes that these load."
    command = [node_command('npm'), 'install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', str(folder)]
    subprocess.run([*command, *(f'{k}@{v}' for k, v in PEERS.items())], check=True, stdout=subprocess.DEVNULL)
    (folder/'site').symlink_to(site)
    (folder/'blank.html').write_text('<!DOCTYPE html><title>blank</title>')
    photo, found = base64.b64encode(cv2.imencode('.png', next(fake_camera.frames()))[1]).decode(), {}
    with static_server(folder) as (url, _):
        for name, read in READ.items():
            page, files = chromium.new_page(), set()
            page.on('requestfinished', lambda o, to=files: to.add(o.url.removeprefix(url).split('?')[0]))
            page.goto(f'{url}blank.html')
            page.evaluate(PHOTO, photo)
            got = page.evaluate(read)
            found[f'one face, {name}, ms'] = got['ms']
            if 'inside' in got: found[f'one face, {name}, in the worker, ms'] = got['inside']
            else:
                sizes = [len(gzip.compress((folder/o).read_bytes(), 9)) for o in files if (folder/o).is_file()]
                found[f'one face, {name}, loads MB'] = sum(sizes)/1e6
            print(f"{name}: {got['said']}")
            page.close()
    return found


# -- The camera


def renderer(chromium_pid):
    "(private megabytes, with its share of shared memory) of the largest renderer, Linux; processor seconds."
    found = [o for o in psutil.Process(chromium_pid).children(recursive=True) if '--type=renderer' in o.cmdline()]
    sizes = [o.memory_full_info() for o in found]
    return max((o.uss/2**20, o.pss/2**20) for o in sizes), sum(sum(o.cpu_times()[:2]) for o in found)


def worker_seconds(chromium_pid):
    "Processor seconds of the pages' worker threads, Linux; waiting for a busy machine does not count."
    used = 0
    for process in psutil.Process(chromium_pid).children(recursive=True):
        for path in Path(f'/proc/{process.pid}/task').glob('*/stat'):
            name, rest = path.read_text().split('(', 1)[1].rsplit(')', 1)
            if name.startswith('DedicatedWorker'): used += sum(map(int, rest.split()[11:13]))
    return used/os.sysconf('SC_CLK_TCK')


def camera(chromium, pid, url, frames, whole, name):
    "Frames per second, round trips, the page's longest task, the renderer's memory and processor time."
    page, _ = open_page(chromium, url)
    page.evaluate(LONG)
    page.click('role=tab[name=Camera]')
    page.click('role=button[name=Start]')
    page.wait_for_selector('.live .face')
    seen = lambda: int(page.eval_on_selector('[data-camera]', 'o => o.dataset.frames ?? 0'))
    memory = {}
    def keep(n): memory[n], _ = renderer(pid)
    time.sleep(5)
    page.evaluate("long.length = document.querySelector('[data-camera]').ferNbTrips.length = 0")
    first, begin, (_, used), reading = seen(), time.perf_counter(), renderer(pid), worker_seconds(pid)
    while seen() < first + frames: time.sleep(.2)
    done, seconds, (_, busy), read = seen() - first, time.perf_counter() - begin, renderer(pid), worker_seconds(pid)
    print(f'{name}: {done} frames in {seconds:.1f} s')
    trips, long = page.evaluate("[[...document.querySelector('[data-camera]').ferNbTrips], long]")
    for goal in sorted({min(1000, whole), whole} - {0}):
        while seen() < goal: time.sleep(.2)
        keep(goal)
    page.context.close()
    return {f'{name}: frames a second': done/seconds, f'{name}: round trip, median, ms': float(np.median(trips)),
            f"{name}: renderer's processor time for a frame, ms": 1000*(busy - used)/done,
            f"{name}: of it the worker's, ms": 1000*(read - reading)/done,
            f'{name}: longest task of the page, ms': max(long, default=0.)} | {
            f'{name}: memory after {n:,} frames, {what}, MB': o for n, both in memory.items()
            for what, o in zip(("the renderer's own", "with its share of Chromium's code"), both)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=600, help="camera frames to time for each engine; 0: none")
    parser.add_argument('--whole', type=int, default=10_000, help="camera frames during which memory is measured")
    parser.add_argument('--json', type=Path, help="write the figures to this file as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        folder, film = Path(tmp)/'site', fake_camera.write(Path(tmp)/'one.mjpeg')
        build_site(folder)
        flags = [*FAKE, f'--use-file-for-fake-video-capture={film}']
        chromium = p.chromium.launch(executable_path=browser.chromium(), args=flags)
        pid = next(o.pid for o in psutil.Process().children(recursive=True) if '--remote-debugging-pipe' in o.cmdline())
        with static_server(folder) as (url, server):
            found, files = wire(chromium, url, folder)
            if args.frames: found |= camera(chromium, pid, url, args.frames, args.whole, 'in the browser')
            found['page to first answer, s'] = float(np.median([first_answer(chromium, url) for _ in range(3)]))
            found |= visitors(url, server, files)
        if args.frames:
            with start(port=0, device=tmp) as server:          # no site there, so the kernel reads the frames
                found |= camera(chromium, pid, server.url, args.frames, 0, 'by a kernel')
            (other := Path(tmp)/'peers').mkdir()
            found |= peers(chromium, other, folder)
        version = chromium.version
    machine = f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Chromium {version}'
    print(f'{machine}\n\n| what | measured |\n|---|--:|')
    for k, v in found.items(): print(f'| {k} | {v:.2f} |')
    if args.json: args.json.write_text(json.dumps({'machine': machine, **found}, indent=1) + '\n')


if __name__ == '__main__': main()
