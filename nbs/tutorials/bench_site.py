"""Measures the page without a server in a real browser with a fake camera, and prints a Markdown table.

    python nbs/tutorials/bench_site.py [--frames 1000] [--json FILE]

Needs the extras `all`, `site` and `dev`, npm's registry, and a Chromium (tools/browser.py finds or installs one).
Browser and server share this machine's cores. The dashboard's camera, read by its kernel, is measured in the same run.
"""
import argparse
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

import numpy as np
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]/'tools'))
import browser
import fake_camera

from fer_nb.apps.serve import choose_port, start
from fer_nb.apps.site import build_site

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
    "A page in a profile of its own, and the files that it asked for, as they come."
    page, files = chromium.new_context(viewport=dict(width=1440, height=900)).new_page(), []
    page.set_default_timeout(120_000)
    page.on('request', lambda o: files.append(o.url.removeprefix(url).split('?')[0]))
    page.goto(url, wait_until='commit')
    page.wait_for_selector('.fer-nb .drop')
    return page, files


def first_answer(chromium, url):
    "Seconds from the request of the page to the answer about the sample photo, in a browser that knows nothing."
    begin = time.perf_counter()
    page, _ = open_page(chromium, url)
    page.click('text=Try the sample photo')
    page.wait_for_selector('article[data-state=done]')
    page.context.close()
    return time.perf_counter() - begin


def wire(chromium, url, folder):
    "Megabytes of a first visit, as a host that compresses sends them; and the names of its files."
    page, files = open_page(chromium, url)
    page.wait_for_selector('html[data-offline=ready]', state='attached')
    page.context.close()
    files = sorted({o or 'index.html' for o in files if (folder/(o or 'index.html')).is_file()})
    sizes = {o: len(gzip.compress((folder/o).read_bytes(), 9))/1e6 for o in files}
    part = lambda *starts: sum(v for k, v in sizes.items() if k.startswith(starts))
    return {'first visit, MB': sum(sizes.values()), 'of it the runtime, MB': part('runtime'),
            'of it the networks, MB': part('models')}, files


def visitors(url, server, files, n=200):
    "What `n` visitors who come at once cost the server; each fetches what a browser does."
    direct = build_opener(ProxyHandler({}))
    visit = lambda _: sum(len(direct.open(url + o).read()) for o in files)
    begin, used = time.perf_counter(), sum(server.cpu_times()[:2])
    with ThreadPoolExecutor(50) as pool: sent = sum(pool.map(visit, range(n)))
    seconds = time.perf_counter() - begin
    return {f'{n} visitors at once, s': seconds, 'sent to them, not compressed, MB a second': sent/1e6/seconds,
            'processor time for a visit, ms': 1000*(sum(server.cpu_times()[:2]) - used)/n}


def renderer(chromium_pid):
    "Megabytes of the largest renderer, its share of what is shared (Linux), and processor seconds of all renderers."
    found = [o for o in psutil.Process(chromium_pid).children(recursive=True) if '--type=renderer' in o.cmdline()]
    return max(o.memory_full_info().pss for o in found)/2**20, sum(sum(o.cpu_times()[:2]) for o in found)


def camera(chromium, pid, url, frames, name):
    "Frames a second, round trips, the page's longest task, the renderer's memory and processor time."
    page, _ = open_page(chromium, url)
    page.evaluate(LONG)
    page.click('role=tab[name=Camera]')
    page.click('role=button[name=Start]')
    page.wait_for_selector('.live .face')
    seen = lambda: int(page.eval_on_selector('[data-camera]', 'o => o.dataset.frames ?? 0'))
    time.sleep(5)
    page.evaluate("long.length = document.querySelector('[data-camera]').ferNbTrips.length = 0")
    first, begin, (before, used) = seen(), time.perf_counter(), renderer(pid)
    while seen() < first + frames: time.sleep(.2)
    done, seconds, (after, busy) = seen() - first, time.perf_counter() - begin, renderer(pid)
    trips, long = page.evaluate("[[...document.querySelector('[data-camera]').ferNbTrips], long]")
    page.context.close()
    return {f'{name}: frames a second': done/seconds, f'{name}: round trip, median, ms': float(np.median(trips)),
            f"{name}: renderer's processor time for a frame, ms": 1000*(busy - used)/done,
            f'{name}: longest task of the page, ms': max(long, default=0.),
            f"{name}: renderer's memory at first, MB": before, f"{name}: and after {done:,} frames, MB": after}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=1000, help="camera frames to wait for, for each engine; 0: none")
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
            found['page to first answer, s'] = float(np.median([first_answer(chromium, url) for _ in range(3)]))
            found |= visitors(url, server, files)
            if args.frames: found |= camera(chromium, pid, url, args.frames, 'in the browser')
        if args.frames:
            with start(port=0, device=tmp) as server:          # no site there: the kernel reads
                found |= camera(chromium, pid, server.url, args.frames, 'by a kernel')
        version = chromium.version
    machine = f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Chromium {version}'
    print(f'{machine}\n\n| what | measured |\n|---|--:|')
    for k, v in found.items(): print(f'| {k} | {v:.2f} |')
    if args.json: args.json.write_text(json.dumps({'machine': machine, **found}, indent=1) + '\n')


if __name__ == '__main__': main()
