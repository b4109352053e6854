"Whatever a person may give: one sentence that names it, exit code 2, nothing half-written, and the rest goes on."
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import FERPLUS_COLUMNS
from fer_nb.inference.boxes import Detection
from fer_nb.inference.image import open_image
from fer_nb.inference.recognize import EmotionRecognizer

FER_NB = str(Path(sys.executable).parent/'fer-nb')


def fer_nb(*args, cwd=None):
    env = os.environ | {'COLUMNS': '200'}
    return subprocess.run([FER_NB, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=env)


def one_sentence(result, *words):
    assert result.returncode == 2, result.stdout + result.stderr
    assert 'Traceback' not in result.stderr and all(w in result.stderr for w in words), result.stderr
    return True


@pytest.fixture(scope='module')
def photo(sample): return open_image(sample)


@pytest.fixture(scope='module')
def recognizer(): return EmotionRecognizer()


def jpeg(image, quality=90): return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def exif_rotated(data, orientation):
    "JPEG bytes with an EXIF header that holds only an orientation."
    entry = struct.pack('<HHIHH', 0x0112, 3, 1, orientation, 0)
    tiff = b'II*\0' + struct.pack('<I', 8) + struct.pack('<H', 1) + entry + struct.pack('<I', 0)
    body = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + data[2:]


NOT_PICTURES = {
    'text.jpg': (b'I am not a picture', 'holds text'),
    'empty.png': (b'', '0 bytes'),
    'drawing.svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'SVG'),
    'phone.heic': (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'HEIC'),
    'noise.bin': (bytes(range(256))*4, 'cannot be decoded'),
}


@pytest.mark.parametrize('name', list(NOT_PICTURES))
def test_files_that_are_no_pictures(tmp_path, name):
    data, words = NOT_PICTURES[name]
    (tmp_path/name).write_bytes(data)
    with pytest.raises(FerError) as e: open_image(tmp_path/name)
    assert name in str(e.value) and words in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('part', [.02, .3, .7, .99])
def test_truncated_files_are_refused_not_half_shown(tmp_path, photo, suffix, part):
    data = cv2.imencode(suffix, photo)[1].tobytes()
    (tmp_path/f'half{suffix}').write_bytes(data[:int(len(data)*part)])
    with pytest.raises(FerError, match='half'): open_image(tmp_path/f'half{suffix}')


def test_unusual_pictures_are_opened(tmp_path, photo, recognizer):
    forms = {'grey.png': cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY), 'deep.png': photo.astype(np.uint16)*257,
             'alpha.png': np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)]),
             'web.webp': photo, 'map.bmp': photo, 'scan.tiff': photo}
    for name, image in forms.items():
        assert cv2.imwrite(str(tmp_path/name), image)
        faces = recognizer(tmp_path/name)
        assert [f.label for f in faces] == ['happy'], name


def test_cmyk_and_animated_gif(tmp_path, photo, recognizer):
    Image = pytest.importorskip('PIL.Image')
    picture = Image.fromarray(photo[..., ::-1])
    picture.convert('CMYK').save(tmp_path/'press.jpg')
    picture.save(tmp_path/'moving.gif', save_all=True, append_images=[picture.rotate(180)], duration=100)
    for name in ('press.jpg', 'moving.gif'): assert [f.label for f in recognizer(tmp_path/name)] == ['happy'], name


@pytest.mark.parametrize('orientation, turn', [
    (3, cv2.ROTATE_180), (6, cv2.ROTATE_90_COUNTERCLOCKWISE), (8, cv2.ROTATE_90_CLOCKWISE)])
def test_a_phone_photo_is_turned_upright(photo, orientation, turn):
    upright = open_image(exif_rotated(jpeg(cv2.rotate(photo, turn)), orientation))
    assert upright.shape == photo.shape and np.abs(upright.astype(int) - photo).mean() < 6


def test_extreme_sizes(photo, recognizer):
    assert recognizer(np.zeros((1, 1, 3), np.uint8)) == []
    wide = np.full((600, 30_000, 3), 128, np.uint8)
    wide[44:556, 20_000:20_512] = photo
    faces = recognizer(open_image(jpeg(wide)))
    assert len(faces) == 1 and 20_100 < faces[0].box[0] < 20_300


@pytest.mark.parametrize('array, words', [
    (np.full((50, 50, 3), np.nan), 'NaN'), (np.zeros((50, 50, 3), np.float32), 'float32'),
    (np.zeros((50, 50, 2), np.uint8), 'shape'), (np.zeros((0, 50, 3), np.uint8), 'no pixels'),
    (np.zeros((2, 50, 50, 3), np.uint8), 'shape'), (7, 'not int'), (None, 'NoneType')])
