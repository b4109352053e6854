"Votes of people: joined by file and by row, learned from as shares, measured only where one answer won."
import csv
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS, FER2013_CODES, FERPLUS_COLUMNS
from fer_nb.training.data import load
from fer_nb.training.faces import drawn_faces
from fer_nb.training.votes import VOTE_COLUMNS, rulers, with_votes

FACES = drawn_faces(70, seed=4)
USAGE = {'train': 'Training', 'public': 'PublicTest'}


def given(**votes):
    "Ten votes in the order of the table."
    assert set(votes) <= set(VOTE_COLUMNS)
    return [votes.get(o, 0) for o in VOTE_COLUMNS]


def ordinary(faces=FACES):
    "Seven votes for the emotion that was drawn, three for neutral."
    names = [EMOTIONS[i] for i in faces.labels]
    return [given(neutral=10) if o == 'neutral' else given(**{o: 7, 'neutral': 3}) for o in names]


def table(path, votes, faces=FACES, files=None, header=None):
    "A table of votes with a column `file`, or, for `files=False`, in FER+'s own layout."
    names = faces.source if files is None else files
    with open(path, 'w', newline='') as f:
        out = csv.writer(f)
        if files is False:
            out.writerow(header or ['Usage', 'Image name', *FERPLUS_COLUMNS])
            out.writerows([USAGE[s], f'fer{i:07}.png', *v] for i, (s, v) in enumerate(zip(faces.split, votes)))
        else:
            out.writerow(header or ['file', 'Usage', *FERPLUS_COLUMNS])
            out.writerows([n, USAGE[s], *v] for n, s, v in zip(names, faces.split, votes))
    return path


def test_shares_become_targets_and_the_winner_the_label(tmp_path):
    votes = ordinary()
    votes[0], votes[1] = given(sad=5, fear=5), given(happy=4, contempt=6)
    voted = with_votes(FACES, table(tmp_path/'v.csv', votes))
    assert len(voted) == 69                                          # most people saw none of the seven in the second
    assert '1 faces left out: most people saw none of' in voted.notes[-1]
    third = voted[voted.source == FACES.source[2]]
    assert third.votes.tolist() == [votes[2]]
    assert third.targets()[0, third.labels[0]] == pytest.approx(.7) and third.targets().sum() == pytest.approx(1)
    assert voted.targets()[0].tolist() == [0, 0, .5, 0, 0, .5, 0] and not voted.counted[0] and voted.counted[1:].all()
    assert (voted.labels[1:] == FACES.labels[2:]).all()


def test_contempt_can_be_a_label(tmp_path):
    votes = ordinary()
    votes[1] = given(happy=4, contempt=6)
    voted = with_votes(FACES, table(tmp_path/'v.csv', votes), (*EMOTIONS, 'contempt'))
    assert len(voted) == 70 and voted.names[voted.labels[1]] == 'contempt' and voted.counted[1]


def test_files_are_found_in_any_order_and_under_any_folder(tmp_path):
    names = np.array([f'archive/{"train" if s == "train" else "test"}/{EMOTIONS[k]}/{i}.png'
                      for i, (s, k) in enumerate(zip(FACES.split, FACES.labels))])
    faces, turned = replace(FACES, source=names), np.arange(70)[::-1]
    files = ['\\'.join(names[i].split('/')[1:]) for i in turned]       # as written on Windows, and unpacked elsewhere
    path = table(tmp_path/'v.csv', [ordinary()[i] for i in turned], FACES[turned], files)
    voted = with_votes(faces, path)
    assert (voted.labels == FACES.labels).all() and (voted.source == names).all()


def test_faces_without_votes_are_left_out_with_a_note(tmp_path):
    voted = with_votes(FACES, table(tmp_path/'v.csv', ordinary()[:50], FACES[:50]))
    assert len(voted) == 50 and '20 faces without votes left out' in voted.notes


def ferplus_pair(folder):
    "FER-2013's CSV of the drawn faces, and FER+'s table beside it."
    codes = {v: k for k, v in FER2013_CODES.items()}
    rows = [f"{codes[EMOTIONS[k]]},{' '.join(map(str, im.ravel()))},{USAGE[s]}"
            for im, k, s in zip(FACES.images, FACES.labels, FACES.split)]
    (folder/'fer2013.csv').write_text('emotion,pixels,Usage\n' + '\n'.join(rows))
    return folder/'fer2013.csv', table(folder/'fer2013new.csv', ordinary(), files=False)


