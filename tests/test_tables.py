"One definition of the columns; what is written is read back the same, however long."
import csv
import json
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_nb import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.inference.answers import Rule
from fer_nb.inference.batch import PictureFaces
from fer_nb.inference.recognize import Face
from fer_nb.inference.tables import (
    FILM_COLUMNS,
    PICTURE_COLUMNS,
    csv_text,
    csv_writer,
    film_rows,
    json_writer,
    open_table,
    picture_rows,
    write_table,
)
from fer_nb.video.faces import FrameFaces
from fer_nb.video.track import TrackedFace

SHARES = np.array([.01, .02, .03, .6, .04, .1, .2], np.float32)
FACE = Face((10.04, -3, 50, 60.26), .91234, SHARES, EMOTIONS, Rule(.7))
DIVIDED = Face((1, 2, 3, 4), 1, np.array([0, 0, .5, 0, 0, .05, .45], np.float32), EMOTIONS, Rule(.7, .9, 2))
SURE = TrackedFace((1, 2, 3, 4), 1, np.eye(7, dtype=np.float32)[3], EMOTIONS, track=12)
PIXELS = np.zeros((4, 4, 3), np.uint8)
FRAMES = [FrameFaces(0, 0., PIXELS, (SURE,), True), FrameFaces(1, 1/30, PIXELS, (SURE, SURE), False),
          FrameFaces(2, 2/30, PIXELS), FrameFaces(3, .1, None)]
PICTURES = [PictureFaces(Path('a,b.jpg'), [FACE, FACE]), PictureFaces(Path('broken.jpg'), error='broken.jpg is empty.'),
            PictureFaces(Path('wall.jpg'))]


def test_the_columns_are_these():
    "Programs of other people read these tables: a column is added after those of the face or not at all."
    face = ('x', 'y', 'width', 'height', 'score', 'label', 'confidence', 'uncertain', 'agreement', 'answer', 'mixed')
    assert PICTURE_COLUMNS == ('file', 'face', *face) and FILM_COLUMNS == ('frame', 'time', 'track', *face, 'seen')
    assert csv_text(picture_rows(PICTURES), (*PICTURE_COLUMNS, *EMOTIONS)) == (
        'file,face,x,y,width,height,score,label,confidence,uncertain,agreement,answer,mixed,'
        'angry,disgust,fear,happy,neutral,sad,surprise\n'
        '"a,b.jpg",1,10.0,-3.0,50.0,60.3,0.9123,happy,0.6,1,0.6,uncertain,0,0.01,0.02,0.03,0.6,0.04,0.1,0.2\n'
        '"a,b.jpg",2,10.0,-3.0,50.0,60.3,0.9123,happy,0.6,1,0.6,uncertain,0,0.01,0.02,0.03,0.6,0.04,0.1,0.2\n'
        'wall.jpg,0,,,,,,,,,,,,,,,,,,\n')
    assert csv_text(film_rows(FRAMES), (*FILM_COLUMNS, *EMOTIONS)) == (
        'frame,time,track,x,y,width,height,score,label,confidence,uncertain,agreement,answer,mixed,seen,'
        'angry,disgust,fear,happy,neutral,sad,surprise\n'
        '0,0.0,12,1.0,2.0,3.0,4.0,1.0,happy,1.0,0,1.0,happy,0,1,0.0,0.0,0.0,1.0,0.0,0.0,0.0\n'
        '1,0.0333,12,1.0,2.0,3.0,4.0,1.0,happy,1.0,0,1.0,happy,0,0,0.0,0.0,0.0,1.0,0.0,0.0,0.0\n'
        '1,0.0333,12,1.0,2.0,3.0,4.0,1.0,happy,1.0,0,1.0,happy,0,0,0.0,0.0,0.0,1.0,0.0,0.0,0.0\n'
        '2,0.0667,,,,,,,,,,,,,0,,,,,,,\n'
        '3,0.1,,,,,,,,,,,,,,,,,,,,\n')


def test_a_divided_face_has_both_labels_in_its_row():
    (row,) = csv.DictReader(csv_text(picture_rows([PictureFaces(Path('a.jpg'), [DIVIDED])]),
                                     (*PICTURE_COLUMNS, *EMOTIONS)).splitlines())
    assert (row['label'], row['answer'], row['mixed'], row['uncertain']) == ('fear', 'mixed: fear, surprise', '1', '0')
    assert (float(row['agreement']), float(row['confidence'])) == (.5, pytest.approx(.25/.455, abs=1e-4))


def test_json_of_pictures_is_as_it_was():
    "One list, a picture on each line."
    lines = []
    with json_writer(SimpleNamespace(write=lines.append)) as write: write(o.to_dict() for o in PICTURES if not o.error)
    assert ''.join(lines) == (
        '[' + ',\n '.join(json.dumps(dict(file=str(o.path), faces=[f.to_dict() for f in o.faces]))
                         for o in PICTURES if not o.error) + ']\n')


def plain(rows): return [{k: None if v == '' else v for k, v in o.items()} for o in rows]