def test_arrays_that_are_no_images(recognizer, array, words):
    with pytest.raises(FerError, match=words): recognizer(array)


@pytest.mark.parametrize('boxes', [[[1, 2, 3]], [[0, 0, np.nan, 5]], [[0, 0, 0, 10]], 'face'])
def test_boxes_that_are_none(photo, recognizer, boxes):
    with pytest.raises(FerError): recognizer(photo, boxes=boxes)


def test_a_batch_goes_on_past_bad_files_and_reports_them(tmp_path, sample):
    shutil.copy(sample, tmp_path/'good.jpg')
    for name, (data, _) in NOT_PICTURES.items(): (tmp_path/name).write_bytes(data)
    result = fer_nb('predict', *sorted(tmp_path.iterdir()), '--csv', tmp_path/'faces.csv', '--out', tmp_path/'out')
    assert one_sentence(result, '5 of 6 files', 'text.jpg', 'empty.png', 'phone.heic')
    assert (tmp_path/'faces.csv').read_text().count('happy') >= 1
    assert [o.name for o in (tmp_path/'out').iterdir()] == ['good_faces.jpg']


def test_a_folder_of_phone_photos_without_the_extra_is_not_read_in_silence(tmp_path, sample, monkeypatch, command):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    for i in range(3): (tmp_path/f'{i}.heic').write_bytes(NOT_PICTURES['phone.heic'][0])
    shutil.copy(sample, tmp_path/'good.jpg')
    result = command('predict', tmp_path)
    assert one_sentence(result, '3 of 4 files', "pip install 'fer_nb[phone]'", 'The same applies to 2 more.')
    assert 'happy' in result.stdout and result.stderr.count('HEIC') == 1
    assert one_sentence(command('predict', tmp_path/'0.heic'), '0.heic is in the format HEIC')
    (tmp_path/'films').mkdir()
    (tmp_path/'films/a.mov').touch()
    assert one_sentence(command('predict', tmp_path/'films'), 'holds no pictures', 'but 1 .mov')


def test_predict_says_how_small_it_looked_and_that_a_better_detector_is_missing(tmp_path, sample, monkeypatch, command):
    import fer_nb.inference.weights
    large = cv2.resize(cv2.imread(str(sample)), None, fx=4, fy=4)
    cv2.imwrite(str(tmp_path/'large.jpg'), large)
    shutil.copy(sample, tmp_path/'small.jpg')
    said = command('predict', tmp_path).stderr
    assert 'The minimum face size was 24 to 41 pixels; use --min-face 12 to find smaller faces.' in said
    monkeypatch.setattr(fer_nb.inference.weights, '_places', lambda name: iter(()))
    said = command('predict', tmp_path/'small.jpg').stderr
    assert 'Haar' in said and 'fer-nb weights fetch blazeface' in said


def test_a_jpeg_xl_is_turned_and_a_damaged_one_is_named(tmp_path, photo):
    pytest.importorskip('pillow_jxl')
    Image = pytest.importorskip('PIL.Image')
    side = Image.fromarray(np.ascontiguousarray(np.rot90(photo[:400])[..., ::-1]))
    exif = side.getexif()
    exif[0x112] = 6
    side.save(tmp_path/'a.jxl', exif=exif.tobytes())
    assert np.abs(open_image(tmp_path/'a.jxl').astype(int) - photo[:400]).mean() < 3
    (tmp_path/'half.jxl').write_bytes((tmp_path/'a.jxl').read_bytes()[:9000])
    with pytest.raises(FerError, match='half.jxl is a JPEG XL that breaks off'): open_image(tmp_path/'half.jxl')


def test_an_avif_is_turned_as_its_file_says(tmp_path, photo):
    features = pytest.importorskip('PIL.features')
    if not features.check('avif'): pytest.skip("this Pillow has no AVIF")
    from PIL import Image
    side = Image.fromarray(np.ascontiguousarray(np.rot90(photo[:400])[..., ::-1]))
    exif = side.getexif()
    exif[0x112] = 6
    side.save(tmp_path/'a.avif', exif=exif)
    assert np.abs(open_image(tmp_path/'a.avif').astype(int) - photo[:400]).mean() < 3


