"""Two heads on one trunk: one learns the votes, the other FER-2013's labels. Do they help each other?

    python nbs/tutorials/experiments/two_heads.py --data fer2013.zip --votes votes.csv --json two_heads.json

Three networks start from the weights of the shipped default and train further with the same schedule: with the first
head's loss, with the second's, and with both. All are measured on PublicTest after the last epoch, in float32."""
import argparse
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from fer_nb.cli.base import typed_command
from fer_nb.core import replacing
from fer_nb.inference.classify import softmax
from fer_nb.training.augment import augment_named
from fer_nb.training.data import load
from fer_nb.training.metrics import mean_distance, nearest_temperature, wilson
from fer_nb.training.recipes import RECIPES, compile_model
from fer_nb.training.runs import versions
from fer_nb.training.transfer import begin_with
from fer_nb.training.votes import rulers

WEIGHTS = {'votes': (1., 0.), 'labels': (0., 1.), 'both': (1., .3)}      # of the two losses


class Batches(keras.utils.PyDataset):
    "Shuffled, augmented batches with both sets of targets."
    def __init__(self, faces, recipe):
        super().__init__(workers=2, max_queue_size=16)
        given = np.eye(len(faces.names), dtype=np.float32)[faces.given]
        self.images, self.targets = faces.images, np.concatenate([faces.targets(), given], 1)
        self.recipe, self.augment, self.epoch, self.classes = recipe, augment_named(recipe.augment), 0, given.shape[1]

    def __len__(self): return len(self.images)//self.recipe.batch

    def on_epoch_end(self): self.epoch += 1

    def __getitem__(self, i):
        size, seed = self.recipe.batch, (self.recipe.seed, self.epoch)
        chosen = np.random.default_rng(seed).permutation(len(self.images))[i*size:(i + 1)*size]
        x, y = self.augment(self.images[chosen], self.targets[chosen], np.random.default_rng((*seed, i)))
        return x, (y[:, :self.classes], y[:, self.classes:])


def learn(faces, recipe, begin, weights):
    "(votes, labels) logits on PublicTest after training with these weights of the two losses."
    keras.utils.set_random_seed(recipe.seed)
    recipe, start = begin_with(begin, recipe)
    own = start['begin']
    feature = own.get_layer('logits').input
    heads = [keras.layers.Dense(len(faces.names), name=o, dtype='float32') for o in ('votes', 'labels')]
    model = keras.Model(own.input, [o(feature) for o in heads])
    for o in heads: o.set_weights(own.get_layer('logits').get_weights())
    batches = Batches(faces.of('train'), recipe)
    optimizer = compile_model(own, recipe, len(batches)).optimizer
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=[loss, loss], loss_weights=list(weights))
    model.fit(batches, epochs=recipe.epochs, shuffle=False, verbose=2)
    return model.predict(faces.of('public').images[..., None].astype(np.float32), batch_size=256, verbose=0)


def share(right):
    "A mean with its 95% interval."
    return dict(value=float(right.mean()), interval=wilson(int(right.sum()), len(right)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name in '--data', '--votes', '--json': parser.add_argument(name, type=Path, required=True)
    parser.add_argument('--begin', default='se_resnet')
    parser.add_argument('--epochs', type=int, default=8)
    a = parser.parse_args()
    faces = load(a.data, votes=a.votes)
    public, recipe = faces.of('public'), replace(RECIPES['se_resnet'], epochs=a.epochs, rate=1.2e-3, warmup=0,
                                                 average=.998, augment='medium', distinct=False)
    ruler, rows = rulers(public)[0], []
    counted, told = ruler.labels >= 0, public.given >= 0
    for name, weights in WEIGHTS.items():
        votes, labels = learn(faces, recipe, a.begin, weights)
        row = dict(learned=name, weights=weights)
        if weights[0]:
            p = softmax(votes, nearest_temperature(votes, ruler.votes))
            row['majority'] = share(votes.argmax(1)[counted] == ruler.labels[counted])
            row['distance'] = mean_distance(p, ruler.votes)[0]
        if weights[1]: row['label'] = share(labels.argmax(1)[told] == public.given[told])
        rows.append(row)
        print(row, flush=True)
    command = typed_command().replace('fer-nb', 'python nbs/tutorials/experiments/two_heads.py', 1)
    done = dict(command=command, versions=versions(), seed=recipe.seed, epochs=a.epochs, rows=rows)
    with replacing(a.json) as part: part.write_text(json.dumps(done, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