def test_ferplus_own_layout_goes_by_row(tmp_path):
    data, votes = ferplus_pair(tmp_path)
    voted = load(data, votes=votes)
    assert (voted.labels == FACES.labels).all() and voted.counted.all() and voted.origin.endswith('with votes')
    short = table(tmp_path/'short.csv', ordinary()[:-1], FACES[:-1], files=False)
    with pytest.raises(FerError, match='69 rows and FER-2013 CSV fer2013.csv 70'):
        load(tmp_path/'fer2013.csv', votes=short)
    mixed = table(tmp_path/'mixed.csv', ordinary(), replace(FACES, split=FACES.split[::-1]), files=False)
    with pytest.raises(FerError, match='or their Usage differs'): load(tmp_path/'fer2013.csv', votes=mixed)
    lines = votes.read_text().splitlines()
    lines[3], lines[5] = lines[5], lines[3]                           # two training rows have changed places
    votes.write_text('\n'.join(lines))
    with pytest.raises(FerError, match='row 5: fer0000003.png comes after fer0000004.png'): load(data, votes=votes)


def test_copies_become_one_face_with_all_their_votes(tmp_path):
    faces = FACES[np.arange(70)]
    faces.images[7] = faces.images[0]                                # both in train
    votes = ordinary()
    votes[0], votes[7] = given(sad=6, fear=4), given(fear=9, sad=1)
    voted = with_votes(faces, table(tmp_path/'v.csv', votes))
    assert len(voted) == 69 and faces.source[7] not in voted.source
    assert voted.votes[0].tolist() == given(sad=7, fear=13) and EMOTIONS[voted.labels[0]] == 'fear'
    assert any('1 training faces are copies of others' in o for o in voted.notes)


def test_a_training_picture_that_stands_in_publictest_is_dropped(tmp_path):
    faces = FACES[np.arange(70)]
    held = int(np.flatnonzero(faces.split == 'public')[0])
    faces.images[0] = faces.images[held]
    faces.images[held + 1] = faces.images[held]                      # copies in a held-out split stay
    voted = with_votes(faces, table(tmp_path/'v.csv', ordinary()))
    assert faces.source[0] not in voted.source and len(voted.of('public')) == len(faces.of('public'))
    assert (voted.of('public').votes == np.array(ordinary())[faces.split == 'public']).all()
    assert any('stands in another split' in o for o in voted.notes)


def test_a_held_out_face_without_an_emotion_stays_for_the_label(tmp_path):
    votes, held = ordinary(), np.flatnonzero(FACES.split == 'public')
    votes[held[0]] = given(unknown=7, nf=3)
    voted = with_votes(FACES, table(tmp_path/'v.csv', votes))
    public = voted.of('public')
    assert len(public) == len(held) and public.labels[0] == -1 and not public.counted[0]
    assert sum(voted.counts()['public'].values()) == len(held) - 1
    found = {o.name: o for o in rulers(public)}
    assert (found['label'].labels == FACES.labels[held]).all()
    assert found['votes'].labels[0] == found['votes8'].labels[0] == -1 and (found['votes'].labels[1:] >= 0).all()


def test_a_face_for_which_contempt_won_counts_among_eight(tmp_path):
    votes, held = ordinary(), np.flatnonzero(FACES.split == 'public')
    votes[held[0]] = given(happy=4, contempt=6)
    for names, order in ((None, ['votes', 'votes8', 'label']), ((*EMOTIONS, 'contempt'), ['votes8', 'votes', 'label'])):
        found = rulers(with_votes(FACES, table(tmp_path/'v.csv', votes), names).of('public'))
        assert [o.name for o in found] == order
        seven, eight, label = (next(o for o in found if o.name == name) for name in ('votes', 'votes8', 'label'))
        assert seven.labels[0] == -1 and eight.names[eight.labels[0]] == 'contempt'
        assert label.names == EMOTIONS and (label.labels == FACES.labels[held]).all()


def test_a_csv_takes_contempt_as_a_label_too(tmp_path):
    csv_and_votes = ferplus_pair(tmp_path)
    assert load(csv_and_votes[0], names=(*EMOTIONS, 'contempt'), votes=csv_and_votes[1]).names[7] == 'contempt'


@pytest.fixture
def divided(tmp_path):
    "Votes of which every third face's are tied."
    votes = [given(happy=5, sad=5) if i % 3 == 0 else v for i, v in enumerate(ordinary())]
    return with_votes(FACES, table(tmp_path/'v.csv', votes))


def test_a_tie_is_learned_from_and_never_measured(divided):
    assert len(divided) == 70 and len(divided.with_label()) == 70 - 24
    assert divided.with_label().counted.all()
    assert (divided.with_label().labels == FACES.labels[np.arange(70) % 3 > 0]).all()
    assert len(FACES.with_label()) == 70                             # without votes all count
    half = divided.of('public')
    assert len(half.with_label()) == int(half.counted.sum()) < len(half)


