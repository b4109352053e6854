"A converted network agrees with Keras, int8 is int8 throughout, and a model is written whole or not at all."
# ruff: noqa: E402, the imports stand behind importorskip
import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')
keras = pytest.importorskip('keras')

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS, FERPLUS_COLUMNS
from fer_nb.inference.classify import Classifier, softmax
from fer_nb.inference.zoo import load_model
from fer_nb.training import export, litert
from fer_nb.training.evaluate import evaluate_model
from fer_nb.training.faces import drawn_faces
from fer_nb.training.metrics import mean_distance
from fer_nb.training.models import ARCHITECTURES, build
from fer_nb.training.recipes import Recipe
from fer_nb.training.train import train
from fer_nb.training.transfer import pretrained
from fer_nb.training.votes import VOTE_COLUMNS, rulers, with_votes

FACES = drawn_faces(700, size=28)
PUBLIC = FACES.of('public')


@pytest.fixture(scope='session')
def run(tmp_path_factory):
    recipe = Recipe('lenet', size=28, epochs=8, batch=32, rate=2e-3, augment='none')
    return train(recipe, FACES, tmp_path_factory.mktemp('run')/'run', command='fer-nb train ...', verbose=0)


@pytest.fixture(scope='session')
def model(run): return run.best()


@pytest.mark.parametrize('precision,gap', [('float32', 1e-5), ('int8', .15)])
def test_the_file_agrees_with_keras_on_drawn_faces(model, tmp_path, precision, gap):
    path = litert.to_litert(model, tmp_path/'m.tflite', precision, FACES.of('train').images[:200])
    result = litert.parity(model, path, PUBLIC.images, PUBLIC.labels)
    assert result['precision'] == precision and result['n'] == len(PUBLIC)
    assert result['max_difference'] < gap and result['agreement'] > .98
    ours = model.predict(PUBLIC.images[..., None].astype(np.float32), verbose=0)
    lite = softmax(Classifier(path.read_bytes(), FACES.names, 28).logits(PUBLIC.images))
    assert np.abs(ours - lite).max() == pytest.approx(result['max_difference'], abs=1e-6)


def test_int8_holds_no_float_between_its_ends_and_is_a_quarter_of_the_size(model, tmp_path):
    a = litert.to_litert(model, tmp_path/'a.tflite')
    b = litert.to_litert(model, tmp_path/'b.tflite', 'int8', FACES.images[:100])
    ops = litert.operations(b)
    assert ops[0] == ('QUANTIZE', ('float32',), ('int8',)) and ops[-1] == ('DEQUANTIZE', ('int8',), ('float32',))
    assert all(t in ('int8', 'int32') for _,i,o in ops[1:-1] for t in i + o)
    assert not any('SOFTMAX' in o[0] for o in ops)
    assert b.stat().st_size < .35*a.stat().st_size
    with pytest.raises(FerError, match='MUL, works in float32'): litert._check_int8(a.read_bytes(), 'a.tflite')


def test_whole_grey_levels_pass_the_quantised_input_unchanged(model, tmp_path):
    from fer_nb.inference.classify import open_litert
    path = litert.to_litert(model, tmp_path/'m.tflite', 'int8', np.clip(FACES.images[:50], 60, 200))
    net = open_litert(path, delegate=False)
    first = net._get_ops_details()[0]['outputs'][0]
    scale, zero = next(o for o in net.get_tensor_details() if o['index'] == first)['quantization']
    assert (scale, zero) == (pytest.approx(1., abs=1e-6), -128)


@pytest.mark.parametrize('name', ['mlp', 'lenet', 'alexnet', 'simple_cnn', 'four_conv', 'se_resnet'])
@pytest.mark.parametrize('policy', ['float32', 'mixed_bfloat16'])
def test_every_architecture_is_exported_at_both_precisions(name, policy, tmp_path):
    if name not in ARCHITECTURES: pytest.skip(f'{name} is not registered')
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try: model = build(name, 48)
    finally: keras.config.set_dtype_policy(before)
    faces = drawn_faces(70, size=48).images
    path = litert.to_litert(model, tmp_path/'f.tflite')
    reference = keras.ops.convert_to_numpy(litert._plain(model)(faces[..., None].astype(np.float32)))
    lite = Classifier(path.read_bytes(), range(7), 48)
    for n in (1, 7, 70): np.testing.assert_allclose(lite.logits(faces[:n]), reference[:n], atol=1e-4)
    assert not any(o[0].startswith('BATCH') for o in litert.operations(path))          # folded into the convolutions
    path = litert.to_litert(model, tmp_path/'i.tflite', 'int8', faces)
    assert np.corrcoef(Classifier(path.read_bytes(), range(7), 48).logits(faces).ravel(), reference.ravel())[0, 1] > .95


