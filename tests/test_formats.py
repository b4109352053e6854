"A network in every format comes back as itself, and a file that is not itself is refused."
# ruff: noqa: E402, the imports stand behind importorskip
import numpy as np
import pytest

keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.training.faces import drawn_faces
from fer_nb.training.formats import compare_onnx, load_model, save_model
from fer_nb.training.models import build

FACES = drawn_faces(35)
PIXELS = FACES.images[..., None].astype(np.float32)


@pytest.fixture(scope='module')
def model():
    keras.utils.set_random_seed(0)
    return build('se_resnet', filters=(8, 16, 16), blocks=(1, 1, 1), attention='cbam')


@pytest.mark.parametrize('name', ['a.keras', 'a.weights.h5', 'a_saved', 'a.onnx'])
def test_it_answers_as_before(model, tmp_path, name):
    if name.endswith('onnx'): pytest.importorskip('onnxruntime')
    path = save_model(model, tmp_path/name, EMOTIONS)
    again = load_model(path)
    assert again.labels == EMOTIONS
    for n in (1, 35):
        np.testing.assert_allclose(np.asarray(again(PIXELS[:n])), np.asarray(model(PIXELS[:n])), atol=1e-5)
    assert not list(tmp_path.glob('.*')) and not list(tmp_path.glob('tmp*'))


def test_saving_again_replaces(model, tmp_path):
    for name in ('a.keras', 'a_saved'):
        save_model(model, tmp_path/name, EMOTIONS)
        keras.utils.set_random_seed(5)
        other = build('lenet')
        save_model(other, tmp_path/name, EMOTIONS)
        again = load_model(tmp_path/name)
        np.testing.assert_allclose(np.asarray(again(PIXELS[:3])), np.asarray(other(PIXELS[:3])), atol=1e-5)


def test_weights_of_another_training_are_refused(model, tmp_path):
    save_model(model, tmp_path/'a.weights.h5', EMOTIONS)
    keras.utils.set_random_seed(9)
    keras.models.clone_model(model).save_weights(tmp_path/'a.weights.h5')
    with pytest.raises(FerError, match='gives other answers'): load_model(tmp_path/'a.weights.h5')


def test_broken_and_missing_files_are_named(model, tmp_path):
    for name in ('a.keras', 'a.weights.h5'):
        save_model(model, tmp_path/name, EMOTIONS)
        (tmp_path/name).write_bytes((tmp_path/name).read_bytes()[:500])
        with pytest.raises(FerError, match=name): load_model(tmp_path/name)
    with pytest.raises(FerError, match='does not exist'): load_model(tmp_path/'b.keras')
    with pytest.raises(FerError, match='not a known format'): save_model(model, tmp_path/'b.h5', EMOTIONS)
    with pytest.raises(FerError, match='6 labels for 7 outputs'): save_model(model, tmp_path/'b.keras', EMOTIONS[1:])


def test_onnx_agrees_with_litert(model, tmp_path):
    pytest.importorskip('onnxruntime')
    from fer_nb.inference.classify import Classifier
    from fer_nb.training.litert import to_litert
    litert = Classifier(to_litert(model, tmp_path/'a.tflite').read_bytes(), EMOTIONS, 48)
    found = compare_onnx(save_model(model, tmp_path/'a.onnx', EMOTIONS), litert, FACES.images)
    assert found['agreement'] == 1 and found['difference'] < 1e-4
