"A picture in, a list of faces out: the same form for none, one and many."
import json

import cv2
import numpy as np
import pytest

from fer_nb.emotions import EMOTIONS
from fer_nb.inference.detect import detect_faces
from fer_nb.inference.image import open_image
from fer_nb.inference.recognize import EmotionRecognizer, Face
from fer_nb.inference.zoo import list_models, load_model

@pytest.fixture(scope='module')
def photo(sample): return open_image(sample)


@pytest.fixture(scope='module')
def recognizer(): return EmotionRecognizer()


def overlap(a, b):
    "Intersection over union of two boxes."
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    w, h = min(ax+aw, bx+bw) - max(ax, bx), min(ay+ah, by+bh) - max(ay, by)
    return max(w, 0)*max(h, 0)/(aw*ah + bw*bh - max(w, 0)*max(h, 0))


@pytest.mark.parametrize('card', list_models(), ids=lambda c: c['name'])
@pytest.mark.parametrize('detector', ['auto', 'haar'])
def test_the_astronaut_is_happy_to_every_model(sample, card, detector):
    faces = EmotionRecognizer(card['name'], detector)(sample)
    assert [f.label for f in faces] == ['happy']
    assert overlap(faces[0].box, (178, 65, 91, 111)) > .5
    assert faces[0].probabilities.shape == (7,) and faces[0].probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_path_bytes_and_array_give_the_same(sample, photo, recognizer):
    a, b, c = (recognizer(o)[0].to_dict() for o in (sample, open(sample, 'rb').read(), photo))
    assert a == b == c and json.loads(json.dumps(a)) == a


def test_no_face_is_an_empty_list(recognizer): assert recognizer(np.full((300, 400, 3), 200, np.uint8)) == []


def test_many_faces_in_one_picture(photo, recognizer):
    crowd = np.hstack([photo[20:220, 120:320]]*5)
    faces = recognizer(crowd)
    assert len(faces) == 5 and {f.label for f in faces} == {'happy'}
    assert sorted(round(f.box[0]/200 - faces[0].box[0] % 200/200) for f in faces) == [0, 1, 2, 3, 4]


def test_own_boxes_are_taken_in_their_order(photo, recognizer):
    boxes = [(300, 300, 60, 60), (178, 65, 91, 111)]
    faces = recognizer(photo, boxes=boxes)
    assert [f.box for f in faces] == boxes and faces[1].label == 'happy' and faces[0].score == 1
    assert recognizer(photo, boxes=[]) == []


def test_crops_are_faces_already(photo, recognizer):
    crop = photo[70:176, 170:276]
    one, = recognizer.crops([crop])
    assert one.label == 'happy' and one.box == (0, 0, 106, 106)
    batch = np.stack([cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (48, 48), interpolation=cv2.INTER_AREA)]*3)
    assert [f.label for f in recognizer.crops(batch)] == ['happy']*3
    assert recognizer.crops([]) == []


def test_a_batch_is_answered_as_its_faces_one_by_one():
    model = load_model()
    faces = np.random.default_rng(0).integers(0, 256, (7, 48, 48), np.uint8)
    together, alone = model.predict(faces), np.concatenate([model.predict(o[None]) for o in faces])
    assert np.allclose(together, alone, atol=1e-5)


def test_flip_is_the_mean_of_both_sides():
    model = load_model()
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    both = (model.predict(faces) + model.predict(faces[:, :, ::-1]))/2
    assert np.allclose(model.predict(faces, flip=True), both, atol=1e-5)


def test_detection_order_is_stable(photo):
    crowd = np.hstack([photo[20:220, 120:320]]*4)
    assert detect_faces(crowd) == detect_faces(crowd.copy())


def test_face_answers_plain_types():
    d = Face((1, 2, 3, 4), .5, np.eye(7, dtype=np.float32)[3], EMOTIONS).to_dict()
    assert d['label'] == 'happy' and list(d['probabilities']) == list(EMOTIONS) and json.dumps(d)
