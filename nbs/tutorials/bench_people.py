"""What recognising people costs: python nbs/tutorials/bench_people.py [FILM] [--json FILE]

One embedding, a search among 10,000, and a film with and without people: processor seconds on one thread, the minimum
of several runs. Without FILM: eight seconds of two moving faces at 640x480 and 30 frames per second, neither of them
in the gallery, which is the more expensive case."""
import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

os.environ['OPENBLAS_NUM_THREADS'] = '1'     # its other threads spin while they wait, which counts as processor time

import cv2  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT/'tools')]
import fake_camera  # noqa: E402

import fer_nb  # noqa: E402
from fer_nb.bench.measure import machine  # noqa: E402
from fer_nb.inference.embed import Embedder  # noqa: E402
from fer_nb.inference.gallery import Gallery  # noqa: E402
from fer_nb.inference.people import People  # noqa: E402
from fer_nb.inference.person import Consent  # noqa: E402
from fer_nb.inference.recognize import EmotionRecognizer  # noqa: E402
from fer_nb.video.faces import video_faces  # noqa: E402
from fer_nb.video.track import FaceStream  # noqa: E402


def made_film(folder):
    "Path of the generated film."
    path = str(Path(folder)/'film.mp4')
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'mp4v'), 30, (640, 480))
    for _ in range(2):
        for frame in fake_camera.frames(2): writer.write(frame)
    writer.release()
    return path


def best(work, times=3, clock=time.process_time):
    "Minimum seconds that `work` took."
    def once():
        begin = clock()
        work()
        return clock() - begin
    return min(once() for _ in range(times))


def measured(embedder, film):
    "The figures, in plain types."
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (1, 112, 112, 3), np.uint8)
    found = dict(embedding_ms=1000*best(lambda: embedder(face), 20))
    with Gallery() as gallery:
        rows = rng.normal(size=(10_000, embedder.size)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        gallery.add('person', rows[:1], embedder.sha256, Consent.given('nobody: random numbers'))
        people = People(gallery, embedder=embedder)
        people.names, people.templates = [f'person {i}' for i in range(10_000)], rows
        found['search_ms'] = 1000*best(lambda: people.nearest(rows[:1]), 50, time.perf_counter)
        def read(**how):
            for _ in video_faces(film, FaceStream(EmotionRecognizer(**how))): pass
        read()
        return found | dict(film_s=best(read), film_with_people_s=best(lambda: read(people=people)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('film', nargs='?', type=Path, help="by default, a generated one")
    parser.add_argument('--json', type=Path, help="write the figures to this file as well")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    embedder = Embedder()
    with tempfile.TemporaryDirectory() as folder: found = measured(embedder, str(args.film or made_film(folder)))
    without, with_people = found['film_s'], found['film_with_people_s']
    print(f"embedding: {found['embedding_ms']:.1f} ms a face\nsearch among 10,000: {found['search_ms']:.2f} ms\n"
          f"film: {without:.2f} s without, {with_people:.2f} s with people, {with_people/without:.2f} times")
    if not args.json: return
    typed = ['python nbs/tutorials/bench_people.py', *([args.film.name] if args.film else ())]
    typed += ['--json', args.json.name]
    versions = dict(fer_nb=fer_nb.__version__, python=platform.python_version(), opencv=cv2.__version__,
                    numpy=np.__version__)
    record = dict(command=' '.join(typed), network=embedder.sha256, versions=versions, machine=machine(), **found)
    args.json.write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__': main()
