"The page without a server: Python's answers, in a real browser, from plain files. Screenshots go to test-output/."
import base64
import csv
import functools
import gzip
import io
import json
import os
import re
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('playwright')
from pages import FAKE, OUTPUT, SLOW, Site, start_browser  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

from fer_nb.core import FerError, static_file  # noqa: E402
from fer_nb.inference.image import open_image  # noqa: E402
from fer_nb.inference.recognize import EmotionRecognizer  # noqa: E402
from fer_nb.inference.tables import PICTURE_COLUMNS  # noqa: E402
from fer_nb.video.track import FaceStream  # noqa: E402

expect.set_options(timeout=SLOW/2)


class Host:
    "A static server of a folder on this machine, which remembers what was asked for."
    def __init__(self, folder):
        asked, self.folder = [], folder
        self.asked = asked
        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_): pass
            def log_request(self, code='-', size='-'): asked.append((self.path, int(code)))
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(folder)))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}/faces/'

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def build(folder, **options):
    "The site at folder/faces, the test is skipped where npm cannot be asked; CI asks it."
    from fer_nb.apps.site import build_site
    try: return build_site(folder/'faces', **options)
    except FerError as e:
        if os.environ.get('CI') or not any(o in str(e) for o in ('registry', 'no npm', 'no node')): raise
        pytest.skip(str(e))


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('www')
    build(folder)
    return folder


@pytest.fixture(scope='module')
def host(folder):
    host = Host(folder)
    yield host
    host.stop()


class Page(Site):
    "The static page, once it can read."
    def __init__(self, browser, url, **options):
        super().__init__(browser, url, **options)
        self.page.wait_for_selector('html[data-engine=ready]', state='attached')


@pytest.fixture
def site(chromium, host):
    site = Page(chromium, host.url)
    yield site
    assert not site.errors, site.errors
    site.context.close()


@pytest.fixture(scope='module')
def photos(chromium, host):
    site = Page(chromium, host.url)
    yield site
    site.context.close()


# -- The engine and Python, side by side

OPEN = """async ([base, settings]) => {
  const told = await (await fetch(base + 'engine.json')).json();
  const worker = new Worker(base + 'worker.js'), waiting = new Map();
  worker.onmessage = ({data: {content}}) => waiting.get(content.id)(content);
  window.ask = (content, buffers = []) => new Promise((resolve) => {
    const id = waiting.size + 1;
    waiting.set(id, resolve);
    worker.postMessage({content: {...content, id}, buffers});
  });
  window.bytes = (text) => Uint8Array.from(atob(text), (o) => o.charCodeAt(0));
  return ask({kind: 'open', base, settings: settings ?? told.settings, model: told.model});
}"""
PHOTO = "([png]) => ask({kind: 'photo', name: 'it'}, [bytes(png)])"
FRAME = """async ([png, time, most]) => {
  const bitmap = await createImageBitmap(new Blob([bytes(png)]), {colorSpaceConversion: 'none'});
  return ask({kind: 'frame', time, most}, [most ? new VideoFrame(bitmap, {timestamp: 1e6*time}) : bitmap]);
}"""


class Engine:
    "The worker without the page: the same messages, pixels as PNG, so that no JPEG decoder is between it and Python."
    def __init__(self, page, url, settings=None):
        self.page = page
        self.page.goto(f'{url}licences/NOTICE.txt')
        assert 'error' not in self.page.evaluate(OPEN, [url, settings])

    def send(self, script, image, *rest):
        png = base64.b64encode(cv2.imencode('.png', image)[1]).decode()
        return self.page.evaluate(script, [png, *rest])['faces']


@pytest.fixture(scope='module')
def engine(chromium, host):
    engine = Engine(chromium.new_context().new_page(), host.url)
    yield engine
    engine.page.context.close()


@pytest.fixture(scope='module')
def python(): return EmotionRecognizer(detector='blazeface')


def same(found, faces):
    "Asserts that the engine's faces are Python's."
    assert len(found) == len(faces)
    for one, face in zip(found, faces):
        other = face.to_dict()
        for key, by in (('box', .5), ('landmarks', .5), ('roll', .2), ('score', 1e-3), ('confidence', 1e-3)):
            assert np.abs(np.subtract(one[key], other[key])).max() <= by, key
        assert list(one['probabilities']) == list(other['probabilities'])
        gap = np.subtract([*one['probabilities'].values()], [*other['probabilities'].values()])
        assert np.abs(gap).max() <= 1.01e-4
        for key in ('label', 'answer', 'mixed', 'uncertain', 'reason', 'people'): assert one[key] == other[key], key
        assert one['sentence'] == face.sentence and one['quality'].keys() == other['quality'].keys()