@pytest.mark.parametrize('name', ['lenet', 'simple_cnn', 'se_resnet'])
def test_attention_is_exported_as_well(name, tmp_path):
    keras.utils.set_random_seed(0)
    model, faces = build(name, 48, attention='cbam'), drawn_faces(70).images
    reference = keras.ops.convert_to_numpy(litert._plain(model)(faces[..., None].astype(np.float32)))
    path = litert.to_litert(model, tmp_path/'f.tflite')
    np.testing.assert_allclose(Classifier(path.read_bytes(), range(7), 48).logits(faces), reference, atol=1e-4)
    path = litert.to_litert(model, tmp_path/'i.tflite', 'int8', faces)
    assert np.corrcoef(Classifier(path.read_bytes(), range(7), 48).logits(faces).ravel(), reference.ravel())[0, 1] > .95


def test_half_precision_halves_the_file(model, tmp_path):
    whole, half = (litert.to_litert(model, tmp_path/f'{o}.tflite', o) for o in ('float32', 'float16'))
    assert half.stat().st_size < .6*whole.stat().st_size
    found = litert.parity(model, half, PUBLIC.images, PUBLIC.labels, 'float16')
    assert found['max_difference'] > 0 and found['agreement'] > .99


def test_a_layer_that_stays_in_float_is_named(tmp_path):
    class Odd(keras.layers.Layer):
        def call(self, x): return keras.ops.erf(x/255)
    x = inputs = keras.Input((24, 24, 1))
    x = Odd()(x)
    x = keras.layers.Dense(3, name='logits')(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Activation('softmax', name='probabilities')(x))
    with pytest.raises(FerError, match='int8'):
        litert.to_litert(model, tmp_path/'m.tflite', 'int8', FACES.images[:20, :24, :24])
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(model, tmp_path):
    for kwargs,word in ((dict(precision='float64'), 'float32, float16, int8'), (dict(precision='int8'), 'samples'),
                        (dict(precision='int8', samples=FACES.images[:0]), 'samples'),
                        (dict(precision='int8', samples=FACES.images[:5, :20, :20]), 'pixels')):
        with pytest.raises(FerError, match=word): litert.to_litert(model, tmp_path/'m.tflite', **kwargs)
    with pytest.raises(FerError, match='does not exist'): litert.to_litert(model, tmp_path/'no'/'m.tflite')
    assert list(tmp_path.iterdir()) == []


def test_parity_notices_another_network(model, tmp_path):
    path = litert.to_litert(model, tmp_path/'m.tflite')
    keras.utils.set_random_seed(1)
    with pytest.raises(FerError, match='does not agree'):
        litert.parity(keras.models.clone_model(model), path, PUBLIC.images)


def test_conversion_is_silent(model, tmp_path, capfd):
    litert.to_litert(model, tmp_path/'m.tflite', 'int8', FACES.images[:20])
    out, err = capfd.readouterr()
    assert out == '' and err == ''


@pytest.mark.parametrize('precision', ['int8', 'float32'])
def test_the_cards_figures_come_out_again(run, tmp_path, precision):
    card = export.export_run(run.folder, 'm', FACES, tmp_path/'models', precision)
    files = ['m.csv', 'm.json', 'm.npz', 'm.tflite', 'm.weights.npz']
    assert sorted(o.name for o in (tmp_path/'models').iterdir()) == files
    loaded = load_model(tmp_path/'models'/'m.tflite')
    again, told = evaluate_model(loaded, FACES, 'public').to_dict(), card['evaluation']
    assert again == told and told['ruler'] == 'label' and not {'rulers', 'answers'} & {*card}
    assert card['file']['sha256'] == hashlib.sha256((tmp_path/'models'/'m.tflite').read_bytes()).hexdigest()
    assert card['precision'] == precision and card['recipe']['arch'] == 'lenet'
    assert card['command'] == 'fer-nb train ...'
    assert card['training_data']['counts'] == FACES.counts() and card['epochs'] == 8 and card['parameters'] > 0
    assert 'temperature was fitted' in ' '.join(card['notes'])
    recorded = np.load(tmp_path/'models'/'m.npz')
    assert (recorded['probabilities'].argmax(1) == loaded.predict(PUBLIC.images).argmax(1)).all()
    assert recorded['source'].tolist() == PUBLIC.source.tolist()
    assert (tmp_path/'models'/'m.csv').read_text().splitlines()[0].startswith('epoch,')