def test_wrong_options_on_the_command_line(tmp_path, sample, command):
    assert one_sentence(fer_nb('predict', tmp_path/'none.jpg'), 'none.jpg does not exist')
    assert one_sentence(fer_nb('predict', sample, '--model', 'resnet9000'), 'resnet9000', 'lenet')
    assert one_sentence(fer_nb('predict', sample, '--detector', 'eyes'), 'eyes', 'haar')
    assert one_sentence(fer_nb('predict', sample, '--shape', 'star'), 'star')
    assert one_sentence(fer_nb('predict', sample, '--csv', tmp_path/'no/folder.csv'), 'does not exist')
    assert one_sentence(fer_nb('predict', tmp_path), 'holds no pictures')
    assert one_sentence(command('data', 'audit', tmp_path/'none'), 'does not exist')
    assert one_sentence(command('train', '--data', tmp_path/'none', '--arch', 'lenet'), 'does not exist')
    assert one_sentence(command('train', '--data', tmp_path, '--recipe', 'vgg'), 'vgg', 'lenet')
    assert one_sentence(command('evaluate', '--data', tmp_path/'none'), 'does not exist')
    assert one_sentence(command('export', '--run', tmp_path, '--data', tmp_path), 'not a training run')


def test_damaged_phone_pictures_are_one_sentence_each():
    heif, image = pytest.importorskip('pillow_heif'), pytest.importorskip('PIL.Image')
    grey = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
    file = io.BytesIO()
    heif.from_pillow(image.fromarray(np.dstack([grey]*3))).save(file, quality=80)
    refused = 0
    for seed in range(200):
        rng, data = np.random.default_rng(seed), bytearray(file.getvalue())
        for _ in range(3): data[rng.integers(len(data))] = rng.integers(256)
        try: open_image(bytes(data))
        except FerError: refused += 1
    assert refused > 50


def test_sixteen_bits_of_a_phone_keep_their_light():
    image = pytest.importorskip('PIL.Image')
    pytest.importorskip('pillow_jxl')
    file = io.BytesIO()
    image.fromarray(np.linspace(0, 65535, 4096).reshape(64, 64).astype(np.uint16)).save(file, 'JXL', lossless=True)
    found = open_image(file.getvalue())
    assert found.shape == (64, 64, 3) and found.dtype == np.uint8 and abs(found.mean() - 127) < 1


def test_a_folder_names_what_it_does_not_read(tmp_path, sample):
    shutil.copy(sample, tmp_path/'good.jfif')
    for name in 'a.dng', 'b.dng', 'c.mov': (tmp_path/name).write_bytes(b'x')
    done = fer_nb('predict', tmp_path)
    assert done.returncode == 0 and 'happy' in done.stdout
    assert f'Other files, not read: 2 .dng, 1 .mov in {tmp_path}.' in done.stderr
    assert 'not read' not in fer_nb('predict', sample).stderr


def test_key_points_that_cannot_be_are_left_out(recognizer, photo):
    found = recognizer(photo)[0]
    for points in np.full((4, 2), np.nan), np.asarray(found.landmarks) + 5000:
        box = Detection(*found.box, found.score, points, found.roll)
        face, = recognizer(photo, boxes=[box])
        assert face.landmarks is None and face.roll == found.roll and face.label == 'happy'
        json.loads(json.dumps(face.to_dict(), allow_nan=False))
    with pytest.raises(FerError, match='no pixels'): recognizer.crops(np.zeros((3, 0, 0), np.uint8))


def test_sentences_about_long_and_broken_tables_are_short(tmp_path):
    (tmp_path/'wide.csv').write_text('x'*10_000 + '\n1\n')
    with zipfile.ZipFile(tmp_path/'raf.zip', 'w') as z:
        z.writestr('EmoLabel/list_patition_label.txt', b'\0'*3000)
        z.writestr('Image/aligned/train_00001_aligned.jpg', b'')
    for name in 'wide.csv', 'raf.zip':
        done = fer_nb('data', 'audit', tmp_path/name)
        assert one_sentence(done, name) and len(done.stderr) < 700 and done.stderr.count('\n') < 6, done.stderr


def test_names_that_no_file_system_takes(tmp_path, sample):
    long = 'a'*5000
    for name in long, f'{long}.tflite', f'models/{long}':
        done = fer_nb('predict', sample, '--model', name)
        assert one_sentence(done, 'model' if name == long else 'does not exist') and len(done.stderr) < 700
    with zipfile.ZipFile(tmp_path/'nameless.zip', 'w') as z: z.writestr(zipfile.ZipInfo(''), b'1')
    assert one_sentence(fer_nb('data', 'audit', tmp_path/'nameless.zip'), 'nameless.zip holds no pictures')


