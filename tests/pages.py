"What the tests in a browser share: how one is started, a page with what went wrong on it, good and bad pictures."
import sys
import time

import cv2
import numpy as np
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import browser as browsers  # noqa: E402

OUTPUT = ROOT/'test-output'
FAKE = ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']
SLOW = 60_000       # ms; a busy machine takes its time

# Keeps the camera's tracks where a test can ask whether their light is on.
WATCH = """
  window.tracks = [];
  const devices = navigator.mediaDevices;
  if (devices) {
    const open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async (o) => { const s = await open(o); window.tracks.push(...s.getTracks()); return s; };
  }
"""


def start_browser(playwright, *args):
    return playwright.chromium.launch(executable_path=browsers.chromium(), args=['--no-sandbox', *args])


class Site:
    "A page and what went wrong on it."
    def __init__(self, browser, url, **options):
        options = {'viewport': dict(width=1440, height=900)} | options
        self.context = browser.new_context(accept_downloads=True, **options)
        self.context.set_default_timeout(SLOW)
        self.context.add_init_script(WATCH)
        self.page, self.errors, self.warnings, self.hosts = self.context.new_page(), [], [], set()
        said = {'error': self.errors, 'warning': self.warnings}
        self.page.on('console', lambda m: said.get(m.type, []).append(m.text))
        self.page.on('pageerror', lambda e: self.errors.append(str(e)))
        self.page.on('request', lambda r: self.hosts.add(r.url.split('/')[2]) if '://' in r.url else None)
        self.page.goto(url)
        self.page.wait_for_selector('.fer-nb .drop')

    def add(self, *paths):
        with self.page.expect_file_chooser() as chooser: self.page.click('text=Choose photos')
        chooser.value.set_files([str(o) for o in paths])

    def drag(self, path):
        "Generator of the steps of a drag as the browser gets it from the desktop, not an event made by a script."
        box = self.page.locator('.drop').bounding_box()
        where = dict(x=box['x'] + box['width']/2, y=box['y'] + box['height']/2)
        data = dict(items=[], files=[str(path)], dragOperationsMask=1)
        cdp = self.context.new_cdp_session(self.page)
        for kind in ('dragEnter', 'dragOver', 'drop'):
            cdp.send('Input.dispatchDragEvent', dict(type=kind, data=data, **where))
            yield kind

    def paste(self, data):
        self.page.evaluate("""async (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'pasted.jpg', {type: 'image/jpeg'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        }""", list(data))

    def card(self, name): return self.page.locator(f'article[aria-label="{name}"]')

    def wait(self, name, state='done'):
        self.page.wait_for_selector(f'article[aria-label="{name}"][data-state="{state}"]')
        return self.card(name)

    def until(self, script):
        "Waits until the script's value is true; no `wait_for_function`, which a page may forbid by its policy."
        end = time.monotonic() + SLOW/1000
        while not self.page.evaluate(script):
            assert time.monotonic() < end, f'not within {SLOW/1000:.0f} s: {script}'
            self.page.wait_for_timeout(50)

    def download(self, click):
        with self.page.expect_download() as got: self.page.click(click)
        return got.value.suggested_filename, got.value.path().read_bytes()

    def shot(self, name): self.page.screenshot(path=OUTPUT/f'{name}.png')
    def figures(self): return dict(self.page.eval_on_selector('[data-camera]', 'o => ({...o.dataset})'))
    def lights(self): return self.page.evaluate("tracks.filter((o) => o.readyState === 'live').length")

    def frames(self, n):
        "Waits until the camera has shown `n` frames."
        self.until(f"+document.querySelector('[data-camera]')?.dataset.frames >= {n}")

    def start_camera(self, faces):
        self.page.click('role=tab[name=Camera]')
        self.page.click('role=button[name=Start]')
        self.until(f"document.querySelectorAll('.live .face').length === {faces}")


def pictures(folder, sample):
    "Good and bad files by name."
    photo = cv2.imread(str(sample))
    def write(name, data): (folder/name).write_bytes(data); return folder/name
    jpeg = lambda image: cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    # What a phone held upright writes: the pixels lie on their side, and EXIF says so.
    exif = bytes.fromhex('ffe1002245786966000049492a00080000000100120103000100000006000000000000000000')
    turned = jpeg(cv2.rotate(photo, cv2.ROTATE_90_COUNTERCLOCKWISE))
    wall = np.random.default_rng(0).normal(180, 6, (600, 800, 3)).clip(0, 255).astype(np.uint8)
    return dict(
        phone=write('phone.jpg', turned[:2] + exif + turned[2:]),
        two=write('two.jpg', jpeg(np.hstack([photo, photo[:, ::-1]]))), wall=write('wall.jpg', jpeg(wall)),
        tiff=write('scan.tiff', cv2.imencode('.tiff', photo)[1].tobytes()),
        text=write('notes.png', b'Dear diary, today nothing happened.\n'), empty=write('empty.jpg', b''),
        svg=write('logo.svg', b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        heic=write('phone.heic', b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(500)),
        broken=write('broken.jpg', jpeg(photo)[:20000]),
        huge=write('huge.png', cv2.imencode('.png', np.zeros((10000, 10000), np.uint8))[1].tobytes()))