@pytest.mark.parametrize('rows', [lambda: picture_rows(PICTURES), lambda: film_rows(FRAMES)], ids=['pictures', 'films'])
def test_what_is_written_is_read_back(tmp_path, rows):
    expected = list(rows())
    for kind in ('csv', 'json'): write_table(tmp_path/f't.{kind}', rows())
    text = list(csv.DictReader((tmp_path/'t.csv').open(newline='', encoding='utf-8')))
    assert text == [{k: str(v) for k, v in o.items()} for o in expected]
    assert json.loads((tmp_path/'t.json').read_text()) == plain(expected)
    pq = pytest.importorskip('pyarrow.parquet')
    write_table(tmp_path/'t.parquet', rows())
    write_table(tmp_path/'u.parquet', text)                               # the same from the text of the CSV
    table = pq.read_table(tmp_path/'t.parquet')
    assert table.equals(pq.read_table(tmp_path/'u.parquet')) and table.column_names == list(expected[0])
    for row, wanted in zip(table.to_pylist(), plain(expected)):
        for k, v in wanted.items(): assert row[k] == (pytest.approx(v, abs=1e-6) if isinstance(v, float) else v), k
    kinds = {o.name: str(o.type) for o in table.schema}
    assert kinds['label'] == kinds['answer'] == 'string' and kinds['uncertain'] == kinds['mixed'] == 'bool'
    assert kinds['x'] == kinds['happy'] == 'float'


def test_labels_of_ones_own(tmp_path):
    face = Face((0, 0, 9, 9), 1., np.array([.25, .75], np.float32), ('bored', 'keen, very'))
    write_table(tmp_path/'t.csv', picture_rows([PictureFaces(Path('a.jpg'), [face])], face.labels))
    (row,) = csv.DictReader((tmp_path/'t.csv').open())
    assert row['label'] == 'keen, very' and row['keen, very'] == '0.75'
    with pytest.raises(FerError, match='labels bored, keen, very'):
        list(picture_rows([PictureFaces(Path('a'), [face])]))


def test_no_rows_make_a_table_with_a_header(tmp_path):
    for kind in ('csv', 'json'): write_table(tmp_path/f't.{kind}', [], PICTURE_COLUMNS)
    assert (tmp_path/'t.csv').read_text() == ','.join(PICTURE_COLUMNS) + '\n'
    assert (tmp_path/'t.json').read_text() == '[]\n'
    with pytest.raises(FerError, match='no rows for'): write_table(tmp_path/'u.csv', [])
    pq = pytest.importorskip('pyarrow.parquet')
    write_table(tmp_path/'t.parquet', [], PICTURE_COLUMNS)
    assert pq.read_table(tmp_path/'t.parquet').num_rows == 0


@pytest.mark.parametrize('kind', ['csv', 'json', 'parquet'])
def test_a_table_is_whole_or_not_there(tmp_path, kind):
    if kind == 'parquet': pytest.importorskip('pyarrow')
    path = tmp_path/f't.{kind}'
    path.write_text('what was there before')
    def interrupted():
        yield dict(n=1)
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): write_table(path, interrupted())
    assert path.read_text() == 'what was there before' and [o.name for o in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(FerError, match='t.xlsx .*end in .csv, .json or .parquet'): write_table(tmp_path/'t.xlsx', [])
    with pytest.raises(FerError, match='does not exist'): write_table(tmp_path/'no/t.csv', [dict(n=1)])
    with pytest.raises(FerError, match='the columns b, but the table has only a'):
        with open_table(tmp_path/'t.csv', ['a']) as write: write([dict(a=1, b=2)])
    assert not [*tmp_path.iterdir()]
    write_table(tmp_path/'table.txt', [dict(n=1)], kind='csv')
    assert (tmp_path/'table.txt').read_text() == 'n\n1\n'


def test_rows_are_written_as_they_come(tmp_path):
    "While the iterator is half-way, the first rows are on their way, and no row is kept."
    lines, held = [], []
    def rows():
        for i in range(5):
            held.append(len(lines))
            yield dict(n=i)
    csv_writer(SimpleNamespace(write=lines.append), ['n'])(rows())
    assert held == [1, 2, 3, 4, 5] and lines == ['n\n', '0\n', '1\n', '2\n', '3\n', '4\n']


@pytest.mark.parametrize('kind', ['csv', 'json', 'parquet'])
def test_memory_does_not_grow_with_the_table(tmp_path, kind):
    if kind == 'parquet': pytest.importorskip('pyarrow')
    code = ("import resource, sys; from itertools import repeat; from fer_nb.inference.tables import write_table; "
            "row = dict(file='a.jpg', face=1, x=1., label='happy'); "
            "write_table(sys.argv[1], repeat(row, int(sys.argv[2]))); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    peak = {}
    for n in (20_000, 200_000):
        command = [sys.executable, '-c', code, str(tmp_path/f't.{kind}'), str(n)]
        peak[n] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)/1024
    assert peak[200_000] < peak[20_000] + 20, peak


def test_names_of_files_need_not_be_unicode(tmp_path):
    odd = PictureFaces(Path('caf\udce9.jpg'))                                    # Latin-1 on the disk
    write_table(tmp_path/'t.csv', picture_rows([odd]))
    assert b'caf\xe9.jpg,0' in (tmp_path/'t.csv').read_bytes()
    write_table(tmp_path/'t.json', picture_rows(repeat(odd, 2)))
    assert json.loads((tmp_path/'t.json').read_text())[1]['file'] == 'caf\udce9.jpg'
