"Faces that are followed through frames: frames with the sample photo in motion, and made-up faces with known truth."
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import fake_camera  # noqa: E402

from fer_nb.core import FerError  # noqa: E402
from fer_nb.emotions import EMOTIONS  # noqa: E402
from fer_nb.inference.answers import Rule  # noqa: E402
from fer_nb.inference.recognize import Face  # noqa: E402
from fer_nb.video.track import FaceStream, FaceTracker  # noqa: E402

def face(x, y, label='happy', size=60, p=.7):
    q = np.full(7, (1 - p)/6, np.float32)
    q[EMOTIONS.index(label)] = p
    return Face((x, y, size, size), .9, q, EMOTIONS)


def follow(paths, hidden=(), fps=30, **options):
    "The numbers that each of `paths` (functions of the frame) had; `hidden`: {path: frames} where it is not found."
    tracker, numbers, hidden = FaceTracker(**options), [set() for _ in paths], dict(hidden)
    rng = np.random.default_rng(0)
    for i in range(120):
        there = [k for k in range(len(paths)) if i not in hidden.get(k, ())]
        order = rng.permutation(there)                              # detectors give faces in any order
        faces = [face(*np.add(paths[k](i), rng.normal(0, 1, 2)), label=EMOTIONS[k]) for k in order]
        by_label = {o.label: o.track for o in tracker(faces, i/fps)}
        for k in there: numbers[k].add(by_label[EMOTIONS[k]])
    return numbers


def test_numbers_survive_a_crossing():
    a, b = follow([lambda i: (4*i, 100), lambda i: (480 - 4*i, 110)], smooth=0)
    assert len(a) == len(b) == 1 and a != b


def test_numbers_survive_half_a_second_out_of_sight():
    hidden = {0: range(40, 55), 1: range(60, 75)}
    a, b = follow([lambda i: (100 + i, 100), lambda i: (400, 100 + i)], hidden=hidden, smooth=0)
    assert len(a) == len(b) == 1 and a != b


def test_a_face_that_jumps_is_another_one():
    (a,) = follow([lambda i: (100 if i < 60 else 400, 100)], smooth=0)
    assert len(a) == 2


def test_five_frames_a_second_are_enough_for_slow_faces():
    (a,) = follow([lambda i: (100 + 3*i, 100)], fps=5)
    assert len(a) == 1


def test_smoothing_is_in_seconds_whatever_the_frame_rate():
    ends = []
    for fps in (10, 60):
        tracker = FaceTracker(smooth=.4)
        for i in range(fps): tracker([face(0, 0, 'sad')], i/fps)
        for i in range(fps//2 + 1): (last,) = tracker([face(0, 0, 'happy')], 1 + i/fps)
        ends.append(last.probabilities[EMOTIONS.index('happy')])
    assert abs(ends[0] - ends[1]) < .06


def test_probabilities_stay_probabilities_and_faces_are_not_altered():
    tracker, rng = FaceTracker(), np.random.default_rng(0)
    for i in range(50):
        given = face(0, 0, EMOTIONS[rng.integers(7)])
        before = given.probabilities.copy()
        (seen,) = tracker([given], i/30)
        assert abs(seen.probabilities.sum() - 1) < 1e-4 and (seen.probabilities >= 0).all()
        assert (given.probabilities == before).all()


@pytest.mark.parametrize('faces', [1, 2])
def test_a_stream_follows_real_frames(faces):
    stream, numbers = FaceStream(), []
    for i, frame in enumerate(fake_camera.frames(faces, n=40)):
        seen = stream(frame, i/30)
        numbers.append([o.track for o in seen])
        if i > 5: assert {o.label for o in seen} == {'happy'}
    assert numbers == [list(range(1, faces + 1))]*40


def test_known_faces_are_boxed_as_unknown_ones_are():
    "A frame that is read with fewer looks must crop the face as a photo's would be, or accuracy goes."
    from fer_nb.inference.detect import detect_faces
    frame = next(iter(fake_camera.frames()))
    ((x, y, w, h, *_),) = detect_faces(frame, min_face=91)
    ((x2, y2, w2, h2, *_),) = detect_faces(frame, min_face=91, known=[(x, y, w, h)])
    assert np.abs(np.subtract((x, y, w, h), (x2, y2, w2, h2))).max() < .06*w


def test_a_stream_refuses_what_is_no_picture_and_goes_on():
    stream, frame = FaceStream(), next(iter(fake_camera.frames()))
    stream(frame, 0)
    with pytest.raises(FerError, match='empty'): stream(b'', .1)
    with pytest.raises(FerError, match='reset'): stream(frame, -1)
    (seen,) = stream(cv2.imencode('.jpg', frame)[1].tobytes(), .2)
    assert seen.track == 1


def test_shares_are_averaged_and_the_rule_travels_along():
    "A face that turns from fear to surprise is mixed half-way, and each frame's ten people are those of the average."
    rule, tracker = Rule(.8, .9), FaceTracker(smooth=.4)
    answers = []
    for i in range(60):
        seen = replace(face(0, 0, 'fear' if i < 30 else 'surprise', p=.97), rule=rule)
        (one,) = tracker([seen], i/30)
        assert one.rule == rule and sum(one.people.values()) == 10 and one.agreement == one.probabilities.max()
        if one.answer not in answers: answers.append(one.answer)
    assert answers == ['fear', 'mixed: fear, surprise', 'mixed: surprise, fear', 'surprise']
