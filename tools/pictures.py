"""Makes the documents' pictures of the page, nbs/images/app_photo.jpg and app_camera.jpg: python tools/pictures.py

Needs the extra `app` and a Chromium. The page runs with the shipped models; its camera sees NASA's portrait, twice."""
import tempfile
from pathlib import Path

import browser
import cv2
import fake_camera
import numpy as np
from common import ROOT
from playwright.sync_api import sync_playwright

from fer_nb.apps.serve import start

SIZE, SCALE = dict(width=1440, height=1060), .8
SECONDS = 20        # of camera before the picture, so that its timeline shows something


def save(page, name):
    "Write a screenshot as JPEG into nbs/images."
    image = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    image = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(ROOT/f'nbs/images/{name}.jpg'), image, [cv2.IMWRITE_JPEG_QUALITY, 88])


def main():
    with tempfile.TemporaryDirectory() as tmp, start(port=0) as server, sync_playwright() as p:
        film = fake_camera.write(Path(tmp)/'two.mjpeg', 2)
        flags = ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
                 f'--use-file-for-fake-video-capture={film}']
        chromium = p.chromium.launch(executable_path=browser.chromium(), args=flags)
        page = chromium.new_page(viewport=SIZE)
        page.goto(server.url)
        page.click('text=Try the sample photo', timeout=60_000)
        page.wait_for_selector('article .box')
        page.wait_for_timeout(1000)
        save(page, 'app_photo')
        page.click('role=tab[name=Camera]')
        page.click('role=button[name=Start]')
        page.wait_for_selector('.live .face >> nth=1')
        page.wait_for_timeout(1000*SECONDS)
        save(page, 'app_camera')
        chromium.close()


if __name__ == '__main__': main()