def test_a_model_without_its_card_or_with_a_changed_byte(tmp_path, sample):
    from fer_nb.core import models_dir
    model = tmp_path/'lenet.tflite'
    for suffix in ('.tflite', '.json'): shutil.copy(models_dir()/f'lenet{suffix}', tmp_path)
    assert fer_nb('predict', sample, '--model', model).returncode == 0
    data = bytearray(model.read_bytes())
    data[len(data)//2] ^= 1
    model.write_bytes(data)
    assert one_sentence(fer_nb('predict', sample, '--model', model), 'lenet.tflite', 'SHA-256')
    model.with_suffix('.json').unlink()
    assert one_sentence(fer_nb('predict', sample, '--model', model), 'card')


HEAD = 'Usage,Image name,' + ','.join(FERPLUS_COLUMNS)
FILES = HEAD.replace('Image name', 'file')


def ballot(*start): return ','.join(map(str, (*start, 9, 1, *[0]*8)))


@pytest.fixture(scope='module')
def drawn_csv(tmp_path_factory):
    "FER-2013's layout with three drawn faces of PublicTest and three to train on, as a CSV and as a zip."
    from fer_nb.training.faces import drawn_faces
    folder, faces = tmp_path_factory.mktemp('drawn'), drawn_faces(6)
    usage = ['Training']*3 + ['PublicTest']*3
    rows = [f"0,{' '.join(map(str, o.ravel()))},{u}" for o, u in zip(faces.images, usage)]
    (folder/'fer2013.csv').write_text('emotion,pixels,Usage\n' + '\n'.join(rows))
    with zipfile.ZipFile(folder/'fer2013.zip', 'w') as z:
        for i, o in enumerate(faces.images):
            name = f'train/angry/Training_{i}.png' if i < 3 else f'test/angry/PublicTest_{i}.png'
            z.writestr(name, cv2.imencode('.png', o)[1].tobytes())
    return folder


def by_row(*which): return [ballot('Training' if i < 3 else 'PublicTest', f'fer{i:07}.png') for i in which]


@pytest.mark.parametrize('data, head, rows, words', [
    ('fer2013.csv', HEAD, by_row(0, 1, 2, 3, 4), ['votes.csv has 5 rows and FER-2013 CSV fer2013.csv 6']),
    ('fer2013.csv', HEAD, by_row(0, 2, 1, 3, 4, 5), ['votes.csv, row 4', 'comes after', 'original order']),
    ('fer2013.csv', HEAD, by_row(3, 4, 5, 0, 1, 2), ['votes.csv, row 5', 'original order']),
    ('fer2013.csv', HEAD, [*by_row(0), by_row(1)[0].replace(',9,', ',-9,')], ['votes.csv, row 3: a vote is negative']),
    ('fer2013.csv', HEAD, [by_row(0)[0].replace(',9,', ',,')], ['votes.csv, row 2: a vote is not a whole number']),
    ('fer2013.csv', HEAD, [by_row(0)[0].replace(',9,1,', ',0,0,')], ['votes.csv, row 2: nobody voted']),
    ('fer2013.zip', FILES, [ballot('Training', 'train/angry/Training_7.png')],
     ['votes.csv has votes for train/angry/Training_7.png', 'not among the faces of folders in fer2013.zip']),
])
def test_votes_that_do_not_belong_to_the_data(drawn_csv, tmp_path, command, data, head, rows, words):
    (tmp_path/'votes.csv').write_text('\n'.join([head, *rows]))
    told = ('--data', drawn_csv/data, '--votes', tmp_path/'votes.csv')
    assert one_sentence(command('evaluate', *told, '--json', tmp_path/'e.json', '--out', tmp_path/'report'), *words)
    assert one_sentence(command('train', *told, '--arch', 'lenet', '--epochs', 1, '--out', tmp_path/'run'), *words)
    assert [o.name for o in tmp_path.iterdir()] == ['votes.csv']        # nothing half-written


def test_a_card_without_the_second_ruler(drawn_csv, tmp_path, command):
    from fer_nb.core import models_dir
    shutil.copy(models_dir()/'se_resnet_fer2013.tflite', tmp_path)
    card = json.loads((models_dir()/'se_resnet_fer2013.json').read_text())
    card.pop('rulers')
    card['evaluation']['ruler'] = 'label'
    (tmp_path/'se_resnet_fer2013.json').write_text(json.dumps(card))
    model, data = ('--model', tmp_path/'se_resnet_fer2013.tflite'), ('--data', drawn_csv/'fer2013.csv')
    done = command('evaluate', *data, *model)
    said = 'The card of se_resnet_fer2013 lacks the ruler votes, votes8: fer-nb evaluate'
    assert done.returncode == 0 and said in done.stderr
    assert one_sentence(command('evaluate', *data, *model, '--card'), 'give their table with --votes')
    (tmp_path/'votes.csv').write_text('\n'.join([HEAD, *by_row(*range(6))]))
    votes = ('--votes', tmp_path/'votes.csv')
    assert one_sentence(command('evaluate', *data, *model, *votes, '--card', '--flip'), 'omit --split, --flip')
    assert one_sentence(command('evaluate', *data, *model, *votes, '--card'), 'figures of 3589 faces and this data 3')
    assert json.loads((tmp_path/'se_resnet_fer2013.json').read_text()) == card