def test_training_and_evaluation_leave_uncounted_faces_out(divided, tmp_path):
    pytest.importorskip('keras')
    from fer_nb.inference.zoo import load_model
    from fer_nb.training.evaluate import evaluate_model
    from fer_nb.training.export import export_run
    from fer_nb.training.recipes import Recipe
    from fer_nb.training.train import train
    run = train(Recipe('lenet', epochs=2, batch=28, rate=3e-3), divided, tmp_path/'run', verbose=0)
    assert run.info['data']['learned_from'] == len(divided.of('train'))
    counted = divided.of('public').with_label()
    said = run.best().predict(counted.images[..., None].astype(np.float32), verbose=0).argmax(1)
    assert max(run.history['val_accuracy']) == pytest.approx((said == counted.labels).mean(), abs=1e-4)
    card = export_run(run, 'voted', divided, tmp_path/'models', 'float32')
    assert card['evaluation']['n'] == len(counted)
    report = evaluate_model(load_model(tmp_path/'models/voted.tflite'), divided)
    assert report.n == len(counted) and report.accuracy == pytest.approx(card['evaluation']['accuracy'], abs=1e-5)


WITHOUT_NF = ['file', 'Usage', *FERPLUS_COLUMNS[:-1]]


@pytest.mark.parametrize('change, words', [
    (dict(votes=[given(sad=-1, happy=5)]), ['row 2', 'negative']),
    (dict(votes=[given(sad='some')]), ['row 2', 'not a whole number']),
    (dict(votes=[given(sad='')]), ['row 2', 'not a whole number']),
    (dict(votes=[given()]), ['row 2', 'nobody voted']),
    (dict(votes=[given(sad=9)[:-1]]), ['row 2', '11 columns instead of 12']),
    (dict(votes=[]), ['has a header and no rows']),
    (dict(votes=[given(sad=9)[:-1]], header=WITHOUT_NF), ['has no column NF']),
    (dict(votes=[given(sad=9)]*2, files=['drawn 0', 'drawn 71']), ['votes for drawn 71', 'belongs to this dataset']),
    (dict(votes=[given(sad=9)]*3, files=['x', 'y', 'drawn 1']), ['has votes for x', '2 such files']),
    (dict(votes=[given(sad=9)]*2, files=['drawn 0', 'drawn 0']), ['names drawn 0 more than once']),
])
def test_a_bad_table_is_named_in_one_sentence(tmp_path, change, words):
    with pytest.raises(FerError) as e: with_votes(FACES, table(tmp_path/'bad.csv', **change))
    said = str(e.value)
    assert 'bad.csv' in said and all(o in said for o in words) and '\n' not in said


def test_other_files_than_tables_and_other_labels(tmp_path):
    with pytest.raises(FerError, match='nowhere.csv cannot be opened'): with_votes(FACES, tmp_path/'nowhere.csv')
    (tmp_path/'empty.csv').touch()
    with pytest.raises(FerError, match='empty.csv has no column Usage'): with_votes(FACES, tmp_path/'empty.csv')
    (tmp_path/'photo.csv').write_bytes(cv2.imencode('.png', FACES.images[0])[1].tobytes())
    with pytest.raises(FerError, match='photo.csv has no column Usage'): with_votes(FACES, tmp_path/'photo.csv')
    path = table(tmp_path/'v.csv', ordinary())
    with pytest.raises(FerError, match='Nobody could vote for bored'): with_votes(FACES, path, ('happy', 'bored'))
    twins = replace(FACES, source=np.array([f'{s}/x/{i//2}.png' for i, s in enumerate(FACES.split)]))
    with pytest.raises(FerError, match='names x/0.png more than once'): with_votes(twins, path)


