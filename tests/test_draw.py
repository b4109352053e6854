"What is drawn can be read, stays inside the picture, and says what the numbers say."
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import COLOURS, EMOTIONS
from fer_nb.inference.canvas import put_text, text_width
from fer_nb.inference.draw import draw_bars, draw_faces, draw_people, draw_report

def face(box, label='happy', p=.9, labels=EMOTIONS):
    probabilities = np.full(len(labels), (1 - p)/(len(labels) - 1), np.float32)
    probabilities[labels.index(label)] = p
    return SimpleNamespace(box=box, label=label, confidence=p, probabilities=probabilities, labels=labels, score=1.)


def bgr(label): return np.array([int(COLOURS[label][i:i+2], 16) for i in (5, 3, 1)])


def count(image, label, off=6): return int((abs(image.astype(int) - bgr(label)).max(-1) <= off).sum())


def test_the_picture_itself_stays_as_it_was():
    image = np.full((200, 300, 3), 99, np.uint8)
    out = draw_faces(image, [face((50, 60, 70, 70))])
    assert (image == 99).all() and out.shape == image.shape and out.dtype == np.uint8
    assert (draw_faces(image, []) == image).all() and draw_faces(image, []) is not image


@pytest.mark.parametrize('label', EMOTIONS)
def test_box_and_tag_have_the_emotions_colour(label):
    image = np.full((300, 300, 3), 255, np.uint8)
    out = draw_faces(image, [face((100, 120, 80, 80), label)])
    assert count(out, label) > 800
    assert abs(out[160, 100].astype(int) - bgr(label)).max() < 40                 # on the left edge
    assert (out[140:180, 120:160] == 255).all()                                  # the face itself stays free


def test_a_circle_is_none_of_the_rectangles_corners():
    image = np.full((300, 300, 3), 255, np.uint8)
    out = draw_faces(image, [face((100, 120, 100, 100))], shape='circle')
    assert (out[210:222, 192:202] == 255).all() and abs(out[170, 100].astype(int) - bgr('happy')).max() < 40
    with pytest.raises(FerError, match="'oval'"): draw_faces(image, [], shape='oval')


@pytest.mark.parametrize('size', [1, 5, 24, 64, 300, 3000])
@pytest.mark.parametrize('shape', ['rectangle', 'circle'])
def test_any_size_and_boxes_over_the_border(size, shape):
    image = np.full((size, size, 3), 128, np.uint8)
    boxes = [(-size*.3, -size*.2, size, size), (size*.7, size*.8, size*.6, size*.6), (0, 0, size, size),
             (size*.5, size*.5, .5, .5)]
    out = draw_faces(image, [face(b, e) for b, e in zip(boxes, EMOTIONS)], shape)
    assert out.shape == image.shape and (out != image).any()


def tag_box(out, label):
    "Bounding box (x0, y0, x1, y1) of the pixels in the label's colour."
    ys, xs = np.nonzero(abs(out.astype(int) - bgr(label)).max(-1) <= 6)
    return xs.min(), ys.min(), xs.max(), ys.max()


@pytest.mark.parametrize('x, y', [(2, 2), (330, 2), (2, 230), (330, 230), (180, 2)])
def test_tags_are_whole_at_every_border(x, y):
    "The same tag has the same number of coloured pixels wherever the face is, so none of it is cut off."
    def drawn(x, y): return draw_faces(np.full((300, 400, 3), 255, np.uint8), [face((x, y, 66, 66), 'disgust')])
    assert abs(count(drawn(x, y), 'disgust') - count(drawn(180, 120), 'disgust')) < 200


def test_tags_of_neighbours_do_not_hide_each_other():
    image = np.full((300, 700, 3), 255, np.uint8)
    near = [face((100, 100, 60, 60), 'surprise'), face((170, 100, 60, 60), 'disgust'), face((240, 100, 60, 60), 'sad')]
    alone = [count(draw_faces(image, [o]), o.label) for o in near]
    together = draw_faces(image, near)
    assert all(count(together, o.label) > .9*n for o, n in zip(near, alone))


def test_large_pictures_get_large_letters():
    small = tag_box(draw_faces(np.full((400, 400, 3), 255, np.uint8), [face((150, 150, 100, 100))]), 'happy')
    large = tag_box(draw_faces(np.full((4000, 4000, 3), 255, np.uint8), [face((1500, 1500, 1000, 1000))]), 'happy')
    assert 8 < (large[3] - large[1])/(small[3] - small[1]) < 12
    tiny = draw_faces(np.full((3000, 4000, 3), 255, np.uint8), [face((1500, 1500, 60, 60))])
    x0, y0, x1, y1 = tag_box(tiny, 'happy')
    assert y1 - y0 - 60 > 3000/40              # a tag that can be read beside a small face


def test_numbers_and_numbering_change_the_tag():
    image = np.full((200, 400, 3), 255, np.uint8)
    widths = []
    for options in (dict(numbers=False), dict(), dict(numbered=True)):
        x0, _, x1, _ = tag_box(draw_faces(image, [face((100, 80, 60, 60))], **options), 'happy')
        widths.append(x1 - x0)
    assert widths[0] < widths[1] < widths[2]


def test_letters():
    page = np.full((60, 400, 3), 255, np.uint8)
    width = put_text(page, 'surprise', 10, 10, 30)
    ink = np.nonzero((page < 128).any((0, 2)))[0]
    assert width == text_width('surprise', 30) and 10 <= ink.min() <= 16 and 10 + width - 6 <= ink.max() < 10 + width
    before = page.copy()
    put_text(page, '', 10, 10, 30)
    put_text(page, 'away', 5000, 10, 30)
    put_text(page, 'away', 10, -90, 30)
    assert (page == before).all()
    assert text_width('日本', 20) == text_width('??', 20)


