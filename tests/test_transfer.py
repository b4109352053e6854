"Labels of one's own: from a shipped model, or from a network of keras.applications, by command and to the recogniser."
# ruff: noqa: E402, the imports stand behind importorskip
from pathlib import Path

import cv2
import numpy as np
import pytest

keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.inference.recognize import EmotionRecognizer
from fer_nb.inference.zoo import list_models, load_model, read_card
from fer_nb.training.faces import drawn_faces
from fer_nb.training.models import build
from fer_nb.training.runs import Run
from fer_nb.training.transfer import finetune, pretrained

@pytest.fixture
def fer_nb(command):
    "What a command says; it is to end with `code`."
    def run(*args, code=0):
        r = command(*args)
        assert r.returncode == code, r.stdout + r.stderr
        return r.stdout + r.stderr
    return run


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Two classes: drawn faces that show their teeth, and some that do not."
    root, faces = tmp_path_factory.mktemp('own'), drawn_faces(280, seed=4)
    for i,image in enumerate(faces.images):
        name = faces.names[faces.labels[i]]
        if name in ('happy', 'surprise', 'sad', 'neutral'):
            path = root/('open' if name in ('happy', 'surprise') else 'shut')/f'{i}.png'
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), image)
    return root


@pytest.mark.parametrize('card', list_models(), ids=lambda c: c.name)
def test_every_shipped_model_can_be_trained_on(card):
    net, again = pretrained(card.name)
    assert again.name == card.name and net.count_params() == card['parameters']
    faces = drawn_faces(70).images
    shipped = load_model(card.name).logits(faces).argmax(1)
    own = np.asarray(net(faces[..., None].astype(np.float32), training=False)).argmax(1)
    assert (own == shipped).mean() > .85                                # one is int8; drawn faces are at its limits


def test_a_shipped_model_learns_the_labels_of_a_folder(folder, tmp_path, fer_nb):
    command = ['finetune', '--data', folder, '--model', 'lenet', '--out', tmp_path/'run', '--epochs', '6',
               '--head-epochs', '4', '--rate', '1e-3', '--export', tmp_path/'models', '--quiet']
    fer_nb(*command)
    assert 'the run is in' in fer_nb(*command)                                    # done: nothing is trained again
    card = read_card(tmp_path/'models/run.json')
    assert card.labels == ('open', 'shut') and card['started_from']['model'] == 'lenet'
    assert 'started from lenet' in card['description']
    assert card['evaluation']['accuracy'] > .85
    assert len(Run(tmp_path/'run/head').history['epoch']) == 4 and len(Run(tmp_path/'run').history['epoch']) == 6
    recognizer = EmotionRecognizer(tmp_path/'models/run.tflite')
    pictures = sorted((folder/'open').glob('*.png'))[:20]
    assert np.mean([recognizer.crops([o])[0].label == 'open' for o in pictures]) > .8
    said = fer_nb('predict', pictures[0], '--crops', '--model', tmp_path/'models/run.tflite', '--csv', '-')
    assert said.splitlines()[0].endswith('open,shut')
    assert 'open' in fer_nb('evaluate', '--data', folder, '--model', tmp_path/'models/run.tflite', '--split', 'all')


def test_the_rest_stays_frozen_while_the_head_learns(folder, tmp_path):
    from fer_nb.training.data import hold_out, load
    from fer_nb.training.recipes import Recipe
    faces = hold_out(load(folder, names=('open', 'shut')), .2)
    plan = Recipe(epochs=1, batch=16, rate=1e-3, augment='none', validation='validation')
    run = finetune('lenet', faces, tmp_path/'r', plan, head_epochs=1, last=1, verbose=0)
    start = [o for o in pretrained('lenet')[0].layers if o.weights]
    head, whole = ([o for o in Run(f).best().layers if o.weights] for f in (tmp_path/'r/head', run.folder))
    moved = lambda a, b: [not np.allclose(x.get_weights()[0], y.get_weights()[0]) for x,y in zip(a[:-1], b[:-1])]
    assert moved(start, head) == [False]*4 and moved(start, whole) == [False]*3 + [True]


def test_a_backbone_is_trained_end_to_end(folder, tmp_path, fer_nb):
    keras.utils.set_random_seed(0)
    mine = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(48, 48, 3), pooling='avg')
    mine.save_weights(tmp_path/'mine.weights.h5')
    for weights in ('none', tmp_path/'mine.weights.h5'):
        out = tmp_path/Path(weights).stem
        fer_nb('transfer', '--data', folder, '--labels', 'open,shut', '--backbone', 'MobileNetV3Small',
               '--weights', weights, '--pixels', '48', '--epochs', '1', '--head-epochs', '1', '--last', '5',
               '--out', out, '--export', tmp_path/'models', '--export-precision', 'float32', '--quiet')
        model = load_model(tmp_path/f'models/{out.name}.tflite')
        assert model.labels == ('open', 'shut') and model.predict(drawn_faces(7).images).shape == (7, 2)


SLOW = [pytest.param(o, marks=pytest.mark.slow) for o in ('EfficientNetB0', 'ResNet50', 'VGG16')]


@pytest.mark.parametrize('name', ['MobileNetV3Small', *SLOW])
def test_the_backbones_take_a_step_and_are_exported(name, tmp_path):
    from fer_nb.training.litert import parity, to_litert
    from fer_nb.training.transfer import freeze
    faces = drawn_faces(14)
    net = build('backbone', 48, 7, net=name, pixels=48)
    freeze(net, 2)
    net.compile('adam', 'categorical_crossentropy')
    x = faces.images[..., None].astype(np.float32)
    net.fit(x, faces.targets(), epochs=1, verbose=0)
    assert np.allclose(np.asarray(net(x)), net.predict(x, verbose=0), atol=1e-4)  # no layer takes itself to be training
    assert parity(net, to_litert(net, tmp_path/'m.tflite'), faces.images)['max_difference'] < 1e-3


def test_what_does_not_fit_is_named_in_one_sentence(folder, tmp_path, monkeypatch, fer_nb):
    (tmp_path/'broken.weights.h5').write_bytes(b'no weights')
    mine = ('--data', folder, '--out', tmp_path/'x')
    for options,words in ((('--weights', tmp_path/'broken.weights.h5'), 'does not fit MobileNetV3Small'),
                          (('--weights', tmp_path/'none.h5'), 'is not a file'),
                          (('--backbone', 'ResNet9000', '--weights', 'none'), "no network 'ResNet9000'")):
        said = fer_nb('transfer', *mine, '--labels', 'open,shut', '--pixels', '48', *options, code=2)
        assert words in said and 'Traceback' not in said
    for options,words in ((('--model', 'resnet9000'), "no model 'resnet9000'"),
                          (('--labels', 'open'), 'a choice needs two'), (('--epochs', '0'), 'epochs')):
        said = fer_nb('finetune', *mine, *options, code=2)
        assert words in said and 'Traceback' not in said
    def unreachable(*args, **options): raise Exception('URL fetch failure on https://storage')
    with pytest.raises(FerError, match='use none'):
        monkeypatch.setattr(keras.utils, 'get_file', unreachable)
        monkeypatch.setattr('keras.src.utils.file_utils.get_file', keras.utils.get_file)
        monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
        build('backbone', net='MobileNetV3Small', weights='imagenet')
    assert not (tmp_path/'x').exists()