def test_the_commands(tmp_path):
    pytest.importorskip('keras')
    names = [f"{'train' if s == 'train' else 'test'}/{EMOTIONS[k]}/{USAGE[s]}_{i}.png"
             for i, (s, k) in enumerate(zip(FACES.split, FACES.labels))]
    for name, image in zip(names, FACES.images):
        (tmp_path/'data'/name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path/'data'/name), image)
    votes = [given(happy=5, sad=5) if i % 3 == 0 else v for i, v in enumerate(ordinary())]
    path = table(tmp_path/'votes.csv', votes, files=names)
    env = os.environ | {'COLUMNS': '200', 'TF_CPP_MIN_LOG_LEVEL': '3'}

    def fer_nb(*args):
        command = [Path(sys.executable).parent/'fer-nb', *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    data = ['--data', 'data', '--votes', path]
    done = fer_nb('train', '--arch', 'lenet', *data, '--epochs', 1, '--batch', 28, '--out', 'run', '--export', 'models')
    assert done.returncode == 0, done.stderr
    assert 'public accuracy' in done.stdout and "Chosen on the split 'public'." in done.stderr
    again = fer_nb('export', '--run', 'run', *data, '--name', 'again')
    assert again.returncode == 0, again.stderr
    told = fer_nb('evaluate', *data, '--model', 'models/again.tflite', '--json', '-')
    count = sum(i % 3 > 0 for i, s in enumerate(FACES.split) if s == 'public')
    assert told.returncode == 0 and f'"n": {count},' in told.stdout, told.stderr
    unlike = fer_nb('export', '--run', 'run', '--data', 'data', '--name', 'unlike')
    assert unlike.returncode == 2 and 'not what the run learned from' in unlike.stderr


def same_figures(told, again):
    "Whether `again` has every figure of a card's part `told`."
    if isinstance(told, dict): return all(k in again and same_figures(v, again[k]) for k, v in told.items())
    return told == again


def test_a_network_of_eight_labels_from_training_to_a_picture(tmp_path, sample, command):
    pytest.importorskip('keras')
    names, eight = [], (*EMOTIONS, 'contempt')
    with zipfile.ZipFile(tmp_path/'data.zip', 'w') as z:
        for i, (image, split, k) in enumerate(zip(FACES.images, FACES.split, FACES.labels)):
            names.append(f"{'train' if split == 'train' else 'test'}/{EMOTIONS[k]}/{USAGE[split]}_{i}.png")
            z.writestr(names[-1], cv2.imencode('.png', image)[1].tobytes())
    votes = [given(contempt=8, angry=2) if k == 0 else v for k, v in zip(FACES.labels, ordinary())]
    table(tmp_path/'votes.csv', votes, files=names)
    data = ('--data', 'data.zip', '--votes', 'votes.csv')
    done = command('train', *data, '--contempt', '--arch', 'lenet', '--epochs', 2, '--batch', 28, '--out', 'run',
                   '--quiet', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command('export', '--run', 'run', *data, '--precision', 'float32', cwd=tmp_path)
    assert done.returncode == 0 and 'by the majority of the votes' in done.stdout, done.stderr
    done = command('evaluate', *data, '--model', 'models/run.tflite', '--json', '-', cwd=tmp_path)
    figures, card = json.loads(done.stdout), json.loads((tmp_path/'models/run.json').read_text())
    assert figures['ruler'] == 'votes8'
    assert figures['per_class']['contempt']['support'] == (FACES.split == 'public').sum()/7
    assert same_figures(card['evaluation'], figures) and same_figures(card['rulers'], figures['rulers'])
    assert card['labels'] == [*eight] and card['rulers']['label']['n'] == (FACES.split == 'public').sum()
    done = command('predict', sample, '--model', 'models/run.tflite', '--json', '-', cwd=tmp_path)
    assert done.returncode == 0 and '"contempt"' in done.stdout


def test_the_real_votes(fer2013, ferplus):
    faces = load(fer2013, votes=ferplus)
    public = faces.of('public')
    assert len(public.with_label()) == 3372
    assert len(np.unique(faces.of('train').images.reshape(-1, 48*48), axis=0)) == len(faces.of('train'))
    known = {o.tobytes() for o in faces.of('train').images}
    assert not any(o.tobytes() in known for o in public.images)
    told = faces.labels >= 0
    assert np.allclose(faces[told].targets().sum(1), 1) and (~told).sum() == 10
    assert faces.votes.shape == (len(faces), 10)
    assert {o.name: (o.labels >= 0).sum() for o in rulers(public)} == {'votes': 3372, 'votes8': 3396, 'label': 3589}
    assert public.seen.sum() == 280                                  # FER-2013 has them in its training split, too


def test_evaluate_finds_every_figure_of_a_shipped_card(fer2013, ferplus, command):
    from fer_nb.inference.zoo import DEFAULT, RULERS, load_model
    card = load_model().card
    assert not card.lacks
    done = command('evaluate', '--model', DEFAULT, '--data', fer2013, '--votes', ferplus, '--json', '-')
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    found = figures['rulers'] | {figures['ruler']: figures}
    for name in RULERS: assert same_figures(card.ruler(name), found[name]), name
    if 'answers' in card: assert same_figures(card['answers'], figures['answers'])
