"Metrics against formulas, scikit-learn and known values; calibration recovers what was put in."
import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.training.evaluate import compare, evaluate, evaluate_model
from fer_nb.training.faces import drawn_faces
from fer_nb.training.metrics import (
    answer_figures,
    apply_temperature,
    calibration_error,
    calibration_interval,
    choose_answers,
    fit_temperature,
    mean_distance,
    sharpen,
    wilson,
)
from fer_nb.training.plots import plot_confusion, plot_history, plot_reliability, plot_without
from fer_nb.training.votes import VOTE_COLUMNS, divided

def calibrated(n, seed=0, k=7, spread=1.5):
    "Logits and labels drawn from their softmax, so that the true temperature is 1."
    rng = np.random.default_rng(seed)
    z = rng.normal(0, spread, (n, k))
    return z, (z + rng.gumbel(size=z.shape)).argmax(1)


def soft(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e/e.sum(1, keepdims=True)


@pytest.mark.parametrize('right,n,low,high', [
    (81, 263, .2553, .3662), (15, 148, .0624, .1605), (0, 20, 0, .1611), (1, 29, .0061, .1718)])
def test_wilson_gives_the_values_of_newcombe_1998(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(n - right, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_refuses_what_is_no_share():
    for right,n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(FerError): wilson(right, n)


def test_scores_agree_with_sklearn():
    from sklearn import metrics
    z, y = calibrated(3000)
    r, said = evaluate(soft(z), y), z.argmax(1)
    assert r.confusion.tolist() == metrics.confusion_matrix(y, said).tolist()
    assert r.accuracy == pytest.approx(metrics.accuracy_score(y, said))
    assert r.macro_f1 == pytest.approx(metrics.f1_score(y, said, average='macro'))
    assert r.mean_class_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, said))
    theirs = np.array(metrics.precision_recall_fscore_support(y, said)).T
    ours = [[c[o] for o in ('precision', 'recall', 'f1', 'support')] for c in r.per_class.values()]
    np.testing.assert_allclose(ours, theirs)


def test_bootstrap_interval_covers_the_truth_about_19_times_in_20():
    z, y = calibrated(60_000, spread=1.)
    truth, p = evaluate(soft(z), y, resamples=10).macro_f1, soft(z)
    parts = [evaluate(p[i:i+300], y[i:i+300], resamples=400) for i in range(0, 60_000, 300)]
    covered = np.mean([r.macro_f1_ci[0] <= truth <= r.macro_f1_ci[1] for r in parts])
    assert .88 < covered <= 1
    covered = np.mean([r.accuracy_ci[0] <= (z.argmax(1) == y).mean() <= r.accuracy_ci[1] for r in parts])
    assert .90 < covered <= 1


def test_the_seed_makes_the_intervals_reproducible():
    z, y = calibrated(500)
    first, again, other = (evaluate(soft(z), y, seed=o).macro_f1_ci for o in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize('true', [.4, 1., 1.7, 4.])
def test_temperature_is_recovered(true):
    z, y = calibrated(20_000)
    assert fit_temperature(true*z + 3., y) == pytest.approx(true, rel=.04)      # logits
    assert fit_temperature(soft(true*z), y) == pytest.approx(true, rel=.04)     # probabilities


@pytest.mark.parametrize('true', [.5, 1., 3.])
def test_temperature_is_recovered_from_the_votes_of_ten(true):
    z, _ = calibrated(3000)
    votes = np.random.default_rng(1).multinomial(10, soft(z))
    assert fit_temperature(true*z, votes/10) == pytest.approx(true, rel=.03)
    with pytest.raises(FerError, match='sums to 10'): fit_temperature(true*z, votes)


def test_temperature_has_the_least_likelihood_loss():
    z, y = calibrated(800, seed=3)
    loss = lambda t: -np.log(apply_temperature(soft(2*z), t)[np.arange(800), y]).mean()
    t = fit_temperature(2*z, y)
    assert loss(t) < min(loss(t*1.02), loss(t/1.02))


def test_temperature_brings_the_calibration_error_down_and_changes_no_label():
    z, y = calibrated(20_000)
    sure = soft(3*z)
    mild = apply_temperature(sure, fit_temperature(sure, y))
    assert calibration_error(sure, y) > .1 and calibration_error(mild, y) < .02
    assert (mild.argmax(1) == sure.argmax(1)).all()


@pytest.mark.parametrize('scale', [1., 2.])
def test_the_interval_of_the_calibration_error_holds_the_truth(scale):
    z, y = calibrated(200_000, seed=2)
    p = soft(scale*z)
    truth = calibration_error(p, y)
    assert truth < .005 if scale == 1 else truth > .05
    found = [calibration_interval(p[i:i + 1000], y[i:i + 1000], resamples=200) for i in range(0, 200_000, 2000)]
    assert np.mean([low <= truth <= high for low, high in found]) > .85


def test_distance_to_the_votes_and_its_interval():
    p = soft(calibrated(40_000, seed=3)[0])
    votes = np.random.default_rng(3).multinomial(10, p)
    truth = mean_distance(p, votes, resamples=5)[0]
    assert truth == pytest.approx(np.abs(p - votes/10).sum(1).mean()/2)
    found = [mean_distance(p[i:i + 400], votes[i:i + 400], 200)[1] for i in range(0, 40_000, 400)]
    assert .88 < np.mean([low <= truth <= high for low, high in found]) <= 1
    some = votes.copy()
    some[::2] = 0                                              # nobody gave one of the labels
    assert mean_distance(p, some, resamples=5)[0] == mean_distance(p[1::2], votes[1::2], resamples=5)[0]


@pytest.fixture(scope='module')
def voters():
    "Predicted shares of a network that sees those of people roughly, ten votes a face, and the majority."
    rng = np.random.default_rng(4)
    z, _ = calibrated(4000, seed=4, spread=2.5)
    votes = rng.multinomial(10, soft(z))
    p = soft(z + rng.normal(0, 1.2, z.shape))
    return apply_temperature(p, fit_temperature(p, votes/10)), votes, \
        np.where(votes.max(1) > np.sort(votes, 1)[:, -2], votes.argmax(1), -1)


def test_powers_of_the_shares_are_the_chances_of_the_majority(voters):
    p, votes, majority = voters
    rule, counted = choose_answers(*voters), majority >= 0
    confidence = sharpen(p, rule['power'])
    assert calibration_error(confidence[counted], majority[counted]) < .03
    assert calibration_error(p[counted], majority[counted]) > .08        # shares are no such chances
    assert (confidence.argmax(1) == p.argmax(1)).all()


def test_divided_faces_lie_below_the_threshold_and_two_labels_name_the_answer(voters):
    p, votes, majority = voters
    rule = choose_answers(*voters)
    below = sharpen(p, rule['power']).max(1) < rule['threshold']
    assert abs(below.mean() - divided(votes).mean()) < .03               # as many as people are divided about
    figures = answer_figures(*voters, rule)
    assert figures['clear']['divided'] < figures['divided'] < figures['mixed']['divided']
    assert figures['mixed']['named'] >= .9 and figures['clear']['accuracy'] > figures['mixed'].get('accuracy', .7)
    lower = answer_figures(*voters, rule | {'pair': rule['pair'] - .01})
    assert lower['mixed']['named'] < .9                                  # the least sum that does
    for k in ('clear', 'mixed', 'uncertain'):
        assert figures[k]['share_ci'][0] <= figures[k]['share'] <= figures[k]['share_ci'][1]


def test_two_labels_are_never_named_where_they_never_help():
    p = np.tile(soft(np.array([[1., .9, 0, 0, 0, 0, 0]])), (50, 1))
    votes = np.zeros((50, 7), int)
    votes[:25, 5], votes[25:, 5], votes[25:, 6] = 10, 5, 5               # the two most probable are never it
    majority = np.where(np.arange(50) < 25, 5, -1)
    assert choose_answers(p, votes, majority)['pair'] == 1.01


def test_calibration_error_by_hand():
    p = np.array([[.9, .1]]*10 + [[.3, .7]]*10)
    y = np.array([0]*9 + [1] + [1]*4 + [0]*6)
    assert calibration_error(p, y) == pytest.approx(.5*0 + .5*.3)
    assert calibration_error(np.eye(3), np.arange(3)) == 0.


def test_absent_classes_neither_crash_nor_warn(tmp_path):
    z, y = calibrated(400)
    keep = (y == 1) | (y == 3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        r = evaluate(soft(z)[keep], y[keep])
        r.table(), plot_confusion(r), r.save(tmp_path)
        one = evaluate(soft(z)[:1], y[:1])
    assert r.mean_class_accuracy == pytest.approx(np.mean([r.per_class[EMOTIONS[i]]['recall'] for i in (1, 3)]))
    assert 'NaN' not in (tmp_path/'report.json').read_text()
    assert one.n == 1 and one.macro_f1_ci[0] <= one.macro_f1 <= one.macro_f1_ci[1]


def test_seen_faces_are_left_out():
    z, y = calibrated(1000)
    right = z.argmax(1) == y
    r = evaluate(soft(z), y, seen=right)                       # all that are right were seen: only errors are left
    assert r.without_duplicates['accuracy'] == 0 and r.without_duplicates['n'] == (~right).sum()
    assert evaluate(soft(z), y, seen=np.ones(1000, bool)).without_duplicates is None
    assert evaluate(soft(z), y).without_duplicates is None


@pytest.mark.parametrize('change,word', [
    (lambda p, y: (p[:, :6], y), '7 names'), (lambda p, y: (p[0], y), 'shape'), (lambda p, y: (p, y[:-1]), 'one label'),
    (lambda p, y: (p*np.nan, y), 'NaN'), (lambda p, y: (p*2, y), 'sums to 2'), (lambda p, y: (np.log(p), y), 'logits'),
    (lambda p, y: (p, y + 7), 'out of range'), (lambda p, y: (p, y - 9), 'out of range'),
    (lambda p, y: (p[:0], y[:0]), 'no faces'),
    (lambda p, y: (p, y.astype(float)), 'whole numbers'), (lambda p, y: (p.astype(str), y), 'not a number')])
def test_bad_input_is_one_sentence(change, word):
    z, y = calibrated(50)
    p, y = change(soft(z), y)
    with pytest.raises(FerError, match=word) as e: evaluate(p, y)
    assert '\n' not in str(e.value)


def test_half_precision_probabilities_are_accepted():
    z, y = calibrated(3000)
    assert evaluate(soft(z).astype(np.float16), y).accuracy == pytest.approx(evaluate(soft(z), y).accuracy, abs=2e-3)


class Fixed:
    labels = EMOTIONS
    def predict(self, images, flip=False): return np.full((len(images), 7), 1/7)


def test_evaluate_model_finds_the_copies_by_itself():
    faces = drawn_faces(140, size=24)
    train, public = faces.split == 'train', np.flatnonzero(faces.split == 'public')
    faces.images[public[0]] = faces.images[train][0]
    r = evaluate_model(Fixed(), faces)
    assert r.n == 28 and r.without_duplicates['n'] == 27 and r.split == 'public'
    with pytest.raises(FerError, match='has no split'): evaluate_model(Fixed(), faces, 'private')


def test_save_writes_json_table_and_pictures(tmp_path):
    import cv2
    z, y = calibrated(300)
    r = evaluate(soft(z), y, split='public', model='m', seen=np.arange(300) < 30)
    files = r.save(tmp_path/'a'/'b')
    saved = json.loads(files[0].read_text())
    assert saved['accuracy'] == round(r.accuracy, 5) and saved['confusion'] == r.confusion.tolist()
    for png in files[2:]: assert min(cv2.imread(str(png)).shape[:2]) > 300
    written = ['confusion.png', 'reliability.png', 'report.json', 'report.md']
    assert sorted(o.name for o in (tmp_path/'a'/'b').iterdir()) == written


class Always:
    "Says happy, of seven labels or of eight, and a little contempt."
    def __init__(self, labels): self.labels = labels
    def predict(self, images, flip=False):
        row = np.full(len(self.labels), .01)
        row[EMOTIONS.index('happy')] = .7
        row[-1] += 1 - row.sum()
        return np.tile(row, (len(images), 1))


@pytest.mark.parametrize('names', [EMOTIONS, (*EMOTIONS, 'contempt')])
def test_with_votes_a_report_has_every_ruler(names, tmp_path):
    faces = drawn_faces(140, size=24)
    votes = np.zeros((140, 10), int)
    votes[:, VOTE_COLUMNS.index('happy')] = 10                           # people always say happy
    votes[faces.labels == 0] = np.eye(10, dtype=int)[VOTE_COLUMNS.index('contempt')]*10
    voted = replace(faces, votes=votes, given=faces.labels, names=names, labels=np.full(140, 3),
                    soft=np.eye(len(names))[np.full(140, 3)], counted=votes[:, VOTE_COLUMNS.index('happy')] > 0)
    r = evaluate_model(Always(names), voted)
    found = {o.ruler: o for o in (r, *r.others)}
    assert r.ruler == ('votes' if names == EMOTIONS else 'votes8') and r.names == names
    assert [(found[o].n, found[o].accuracy) for o in ('votes', 'label')] == [(24, 1), (28, 4/28)]
    assert (found['votes8'].n, found['votes8'].accuracy) == (28, 24/28)  # contempt is not said
    assert found['votes'].distance < found['votes8'].distance and found['label'].distance is None
    files = r.save(tmp_path/'r')
    saved = json.loads(files[0].read_text())
    assert {*saved['rulers']} == {*found} - {r.ruler} and saved['rulers']['label']['accuracy'] == round(4/28, 5)
    assert {f'confusion-{o}.png' for o in saved['rulers']} | {'rulers.png'} <= {o.name for o in files}
    assert "| the dataset's label | 28 | 14.3 |" in (tmp_path/'r/report.md').read_text()


def test_plots_are_figures_and_nothing_stays_open(tmp_path):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    plt.close('all')                                     # what other tests of this process left
    z, y = calibrated(300)
    r = evaluate(soft(z), y, model='m', seen=np.arange(300) < 30)
    h = dict(loss=[2, 1], accuracy=[.2, .5], val_loss=[2, 1.5], val_accuracy=[.2, .4])
    rows = [f"{i+1}," + ','.join(str(v[i]) for v in h.values()) for i in range(2)]
    (tmp_path/'h.csv').write_text('epoch,' + ','.join(h) + '\n' + '\n'.join(rows))
    figures = (plot_confusion(r), plot_reliability(soft(z), y), plot_history(h), plot_history(tmp_path/'h.csv'),
               plot_without([r]))
    for fig in figures: assert isinstance(fig, Figure)
    assert plt.get_fignums() == []
    assert compare([r, r]).count('\n') == 3


def test_evaluating_needs_no_tensorflow():
    code = ("import sys; import fer_nb.training.evaluate; "
            "print([o for o in ('tensorflow', 'keras', 'matplotlib', 'sklearn') if o in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
