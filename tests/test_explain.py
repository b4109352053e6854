"Maps of what a network looks at: shapes and sentences for every CNN, and heat where the evidence was put."
import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_nb.core import FerError
from fer_nb.emotions import EMOTIONS
from fer_nb.inference.zoo import list_models, load_model
from fer_nb.training.explain import (
    explain,
    feature_layer,
    grad_cam,
    occlusion,
    overlay,
    plot_explanations,
    plot_mean_maps,
)
from fer_nb.training.faces import drawn_faces
from fer_nb.training.models import ARCHITECTURES, build

CNNS = [o for o in ARCHITECTURES if o not in ('mlp', 'backbone')]
FACES = drawn_faces(7)


@pytest.fixture(scope='module')
def nets():
    "Each CNN with weights that let every part speak: the residual blocks' last normalisation starts at zero."
    keras.utils.set_random_seed(0)
    made = {name: build(name) for name in CNNS}
    for net in made.values():
        for l in net.layers:
            if isinstance(l, keras.layers.BatchNormalization): l.gamma.assign(np.ones(l.gamma.shape))
    return made


def corner_network(flat):
    "Says 0 to a bright spot near the upper left corner, 1 to a dark one; `flat`: by its dense layer, else by its map."
    x = inputs = keras.Input((48, 48, 1))
    x = keras.layers.Rescaling(1/127.5, offset=-1)(x)
    x = keras.layers.Conv2D(2, 3, padding='same', activation='relu', name='spots')(x)
    if flat: x = keras.layers.Flatten()(x)
    else: x = keras.layers.GlobalAveragePooling2D()(keras.layers.Cropping2D(((0, 32), (0, 32)))(x))
    x = keras.layers.Dense(2, name='logits')(x)
    net = keras.Model(inputs, keras.layers.Activation('softmax', name='probabilities')(x), name='corner')
    centre = np.zeros((3, 3, 1, 2), np.float32)
    centre[1, 1, 0] = 1, -1
    net.get_layer('spots').set_weights([centre, np.zeros(2)])
    weights = np.float32([[1, -1], [-1, 1]])
    weights = np.tile(.05*weights, (48*48, 1)) if flat else 3*weights
    if flat:
        there = np.zeros((48, 48, 2), bool)
        there[:16, :16] = True
        weights[~there.ravel()] = 0
    net.get_layer('logits').set_weights([weights, np.zeros(2)])
    return net


def spots():
    "Grey, with a bright square in the upper left corner and one in the lower right."
    face = np.full((1, 48, 48), 127.5, np.float32)
    face[0, 4:12, 4:12] = face[0, 36:44, 36:44] = 255
    return face


@pytest.mark.parametrize('name', CNNS)
def test_every_cnn_gives_maps(nets, name):
    for average in (True, False):
        heat = grad_cam(nets[name], FACES.images, average=average)
        assert heat.shape == (7, 48, 48) and heat.dtype == np.float32 and heat.min() >= 0
        assert all(o == pytest.approx(1) or o == 0 for o in heat.max((1, 2)))
    assert heat.max() == pytest.approx(1)


@pytest.mark.parametrize('name', CNNS)
def test_one_by_one_is_the_same_as_a_batch(nets, name):
    whole = grad_cam(nets[name], FACES.images, 'happy')
    single = np.concatenate([grad_cam(nets[name], FACES.images[i:i+1], 'happy') for i in range(7)])
    np.testing.assert_allclose(single, whole, atol=2e-3)


def test_the_layer_is_the_last_with_a_place_for_each_value(nets):
    kinds = {name: (type(l).__name__, l.output.shape[1:3]) for name,net in nets.items() for l in [feature_layer(net)]}
    assert kinds['lenet'] == ('Conv2D', (20, 20))
    assert kinds['simple_cnn'] == kinds['four_conv'] == kinds['se_resnet'] == ('ReLU', (6, 6))
    assert kinds['alexnet'] == ('ReLU', (12, 12))
    net = nets['se_resnet']
    add = [l for l in net.layers if isinstance(l, keras.layers.Add)][-1]
    assert feature_layer(net).input is add.output and feature_layer(net, add.name) is add
    assert feature_layer(build('se_resnet', attention='none')).output.shape == (None, 6, 6, 128)


def test_another_layer_gives_a_finer_map(nets):
    net = nets['four_conv']
    first = next(l for l in net.layers if isinstance(l, keras.layers.ReLU))
    fine, coarse = grad_cam(net, FACES.images, layer=first.name), grad_cam(net, FACES.images)
    rough = lambda m: np.abs(np.diff(m, axis=2)).mean()
    assert rough(fine) > rough(coarse)


