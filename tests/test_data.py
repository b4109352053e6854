"Every layout of every dataset gives the same faces; every broken one is named."
import zipfile

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS, FER2013_CODES
from fer_nb.training.audit import audit
from fer_nb.training.data import hold_out, load
from fer_nb.training.faces import drawn_faces, seen_in

FACES = drawn_faces(70, seed=4)
CODES = {v: k for k, v in FER2013_CODES.items()}


def csv_line(i, usage, pixels=None):
    if pixels is None: pixels = ' '.join(map(str, FACES.images[i].ravel()))
    return f"{CODES[EMOTIONS[FACES.labels[i]]]},{pixels},{usage}"


def put(root, name, i):
    path = root/name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), FACES.images[i])


def test_csv_keeps_pixels_labels_and_the_three_splits(tmp_path):
    usages = ['Training', 'PublicTest', 'PrivateTest']
    path = tmp_path/'fer2013.csv'
    path.write_text('emotion,pixels,Usage\n' + '\n'.join(csv_line(i, usages[i % 3]) for i in range(21)))
    faces = load(path)
    assert (faces.images == FACES.images[:21]).all() and (faces.labels == FACES.labels[:21]).all()
    assert faces.splits == ('train', 'public', 'private') and len(faces.of('private')) == 7
    assert faces.source[0] == 'row 2'


def test_kaggles_header_with_spaces_and_other_order(tmp_path):
    path = tmp_path/'icml_face_data.csv'
    path.write_text('emotion, Usage, pixels\n' + f"6,PublicTest,{' '.join(['7']*2304)}\n")
    faces = load(path)
    assert faces.names[faces.labels[0]] == 'neutral' and faces.split[0] == 'public'


@pytest.mark.parametrize('row, words', [
    ('3,1 2 3,Training', ['row 3', '3 values', 'cut short']),
    ('9,1 2 3 4,Training', ['row 3', "'9'", '0 to 6']),
    ('3,1 2 3 999,Training', ['row 3', '0 to 255']),
    ('3,1 2 x 4,Training', ['row 3', 'whole number']),
    ('3,1 2 3 4,Later', ['row 3', 'Later']),
    ('3,1 2 3 4', ['row 3', '2 columns']),
])
def test_a_bad_csv_row_is_named(tmp_path, row, words):
    path = tmp_path/'bad.csv'
    path.write_text(f'emotion,pixels,Usage\n0,1 2 3 4,Training\n{row}\n')
    with pytest.raises(FerError) as e: load(path)
    assert all(w in str(e.value) for w in ['bad.csv', *words]) and '\n' not in str(e.value)


def test_a_csv_without_a_column_or_rows(tmp_path):
    path = tmp_path/'x.csv'
    path.write_text('emotion,pixels\n0,1 2 3 4\n')
    with pytest.raises(FerError, match='no column Usage'): load(path)
    path.write_text('emotion,pixels,Usage\n')
    with pytest.raises(FerError, match='no rows'): load(path)
    path.write_text('')
    with pytest.raises(FerError, match='no column'): load(path)


@pytest.mark.parametrize('zipped', [False, True])
def test_kaggle_folders_tell_public_from_private_by_file_name(tmp_path, zipped):
    for i in range(70):
        kind = ('train', 'Training') if i < 42 else ('test', 'PublicTest') if i < 56 else ('test', 'PrivateTest')
        put(tmp_path/'fer', f'{kind[0]}/{EMOTIONS[FACES.labels[i]]}/{kind[1]}_{i:03d}.png', i)
    path = tmp_path/'fer'
    if zipped:
        with zipfile.ZipFile(tmp_path/'fer.zip', 'w') as z:
            for p in sorted(path.rglob('*.png')): z.write(p, p.relative_to(path))
        path = tmp_path/'fer.zip'
    faces = load(path)
    assert {s: len(faces.of(s)) for s in faces.splits} == {'train': 42, 'public': 14, 'private': 14}
    number = [int(o[-7:-4]) for o in faces.source]
    assert (faces.images == FACES.images[number]).all() and (faces.labels == FACES.labels[number]).all()


def test_any_size(tmp_path):
    for i in range(14): put(tmp_path, f'{EMOTIONS[FACES.labels[i]]}/{i}.png', i)
    assert load(tmp_path).size == 48
    small = load(tmp_path, size=28)
    assert small.images.shape == (14, 28, 28) and abs(float(small.images.mean()) - float(FACES.images[:14].mean())) < 1
    with pytest.raises(FerError, match='8 to 512'): load(tmp_path, size=2)


def test_a_picture_that_is_none_is_named(tmp_path):
    put(tmp_path, 'happy/1.png', 0)
    (tmp_path/'happy/2.png').write_text('hello')
    with pytest.raises(FerError, match='2.png'): load(tmp_path)


def test_unknown_layouts_are_described(tmp_path):
    put(tmp_path, 'cats/1.png', 0)
    with pytest.raises(FerError, match='cats.*train/happy'): load(tmp_path)
    assert load(tmp_path, names=('cats', 'dogs')).counts() == {'all': {'cats': 1, 'dogs': 0}}


def test_audit_finds_what_was_planted():
    faces = FACES[np.array([0, 1, 2, 3, 0, 4, 5, 1])]
    faces.split[:] = ['train']*6 + ['public']*2
    faces.images[6] = 90
    found = audit(faces)
    assert found.distinct == {'train': 5, 'public': 2} and found.across == {('train', 'public'): 1}
    assert len(found.blank) == 1 and found.conflicts == 0
    assert seen_in(faces.of('public'), faces.of('train')).tolist() == [False, True]


def test_hold_out_keeps_people_together(tmp_path):
    for i in range(70): put(tmp_path, f"{('happy', 'anger')[i % 2]}/S{i//7:03d}_{i:03d}.png", i)
    faces = hold_out(load(tmp_path), .4)
    people = {s: {o.split('/')[-1][:4] for o in faces.of(s).source} for s in ('train', 'validation')}
    assert people['train'] and people['validation'] and not people['train'] & people['validation']


def test_the_real_data(fer2013):
    faces = load(fer2013)
    assert {s: len(faces.of(s)) for s in ('train', 'public')} == {'train': 28709, 'public': 3589}
    found = audit(faces)
    assert found.distinct['train'] == 27473 and found.distinct['public'] == 3563
    assert found.across[('train', 'public')] == 270
