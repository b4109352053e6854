"""Measures the dashboard in a real browser with a fake camera, and prints a Markdown table.

    python nbs/tutorials/bench_app.py [--frames 1000] [--json FILE]

Needs the extras `all` and `dev` and a Chromium (tools/browser.py finds or installs one). Browser, server and
kernel share this machine's cores, so a visitor with a separate computer gets better figures."""
import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]/'tools'))
import browser
import fake_camera

from fer_nb.apps.serve import start

FAKE = ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']


def open_page(chromium, url):
    "A page, and the seconds from its request to the first widget."
    page = chromium.new_page(viewport=dict(width=1440, height=900))
    page.set_default_timeout(120_000)
    begin = time.perf_counter()
    page.goto(url, wait_until='commit')
    page.wait_for_selector('.fer-nb .drop')
    return page, time.perf_counter() - begin


def kernel_of(page, server):
    "The page's kernel process."
    name = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    return next(o for o in psutil.Process(server.pid).children(recursive=True) if name in ' '.join(o.cmdline()))


def megabytes(process): return process.memory_info().rss/2**20


def start_ups(chromium):
    "Seconds to the first widget: on a server that has just started, and with a kernel that is ready."
    with start(port=0) as server:
        page, cold = open_page(chromium, server.url)
        page.close()
        time.sleep(10)                               # until the next kernel is ready
        page, warm = open_page(chromium, server.url)
        page.close()
    return {'first widget, cold, s': cold, 'first widget, preheated, s': warm}


def visitors(chromium, n=3):
    "Megabytes (proportional share, Linux) of the server, of the waiting kernel, and of each further visitor."
    share = lambda process: process.memory_full_info().pss/2**20
    with start(port=0) as server:
        time.sleep(8)                                # until the first kernel is ready
        whole = psutil.Process(server.pid)
        waiting = sum(map(share, whole.children(recursive=True)))
        alone, pages = share(whole), []
        for _ in range(n):
            pages.append(open_page(chromium, server.url)[0])
            time.sleep(5)
        kernels = sum(map(share, whole.children(recursive=True)))
        for page in pages: page.close()
    return {'server, MB': alone, 'kernel that waits, MB': waiting, 'each visitor, MB': (kernels - waiting)/n}


def camera(chromium, server, frames):
    "Frames per second, round trips and the kernel's memory, after ten seconds and after `frames` frames."
    page, _ = open_page(chromium, server.url)
    kernel = kernel_of(page, server)
    page.click('role=tab[name=Camera]')
    page.click('role=button[name=Start]')
    page.wait_for_selector('.live .face')
    look = lambda: page.eval_on_selector('[data-camera]', 'o => ({...o.dataset})')
    time.sleep(5)
    page.evaluate("document.querySelector('[data-camera]').ferNbTrips.length = 0")
    busy = lambda: sum(sum(o.cpu_times()[:2]) for o in (kernel, psutil.Process(server.pid)))
    first, begin, memory, used = int(look()['frames']), time.perf_counter(), {}, busy()
    for goal in sorted({1000, frames}):
        while int(look()['frames']) < goal: time.sleep(.2)
        memory[f'kernel memory after {goal:,} frames, MB'] = megabytes(kernel)
    seen, seconds = int(look()['frames']) - first, time.perf_counter() - begin
    trips = page.evaluate("[...document.querySelector('[data-camera]').ferNbTrips]")
    used = busy() - used
    page.close()
    return {'camera, frames a second': seen/seconds,
            'processor time for a frame, kernel and server, ms': 1000*used/seen,
            'round trip, median, ms': float(np.median(trips)),
            'round trip, 95th percentile, ms': float(np.percentile(trips, 95)), **memory}


def photo(chromium, server, folder):
    "Seconds from the drop of a photo of 6000x4000 to its answer; the median of three."
    path, rng = Path(folder)/'large.jpg', np.random.default_rng(0)
    large = cv2.resize(cv2.imread(str(fake_camera.SAMPLE)), (6000, 4000)).astype(np.int16)
    large += rng.integers(-44, 45, large.shape, np.int16)    # camera noise; without it the file is small
    cv2.imwrite(str(path), large.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    page, _ = open_page(chromium, server.url)
    cdp, box, times = page.context.new_cdp_session(page), page.locator('.drop').bounding_box(), []
    dropped = dict(items=[], files=[str(path)], dragOperationsMask=1)
    where = dict(x=box['x'] + box['width']/2, y=box['y'] + 20, data=dropped)
    for i in range(3):
        for kind in ('dragEnter', 'dragOver'): cdp.send('Input.dispatchDragEvent', dict(type=kind, **where))
        begin = time.perf_counter()
        cdp.send('Input.dispatchDragEvent', dict(type='drop', **where))
        page.wait_for_function(f"document.querySelectorAll('article[data-state=done] .box').length === {i + 1}")
        times.append(time.perf_counter() - begin)
    page.close()
    return {f'photo of 6000x4000, {path.stat().st_size/1e6:.0f} MB, s': float(np.median(times))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=1000, help="camera frames to wait for; 10000 take six minutes")
    parser.add_argument('--json', type=Path, help="write the figures to this file as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        film = fake_camera.write(Path(folder)/'one.mjpeg')
        camera_film = f'--use-file-for-fake-video-capture={film}'
        chromium = p.chromium.launch(executable_path=browser.chromium(), args=[*FAKE, camera_film])
        found = start_ups(chromium) | (visitors(chromium) if sys.platform == 'linux' else {})
        with start(port=0) as server: found |= photo(chromium, server, folder) | camera(chromium, server, args.frames)
        version = chromium.version
    machine = f'{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Chromium {version}'
    print(f'{machine}\n\n| what | measured |\n|---|--:|')
    for k, v in found.items(): print(f'| {k} | {v:.1f} |')
    if args.json: args.json.write_text(json.dumps({'machine': machine, **found}, indent=1) + '\n')


if __name__ == '__main__': main()
