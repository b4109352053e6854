"The commands as a user types them, each in a process of its own."
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from fer_nb.emotions import EMOTIONS
from fer_nb.inference.zoo import list_models

FER_NB = str(Path(sys.executable).parent/'fer-nb')


def fer_nb(*args, cwd=None, code=0):
    env = os.environ | {'COLUMNS': '200', 'TF_CPP_MIN_LOG_LEVEL': '3'}
    r = subprocess.run([FER_NB, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=env)
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "Drawn faces as a folder of class folders."
    from fer_nb.training.faces import drawn_faces
    root, faces = tmp_path_factory.mktemp('drawn'), drawn_faces(350)
    for i, image in enumerate(faces.images):
        folder, start = ('Training', 'Training') if faces.split[i] == 'train' else ('test', 'PublicTest')
        path = root/folder/faces.names[faces.labels[i]]/f'{start}_{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return root


def test_predict_finds_one_happy_face(sample):
    out = fer_nb('predict', sample)
    assert out.count(' happy ') == 1 and 'sample.jpg' in out
    *_, letters, sentence = out.splitlines()
    assert letters == 'HHHHHHHHHH' and sentence == 'Of ten people, all ten would say happy.'


def test_several_faces_have_ten_people_each_in_the_table(sample, tmp_path, with_answers):
    photo = cv2.imread(str(sample))
    dark = cv2.convertScaleAbs(cv2.GaussianBlur(photo, (0, 0), 2.5), alpha=.5)
    cv2.imwrite(str(tmp_path/'two.jpg'), cv2.hconcat([photo, dark]))
    model = with_answers(dict(threshold=.9999, pair=.1, power=1))                        # no face is sure enough
    out = fer_nb('predict', tmp_path/'two.jpg', '--model', model, '--json', tmp_path/'two.json')
    lines, (picture,) = out.splitlines(), json.loads((tmp_path/'two.json').read_text())
    assert len(lines) == 3 and 'of ten people' in lines[0] and len(picture['faces']) == 2
    for line, face in zip(lines[1:], picture['faces']):
        short = dict(zip(EMOTIONS, ('A', 'D', 'F', 'H', 'N', 'Sa', 'Su')))
        assert face['answer'] in line and face['answer'].startswith('mixed: ') and face['mixed']
        assert ' '.join(n*short[o] for o, n in face['people'].items() if n) in line


def test_a_terminal_with_colours_shows_ten_badges(sample):
    env = os.environ | {'COLUMNS': '200', 'FORCE_COLOR': '1', 'COLORTERM': 'truecolor', 'TERM': 'xterm-256color'}
    env.pop('NO_COLOR', None)
    out = subprocess.run([FER_NB, 'predict', sample], capture_output=True, text=True, env=env, check=True).stdout
    assert out.count('48;2;230;159;0m H ') == 10 and 'Of ten people, all ten would say happy.' in out


def test_predict_writes_json_csv_and_pictures_of_a_folder(sample, tmp_path):
    (tmp_path/'in').mkdir()
    for o in ('a.jpg', 'b.jpg'): shutil.copy(sample, tmp_path/'in'/o)
    cv2.imwrite(str(tmp_path/'in/wall.png'), cv2.imread(str(sample))[:40, :40])
    files = '--json', tmp_path/'r.json', '--csv', tmp_path/'r.csv', '--out', tmp_path/'out'
    fer_nb('predict', tmp_path/'in', *files, '--shape', 'circle')
    results = json.loads((tmp_path/'r.json').read_text())
    assert [len(r['faces']) for r in results] == [1, 1, 0] and results[0]['faces'][0]['label'] == 'happy'
    rows = list(csv.DictReader((tmp_path/'r.csv').open()))
    assert [r['label'] for r in rows] == ['happy', 'happy', '']
    assert sum(float(rows[0][e]) for e in EMOTIONS) == pytest.approx(1, abs=1e-3)
    assert sorted(o.name for o in (tmp_path/'out').iterdir()) == ['a_faces.jpg', 'b_faces.jpg', 'wall_faces.jpg']
    assert (cv2.imread(str(tmp_path/'out/a_faces.jpg')) != cv2.imread(str(sample))).any()


def test_globs_and_json_to_the_terminal(sample, tmp_path):
    shutil.copy(sample, tmp_path/'x.jpg')
    out = json.loads(fer_nb('predict', str(tmp_path/'*.jpg'), '--json', '-'))
    assert out[0]['file'].endswith('x.jpg') and out[0]['faces'][0]['label'] == 'happy'


def test_many_crops_are_counted_and_a_broken_one_costs_no_other(drawn, tmp_path):
    files = sorted(drawn.rglob('*.png'))[:70]
    (tmp_path/'in').mkdir()
    for i, o in enumerate(files): shutil.copy(o, tmp_path/f'in/{i:02}.png')
    (tmp_path/'in/33.png').write_bytes(b'no picture')
    command = [FER_NB, 'predict', 'in', '--crops', '--model', 'lenet', '--json', 'r.json']
    r = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 2 and '33.png' in r.stderr and r.stdout.startswith('69 faces in 69 pictures: ')
    results = json.loads((tmp_path/'r.json').read_text())
    assert [o['file'] for o in results] == [str(Path('in')/f'{i:02}.png') for i in range(70) if i != 33]
    alone = json.loads(fer_nb('predict', 'in/34.png', '--crops', '--model', 'lenet', '--json', '-', cwd=tmp_path))
    assert alone[0]['faces'][0]['probabilities'] == pytest.approx(results[33]['faces'][0]['probabilities'], abs=1e-3)


def test_plot_draws_the_photo_beside_its_bars(sample, tmp_path):
    shutil.copy(sample, tmp_path/'me.jpg')
    cv2.imwrite(str(tmp_path/'wall.png'), cv2.imread(str(sample))[:40, :40])
    assert '1 face plotted in me_plot.png' in fer_nb('plot', 'me.jpg', '--height', 480, cwd=tmp_path)
    drawn, photo = cv2.imread(str(tmp_path/'me_plot.png')), cv2.imread(str(sample))
    assert len(drawn) == 480 and drawn.shape[1] > 1.3*480*photo.shape[1]/photo.shape[0]   # the bars stand beside
    assert '0 faces plotted' in fer_nb('plot', 'wall.png', '--dark', cwd=tmp_path)
    assert (tmp_path/'me.jpg').read_bytes() == sample.read_bytes()
    for wrong in (['me.jpg', '--out', 'me.jpg'], ['me.jpg', '--out', 'me.gif'], ['nobody.jpg'],
                  ['me.jpg', '--height', 0], ['me.jpg', '--shape', 'star']):
        fer_nb('plot', *wrong, cwd=tmp_path, code=2)
    assert sorted(o.name for o in tmp_path.iterdir()) == ['me.jpg', 'me_plot.png', 'wall.png', 'wall_plot.png']


def test_models_lists_what_is_shipped():
    cards = json.loads(fer_nb('models', '--json'))
    assert {'lenet', 'alexnet', 'simple_cnn'} <= {c['name'] for c in cards}
    assert all(c['name'] in fer_nb('models') for c in cards)


def test_train_evaluate_export_and_predict_with_the_new_model(drawn, sample, tmp_path):
    settings = '--epochs', 8, '--batch', 28, '--rate', .003, '--augment', 'light'
    results = '--out', tmp_path/'run', '--export', tmp_path/'models'
    out = fer_nb('train', '--arch', 'lenet', '--data', drawn, *settings, *results)
    assert '8 epochs' in out
    card = json.loads((tmp_path/'models/run.json').read_text())
    assert card['architecture'] == 'lenet' and card['command'].startswith('fer-nb train')
    assert card['training_data']['counts']['train']['happy'] == 40
    results = '--json', tmp_path/'e.json', '--out', tmp_path/'figures'
    fer_nb('evaluate', '--model', tmp_path/'models/run.tflite', '--data', drawn, *results)
    figures = json.loads((tmp_path/'e.json').read_text())
    assert figures['accuracy'] == pytest.approx(card['evaluation']['accuracy'], abs=1e-9) and figures['accuracy'] > .8
    assert list((tmp_path/'figures').glob('*.png'))
    wanted = '--out', tmp_path/'models', '--name', 'wide', '--precision', 'float32'
    fer_nb('export', '--run', tmp_path/'run', '--data', drawn, *wanted)
    assert 'sample' in fer_nb('predict', sample, '--model', tmp_path/'models/wide.tflite')


def test_data_audit(drawn, tmp_path):
    out = fer_nb('data', 'audit', drawn, '--json', tmp_path/'a.json', '--plot', tmp_path/'a.png')
    assert '280' in out and json.loads((tmp_path/'a.json').read_text())['counts']['train']['sad'] == 40
    assert cv2.imread(str(tmp_path/'a.png')) is not None


def test_version_and_help():
    import fer_nb as package
    assert fer_nb('--version').strip() == f'fer_nb {package.__version__}'
    for command in ('predict', 'train', 'evaluate', 'export', 'models'): assert '--help' in fer_nb(command, '--help')


@pytest.mark.parametrize('name', [c.name for c in list_models()])
def test_the_cards_hold_what_evaluate_measures(fer2013, tmp_path, name, request):
    from fer_nb.core import models_dir
    card = json.loads((models_dir()/f'{name}.json').read_text())
    by_votes = card['evaluation'].get('ruler') == 'votes'
    votes = ('--votes', request.getfixturevalue('ferplus')) if by_votes else ()
    fer_nb('evaluate', '--model', name, '--data', fer2013, *votes, '--split', 'public', '--json', tmp_path/'e.json')
    figures = json.loads((tmp_path/'e.json').read_text())
    for k in ('n', 'accuracy', 'accuracy_ci', 'macro_f1', 'confusion', 'without_duplicates'):
        assert figures.get(k) == card['evaluation'].get(k), k