def test_a_network_that_always_answers_says_so_too(run, tmp_path):
    export.export_run(run.folder, 'm', FACES, tmp_path)
    card = json.loads((tmp_path/'m.json').read_text(encoding='utf-8'))
    card['evaluation']['uncertain']['threshold'] = 0.
    (tmp_path/'m.json').write_text(json.dumps(card), encoding='utf-8')
    told = evaluate_model(load_model(tmp_path/'m.tflite'), FACES, 'public').to_dict()['uncertain']
    assert (told['threshold'], told['coverage'], told['accuracy']) == (0, 1, card['evaluation']['accuracy'])


def ballots(folder, faces=FACES):
    "Seven of ten say what was drawn; of every third face five say sad; some see contempt, some nothing."
    rows = []
    for i,k in enumerate(faces.labels):
        said = {EMOTIONS[k]: 7, 'neutral': 3} if i % 3 else {EMOTIONS[k]: 5, 'sad': 5}
        if i % 33 == 0: said = {EMOTIONS[k]: 3, 'contempt': 7}
        if i % 140 == 30: said = {'unknown': 10}
        votes = dict.fromkeys(VOTE_COLUMNS, 0)
        for name,n in said.items(): votes[name] += n
        usage = {'train': 'Training', 'public': 'PublicTest'}[faces.split[i]]
        rows.append(','.join(map(str, (faces.source[i], usage, *votes.values()))))
    (folder/'votes.csv').write_text('\n'.join([f"file,Usage,{','.join(FERPLUS_COLUMNS)}", *rows]))
    return folder/'votes.csv'


@pytest.mark.parametrize('names,own', [(EMOTIONS, 'votes'), ((*EMOTIONS, 'contempt'), 'votes8')])
def test_a_run_that_learned_from_votes_has_a_card_with_every_ruler(tmp_path, names, own):
    faces = with_votes(FACES, ballots(tmp_path), names)
    recipe = Recipe('lenet', size=28, epochs=4, batch=32, rate=2e-3, augment='none')
    card = export.export_run(train(recipe, faces, tmp_path/'run', verbose=0), 'm', faces, tmp_path/'models', 'float32')
    assert card.labels == names and card['evaluation']['ruler'] == own and card.lacks == ()
    assert card.ruler('label')['n'] == len(PUBLIC) and card.ruler('votes')['n'] < len(PUBLIC)
    assert card.ruler('votes')['confusion'] != card.ruler('label')['confusion']
    model = load_model(tmp_path/'models/m.tflite')
    again = evaluate_model(model, faces).to_dict()
    assert (again.pop('rulers'), again.pop('answers')) == (card['rulers'], card['answers'])
    assert again == card['evaluation']
    shares, public = model.predict(faces.of('public').images), faces.of('public')
    votes = rulers(public)[0].votes
    far = lambda t: mean_distance(softmax(model.logits(public.images), t), votes, resamples=2)[0]
    assert far(card.temperature) <= min(far(card.temperature*1.05), far(card.temperature/1.05))
    assert 0 <= card['answers']['threshold'] < 1 and card['answers']['power'] > 0 and len(shares) == len(PUBLIC)
    assert 'shares of people' in card['notes'][-1]
    text = (tmp_path/'models/m.json').read_text()
    assert json.loads(text) == card.data and max(map(len, text.splitlines())) < 400


def test_a_card_from_before_the_votes_gets_the_rulers_it_lacks(run, tmp_path):
    export.export_run(run, 'm', FACES, tmp_path, 'float32')
    before, faces = json.loads((tmp_path/'m.json').read_text()), with_votes(FACES, ballots(tmp_path))
    card = export.add_rulers(load_model(tmp_path/'m.tflite'), faces)
    assert card.lacks == () and {k: v for k,v in card.items() if k != 'rulers'} == before
    found = evaluate_model(load_model(tmp_path/'m.tflite'), faces).to_dict()
    rulers = found.pop('rulers')
    assert card.ruler('votes') == found and card.ruler('votes8') == rulers['votes8']
    assert rulers['label'] == before['evaluation']                   # the label's figures come out again, too