def test_every_letter_of_latin_1_has_ink_of_its_own():
    seen = set()
    for c in (*range(33, 127), *range(161, 256)):
        if c == 173: continue                                                    # soft hyphen
        page = np.zeros((60, 90, 3), np.uint8)
        put_text(page, chr(c), 5, 0, 60, (255, 255, 255))
        assert page.any(), chr(c)
        seen.add(page.tobytes())
    assert len(seen) > 180


def bar(image, label, row):
    "Pixels of the label's bar in the row of `image` that goes through its middle."
    y = round(image.shape[0]*(row + .5)/7)
    return int((abs(image[y].astype(int) - bgr(label)).sum(-1) < 100).sum())


@pytest.mark.parametrize('dark', [False, True])
def test_bars_are_as_long_as_the_probabilities(dark):
    one, two = (bar(draw_bars(face((0, 0, 9, 9), 'surprise', p), 640, dark=dark), 'surprise', 6) for p in (.9, .45))
    assert one/two == pytest.approx(2, rel=.05)


def test_bars_have_the_size_that_was_asked():
    assert draw_bars(face((0, 0, 9, 9))).shape == (210, 320, 3)
    assert draw_bars(face((0, 0, 9, 9)), 500, 140).shape == (140, 500, 3)
    assert draw_bars(face((0, 0, 9, 9)), dark=True).mean() < 90 < 200 < draw_bars(face((0, 0, 9, 9))).mean()
    assert draw_bars(face((0, 0, 9, 9), 'b', labels=('a', 'b'))).shape == (60, 320, 3)
    with pytest.raises(FerError, match='too small'): draw_bars(face((0, 0, 9, 9)), 30)


@pytest.mark.parametrize('n', [0, 1, 2, 3, 4, 7, 12, 20])
@pytest.mark.parametrize('size', [(300, 300), (200, 1500), (1500, 200)])
def test_reports(n, size):
    h, w = size
    image = np.random.default_rng(0).integers(0, 255, (h, w, 3), np.uint8)
    out = draw_report(image, [face((w*i/(n + 1), h*.3, 40, 40), EMOTIONS[i % 7]) for i in range(n)], height=400)
    assert out.shape[0] == 400 and out.dtype == np.uint8
    alone = draw_report(image, [], height=400)
    assert out.shape[1] > alone.shape[1] if n else out.shape == alone.shape


def test_drawing_loads_no_tensorflow_and_no_matplotlib():
    code = ("import sys, fer_nb.inference.draw, fer_nb.inference.recognize; "
            "sys.exit(any(o in sys.modules for o in ('tensorflow', 'matplotlib', 'PIL')))")
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
    code = "import sys, fer_nb.inference.recognize; sys.exit('fer_nb.inference.draw' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


# -- Mixed answers and ten people


def shares(box=(0, 0, 9, 9), mixed=False, labels=EMOTIONS, **given):
    "A face with these shares, the rest zero."
    p = np.array([given.get(o, 0) for o in labels], np.float32)
    return SimpleNamespace(box=box, label=labels[p.argmax()], confidence=float(p.max()), probabilities=p, labels=labels,
                           score=1., mixed=mixed, uncertain=False)


@pytest.mark.parametrize('x', [-60, 100, 250])
def test_a_mixed_face_has_both_colours_in_frame_and_tag(x):
    image = np.full((300, 300, 3), 255, np.uint8)
    one = shares((x, 120, 80, 80), fear=.5, surprise=.5)
    plain, mixed = draw_faces(image, [one]), draw_faces(image, [shares((x, 120, 80, 80), True, fear=.5, surprise=.5)])
    assert count(plain, 'fear') > 300 and count(plain, 'surprise') == 0
    assert count(mixed, 'surprise') > 300 and count(mixed, 'fear') > (300 if x > 0 else 100)
    if x == 100:
        assert abs(mixed[160, 100].astype(int) - bgr('fear')).max() < 40           # left edge
        assert abs(mixed[160, 179].astype(int) - bgr('surprise')).max() < 40       # right edge


def figures(image):
    "Labels of the figures from left to right: the colours of the heads in the first rows."
    row, found = image[:round(len(image)*.3)].astype(int), []
    for label in EMOTIONS:
        columns = (abs(row - bgr(label)).max(-1) <= 6).any(0).astype(int)
        found += [(x, label) for x in np.flatnonzero(np.diff(columns) == 1)]
    return [label for _, label in sorted(found)]


@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('given', [dict(happy=.71, neutral=.19, surprise=.1), dict(sad=1),
                                   dict(fear=.46, surprise=.44, angry=.1)])
def test_ten_figures_stand_in_the_order_of_the_sentence(given, dark):
    out = draw_people(shares(**given), 640, dark)
    head = out[:round(640*.91/12.8*.5)]                                              # above the shoulders
    assert figures(head) == [o for o, p in given.items() for _ in range(round(10*p))]


def test_a_sentence_is_not_cut_off():
    "All seven labels in it: the last line ends above the lower border, and no line leaves the picture."
    even = shares(angry=.16, disgust=.14, fear=.14, happy=.14, neutral=.14, sad=.14, surprise=.14)
    for width in (100, 320, 900):
        out = draw_people(even, width)
        assert out.shape[1] == width and (out[-2:] == 255).all() and (out[:, -2:] == 255).all()


def test_a_report_shows_ten_people_where_there_is_room():
    image = np.full((400, 400, 3), 255, np.uint8)
    happy = shares((100, 120, 80, 80), happy=.9, surprise=.1)
    wide, narrow = draw_report(image, [happy], height=720), draw_report(image, [happy]*12, height=200)
    assert count(wide[:, 720:], 'surprise') > 400 and narrow.shape[0] == 200
