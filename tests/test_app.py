"The dashboard as a visitor meets it: a real server, a real kernel, a real browser. Screenshots go to test-output/."
import csv
import io
import json
import re
import sys

import cv2
import numpy as np
import psutil
import pytest

pytest.importorskip('voila')
pytest.importorskip('playwright')
from pages import FAKE, OUTPUT, SLOW, Site, start_browser  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

from fer_nb.inference.answers import initials  # noqa: E402
from fer_nb.inference.tables import PICTURE_COLUMNS  # noqa: E402

expect.set_options(timeout=SLOW/2)


@pytest.fixture
def site(chromium, server):
    site = Site(chromium, server.url)
    yield site
    site.context.close()


@pytest.fixture(scope='module')
def opened(chromium, server):
    site = Site(chromium, server.url)
    yield site
    site.context.close()


@pytest.fixture
def photos(opened):
    "A page that the tests share which only bring photos; each finds it without any."
    if opened.page.locator('article').count(): opened.page.click('text=Clear')
    expect(opened.page.locator('article')).to_have_count(0)
    return opened


# -- The page


@pytest.mark.parametrize('width, height', [(1440, 900), (390, 844)])
def test_the_page_opens_complete_and_asks_no_other_host(chromium, server, width, height):
    site = Site(chromium, server.url, viewport=dict(width=width, height=height))
    assert 'fer_nb' in site.page.title()
    for tab in ('About', 'Camera', 'Photo'):
        site.page.click(f'role=tab[name={tab}]')
        assert site.page.evaluate('document.scrollingElement.scrollWidth <= innerWidth'), f'{tab} is too wide'
        site.page.wait_for_timeout(200)
        site.shot(f'{tab.lower()}_{width}')
    site.page.click('text=Try the sample photo')
    site.wait('sample.jpg')
    assert site.page.evaluate('document.scrollingElement.scrollWidth <= innerWidth'), 'a photo is wider than the page'
    site.page.screenshot(path=OUTPUT/f'photo_read_{width}.png', full_page=True)
    assert site.hosts == {server.url.split('/')[2]}
    assert site.errors == [] and not [o for o in site.warnings if 'version' in o]
    site.context.close()


def test_dark(chromium, server):
    site = Site(chromium, server.url, color_scheme='dark')
    site.page.click('text=Try the sample photo')
    site.wait('sample.jpg')
    site.shot('photo_dark')
    ground = site.page.eval_on_selector('.fer-nb-kind-shell', 'o => getComputedStyle(o).backgroundColor')
    assert max(map(int, ground[4:-1].split(','))) < 60
    site.context.close()


def test_tabs_by_keyboard_and_about_shows_the_card(site):
    from fer_nb.inference.zoo import load_model
    card = load_model().card
    site.page.focus('role=tab[name=Photo]')
    site.page.keyboard.press('ArrowLeft')
    about = site.page.locator('.fer-nb-about')
    expect(about).to_be_visible()
    expect(about).to_contain_text(f"{100*card['evaluation']['accuracy']:.1f}")
    expect(about).to_contain_text('AI Act')
    expect(about).to_contain_text('what people would say about a face, not what the person feels')
    expect(about.locator('table.confusion tbody tr')).to_have_count(len(card.labels))
    site.page.screenshot(path=OUTPUT/'about_whole.png', full_page=True)


def test_another_model_reads_the_photos_again(site):
    site.page.click('text=Try the sample photo')
    card = site.wait('sample.jpg')
    before = card.locator('.bars').inner_text()
    site.page.select_option('select[aria-label=Model]', 'lenet')
    expect(card.locator('.bars')).not_to_have_text(before)
    site.wait('sample.jpg')
    site.page.click('role=tab[name=About]')
    expect(site.page.locator('.fer-nb-about')).to_contain_text('The model lenet')