def test_a_card_stays_as_it_was_if_the_data_is_another_or_the_write_breaks_off(run, tmp_path, monkeypatch):
    export.export_run(run, 'm', FACES, tmp_path, 'float32')
    model, faces = load_model(tmp_path/'m.tflite'), with_votes(FACES, ballots(tmp_path))
    text = (tmp_path/'m.json').read_text()
    with pytest.raises(FerError, match='has no votes'): export.add_rulers(model, FACES)
    with pytest.raises(FerError, match='140 faces and this data 70: give the data'):
        export.add_rulers(model, faces[(faces.split == 'train') | (np.arange(len(faces)) < len(faces)//2)])
    def broken(values): raise OSError('disk full')
    monkeypatch.setattr(export, 'card_text', broken)
    with pytest.raises(OSError): export.add_rulers(model, faces)
    assert (tmp_path/'m.json').read_text() == text and len([*tmp_path.iterdir()]) == 6


def test_what_the_network_saw_in_training_is_told_by_every_ruler(run, tmp_path):
    faces = replace(FACES, images=FACES.images.copy())
    train, public = (np.flatnonzero(faces.split == o) for o in ('train', 'public'))
    faces.images[public[1]] = faces.images[train[1]]
    card = export.export_run(run, 'm', faces, tmp_path, 'float32')
    assert card['evaluation']['without_duplicates']['n'] == len(PUBLIC) - 1
    again = evaluate_model(load_model(tmp_path/'m.tflite'), with_votes(faces, ballots(tmp_path)))
    assert again.n - again.without_duplicates['n'] == 1 and again.others[-1].to_dict() == card['evaluation']


def test_a_failed_export_leaves_what_was_there(run, tmp_path, monkeypatch):
    export.export_run(run, 'm', FACES, tmp_path)
    before = {o.name: o.read_bytes() for o in tmp_path.iterdir()}
    monkeypatch.setitem(litert.LIMITS, 'int8', dict(litert.LIMITS['int8'], mean_difference=1e-9))
    with pytest.raises(FerError, match='mean_difference'): export.export_run(run, 'm', FACES, tmp_path)
    assert {o.name: o.read_bytes() for o in tmp_path.iterdir()} == before


def test_a_write_that_breaks_off_leaves_no_card(run, tmp_path, monkeypatch):
    export.export_run(run, 'm', FACES, tmp_path)
    def broken(*a, **k): raise OSError('disk full')
    monkeypatch.setattr(export.np, 'savez_compressed', broken)
    with pytest.raises(OSError): export.export_run(run, 'm', FACES, tmp_path)
    assert not (tmp_path/'m.json').exists()
    with pytest.raises(FerError, match='card'): load_model(tmp_path/'m.tflite')


@pytest.mark.parametrize('name', ['', '../m', 'a/b', 'm.tflite', '.m', 'a b'])
def test_names_that_are_no_names(run, tmp_path, name):
    with pytest.raises(FerError, match="not a model's name"): export.export_run(run, name, FACES, tmp_path/'out')
    assert not (tmp_path/'out').exists()


def test_other_data_than_the_run_learned_from(run, tmp_path):
    with pytest.raises(FerError, match='not what the run learned from'):
        export.export_run(run, 'm', FACES[:350], tmp_path)
    with pytest.raises(FerError, match='28'): export.export_run(run, 'm', drawn_faces(70, size=32), tmp_path)
    with pytest.raises(FerError, match='not a training run'): export.export_run(tmp_path, 'm', FACES, tmp_path)


def test_the_card_is_plain_json_that_people_can_read(run, tmp_path):
    card = export.export_run(run, 'm', FACES, tmp_path)
    text = (tmp_path/'m.json').read_text()
    assert json.loads(text) == card.data and str(tmp_path) not in text and max(map(len, text.splitlines())) < 400


def test_a_run_in_bfloat16_becomes_a_model_that_can_be_trained_on(tmp_path):
    recipe = Recipe('lenet', size=28, epochs=2, batch=32, augment='none', precision='bfloat16')
    export.export_run(train(recipe, FACES, tmp_path/'run', verbose=0), 'm', FACES, tmp_path, 'float32')
    net, card = pretrained(tmp_path/'m.tflite')
    assert net.compute_dtype == 'float32' and card.name == 'm'
