"A model is loaded only with the card that describes this very file, and answers only to faces."
import hashlib
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.inference import zoo
from fer_nb.inference.classify import softmax

@pytest.fixture(scope='session')
def content(tmp_path_factory):
    "A small network that tells left from right."
    keras = pytest.importorskip('keras')
    from fer_nb.training.litert import to_litert
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((24, 24, 1))
    L = keras.layers
    for layer in (L.Rescaling(1/127.5, offset=-1), L.Conv2D(8, 3, strides=2, activation='relu'), L.Flatten(),
                  L.Dense(7, name='logits'), L.Activation('softmax', name='probabilities')): x = layer(x)
    path = tmp_path_factory.mktemp('zoo')/'small.tflite'
    return to_litert(keras.Model(inputs, x), path).read_bytes()


def card_of(content, name='small', **changes):
    file = dict(name=f'{name}.tflite', bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return dict(name=name, architecture='small', description='', precision='float32', parameters=1, multiply_adds=1,
                input_size=24, labels=list(EMOTIONS), training_data={}, seed=0, epochs=1, recipe={}, command='',
                versions={}, evaluation={'accuracy': .5}, temperature=1.5, milliseconds=.1, created='',
                file=file) | changes


@pytest.fixture
def model(tmp_path, content):
    "The path of a good model; tests spoil it."
    (tmp_path/'small.tflite').write_bytes(content)
    (tmp_path/'small.json').write_text(json.dumps(card_of(content)))
    return tmp_path/'small.tflite'


def faces(n=10, seed=0): return np.random.default_rng(seed).integers(0, 256, (n, 24, 24), np.uint8)


def refused(path, *words):
    with pytest.raises(FerError) as e: zoo.load_model(path)
    text = str(e.value)
    assert '\n' not in text and text.endswith('.') and all(w in text for w in words), text


def test_a_good_model_answers(model):
    m = zoo.load_model(model)
    p = m.predict(faces())
    assert m.size == 24 and m.labels == EMOTIONS and m.card.name == 'small'
    assert p.shape == (10, 7) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(p, softmax(m.logits(faces()), 1.5), atol=1e-7)


@pytest.mark.parametrize('where', [0, .25, .5, .9, 1])
def test_any_flipped_byte_is_refused(model, content, where):
    spoilt = bytearray(content)
    spoilt[min(int(where*len(content)), len(content) - 1)] ^= 255
    model.write_bytes(spoilt)
    refused(model, str(model), 'SHA-256')


def test_a_cut_file_is_refused(model, content):
    model.write_bytes(content[:1000])
    refused(model, str(model), 'SHA-256')


def test_what_is_no_network_is_refused_even_with_a_fitting_card(model):
    model.write_bytes(b'x'*5000)
    model.with_suffix('.json').write_text(json.dumps(card_of(b'x'*5000)))
    refused(model, str(model), 'not a LiteRT network')


def test_without_card(model):
    model.with_suffix('.json').unlink()
    refused(model, 'small.json', 'does not exist')


def test_without_file(model):
    model.unlink()
    refused(model, 'small.tflite', 'does not exist')


@pytest.mark.parametrize('text', ['', '{', 'null', '[]', '{"name": "small"}', '\xff\xfe', 'NaN'])
def test_unreadable_cards(model, text):
    model.with_suffix('.json').write_bytes(text.encode('latin-1'))
    refused(model, 'small.json')


@pytest.mark.parametrize('key', sorted(card_of(b'')))
def test_every_key_is_required(model, content, key):
    card = card_of(content)
    del card[key]
    model.with_suffix('.json').write_text(json.dumps(card))
    refused(model, 'small.json', 'lacks', key)


@pytest.mark.parametrize('changes,word', [
    (dict(labels=list(EMOTIONS[:6])), '6 labels'), (dict(input_size=48), '48x48'),
    (dict(temperature=-1), 'temperature'),
    (dict(temperature=float('nan')), 'temperature'), (dict(temperature='1'), 'wrong type'),
    (dict(labels=['a']*7), 'labels'), (dict(labels=[1]*7), 'labels'), (dict(seed=True), 'wrong type'),
    (dict(rulers=[]), 'rulers'), (dict(rulers={'votes': .8}), 'rulers'), (dict(answers={'power': 1}), 'answers'),
    (dict(answers={'power': 0, 'threshold': .5, 'pair': .8}), 'answers'), (dict(answers='none'), 'answers'),
    (dict(file={}), 'file'), (dict(file=dict(name='other.tflite', sha256='0')), 'other.tflite')])
def test_cards_that_do_not_fit(model, content, changes, word):
    model.with_suffix('.json').write_text(json.dumps(card_of(content, **changes)))
    refused(model, word)


def test_names(model, monkeypatch):
    monkeypatch.setattr(zoo, 'models_dir', lambda: model.parent)
    assert zoo.load_model('small').labels == EMOTIONS
    assert [c.name for c in zoo.list_models()] == ['small']
    refused('tiny', "'tiny'", 'small')
    refused(None, f"'{zoo.DEFAULT}'", 'small')
    monkeypatch.setattr(zoo, 'DEFAULT', 'small')
    assert zoo.load_model().card.name == 'small'
    refused(model.parent, 'folder')
    with pytest.raises(FerError, match='does not exist'): zoo.list_models(model.parent/'none')


def test_a_table_of_cards_has_a_line_each(model):
    cards = zoo.list_models(model.parent)
    assert zoo.models_table(cards).count('\n') == 2 and '50.0%' in zoo.models_table(cards)


def test_a_card_knows_its_rulers_and_an_older_one_what_it_lacks(model, content):
    older = card_of(content, evaluation={'split': 'public', 'accuracy': .5, 'accuracy_ci': [.4, .6]})
    model.with_suffix('.json').write_text(json.dumps(older))
    card = zoo.load_model(model).card                                # loads as ever
    assert card.lacks == ('votes', 'votes8') and card.ruler('votes') is None and card.ruler('label')['accuracy'] == .5
    row = zoo.models_table([card]).splitlines()[2]
    assert row.startswith('| small |  |  |  |  | 50.0% | 40.0 to 60.0 |')
    by_votes = dict(older['evaluation'], ruler='votes', accuracy=.8, distance=.21)
    newer = older | dict(evaluation=by_votes, rulers={'label': older['evaluation'], 'votes8': by_votes})
    model.with_suffix('.json').write_text(json.dumps(newer))
    card = zoo.load_model(model).card
    assert card.lacks == () and [card.ruler(o)['accuracy'] for o in zoo.RULERS] == [.8, .8, .5]
    assert '| 80.0% | 40.0 to 60.0 |  | 0.210 | 50.0% |' in zoo.models_table([card])
    with pytest.raises(FerError, match='There is no ruler'): card.ruler('mine')
    others = card_of(content, labels=['a', 'b', 'c', 'd', 'e', 'f', 'g'], evaluation=older['evaluation'])
    model.with_suffix('.json').write_text(json.dumps(others))
    assert zoo.load_model(model).card.lacks == ()                    # nobody could vote for labels of one's own


@pytest.mark.parametrize('make,word', [
    (lambda f: f[0], 'shape'), (lambda f: np.repeat(f[..., None], 3, 3), 'shape'), (lambda f: f[:, :20], 'shape'),
    (lambda f: f.astype(int), 'type'), (lambda f: f.astype(bool), 'type'), (lambda f: f*np.nan, 'NaN'),
    (lambda f: f*np.inf, 'infinity'), (lambda f: f.astype(np.float32) - 300, 'values from'),
    (lambda f: f*2., 'values from'), (lambda f: f/255, '0-1'), (lambda f: None, 'shape'), (lambda f: 'faces', 'shape')])
def test_arrays_that_are_no_faces(model, make, word):
    m = zoo.load_model(model)
    with np.errstate(invalid='ignore'), pytest.raises(FerError, match=word): m.predict(make(faces()))


def test_batches_types_and_shapes_do_not_matter(model):
    m, many = zoo.load_model(model), faces(77)
    p = m.predict(many)
    for batch in (1, 2, 32, 77, 1000): np.testing.assert_allclose(m.predict(many, batch=batch), p, atol=1e-6)
    for same in (many[..., None], many.astype(np.float32), many.astype(np.float64), many.tolist()):
        if not isinstance(same, list): np.testing.assert_allclose(m.predict(same), p, atol=1e-6)
    np.testing.assert_allclose(m.predict(np.asfortranarray(many)), p, atol=1e-6)
    np.testing.assert_allclose(m.predict(many[::-1])[::-1], p, atol=1e-6)
    assert m.predict(many[:0]).shape == (0, 7)
    with pytest.raises(FerError): m.predict(many, batch=0)


def test_flip_is_the_mean_with_the_mirror_image(model):
    m, f = zoo.load_model(model), faces()
    a, b = m.predict(f), m.predict(f[:, :, ::-1])
    assert np.abs(a - b).max() > 1e-3                              # the network does see a difference
    np.testing.assert_allclose(m.predict(f, flip=True), (a + b)/2, atol=1e-6)
    np.testing.assert_allclose(m.predict(f[..., None], flip=True), (a + b)/2, atol=1e-6)


def test_the_input_is_resized_only_when_the_number_changes(model, monkeypatch):
    m = zoo.load_model(model)
    calls, net = [], m._network._net
    class Watched:
        def __getattr__(self, name): return getattr(net, name)
        def resize_tensor_input(self, *a, **k): calls.append(a); return net.resize_tensor_input(*a, **k)
    m._network._net = Watched()
    for _ in range(5): m.predict(faces(1))
    assert calls == []
    m.predict(faces(64), batch=32)
    assert len(calls) == 1


def test_threads_may_share_a_classifier(model):
    m, many = zoo.load_model(model), faces(40)
    p, wrong = m.predict(many), []
    def work(k):
        for _ in range(30):
            if np.abs(m.predict(many[:k]) - p[:k]).max() > 1e-5: wrong.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 3, 40)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert wrong == []


def test_the_import_is_light_and_loading_is_silent(model):
    code = (f"import sys; from fer_nb.inference.zoo import load_model; m = load_model({str(model)!r}); "
            "import numpy as np; m.predict(np.zeros((2,24,24), np.uint8));"
            "print([o for o in ('tensorflow', 'keras', 'matplotlib', 'sklearn', 'cv2') if o in sys.modules])")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]' and done.stderr == ''


@pytest.mark.skipif(not zoo.list_models(), reason='no model is shipped')
def test_shipped_models_load_and_say_what_they_are():
    for card in zoo.list_models():
        m = zoo.load_model(card.name)
        assert m.predict(np.full((3, m.size, m.size), 128, np.uint8)).shape == (3, len(m.labels))
        e, recorded = card['evaluation'], np.load(card.path.with_suffix('.npz'))
        right = recorded['probabilities'].argmax(1) == recorded['labels']
        assert right.mean() == pytest.approx(e['accuracy'], abs=1e-5)
        assert np.sum(e['confusion']) == e['n'] == len(recorded['source'])
