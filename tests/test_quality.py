"What can be seen of a face: a face that cannot be read gets no firm answer, and the reason is said."
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb import EmotionRecognizer, open_image
from fer_nb.core import FerError, models_dir, static_file
from fer_nb.inference.quality import Limits, limits_of, load_views
from fer_nb.inference.zoo import read_card

BOX = 170, 68, 106, 106            # the astronaut's face


@pytest.fixture(scope='module')
def photo(): return open_image(static_file('sample.jpg'))


@pytest.fixture(scope='module')
def recognizer(): return EmotionRecognizer()


def reason(recognizer, image, box=BOX):
    face, = recognizer(image, boxes=[box])
    assert face.uncertain == bool(face.reason) or face.reason == ''
    return face.reason


def covered(photo, top, bottom):
    "The face behind a dark cloth between two heights, shares of its box."
    x, y, w, h = BOX
    image = photo.copy()
    image[y + round(top*h):y + round(bottom*h), x:x + w] = 70
    return image


def test_a_face_in_plain_view_has_no_reason(recognizer, photo):
    face, = recognizer(photo)
    assert face.reason == '' and face.answer == 'happy'
    assert face.quality.views[0] > .8 and face.quality.turned < .3 and face.quality.pixels > 80


@pytest.mark.parametrize('top, bottom, why', [(.58, 1.1, 'mouth covered'), (.2, .5, 'eyes covered')])
def test_what_is_covered_is_named(recognizer, photo, top, bottom, why):
    face, = recognizer(covered(photo, top, bottom), boxes=[BOX])
    assert (face.reason, face.uncertain, face.answer) == (why, True, f'uncertain: {why}')
    assert face.label in face.labels                                     # the best guess is there for who wants it


def test_small_dark_and_blurred_faces_are_named(recognizer, photo):
    small = cv2.resize(photo, None, fx=.08, fy=.08, interpolation=cv2.INTER_AREA)
    assert reason(recognizer, small, [o*.08 for o in BOX]) == 'too small'
    assert reason(recognizer, photo//14) == 'too dark'
    assert reason(recognizer, cv2.GaussianBlur(photo, (0, 0), 14)) == 'blurred'
    assert reason(recognizer, cv2.GaussianBlur(photo, (0, 0), 1)) == ''


def test_a_cat_is_no_face(recognizer):
    skimage = pytest.importorskip('skimage.data')
    cat = cv2.cvtColor(skimage.chelsea(), cv2.COLOR_RGB2BGR)
    faces = recognizer(cat, boxes=[(150, 70, 130, 130), (0, 0, 90, 90), (300, 150, 150, 150)])
    assert [o.uncertain for o in faces] == [True]*3


def test_who_asks_for_the_label_gets_it(photo):
    masked = covered(photo, .58, 1.1)
    for options in (dict(threshold=0), dict(quality=False, threshold=.01)):
        face, = EmotionRecognizer(**options)(masked, boxes=[BOX])
        assert not face.uncertain and face.reason == '' and face.quality.views[2] > .5


def test_json_says_what_was_measured(recognizer, photo, tmp_path):
    cv2.imwrite(str(tmp_path/'masked.png'), covered(photo, .58, 1.1))
    command = [Path(sys.executable).parent/'fer-nb', 'predict', 'masked.png', '--json', '-', '--detector', 'haar']
    d = recognizer(covered(photo, .58, 1.1), boxes=[BOX])[0].to_dict()
    assert d['quality']['views']['mouth'] > .5 and d['reason'] == 'mouth covered'
    assert json.loads(json.dumps(d)) == d
    said = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert all('quality' in o for o in said[0]['faces'])


def test_a_card_without_limits_is_refused(tmp_path):
    values = json.loads(Path(models_dir()/'quality/views.json').read_text(encoding='utf-8'))
    del values['limits']
    (tmp_path/'views.json').write_text(json.dumps(values))
    with pytest.raises(FerError, match='does not hold the limits'): limits_of(read_card(tmp_path/'views.json'))


def test_the_card_tells_what_the_limits_cost():
    card = load_views().card
    limits = limits_of(card)
    assert all(np.isfinite(limits)) and limits != Limits()
    rows = {(o['defect'], o['strength']): o for o in card['coverage']}
    assert rows['none', None]['answered'] > .95                          # hardly a plain face loses its answer
    assert rows['mouth', 35]['answered'] < .05 and rows['eyes', 18]['answered'] < .1
