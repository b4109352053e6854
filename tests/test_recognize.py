"A picture in, a list of faces out: the same form for none, one and many."
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.inference.answers import Rule, initials
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


# -- Shares of people


def face(shares, *rule, labels=EMOTIONS):
    return Face((0, 0, 9, 9), 1., np.array(shares, np.float32), labels, Rule(*rule))


def test_ten_people_are_ten_and_nearest_to_the_shares():
    "Largest remainder gives, of all ten people, those nearest to the shares; a larger share never has fewer."
    for shares in np.random.default_rng(0).dirichlet(np.ones(7)*.5, 2000).astype(np.float32):
        people = [face(shares).people[o] for o in EMOTIONS]
        assert sum(people) == 10 and min(people) >= 0
        assert all(abs(n - 10*p) < 1 for n, p in zip(people, shares))
        assert (np.diff(np.array(people)[np.argsort(-shares, kind='stable')]) <= 0).all()


def test_ties_among_ten_people_do_not_depend_on_the_last_digit():
    "Twentieths as float32: the exact fractions decide, then the larger share, then the order of the labels."
    for twentieths in np.random.default_rng(1).multinomial(20, np.ones(7)/7, 500):
        exact = [Fraction(int(o), 2) for o in twentieths]
        whole = [o//1 for o in exact]
        order = sorted(range(7), key=lambda i: (-(exact[i] % 1), -exact[i], i))
        for i in order[:10 - sum(whole)]: whole[i] += 1
        assert [face(twentieths/20).people[o] for o in EMOTIONS] == whole
        assert [face(twentieths/20 + 1e-8).people[o] for o in EMOTIONS] == whole


def test_the_sentence_counts_people_and_leaves_nobody_out():
    assert face([0, 0, 0, .7, .2, 0, .1]).sentence == 'of ten people, seven would say happy, two neutral, one surprise'
    assert face(np.eye(7)[5]).sentence == 'of ten people, all ten would say sad'
    assert [*face([0, 0, .4, 0, .1, 0, .5]).people.items()][:3] == [('surprise', 5), ('fear', 4), ('neutral', 1)]


def test_label_mixed_or_uncertain():
    shares = [0, 0, .5, 0, .05, 0, .45]
    sharp = .25/(.25 + .0025 + .2025)                                      # by the power of 2
    both = 'mixed: fear, surprise'
    for rule, answer in [((), 'fear'), ((.6,), 'uncertain'), ((.6, .9), both), ((.6, .96), 'uncertain'),
                         ((.6, .9, 2), both), ((.54, .9, 2), 'fear')]:
        one = face(shares, *rule)
        assert (one.answer, one.label, one.agreement) == (answer, 'fear', .5)
        assert (one.mixed, one.uncertain) == (answer.startswith('mixed'), answer == 'uncertain')
        assert one.confidence == pytest.approx(sharp if len(rule) == 3 else .5)
        d = one.to_dict()
        assert json.loads(json.dumps(d)) == d and d['answer'] == answer and d['mixed'] is one.mixed
        assert sum(d['people'].values()) == 10 and d['agreement'] == .5 and answer in repr(one)


def test_the_rule_comes_from_the_card_and_the_caller_may_be_stricter(sample, with_answers):
    mine = EmotionRecognizer(with_answers(dict(threshold=.6, pair=.8, power=2)))
    assert mine.rule == Rule(.6, .8, 2.) and mine.copy().rule == mine.rule
    assert EmotionRecognizer(mine.classifier, threshold=.99).rule == Rule(.99, .8, 2.)
    old, = EmotionRecognizer(with_answers(dict(threshold=.6, pair=.8, power=1)))(sample)
    new, = mine(sample)
    assert (new.probabilities == old.probabilities).all() and new.confidence > old.confidence == old.agreement
    never, = EmotionRecognizer(with_answers(dict(threshold=.9999, pair=.1, power=1)))(sample)
    assert never.answer.startswith('mixed: happy, ')


@pytest.mark.parametrize('answers', [7, {}, dict(threshold=.5, pair=.8), dict(threshold=5, pair=.8, power=1),
                                     dict(threshold=.5, pair='most', power=1), dict(threshold=.5, pair=.8, power=0),
                                     dict(threshold=.5, pair=float('nan'), power=1)])
def test_a_card_with_answers_that_cannot_be_is_named(with_answers, answers):
    with pytest.raises(FerError, match='card of mine .*export the model again'): load_model(with_answers(answers))


def test_initials_tell_the_labels_apart():
    assert initials(EMOTIONS) == ['A', 'D', 'F', 'H', 'N', 'Sa', 'Su']
    for labels in (('bored', 'b', 'keen'), ('class_1', 'class_2'), ('A', 'a b', 'AC'), ('', 'x')):
        assert len(set(initials(labels))) == len(labels) and max(map(len, initials(labels))) <= 2


@pytest.mark.parametrize('degrees', [-60, 45, 90])
def test_a_tilted_head_keeps_its_answer(photo, degrees):
    if detect_faces(photo)[0].points is None: pytest.skip('no detector with key points')
    turn = cv2.getRotationMatrix2D((224, 120), -degrees, 1)
    askew = cv2.warpAffine(photo, turn, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    face, = EmotionRecognizer()(askew)
    assert face.answer == 'happy' and abs(face.roll - degrees) < 10
    plain = json.loads(json.dumps(face.to_dict()))
    assert len(plain['landmarks']) == 4 and plain['roll'] == pytest.approx(face.roll, abs=.1)
    lying, = EmotionRecognizer(align=False)(askew)
    assert degrees < 90 or lying.agreement < face.agreement - .01