def test_labels_by_name_and_position_agree(nets):
    net = nets['lenet']
    one = grad_cam(net, FACES.images, 'sad')
    assert (one == grad_cam(net, FACES.images, EMOTIONS.index('sad'))).all()
    assert (one == grad_cam(net, FACES.images, ['sad', 5]*3 + [np.int64(5)])).all()
    said = net.predict(FACES.images[..., None].astype('float32'), verbose=0).argmax(1)
    assert (grad_cam(net, FACES.images) == grad_cam(net, FACES.images, said)).all()
    three = build('lenet', classes=3)
    assert (grad_cam(three, FACES.images, 'b', names='abc') == grad_cam(three, FACES.images, 1)).all()


def test_more_faces_than_go_through_at_once(nets):
    many = np.concatenate([FACES.images]*10)
    np.testing.assert_allclose(grad_cam(nets['lenet'], many)[63:], grad_cam(nets['lenet'], FACES.images), atol=2e-3)


def test_pixels_of_any_type_and_shape_agree(nets):
    net, whole = nets['lenet'], grad_cam(nets['lenet'], FACES.images)
    assert (whole == grad_cam(net, FACES.images[..., None])).all()
    assert (whole == grad_cam(net, FACES.images.astype(float))).all()
    for nothing in (grad_cam(net, FACES.images[:0]), occlusion(net, FACES.images[:0]), explain(net, FACES.images[:0])):
        assert nothing.shape == (0, 48, 48)


@pytest.mark.parametrize('flat', [False, True])
def test_heat_is_where_the_evidence_is(flat):
    net, corner = corner_network(flat), np.s_[:, :18, :18]
    for heat in (explain(net, spots()), np.maximum(occlusion(net, spots()), 0)):
        assert heat[corner].sum() > .95*heat.sum() > 0
    assert explain(net, spots())[:, 5:11, 5:11].min() > .5


def test_the_mean_of_the_gradient_cannot_tell_two_places_apart():
    heat = grad_cam(corner_network(flat=True), spots())
    assert heat[:, 36:44, 36:44].sum() == pytest.approx(heat[:, 4:12, 4:12].sum(), rel=.01)


def test_what_no_square_can_shake_gets_no_heat():
    "A probability of 1 falls by rounding alone; scaled up, that would be a map."
    class Sure:
        labels, size = ('a', 'b'), 48
        def predict(self, faces): return np.tile([1. - 1e-7*np.random.rand(), 0.], (len(faces), 1))
    assert not explain(Sure(), spots()).any()


def test_what_speaks_against_is_no_heat():
    net = corner_network(flat=True)
    assert not explain(net, spots(), 1).any()
    assert occlusion(net, spots(), 1).min() < 0


@pytest.mark.parametrize('name', CNNS)
def test_the_map_lies_where_its_values_look(name):
    "Two columns of the map in the middle are touched by pixels around the place where they are drawn."
    from fer_nb.training.explain import column_place
    options = dict(blocks=(1, 1, 1), attention='none') if name == 'se_resnet' else {}  # attention sees the whole face
    net = build(name, size=96, **options)
    layer = feature_layer(net)
    (first, step), left = column_place(net, layer), layer.output.shape[2]//2 - 1
    faces = np.full((97, 96, 96, 1), 128, np.float32)
    for x in range(96): faces[x+1, :, x] = 255                  # the first stays grey
    maps = keras.ops.convert_to_numpy(keras.Model(net.inputs, layer.output)([faces], training=False))
    touched = np.abs(maps[1:] - maps[0]).sum((1, 3))[:, left:left+2] > 1e-6
    start, end = np.flatnonzero(touched[:, 0])[0], np.flatnonzero(touched[:, 1])[-1]
    assert 0 < start < end < 95
    assert (start + end)/2 == pytest.approx(first + step*(left + .5), abs=step/2)


def test_occlusion_of_each_shipped_model():
    for card in list_models():
        model = load_model(card.name)
        fall = occlusion(model, FACES.images[:1], patch=16, stride=8)
        assert fall.shape == (1, model.size, model.size) and fall.dtype == np.float32 and np.abs(fall).max() <= 1
        heat = explain(model, FACES.images[:1])
        assert heat.min() == 0 and heat.max() == pytest.approx(1)


