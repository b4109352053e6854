"""What recognising people costs: python nbs/tutorials/bench_people.py [FILM]

One embedding, a search among 10,000, and a film with and without people: processor seconds, the minimum of several
runs. Without FILM: eight seconds of two moving faces at 640x480 and 30 frames per second, neither of them in the
gallery, which is the more expensive case."""
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT/'tools')]
import fake_camera  # noqa: E402

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


def main():
    embedder, rng = Embedder(), np.random.default_rng(0)
    cv2.setNumThreads(1)
    face = rng.integers(0, 256, (1, 112, 112, 3), np.uint8)
    print(f"embedding: {1000*best(lambda: embedder(face), 20):.1f} ms a face")
    with Gallery() as gallery:
        rows = rng.normal(size=(10_000, embedder.size)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        gallery.add('person', rows[:1], embedder.sha256, Consent.given('nobody: random numbers'))
        people = People(gallery, embedder=embedder)
        people.names, people.templates = [f'person {i}' for i in range(10_000)], rows
        print(f"search among 10,000: {1000*best(lambda: people.nearest(rows[:1]), 50, time.perf_counter):.2f} ms")
        with tempfile.TemporaryDirectory() as folder:
            film = sys.argv[1] if len(sys.argv) > 1 else made_film(folder)
            def read(**how):
                for _ in video_faces(film, FaceStream(EmotionRecognizer(**how))): pass
            read()
            without, with_people = best(read), best(lambda: read(people=people))
            print(f"film: {without:.2f} s without, {with_people:.2f} s with people, {with_people/without:.2f} times")


if __name__ == '__main__': main()
