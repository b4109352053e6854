"""Runs the package `fer` for fer_nb's benchmark, under a Python of its own: JSON requests in, replies out, a line each.

    python peer_fer.py --check      which fer there is, or why it does not run
    python peer_fer.py THREADS      answers requests until its input ends; 0 leaves their number to the libraries

Nothing of fer_nb is imported here, so it runs wherever fer runs; NumPy and OpenCV come with fer."""
import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import sys
import time

LABELS = ('angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral')
VERSIONS = ('fer', 'tensorflow', 'keras', 'numpy', 'opencv-contrib-python')


def timed(call, seconds, least=3):
    "Milliseconds of each of the calls of `call` that fit into `seconds`, `least` or more, after one to warm up."
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1000*(time.perf_counter() - start))
    return times


def peak_bytes():
    "The most memory that this process has had so far, bytes."
    try:
        with open('/proc/self/status') as file:
            return next(int(o.split()[1])*1024 for o in file if o.startswith('VmHWM'))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss     # macOS has no /proc, and counts in bytes


def installed(names, alone=()):
    "Bytes that pip recorded of these distributions, of all that they require and is here, and of those `alone`."
    waiting, seen, sizes = [(o, ()) for o in names], set(), {}
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r'[-_.]+', '-', name).lower()
        if (key, extras) in seen: continue
        seen.add((key, extras))
        try: found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError: continue      # for another system, by its marker
        sizes[key] = size_of(found)
        for line in found.requires or ():
            head, _, marker = line.partition(';')
            wanted = re.findall(r'extra\s*==\s*[\'"]([^\'"]+)', marker)
            if wanted and not set(wanted) & set(extras): continue
            other, options = re.match(r'([\w.-]+)\s*(?:\[([^\]]*)\])?', head).groups()
            waiting.append((other, tuple(re.findall(r'[\w.-]+', options or ''))))
    for name in alone: sizes[name] = size_of(importlib.metadata.distribution(name))
    return dict(bytes=sum(sizes.values()), packages=len(sizes))


def size_of(distribution):
    "Bytes of the files that pip recorded for one distribution."
    paths = [distribution.locate_file(o) for o in distribution.files or ()]
    return sum(os.path.getsize(o) for o in paths if os.path.isfile(o))


class Peer:
    "What the benchmark asks of fer; every method takes and returns what JSON can hold."
    def __init__(self, threads):
        import cv2
        import numpy as np
        from fer.fer import FER  # `from fer import FER`, as its README says, fails in some releases
        if threads: cv2.setNumThreads(threads)
        self.cv2, self.np, self.FER, self.made, self.lite = cv2, np, FER, {}, None

    def detector(self, *offsets):
        "FER(), or FER(offsets=...); made once."
        if offsets not in self.made: self.made[offsets] = self.FER(offsets=offsets) if offsets else self.FER()
        return self.made[offsets]

    def ready(self): return dict(ready=bool(self.detector()))

    def inputs(self, crops):
        "uint8 (N, S, S) -> float32 (N, 64, 64): what FER does to a face before its network sees it."
        np = self.np
        small = np.stack([self.cv2.resize(o, (64, 64)) for o in crops])
        return (small.astype('float32')/255 - .5)*2

    def network(self, crops): return self.np.asarray(self.detector()._classify_emotions(self.inputs(crops)))

    def public(self, crop, *offsets):
        "Seven probabilities of one crop by `detect_emotions`, which rounds them to two decimals."
        side, colour = len(crop), self.cv2.cvtColor(crop, self.cv2.COLOR_GRAY2BGR)
        (found,) = self.detector(*offsets).detect_emotions(colour, face_rectangles=[(0, 0, side, side)])
        return [found['emotions'][o] for o in LABELS]

    def converted(self, crops):
        "The network as TFLite, which is no part of fer; made here, for one size of batch at a time."
        x = self.inputs(crops)[..., None]
        if self.lite is None:
            network = self.detector()._FER__emotion_classifier
            import tensorflow as tf
            content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
            self.lite = tf.lite.Interpreter(model_content=content, num_threads=1)
            self.lite.allocate_tensors()
        index = self.lite.get_input_details()[0]['index']
        if tuple(self.lite.get_input_details()[0]['shape']) != x.shape:
            self.lite.resize_tensor_input(index, x.shape)
            self.lite.allocate_tensors()
        self.lite.set_tensor(index, x)
        self.lite.invoke()
        return self.lite.get_tensor(self.lite.get_output_details()[0]['index'])

    def probabilities(self, array, out, how, offsets=()):
        "Writes (N, 7) in the order of LABELS; `how` is network or converted, in batches of 32, or public."
        np, crops = self.np, self.np.load(array)
        start = time.perf_counter()
        if how == 'public': found = np.array([self.public(o, *offsets) for o in crops])
        else: found = np.concatenate([getattr(self, how)(crops[i:i + 32]) for i in range(0, len(crops), 32)])
        seconds = time.perf_counter() - start
        np.save(out, found)
        return dict(labels=LABELS, seconds=seconds)

    def time_crops(self, array, how, seconds):
        "Milliseconds from pixels to probabilities, by network or converted for all at once, by public for the first."
        crops = self.np.load(array)
        call = (lambda: self.public(crops[0])) if how == 'public' else (lambda: getattr(self, how)(crops))
        return dict(ms=timed(call, seconds))

    def boxes(self, array):
        "x, y, width, height of the faces that are found in each frame."
        found = [self.detector().detect_emotions(frame) for frame in self.np.load(array)]
        return dict(boxes=[[[float(v) for v in o['box']] for o in faces] for faces in found])

    def time_frames(self, array, seconds):
        "Milliseconds a frame by `detect_emotions`, from BGR to labelled faces."
        turns, fer = itertools.cycle(self.np.load(array)), self.detector()
        return dict(ms=timed(lambda: fer.detect_emotions(next(turns)), seconds))

    def answer(self, image):
        "How many faces are in this image file: the first answer of a new process."
        return dict(faces=len(self.detector().detect_emotions(self.cv2.imread(image))), peak_bytes=peak_bytes())


def about():
    "Which versions there are."
    found = {}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return dict(python=platform.python_version(), **found)


def serve(threads):
    """Answers requests like {"do": "answer", "image": "face.png"}; what goes wrong is answered as {"error": ...}."""
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)                                                     # fer and TensorFlow print what they like
    peer = None
    for line in sys.stdin:
        values = json.loads(line)
        do = values.pop('do')
        try:
            if do in ('about', 'installed'): reply = globals()[do](**values)
            else:
                peer = peer or Peer(threads)
                reply = getattr(peer, do)(**values)
        except Exception as e: reply = dict(error=f'{type(e).__name__}: {e}'.splitlines()[0])
        replies.write(json.dumps(reply) + '\n')
        replies.flush()


def check():
    "Prints which fer runs here, or why none does, with exit code 1."
    try: Peer(0).detector()
    except Exception as e: sys.exit(f'{type(e).__name__}: {e}')
    print(f"fer {about().get('fer', 'of an unknown version')} runs")


if __name__ == '__main__': check() if sys.argv[1:] == ['--check'] else serve(int(sys.argv[1]))