def test_a_tilted_face_has_a_tilted_box_and_a_masked_one_a_reason(photos, sample, tmp_path):
    photo = cv2.imread(str(sample))[:200, 60:390]
    turn = cv2.getRotationMatrix2D((163, 120), -40, 1)
    tilted = cv2.warpAffine(photo, turn, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    masked = photo.copy()
    cv2.fillPoly(masked, [np.array([(113, 125), (163, 112), (214, 125), (200, 180), (126, 180)])], (150, 110, 60))
    cv2.imwrite(str(tmp_path/'two.png'), np.hstack([tilted, masked]))
    photos.add(tmp_path/'two.png')
    card = photos.wait('two.png')
    expect(card.locator('.box')).to_have_count(2)
    angle = "o => { const m = new DOMMatrix(getComputedStyle(o).transform); return Math.atan2(m.b, m.a)*180/Math.PI; }"
    angles = card.locator('.edge').evaluate_all(f'all => all.map({angle})')
    assert min(angles) == 0 and 33 < max(angles) < 50
    said = ' '.join(card.locator('.box .chip').all_inner_texts())
    assert 'happy' in said and 'mouth covered' in said
    card.screenshot(path=OUTPUT/'app_tilted.png')


def test_a_model_with_labels_of_its_own(chromium, tmp_path):
    from fer_nb.apps.serve import start
    from fer_nb.inference.zoo import load_model
    card = load_model('lenet').card
    about = json.loads(card.path.read_text().replace('"happy"', '"joy"').replace('"neutral"', '"contempt"'))
    about['answers'] |= dict(threshold=1., pair=1.01)                            # so no answer is sure enough
    about |= dict(name='mine', file=about['file'] | dict(name='mine.tflite'))
    (tmp_path/'mine.json').write_text(json.dumps(about))
    (tmp_path/'mine.tflite').write_bytes(card.model_path.read_bytes())
    with start(port=0, model=tmp_path/'mine.tflite') as server:
        site = Site(chromium, server.url)
        site.page.click('text=Try the sample photo')
        shown = site.wait('sample.jpg')
        expect(shown.locator('.bars').first).to_contain_text('contempt')
        expect(shown.locator('.box .chip')).to_contain_text('uncertain')
        (picture,) = json.loads(site.download('role=button[name="Download JSON of sample.jpg"]')[1])
        (face,) = picture['faces']
        assert set(face['probabilities']) == {*about['labels']} and face['label'] == 'joy' and face['uncertain'] is True
        site.shot('photo_own_labels')
        site.page.click('role=tab[name=About]')
        expect(site.page.locator('table.confusion')).to_contain_text('contempt')
        assert not site.errors, site.errors
        site.context.close()


def test_a_face_that_people_would_be_divided_about_has_both_labels(chromium, sample, with_answers):
    from fer_nb.apps.serve import start
    from fer_nb.inference.recognize import EmotionRecognizer
    model = with_answers(dict(threshold=.9999, pair=.1, power=1))                        # no face is sure enough
    (face,) = EmotionRecognizer(model)(sample)
    one, other = [*face.people][:2]
    with start(port=0, model=model) as server:
        site = Site(chromium, server.url)
        site.page.click('text=Try the sample photo')
        card = site.wait('sample.jpg')
        for chip in (card.locator('.box .chip'), card.locator('.face .chip')):
            parts = chip.locator('> span')
            assert parts.all_text_contents() == [f'1\u2002{one}', f', {other}']
            assert len(set(parts.evaluate_all('all => all.map((o) => o.style.background)'))) == 2
        expect(card.locator('.box')).to_have_class(re.compile(r'\bmixed\b'))
        expect(card.locator('tbody td').nth(1)).to_have_text(f'mixed: {one}, {other}')
        _, data = site.download('role=button[name="Download CSV of sample.jpg"]')
        (row,) = csv.DictReader(io.StringIO(data.decode()))
        assert (row['answer'], row['mixed'], row['uncertain']) == (f'mixed: {one}, {other}', '1', '0')
        site.shot('photo_mixed')
        site.page.click('role=tab[name=About]')
        expect(site.page.locator('.steps')).to_contain_text('where they would be divided')
        site.start_camera(2)
        site.frames(3)
        expect(site.page.locator('.live .chip').first.locator('> span')).to_have_count(2)
        ten = site.page.locator('.live .people [role=img]').first
        expect(ten).to_have_attribute('aria-label', re.compile('of ten people'))
        site.shot('camera_mixed')
        assert not site.errors, site.errors
        site.context.close()


# -- Photos


def ten_letters(face):
    "The letters of the ten figures, in their order."
    short = dict(zip(face.labels, initials(face.labels)))
    return [short[o] for o, n in face.people.items() for _ in range(n)]


def test_sample_photo_and_its_downloads(site, sample):
    from fer_nb.inference.recognize import EmotionRecognizer
    (face,) = EmotionRecognizer()(sample)
    site.page.click('text=Try the sample photo')
    card = site.wait('sample.jpg')
    expect(card.locator('.box .chip')).to_contain_text(face.label)
    expect(card.locator('tbody tr')).to_have_count(1)
    ten = card.locator('.people [role=img]')
    expect(ten).to_have_attribute('aria-label', face.sentence)
    assert ten.locator('text').all_text_contents() == ten_letters(face)
    site.shot('photo_sample')

    name, data = site.download('role=button[name="Download JSON of sample.jpg"]')
    (picture,) = json.loads(data)
    assert (name, picture['file'], picture['width'], picture['height']) == ('sample_faces.json', 'sample.jpg', 512, 512)
    assert picture['faces'][0]['label'] == face.label and np.allclose(picture['faces'][0]['box'], face.box, atol=4)
    assert picture['faces'][0].keys() == face.to_dict().keys() and picture['faces'][0]['people'] == face.people

    name, data = site.download('role=button[name="Download CSV of sample.jpg"]')
    (row,) = csv.DictReader(io.StringIO(data.decode()))
    assert (name, row['label'], row['face'], row['answer']) == ('sample_faces.csv', face.label, '1', face.answer)
    assert tuple(row) == (*PICTURE_COLUMNS, *face.labels)
    assert abs(sum(float(row[o]) for o in face.labels) - 1) < .01

    name, data = site.download('role=button[name="Download PNG of sample.jpg"]')
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert name == 'sample_faces.png' and drawn.shape == (512, 512, 3)
    assert np.abs(drawn.astype(int) - cv2.imread(str(sample))).mean() > 1


def test_a_dragged_file_is_read(photos, sample):
    site = photos
    for step in site.drag(sample):
        if step == 'dragOver': expect(site.page.locator('.drop')).to_have_class('drop over')
    expect(site.wait('sample.jpg').locator('.box')).to_have_count(1)
    expect(site.page.locator('.drop')).not_to_have_class('over')


def test_a_pasted_picture_is_read(photos, sample):
    photos.paste(sample.read_bytes())
    expect(photos.wait('pasted.jpg').locator('.box')).to_have_count(1)


def test_ten_at_once_with_broken_ones_among_them(site, sample, pictures, tmp_path):
    copies = [tmp_path/f'copy{i}.jpg' for i in range(7)]
    for o in copies: o.write_bytes(sample.read_bytes())
    site.add(*copies[:3], pictures['text'], *copies[3:], pictures['two'], pictures['broken'])
    for o in copies: site.wait(o.name)
    expect(site.wait('two.jpg').locator('.box')).to_have_count(2)
    for name in ('notes.png', 'broken.jpg'): site.wait(name, 'bad')
    expect(site.page.locator('.toolbar .total')).to_have_text('8 photos, 9 faces, 2 not read')
    site.shot('photo_ten')
    _, data = site.download('text=All as CSV')
    assert len(list(csv.DictReader(io.StringIO(data.decode())))) == 9
    site.page.click('text=Clear')
    expect(site.page.locator('article')).to_have_count(0)


@pytest.mark.parametrize('which, said', [
    ('text', 'it holds text'), ('empty', '0 bytes'), ('svg', 'it holds SVG'), ('heic', 'HEIC'),
    ('broken', 'breaks off'), ('huge', '100 megapixels')])
def test_a_bad_file_gets_a_sentence_and_the_next_one_works(photos, sample, pictures, which, said):
    path, site = pictures[which], photos
    site.add(path)
    message = site.wait(path.name, 'bad').locator('.message')
    expect(message).to_contain_text(said)
    expect(message).to_contain_text(path.name)
    site.add(sample)
    expect(site.wait('sample.jpg').locator('.box')).to_have_count(1)


def test_a_wall_a_turned_phone_and_a_tiff(photos, pictures):
    site = photos
    site.add(pictures['wall'], pictures['phone'], pictures['tiff'])
    expect(site.wait('wall.jpg').locator('.message')).to_contain_text('No face found')
    for name in ('phone.jpg', 'scan.tiff'):
        card = site.wait(name)
        expect(card.locator('.box .chip')).to_contain_text('happy')
        assert card.locator('img').evaluate('async (o) => { await o.decode(); return o.naturalWidth; }') == 512


def test_a_large_photo_keeps_its_own_coordinates(photos, sample, tmp_path):
    site = photos
    large = cv2.resize(cv2.imread(str(sample)), (6000, 4000))
    cv2.imwrite(str(tmp_path/'large.jpg'), large, [cv2.IMWRITE_JPEG_QUALITY, 95])
    site.add(tmp_path/'large.jpg')
    site.wait('large.jpg')
    _, data = site.download('role=button[name="Download JSON of large.jpg"]')
    (picture,) = json.loads(data)
    x, y, w, h = picture['faces'][0]['box']
    assert (picture['width'], picture['height']) == (6000, 4000)
    assert abs(x + w/2 - 223*6000/512) < 300 and abs(y + h/2 - 115*4000/512) < 300


def test_a_closer_look_finds_a_smaller_face(photos, sample, tmp_path):
    crowd = np.full((3000, 4000, 3), 120, np.uint8)
    head = cv2.resize(cv2.imread(str(sample))[:260, 90:350], (94, 94), interpolation=cv2.INTER_AREA)  # 36 of face
    crowd[1400:1494, 1900:1994] = head
    cv2.imwrite(str(tmp_path/'crowd.jpg'), crowd)
    photos.add(tmp_path/'crowd.jpg')
    card = photos.wait('crowd.jpg')
    expect(card.locator('.sought')).to_contain_text('Searched for faces of 80 pixels and larger.')
    expect(card.locator('.box')).to_have_count(0)
    card.locator('text=Look closer').click()
    expect(card.locator('.sought')).to_contain_text('faces of 40 pixels')
    expect(card.locator('.box')).to_have_count(1)
    expect(card.locator('text=Look closer')).to_have_count(0)
    photos.shot('photo_closer')


# -- The camera


def test_camera_follows_two_faces_and_starts_again(site):
    site.start_camera(2)
    site.frames(20)
    numbers = site.page.eval_on_selector_all('.live .face', 'all => all.map((o) => o.dataset.track)')
    assert len(set(numbers)) == 2
    expect(site.page.locator('.live .chip').first).to_contain_text('happy')
    expect(site.page.locator('.figures')).to_contain_text('frames a second')
    frames = int(site.figures()['frames'])
    site.shot('camera_two')
    site.frames(frames + 20)
    assert site.page.eval_on_selector_all('.live .face', 'all => all.map((o) => o.dataset.track)') == numbers
    pixels = site.page.evaluate("""() => {
        const o = document.querySelector('.layer'), {data} = o.getContext('2d').getImageData(0, 0, o.width, o.height);
        return data.filter((v, i) => i % 4 === 3 && v).length; }""")
    assert pixels > 1000                             # boxes are drawn over the video
    name, data = site.download('text=Snapshot')
    assert name.endswith('.png') and cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape == (480, 640, 3)
    assert site.lights() == 1
    site.page.click('role=button[name=Stop]')
    assert site.lights() == 0
    expect(site.page.locator('.live .face')).to_have_count(0)
    site.start_camera(2)
    assert site.lights() == 1


def test_leaving_the_tab_or_hiding_the_page_turns_the_camera_off(site):
    site.start_camera(2)
    site.page.click('role=tab[name=Photo]')
    assert site.lights() == 0
    site.start_camera(2)
    site.page.evaluate("""Object.defineProperty(document, 'hidden', {value: true, configurable: true});
                          document.dispatchEvent(new Event('visibilitychange'));""")
    assert site.lights() == 0
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('while the page was hidden')


@pytest.mark.parametrize('flags, said', [
    (FAKE[1:] + ['--deny-permission-prompts'], 'was denied'),
    (FAKE[:1], 'No camera was found')])
def test_a_camera_that_is_denied_or_absent_is_said(playwright, server, flags, said):
    browser = start_browser(playwright, *flags)
    site = Site(browser, server.url)
    site.page.click('role=tab[name=Camera]')
    site.page.click('role=button[name=Start]')
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text(said)
    expect(site.page.locator('role=button[name=Start]')).to_be_visible()
    browser.close()


def test_another_camera_can_be_chosen(playwright, server):
    browser = start_browser(playwright, FAKE[0], FAKE[1] + '=device-count=2')
    site = Site(browser, server.url)
    site.page.click('role=tab[name=Camera]')
    site.page.click('role=button[name=Start]')
    site.page.wait_for_selector('select[aria-label=Camera]:visible')
    label = "document.querySelector('video').srcObject?.getVideoTracks()[0].label"
    before = site.page.evaluate(label)
    site.page.select_option('select[aria-label=Camera]', index=1)
    site.until(f"({label} ?? '{before}') !== '{before}'")
    assert site.lights() == 1                        # the first one is off
    expect(site.page.locator('.side .empty')).to_contain_text('No face in view')
    browser.close()


def test_a_busy_camera_is_said_and_works_later(site):
    site.page.evaluate("""() => {
        const d = navigator.mediaDevices, open = d.getUserMedia; let first = true;
        d.getUserMedia = async (o) => {
            if (first) { first = false; throw new DOMException('', 'NotReadableError'); }
            return open(o); }; }""")
    site.page.click('role=tab[name=Camera]')
    site.page.click('role=button[name=Start]')
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('busy')
    site.start_camera(2)
    expect(site.page.locator('.fer-nb-camera .message')).to_be_hidden()


def test_an_insecure_address_is_said(playwright, server):
    host, port = server.url.split('/')[2].split(':')
    browser = start_browser(playwright, *FAKE, '--host-resolver-rules=MAP fer.test 127.0.0.1')
    site = Site(browser, f'http://fer.test:{port}/')
    site.page.click('role=tab[name=Camera]')
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('only over HTTPS')
    browser.close()


def test_a_lost_kernel_is_said_and_a_reload_helps(site, server):
    site.start_camera(2)
    kernel = site.page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    (process,) = [o for o in psutil.Process(server.pid).children(recursive=True) if kernel in ' '.join(o.cmdline())]
    process.kill()
    expect(site.page.locator('.fer-nb-camera .message')).to_contain_text('connection to the program is lost')
    site.page.reload()
    site.page.wait_for_selector('.fer-nb .drop')
    site.start_camera(2)


# -- The channel, without a browser


def said(widget, content, *buffers):
    "What a widget answers to a message, as the browser would receive it."
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    widget._handle_custom_msg(content, list(buffers))
    (answer,) = sent
    return answer


def test_malformed_messages_are_answered_and_the_next_one_works(sample, caplog):
    from fer_nb.apps.widgets import CameraWidget, PhotoWidget
    photo, camera = PhotoWidget(), CameraWidget()
    good = cv2.imencode('.jpg', cv2.resize(cv2.imread(str(sample)), (640, 480)))[1].tobytes()
    for content in (None, 'x', [], {}, {'id': 1}, *({'id': 1, 'kind': o} for o in ('nonsense', ['photo'], 'photo'))):
        assert said(photo, content)['error'].endswith('.')
    for when in (None, 'noon', float('nan'), [1], 10**400):
        assert 'time' in said(camera, {'id': 2, 'kind': 'frame', 'time': when}, good)['error']
    tall = cv2.imencode('.jpg', np.zeros((5000, 3000), np.uint8))[1].tobytes()
    for bad in (b'', b'nonsense', good[:500], tall):
        assert 'camera frame' in said(camera, {'id': 3, 'kind': 'frame', 'time': 1}, bad)['error']
    answer = said(camera, {'id': 4, 'kind': 'frame', 'time': 2}, good)
    assert answer['id'] == 4 and [o['label'] for o in answer['faces']] == ['happy']
    answer = said(photo, {'id': 5, 'kind': 'photo', 'name': 'a.jpg'}, memoryview(sample.read_bytes()))
    assert answer['id'] == 5 and len(answer['faces']) == 1


def test_the_kernel_imports_no_tensorflow():
    import subprocess
    code = ("import sys, fer_nb.apps.widgets; fer_nb.apps.widgets.Dashboard(); "
            "print([o for o in ('tensorflow', 'keras', 'matplotlib') if o in sys.modules])")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