def scenes(sample):
    "Pictures of one face and more, by name: small and large, turned, covered, dark, at the edge; and of none."
    photo = cv2.imread(str(sample))
    head, rng = photo[:200, 60:390], np.random.default_rng(1)
    def tilted(angle):
        turn = cv2.getRotationMatrix2D((163, 120), angle, 1)
        return cv2.warpAffine(head, turn, head.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    masked = head.copy()
    cv2.fillPoly(masked, [np.array([(113, 125), (163, 112), (214, 125), (200, 180), (126, 180)])], (150, 110, 60))
    crowd = np.full((900, 1400, 3), 70, np.uint8)
    for i, size in enumerate((.3, .45, .6, .8, 1., 1.3)):
        face = cv2.resize(photo[30:200, 140:300], None, fx=size, fy=size)
        crowd[60+70*i:60+70*i+len(face), 30+210*i:30+210*i+face.shape[1]] = face
    yield 'sample', photo
    yield 'tilted and masked', np.hstack([tilted(-40), masked])
    yield 'tilted a little', tilted(25)
    yield 'upside down', photo[::-1].copy()
    yield 'dark', (photo*.12).astype(np.uint8)
    yield 'blurred', cv2.GaussianBlur(photo, (0, 0), 6)
    yield 'at the edge', photo[60:180, 200:400]
    yield 'tiny', cv2.resize(photo, (97, 97))
    yield 'large and odd', cv2.resize(photo, (1600, 1201))
    yield 'crowd', crowd
    yield 'wall', rng.integers(150, 200, (300, 400, 3)).astype(np.uint8)


def test_photos_have_the_same_faces_as_in_python(engine, python, sample):
    faces = 0
    for name, image in scenes(sample):
        expected = python(image)
        faces += len(expected)
        try: same(engine.send(PHOTO, image), expected)
        except AssertionError as e: raise AssertionError(f'{name}: {e}') from None
    assert faces >= 10


def test_every_model_answers_as_in_python(engine, sample):
    from fer_nb.inference.zoo import list_models
    image = cv2.imread(str(sample))
    try:
        for card in list_models():
            engine.page.evaluate("(model) => ask({kind: 'use', model})", card.name)
            same(engine.send(PHOTO, image), EmotionRecognizer(card.name, 'blazeface')(image))
    finally: engine.page.evaluate("() => ask({kind: 'use', model: 'se_resnet'})")


ALONE = """
import { openNetwork, startRuntime } from "./engine/network.js";
self.onmessage = async ({ data: [runtime, file, inputs] }) => {
  await startRuntime(new URL(runtime));
  const net = await openNetwork(new Uint8Array(await (await fetch(file)).arrayBuffer())), rows = [];
  for (const o of inputs) rows.push(Array.from((await net(Float32Array.from(o)))[0]));
  self.postMessage(rows);
};
"""


def test_the_networks_alone_give_exactly_the_same_numbers(chromium, host, folder, tmp_path):
    from fer_nb.apps.site import node_command, npm_packages
    from fer_nb.inference.zoo import load_model
    (tmp_path/'node_modules').symlink_to(npm_packages())
    (tmp_path/'engine').symlink_to(static_file('site/engine'))
    (tmp_path/'alone.js').write_text(ALONE)
    esbuild = npm_packages()/'esbuild/bin/esbuild'
    flags = '--bundle', '--format=iife', '--preserve-symlinks', f"--outfile={folder/'faces/alone.js'}"
    subprocess.run([node_command('node'), esbuild, 'alone.js', *flags], cwd=tmp_path, check=True)
    faces = np.random.default_rng(0).integers(0, 256, (20, 48, 48), np.uint8)
    faces[10:] = [cv2.GaussianBlur(o, (0, 0), 3) for o in faces[10:]]
    page = chromium.new_context().new_page()
    page.goto(f'{host.url}licences/NOTICE.txt')
    runtime = next((folder/'faces').glob('runtime-*')).name
    for name in ('se_resnet', 'lenet'):
        rows = page.evaluate("""(message) => new Promise((resolve) => {
            const worker = new Worker('../alone.js');
            worker.onmessage = ({data}) => resolve(data);
            worker.postMessage(message); })""",
            [f'{host.url}{runtime}/', f'{host.url}models/{name}.tflite', faces.reshape(20, -1).tolist()])
        assert np.abs(np.array(rows) - load_model(name).logits(faces, batch=1)).max() == 0
    page.context.close()
    (folder/'faces/alone.js').unlink()


def test_a_film_has_the_same_tracks_as_in_python(engine, python):
    "Two faces that move, one that goes and comes back, nobody, and time that runs unevenly; by both ways frames come."
    import fake_camera
    stream, time, numbers = FaceStream(python), 0., set()
    for i, frame in enumerate(fake_camera.frames(2, 48)):
        time += (.03, .04, .11)[i % 3]
        if 12 <= i < 20: frame[:, 320:] = 70
        if 30 <= i < 33: frame[:] = 70
        if i == 40: time += 2                                    # so long that everybody gets a new number
        expected = stream(frame, time)
        found = engine.send(FRAME, frame, time, 640*(i % 4 != 0))
        same(found, expected)
        assert [o['track'] for o in found] == [o.track for o in expected]
        numbers |= {o.track for o in expected}
    assert len(numbers) == 4


def test_a_camera_with_larger_frames_is_read_at_640_pixels(engine, sample):
    wide = cv2.copyMakeBorder(cv2.imread(str(sample)), 0, 0, 0, 398, cv2.BORDER_REPLICATE)
    frame = cv2.resize(wide, (1280, 720))
    found = engine.page.evaluate(FRAME, [base64.b64encode(cv2.imencode('.png', frame)[1]).decode(), 1e4, 640])
    assert (found['width'], found['height']) == (640, 360) and [o['label'] for o in found['faces']] == ['happy']


def test_the_engine_has_its_numbers_from_python(chromium, host, sample):
    "Other numbers in engine.json are other answers, and no number in the scripts bears the name of one of them."
    settings, image = json.loads((host.folder/'faces/engine.json').read_text())['settings'], cv2.imread(str(sample))
    def faces(change):
        told = json.loads(json.dumps(settings))
        change(told)
        engine = Engine(chromium.new_context().new_page(), host.url, told)
        try: return engine.send(PHOTO, image)
        finally: engine.page.context.close()
    (face,) = faces(lambda o: o.update(people=4))
    assert sum(face['people'].values()) == 4
    assert faces(lambda o: o['detector'].update(min_score=.999)) == []
    assert 'too small' in faces(lambda o: o['limits'].update(pixels=500))[0]['answer']
    names = {k.lower() for part in (settings, settings['detector'], settings['detector']['search'], settings['limits'],
                                    settings['tracker'], *settings['models'].values()) for k in part}
    scripts = static_file('site/engine').glob('*.js')
    written = {o.lower() for path in scripts for line in path.read_text().splitlines() if line.startswith('const ')
               for o in re.findall(r'\b([A-Z][A-Z_]+)\b(?=[^=]*=)', line)}
    assert not written & {o for name in names for o in (name, f'{name}s')}, written & names


# -- The page


@pytest.mark.parametrize('width, height', [(1440, 900), (390, 844)])
def test_the_page_opens_complete_and_reads(chromium, host, width, height):
    site = Page(chromium, host.url, viewport=dict(width=width, height=height))
    for tab in ('About', 'Camera', 'Photo'):
        site.page.click(f'role=tab[name={tab}]')
        assert site.page.evaluate('document.scrollingElement.scrollWidth <= innerWidth'), f'{tab} is too wide'
        site.shot(f'site_{tab.lower()}_{width}')
    site.page.click('text=Try the sample photo')
    expect(site.wait('sample.jpg').locator('.box .chip')).to_contain_text('happy')
    assert site.page.evaluate('document.scrollingElement.scrollWidth <= innerWidth'), 'a photo is wider than the page'
    site.page.screenshot(path=OUTPUT/f'site_read_{width}.png', full_page=True)
    assert site.hosts == {host.url.split('/')[2]} and not site.errors
    site.context.close()


def test_about_says_that_nothing_leaves_the_device(site):
    site.page.click('role=tab[name=About]')
    about = site.page.locator('.fer-nb-about')
    expect(about).to_contain_text('No picture leaves this device')
    expect(about).to_contain_text('what people would say about a face, not what the person feels')
    expect(about.locator('table.confusion tbody tr')).to_have_count(7)


def test_a_photo_by_drop_chooser_and_paste_and_its_downloads(site, sample, python):
    (face,) = python(sample)
    site.add(sample)
    card = site.wait('sample.jpg')
    expect(card.locator('.box .chip')).to_contain_text(face.label)
    expect(card.locator('.people [role=img]')).to_have_attribute('aria-label', face.sentence)
    name, data = site.download('role=button[name="Download JSON of sample.jpg"]')
    (picture,) = json.loads(data)
    assert (name, picture['width'], picture['height']) == ('sample_faces.json', 512, 512)
    assert picture['faces'][0].keys() == face.to_dict().keys() and picture['faces'][0]['people'] == face.people
    (row,) = csv.DictReader(io.StringIO(site.download('role=button[name="Download CSV of sample.jpg"]')[1].decode()))
    assert tuple(row) == (*PICTURE_COLUMNS, *face.labels)
    name, data = site.download('role=button[name="Download PNG of sample.jpg"]')
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert name == 'sample_faces.png' and drawn.shape == (512, 512, 3)
    assert np.abs(drawn.astype(int) - cv2.imread(str(sample))).mean() > 1
    site.paste(sample.read_bytes())
    expect(site.wait('pasted.jpg').locator('.box')).to_have_count(1)
    site.page.click('text=Clear')
    for _ in site.drag(sample): pass
    expect(site.wait('sample.jpg').locator('.box')).to_have_count(1)


def test_another_model_reads_the_photos_again(site, sample):
    (face,) = EmotionRecognizer('lenet', detector='blazeface')(sample)
    site.page.click('text=Try the sample photo')
    card = site.wait('sample.jpg')
    before = card.locator('.bars').inner_text()
    site.page.select_option('select[aria-label=Model]', 'lenet')
    expect(card.locator('.bars')).not_to_have_text(before)
    site.wait('sample.jpg')
    (picture,) = json.loads(site.download('role=button[name="Download JSON of sample.jpg"]')[1])
    expected = face.to_dict()['probabilities']
    gaps = [abs(expected[k] - v) for k, v in picture['faces'][0]['probabilities'].items()]
    assert max(gaps) < .1                                                # the page has made a JPEG of it
    site.page.click('role=tab[name=About]')
    expect(site.page.locator('.fer-nb-about')).to_contain_text('The model lenet')


def test_the_page_can_be_installed(photos):
    tools = photos.context.new_cdp_session(photos.page)
    assert tools.send('Page.getAppManifest')['errors'] == []
    missing = {o['errorId'] for o in tools.send('Page.getInstallabilityErrors')['installabilityErrors']}
    assert missing <= {'in-incognito'}                                   # which a test's browser context is


def test_the_engine_names_a_flaw_as_python_does(engine):
    picture = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    gif = cv2.imencode('.gif', picture)[1].tobytes()
    avif = b'\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf'
    for data, same in (gif[:len(gif)//2], True), (b'', True), (b'%PDF-1.7', True), (avif, False):
        with pytest.raises(FerError) as python: open_image(data, 'it')
        said = engine.page.evaluate(PHOTO, [base64.b64encode(data).decode()])['error']
        assert said == str(python.value) if same else 'AVIF' in said and 'AVIF' in str(python.value), said


@pytest.mark.parametrize('which, said', [
    ('text', 'it holds text'), ('empty', '0 bytes'), ('svg', 'it holds SVG'), ('heic', 'HEIC'), ('tiff', 'TIFF'),
    ('broken', 'breaks off'), ('huge', '100 megapixels')])
def test_a_bad_file_gets_a_sentence_and_the_next_one_works(photos, sample, pictures, which, said):
    path = pictures[which]
    photos.add(path)
    message = photos.wait(path.name, 'bad').locator('.message')
    expect(message).to_contain_text(said)
    expect(message).to_contain_text(path.name)
    photos.add(sample)
    expect(photos.wait('sample.jpg').locator('.box')).to_have_count(1)
    photos.page.click('text=Clear')


def test_a_wall_and_a_turned_phone(photos, pictures):
    photos.add(pictures['wall'], pictures['phone'])
    expect(photos.wait('wall.jpg').locator('.message')).to_contain_text('No face found')
    expect(photos.wait('phone.jpg').locator('.box .chip')).to_contain_text('happy')
    photos.page.click('text=Clear')


# -- The camera


def test_the_camera_follows_two_faces_and_nothing_is_asked_for(site, host):
    site.page.click('text=Try the sample photo')
    site.wait('sample.jpg')
    site.page.wait_for_selector('html[data-offline=ready]', state='attached')
    asked = len(host.asked)
    site.start_camera(2)
    site.frames(20)
    tracks = "[...document.querySelectorAll('.live .face')].map((o) => o.dataset.track).join()"
    numbers = site.page.evaluate(tracks)
    expect(site.page.locator('.live .chip').first).to_contain_text('happy')
    site.shot('site_camera')
    site.frames(40)
    assert site.page.evaluate(tracks) == numbers
    name, data = site.download('text=Snapshot')
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape == (480, 640, 3) and site.lights() == 1
    site.page.click('role=button[name=Stop]')
    assert site.lights() == 0
    site.page.click('role=tab[name=Photo]')
    site.page.click('text=Clear')
    site.page.click('text=Try the sample photo')
    site.wait('sample.jpg')
    assert {o for o, _ in host.asked[asked:]} <= {'/faces/sw.js'}   # the browser itself asks for a new version


@pytest.mark.parametrize('faces', [0, 1])
def test_the_camera_with_one_face_and_with_none(playwright, host, tmp_path, faces):
    import fake_camera
    film = tmp_path/'film.mjpeg'
    if faces: fake_camera.write(film, faces)
    else: film.write_bytes(cv2.imencode('.jpg', np.full((480, 640, 3), 90, np.uint8))[1].tobytes()*30)
    browser = start_browser(playwright, *FAKE, f'--use-file-for-fake-video-capture={film}')
    site = Page(browser, host.url)
    site.start_camera(faces)
    site.frames(5)
    nobody = site.page.locator('.side .nobody, .side p').first
    if not faces: expect(nobody).to_contain_text('No face in view')
    site.page.evaluate("tracks[0].stop(); tracks[0].dispatchEvent(new Event('ended'))")
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('unplugged')
    browser.close()


# -- Firefox


@pytest.fixture(scope='module')
def firefox(tmp_path_factory):
    pytest.importorskip('tornado')
    import firefox
    if not (path := firefox.find()): pytest.skip("no Firefox: install one, or name it in the variable FIREFOX")
    running = firefox.Firefox(path, tmp_path_factory.mktemp('firefox'))
    yield running
    running.stop()


UNTIL = """async () => {
  for (let i = 0; i < 600; i++) {
    if (IT) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return document.body.innerText;
}"""


def test_firefox_has_the_same_faces_and_tracks_as_python(firefox, host, python, sample):
    import fake_camera
    engine, stream = Engine(firefox, host.url), FaceStream(python)
    for name, image in scenes(sample):
        if name in ('sample', 'tilted and masked', 'at the edge', 'wall'):
            same(engine.send(PHOTO, image), python(image))
    for i, frame in enumerate(fake_camera.frames(2, 12)):
        expected, found = stream(frame, i/30), engine.send(FRAME, frame, i/30, 640*(i % 2))
        same(found, expected)
        assert [o['track'] for o in found] == [o.track for o in expected]


CLICK = "(text) => [...document.querySelectorAll('button')].find((o) => o.textContent === text).click()"
READY = "document.documentElement.dataset.engine === 'ready'"
HAPPY = "document.querySelector('article .box .chip')?.textContent.includes('happy')"
GIVE = """async (how) => {
  const data = new DataTransfer(), bytes = await (await fetch('sample.jpg')).arrayBuffer();
  data.items.add(new File([bytes], `${how}.jpg`, {type: 'image/jpeg'}));
  const event = Object.defineProperty(new Event('paste', {bubbles: true}), 'clipboardData', {value: data});
  if (how === 'paste') document.dispatchEvent(event);     // Firefox lets no script make one with files
  else document.querySelector('.drop').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
}"""
FILM = """() => {
  navigator.mediaDevices.getUserMedia = async () => {
    const canvas = document.createElement('canvas'), pen = canvas.getContext('2d'), photo = new Image();
    [canvas.width, canvas.height, photo.src] = [640, 480, 'sample.jpg'];
    await photo.decode();
    window.film = setInterval(() => {
      pen.fillRect(0, 0, 640, 480);
      for (let i = 0; i < FACES; i++) pen.drawImage(photo, 80, 0, 320, 480, 320*i, Math.random(), 320, 480);
    }, 40);
    const stream = canvas.captureStream(25);
    stream.getVideoTracks()[0].addEventListener = (_, heard) => { window.lose = heard; };  // it hears no made-up event
    return stream;
  };
}"""


@pytest.fixture
def page(firefox):
    "The page in Firefox: `until(script)` waits until it is true."
    def until(script):
        assert (said := firefox.evaluate(UNTIL.replace('IT', script))) is True, f'{script}: {said}'
    firefox.until = until
    return firefox


def test_firefox_reads_photos_by_drop_chooser_and_paste_and_bad_ones_get_a_sentence(page, host, sample, pictures):
    page.goto(host.url)
    page.until(READY)
    for width in (390, 1440):
        page.resize(width, 900)
        page.evaluate(CLICK, 'Try the sample photo')
        page.until(HAPPY)
        assert page.evaluate('() => document.scrollingElement.scrollWidth <= innerWidth')
        page.shot(OUTPUT/f'site_firefox_{width}.png')
        page.evaluate(CLICK, 'Clear')
    for how in ('drop', 'paste'):
        page.evaluate(GIVE, how)
        page.until(HAPPY)
        page.evaluate(CLICK, 'Clear')
    page.choose('input[type=file]', sample)
    page.until(HAPPY)
    for which, said in (('text', 'it holds text'), ('empty', '0 bytes'), ('svg', 'it holds SVG'), ('heic', 'HEIC'),
                        ('broken', 'breaks off'), ('huge', '100 megapixels'), ('wall', 'No face found')):
        path = pictures[which]
        page.choose('input[type=file]', path)
        card = f'article[aria-label="{path.name}"] .message'
        page.until(f"document.querySelector('{card}')?.textContent.includes('{said}')")
    before = page.evaluate("() => document.querySelector('article .bars').innerText")
    page.evaluate("""() => {
      const o = document.querySelector('select[aria-label=Model]');
      o.value = 'se_resnet_fer2013';
      o.dispatchEvent(new Event('change'));
    }""")
    page.until(f"document.querySelector('article .bars').innerText !== {json.dumps(before)}")
    page.until("document.documentElement.dataset.offline === 'ready'")


@pytest.mark.parametrize('faces', [0, 1, 2])
def test_firefox_follows_the_faces_of_a_film_and_says_that_a_camera_is_lost(page, host, faces):
    forget = page.before(FILM.replace('FACES', str(faces)))
    try:
        page.goto(host.url)
        page.until(READY)
        page.evaluate(CLICK, 'Camera')
        page.evaluate(CLICK, 'Start')
        page.until("+document.querySelector('[data-camera]')?.dataset.frames >= 5")
        page.until(f"document.querySelectorAll('.live .face').length === {faces}")
        nobody = "document.querySelector('.fer-nb-camera .empty').innerText.includes('No face in view')"
        if not faces: page.until(nobody)
        page.shot(OUTPUT/f'site_firefox_camera_{faces}.png')
        page.evaluate('() => { lose(); clearInterval(film); }')
        page.until("document.querySelector('.fer-nb-camera .message').textContent.includes('unplugged')")
    finally: forget()


def test_firefox_works_offline_and_refuses_a_changed_network(page, folder, tmp_path):
    import shutil
    host = Host(folder)
    page.goto(host.url)
    page.until("document.documentElement.dataset.offline === 'ready'")
    host.stop()
    page.goto(host.url)
    page.until(READY)
    page.evaluate(CLICK, 'Try the sample photo')
    page.until(HAPPY)
    shutil.copytree(folder/'faces', tmp_path/'faces')
    data = bytearray((path := tmp_path/'faces/models/detector.tflite').read_bytes())
    data[len(data)//2] ^= 1
    path.write_bytes(data)
    host = Host(tmp_path)
    page.goto(host.url)
    page.until("document.querySelector('.message.bad')?.textContent.includes('is not the file that belongs')")
    host.stop()


@pytest.mark.parametrize('script, said', [
    ('delete window.Worker', 'web workers'), ('WebAssembly.validate = () => false', 'WebAssembly SIMD')])
def test_a_firefox_that_lacks_something_gets_a_sentence(page, host, script, said):
    forget = page.before(f'() => {{ {script}; }}')
    try:
        page.goto(host.url)
        page.until(f"document.querySelector('#opening .step').textContent.includes('{said}')")
    finally: forget()


# -- Offline, versions, and what a browser may lack


def test_the_page_works_offline_after_the_first_visit(chromium, folder, tmp_path):
    host = Host(folder)
    site = Page(chromium, host.url)
    site.page.wait_for_selector('html[data-offline=ready]', state='attached')
    host.stop()
    site.page.reload()
    site.page.wait_for_selector('html[data-engine=ready]', state='attached')
    site.page.click('text=Try the sample photo')
    expect(site.wait('sample.jpg').locator('.box')).to_have_count(1)
    site.page.select_option('select[aria-label=Model]', 'lenet')            # never loaded before
    expect(site.page.locator('.message.bad').first).to_contain_text('cannot be loaded: check the connection')
    site.context.close()


def test_a_second_visit_transfers_nothing_and_a_new_version_asks(chromium, folder, tmp_path):
    import shutil
    shutil.copytree(folder/'faces', tmp_path/'faces')
    host = Host(tmp_path)
    site = Page(chromium, host.url)
    site.page.wait_for_selector('html[data-offline=ready]', state='attached')
    asked = len(host.asked)
    site.page.reload()
    site.page.wait_for_selector('html[data-engine=ready]', state='attached')
    site.page.wait_for_timeout(500)
    assert {o for o, _ in host.asked[asked:]} <= {'/faces/sw.js'}           # is there another version?
    page, sw = tmp_path/'faces/page.css', tmp_path/'faces/sw.js'
    page.write_text(page.read_text() + '\nbody { outline: 3px solid red; }\n')
    sw.write_text(sw.read_text().replace('VERSION = "', 'VERSION = "x'))
    site.page.reload()
    site.page.wait_for_selector('#update')
    outline = "getComputedStyle(document.body).outlineStyle"
    assert site.page.evaluate(outline) == 'none'
    with site.page.expect_navigation(): site.page.click('text=Use it now')
    site.until(f"{outline} === 'solid'")
    site.context.close()
    host.stop()


@pytest.mark.parametrize('script, said', [
    ('delete window.Worker', 'web workers'), ('WebAssembly.validate = () => false', 'WebAssembly SIMD'),
    ('delete window.WebAssembly', 'WebAssembly SIMD')])
def test_a_browser_that_lacks_something_gets_a_sentence(chromium, host, script, said):
    page = chromium.new_context().new_page()
    page.add_init_script(script)
    page.goto(host.url)
    expect(page.locator('#opening .step')).to_contain_text(said)
    page.context.close()


def test_a_network_with_a_changed_byte_is_refused(chromium, folder, tmp_path):
    import shutil
    shutil.copytree(folder/'faces', tmp_path/'faces')
    for name in ('detector', 'lenet'):
        path = tmp_path/f'faces/models/{name}.tflite'
        data = bytearray(path.read_bytes())
        data[len(data)//2] ^= 1
        path.write_bytes(data)
    host = Host(tmp_path)
    site = Site(chromium, host.url)
    expect(site.page.locator('.message.bad').first).to_contain_text('The face detector is not the file that belongs')
    site.context.close()
    host.stop()


# -- Cost


def first_visit(chromium, host):
    "The paths of the files that a first visit asks for."
    start = len(host.asked)
    site = Page(chromium, host.url)
    site.page.wait_for_selector('html[data-offline=ready]', state='attached')
    site.context.close()
    return {o.split('?')[0].removeprefix('/faces/') or 'index.html' for o, code in host.asked[start:] if code == 200}


def test_the_first_visit_is_small(chromium, host, folder):
    "What a host that compresses would send; a second visit to the same host needs none of it."
    files = first_visit(chromium, host)
    size = lambda names: sum(len(gzip.compress((folder/'faces'/o).read_bytes(), 9)) for o in names)
    assert size(files) <= 4.5e6
    assert size(files - {'models/se_resnet.tflite'} | {'models/lenet.tflite'}) <= 3.5e6


def test_two_hundred_visitors_at_once_are_served(chromium, host, folder):
    "By a static server on this machine; each fetches what a browser fetches on its first visit."
    from concurrent.futures import ThreadPoolExecutor
    from urllib.request import ProxyHandler, build_opener
    files, direct = sorted(first_visit(chromium, host)), build_opener(ProxyHandler({}))
    whole = {o: (folder/'faces'/o).read_bytes() for o in files}
    def visit(_):
        return all(direct.open(f'{host.url}{o}', timeout=120).read() == whole[o] for o in files)
    with ThreadPoolExecutor(50) as pool: assert all(pool.map(visit, range(200)))


# -- The dashboard's camera, on this device


@pytest.fixture(scope='module')
def served(folder):
    pytest.importorskip('voila')
    from fer_nb.apps.serve import start
    with start(port=0, device=folder/'faces') as server: yield server


def test_the_dashboards_camera_asks_the_server_for_nothing(chromium, served):
    site = Site(chromium, served.url)
    sent = []
    site.page.on('websocket', lambda o: o.on('framesent', lambda data: sent.append(data)))
    site.page.reload()                                                      # so that its websocket is heard
    site.page.wait_for_selector('.fer-nb .drop')
    site.start_camera(2)
    site.frames(5)
    expect(site.page.locator('.fer-nb-camera .means')).to_contain_text('do not leave this browser')
    asked, messages = [], -1
    while messages < len(sent):                                             # until the page has done all its asking
        messages = len(sent)
        site.page.wait_for_timeout(2000)
    site.page.on('request', lambda o: asked.append(o.url))
    seen = int(site.figures()['frames'])
    site.frames(seen + 40)
    site.page.wait_for_timeout(5500)                                        # the page asks every five seconds otherwise
    assert asked == [] and len(sent) == messages
    expect(site.page.locator('.live .chip').first).to_contain_text('happy')
    site.shot('camera_on_this_device')
    site.page.select_option('select[aria-label="Where frames are read"]', 'kernel')
    expect(site.page.locator('.fer-nb-camera .means')).to_contain_text('go to the program that serves this page')
    site.until("document.querySelector('[data-camera=on]')?.dataset.place === 'kernel'")
    while len(sent) == messages: site.page.wait_for_timeout(50)             # frames, to the kernel
    assert not site.errors, site.errors
    site.context.close()


def test_the_dashboards_camera_on_this_device_uses_the_model_that_is_chosen(chromium, served):
    site = Site(chromium, served.url)
    site.start_camera(2)
    before = site.page.locator('.live .bars').first.inner_text()
    site.page.select_option('select[aria-label=Model]', 'lenet')
    expect(site.page.locator('.live .bars').first).not_to_have_text(before)
    site.frames(5)
    assert site.figures()['place'] == 'device'
    site.context.close()


def test_where_the_browser_cannot_the_dashboard_says_so_and_the_kernel_reads(chromium, served):
    context = chromium.new_context(viewport=dict(width=1440, height=900))
    page = context.new_page()
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(served.url)
    page.wait_for_selector('.fer-nb .drop')
    page.click('role=tab[name=Camera]')
    expect(page.locator('.fer-nb-camera .means')).to_contain_text('lacks WebAssembly SIMD')
    expect(page.locator('select[aria-label="Where frames are read"]')).to_be_hidden()
    page.click('role=button[name=Start]')
    expect(page.locator('.live .face')).to_have_count(2)
    context.close()


def test_an_engine_that_cannot_be_loaded_is_said_before_a_frame_leaves(chromium, served):
    site = Site(chromium, served.url)
    site.context.route('**/device/models/detector*', lambda o: o.abort())
    site.page.click('role=tab[name=Camera]')
    site.page.click('role=button[name=Start]')
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('The face detector cannot be loaded')
    expect(site.page.locator('.fer-nb-camera .means')).to_contain_text('go to the program that serves this page')
    assert site.lights() == 0
    site.page.click('role=button[name=Start]')                              # now the visitor knows who reads
    expect(site.page.locator('.live .face')).to_have_count(2)
    site.context.close()


def test_a_model_that_is_only_on_the_server_is_not_offered_on_this_device(chromium, folder, with_answers):
    from fer_nb.apps.serve import start
    model = with_answers(dict(threshold=.5, pair=.7, power=1))
    name = Path(model).stem
    with start(port=0, model=model, device=folder/'faces') as server:
        site = Site(chromium, server.url)
        choice, means = 'select[aria-label="Where frames are read"]', site.page.locator('.fer-nb-camera .means')
        site.start_camera(2)
        expect(site.page.locator(choice)).to_be_hidden()
        expect(means).to_contain_text('go to the program that serves this page')
        expect(means).to_contain_text(f'The model {name} runs on the server only.')
        site.page.click('role=button[name=Stop]')
        site.page.select_option('select[aria-label=Model]', 'lenet')
        site.page.select_option(choice, 'device')
        site.start_camera(2)
        expect(means).to_contain_text('do not leave this browser')
        site.page.select_option('select[aria-label=Model]', name)
        message = site.page.locator('.fer-nb-camera .message')
        expect(message).to_contain_text(f'The model {name} runs on the server only: press Start to send frames there.')
        assert site.lights() == 0                                           # no frame goes elsewhere unasked
        site.context.close()


def test_the_dashboard_sends_the_engine_compressed_and_once(served, folder):
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener
    direct = build_opener(ProxyHandler({}))
    for path, kind in (('worker.js', 'text/javascript'), ('models/detector.tflite', 'application/octet-stream'),
                       *((o.relative_to(folder/'faces').as_posix(), 'application/wasm')
                         for o in (folder/'faces').glob('runtime-*/*internal.wasm'))):
        whole, url = (folder/'faces'/path).read_bytes(), f'{served.url.rstrip("/")}/device/{path}'
        assert direct.open(url).read() == whole                             # for who takes nothing else
        asks = {'Accept-Encoding': 'gzip, br'}
        with direct.open(Request(url, headers=asks)) as reply:
            told, data = reply.headers, reply.read()
        assert (told['Content-Encoding'], told['Vary'], told['Content-Type']) == ('gzip', 'Accept-Encoding', kind)
        assert gzip.decompress(data) == whole and len(data) < .9*len(whole)
        with pytest.raises(HTTPError, match='304'):
            direct.open(Request(url, headers=asks | {'If-None-Match': told['Etag']}))