def test_the_smile_in_the_photo_is_found(sample):
    from fer_nb.inference.detect import crop_faces, detect_faces
    face = crop_faces(sample, detect_faces(sample), detector='auto')
    fall = occlusion(load_model(), face, 'happy')[0]
    y, x = np.unravel_index(fall.argmax(), fall.shape)
    assert 30 <= y <= 44 and 14 <= x <= 34


def test_figures(nets, tmp_path):
    fig = plot_explanations(nets['lenet'], FACES.images, truth=FACES.labels, columns=4, top=3)
    assert len(fig.axes) == 4*2*4
    assert [ax.get_title() for ax in fig.axes[:4]] == list(EMOTIONS[:4])
    fig.savefig(tmp_path/'a.png')
    fig = plot_explanations(load_model('lenet'), FACES.images[0][None])
    assert len(fig.axes) == 3 and '%' in fig.axes[1].get_title()
    fig = plot_mean_maps(FACES[np.arange(5)], np.zeros((5, 48, 48)))
    assert len(fig.axes) == 10
    laid = overlay(FACES.images, np.ones((7, 48, 48)), cover=1)
    assert laid.shape == (7, 48, 48, 3) and len(np.unique(laid.reshape(-1, 3), axis=0)) == 1
    assert laid[0, 0, 0, 2] > laid[0, 0, 0, 0]              # yellow, as BGR


def test_sentences(nets):
    net, x = nets['lenet'], FACES.images
    for call,words in ((lambda: grad_cam(build('mlp'), x), 'mlp has no convolution'),
                       (lambda: grad_cam(net, x, layer='flatten'), "no layer 'flatten' to explain: it has conv2d"),
                       (lambda: grad_cam(net, x, 'joy'), "no label 'joy': choose one of angry, disgust"),
                       (lambda: grad_cam(net, x, 7), 'no label 7'),
                       (lambda: grad_cam(net, x, -1), 'no label -1'),
                       (lambda: occlusion(net, x, [1, 2]), '2 labels for 7 faces'),
                       (lambda: grad_cam(net, x[:, :40]), r'uint8 of shape \(7, 40, 48\): give pixels'),
                       (lambda: occlusion(net, x[0]), r'shape \(48, 48\)'),
                       (lambda: explain(net, x/255), 'scaled to 0-1'),
                       (lambda: explain(net, x + 500.), 'outside 0 to 255'),
                       (lambda: explain(net, np.full(x.shape, np.nan)), 'NaN'),
                       (lambda: grad_cam(net, x, names=('a', 'b')), '2 names for 7 answers'),
                       (lambda: grad_cam(load_model('lenet'), x), 'no gradients: use occlusion'),
                       (lambda: explain(None, x), 'NoneType is not a model'),
                       (lambda: occlusion(net, x, patch=49), 'patch 49'),
                       (lambda: occlusion(net, x, stride=-1), 'stride is -1'),
                       (lambda: overlay(x, np.zeros((7, 6, 6))), 'one map per face'),
                       (lambda: plot_explanations(net, x[:0]), 'no faces to explain'),
                       (lambda: plot_explanations(net, x, top=0), 'top is 0'),
                       (lambda: plot_mean_maps(FACES, np.zeros((3, 48, 48))), 'one map per face')):
        with pytest.raises(FerError, match=words): call()


def test_another_backend_gets_a_sentence(nets, monkeypatch):
    monkeypatch.setattr(keras.backend, 'backend', lambda: 'jax')
    with pytest.raises(FerError, match='runs on jax: set the variable KERAS_BACKEND'):
        grad_cam(nets['lenet'], FACES.images)


def test_importing_it_imports_nothing_heavy():
    code = ("import sys, fer_nb.training.explain; "
            "print([o for o in ('tensorflow', 'keras', 'matplotlib') if o in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


def test_frozen_and_half_precision_networks(nets):
    net = nets['lenet']
    whole = grad_cam(net, FACES.images, 'sad')
    frozen = keras.models.clone_model(net)
    frozen.set_weights(net.get_weights())
    frozen.trainable = False
    np.testing.assert_allclose(grad_cam(frozen, FACES.images, 'sad'), whole, atol=2e-3)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy('mixed_bfloat16')
    try: half = build('lenet')
    finally: keras.config.set_dtype_policy(before)
    half.set_weights(net.get_weights())
    rough = grad_cam(half, FACES.images, 'sad')
    assert rough.dtype == np.float32
    assert np.corrcoef(rough.ravel(), whole.ravel())[0, 1] > .95
