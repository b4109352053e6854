"""Train the network of views, and measure the limits at which the default network can read a face.

    pip install '.[train]' scikit-image
    python tools/views.py --data fer2013.zip --votes votes.csv --run runs/views

writes models/quality/views.*; if killed, the same command resumes. The photos without a face come from scikit-image and
scikit-learn; pictures composed of them show the detector's false positives. After a change of the default network, the
same command without --run measures its limits again, without training."""
import argparse
from pathlib import Path

import cv2
import numpy as np
from common import ROOT
from tqdm import tqdm

from fer_nb.bench.scenes import PHOTOS, compose, ground_photos
from fer_nb.cli.base import typed_command
from fer_nb.core import replacing
from fer_nb.inference.detect import crop_faces, detect_faces
from fer_nb.inference.image import to_grey
from fer_nb.inference.quality import turned_of
from fer_nb.inference.zoo import load_model
from fer_nb.training.data import load
from fer_nb.training.export import card_text, export_run
from fer_nb.training.recipes import Recipe
from fer_nb.training.train import train
from fer_nb.training.views import choose_limits, coverage, view_faces

OUT, PICTURES = ROOT/'models/quality', {'train': 400, 'public': 100}
RECIPE = Recipe('se_resnet', options=dict(filters=(12, 24, 48), blocks=(1, 1, 1), step=2), epochs=12, batch=128,
                optimizer='adamw', schedule='cosine', rate=3e-3, weight_decay=.05, average=.99, smoothing=0., seed=1,
                augment=dict(rotation=25, zoom=.15, shift=.08, flip=True, light=.2, spoil=.15))


def faces_alike(photos, n, seed=0):
    "uint8 (N, 48, 48): false positives of the detector at a low minimum score, in `n` pictures without faces."
    rng, crops = np.random.default_rng(seed), []
    for _ in tqdm(range(n), desc='pictures without faces', disable=None):
        image = compose((), 960, 720, 0, rng, photos).image
        found = detect_faces(image, 'blazeface', min_score=.25, min_face=24)
        crops.append(crop_faces(image, found, detector='blazeface'))
    return np.concatenate(crops)


def turned(face, ground=360, side=192):
    "Rotation of a face according to the detector; NaN if it finds none."
    scene = np.full((ground, ground, 3), 127, np.uint8)
    corner = (ground - side)//2
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    scene[corner:corner + side, corner:corner + side] = large[..., None]
    found = detect_faces(scene, min_face=side//2)
    return turned_of(found[0].points) if found else np.nan


def learn(faces, run):
    "Train the network of views in the folder `run`, and export it."
    faces = faces[np.isin(faces.split, list(PHOTOS))]
    photos = {split: ground_photos(split) for split in PHOTOS}
    grey = {split: [to_grey(o) for o in found] for split,found in photos.items()}
    alike = {split: faces_alike(found, PICTURES[split]) for split,found in photos.items()}
    print({split: len(o) for split,o in alike.items()}, 'crops that look like faces to the detector')
    views = view_faces(faces, grey, alike=alike)
    command = typed_command().replace('fer-nb', 'python tools/views.py', 1)
    run = train(RECIPE, views, run, command=command, verbose=2)
    card = export_run(run, 'views', views, OUT, description="Which part of a face is covered, or whether it is one.")
    card.data['photos'] = PHOTOS
    with replacing(card.path) as part: part.write_text(card_text(card.data), encoding='utf-8')
    for ending in '.npz', '.weights.npz': (OUT/f'views{ending}').unlink()      # it is not retrained from these


def measure(public):
    "Write into the card the limits at which the default network can read a face."
    network, small = load_model(), load_model(OUT/'views.tflite')
    limits = choose_limits(network, small, public, np.array([turned(o) for o in public.images]))
    card = small.card
    card.data.update(limits=limits._asdict(), limits_of=network.card.name,
                     coverage=coverage(network, small, public, limits))
    with replacing(card.path) as part: part.write_text(card_text(card.data), encoding='utf-8')
    print(limits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name in '--data', '--votes': parser.add_argument(name, type=Path, required=True)
    parser.add_argument('--run', type=Path)
    a = parser.parse_args()
    faces = load(a.data, votes=a.votes)
    if a.run: learn(faces, a.run)
    measure(faces.of('public').with_label())


if __name__ == '__main__': main()
