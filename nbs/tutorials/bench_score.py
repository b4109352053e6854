"""Measures `fer-nb score` by processes and on Ray, and prints a Markdown table.

    python nbs/tutorials/bench_score.py --data fer2013.zip --json nbs/tutorials/score.json

Needs the extras `score` and `ray`; without --data, the faces are drawn ones. The photos are JPEGs of 640x480 with 0 to
10 faces, composed in a temporary folder. Wall-clock time includes waiting for other work on the machine, so the script
also adds up the core time of all processes. With --limit, a run is interrupted after that many seconds; the same
command resumes it, as `fer-nb score` does, if --folder is the same."""
import argparse
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.metadata import version
from os import environ, link
from pathlib import Path

import cv2
import numpy as np
import psutil

FER_NB = Path(sys.executable).parent/'fer-nb'
DISTINCT = 500                                             # photos; further files are copies of them
ENGINES = 'processes', 'ray', 'ray, two nodes'
ENV = environ | dict(RAY_AUTH_MODE='disabled')


def photos(folder, n, data):
    "A folder with `n` photos, composed if it does not exist."
    folder = folder/f'photos{n}'
    if folder.is_dir() and len(list(folder.iterdir())) == n: return folder
    from fer_nb.bench.scenes import compose
    folder.mkdir(exist_ok=True)
    if data:
        from fer_nb.training.data import load
        faces = load(data, 48).images
    else:
        from fer_nb.training.faces import drawn_faces
        faces = drawn_faces(70).images
    faces, rng = np.squeeze(faces), np.random.default_rng(0)
    for i in range(n):
        path = folder/f'{i:06}.jpg'
        path.unlink(missing_ok=True)
        if i < DISTINCT: cv2.imwrite(str(path), compose(faces, 640, 480, i % 11, rng).image)
        else: link(folder/f'{i % DISTINCT:06}.jpg', path)
    return folder


@contextmanager
def nodes(engine):
    "Options that select an engine; if it has two nodes, their cluster runs until the block ends."
    if engine == 'processes': yield []
    elif engine == 'ray': yield ['--ray', 'local']
    else:
        environ.update(ENV)
        from ray.cluster_utils import Cluster
        how = dict(num_cpus=1, object_store_memory=100*2**20)
        cluster = Cluster(initialize_head=True, head_node_args=how)
        cluster.add_node(**how)
        try: yield ['--ray', cluster.address]
        finally: cluster.shutdown()


class Watch:
    "Core time and memory of all child processes."
    def __init__(self, begun): self.begun, self.cores, self.memory = begun, {}, []

    def look(self):
        total = 0
        for o in psutil.Process().children(recursive=True):
            try:
                self.cores[o.pid] = sum(o.cpu_times()[:2])
                total += o.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied): pass
        self.memory.append((time.perf_counter() - self.begun, total/2**20))


def run(engine, folder, out, limit):
    "Seconds, core seconds, [(seconds, MB)], and whether the run is complete."
    with nodes(engine) as options:
        command = [FER_NB, 'score', folder, '--out', out, *options]
        begun = time.perf_counter()
        watch, process = Watch(begun), subprocess.Popen(list(map(str, command)), env=ENV, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            watch.look()
            time.sleep(.2 if time.perf_counter() - begun < 20 else 2)
            if time.perf_counter() - begun > limit: process.send_signal(signal.SIGINT); process.wait()
        seconds = time.perf_counter() - begun
    if process.returncode not in (0, 130): sys.exit(f"{engine}: fer-nb score ended with {process.returncode}")
    return seconds, sum(watch.cores.values()), watch.memory, process.returncode == 0


def one(row, work, data, limit):
    "Resume a row; True once it is complete."
    if row.get('complete'): return True
    folder = photos(work, row['pictures'], data)
    out = work/f"out-{row['pictures']}-{ENGINES.index(row['engine'])}"
    seconds, cores, memory, done = run(row['engine'], folder, out, limit)
    before = row.get('seconds', 0)
    row |= dict(seconds=before + seconds, core_seconds=row.get('core_seconds', 0) + cores,
                calls=row.get('calls', 0) + 1, complete=done)
    steps = memory[::max(1, len(memory)//40)]
    row['memory'] = row.get('memory', []) + [[round(before + t, 1), round(mb)] for t, mb in steps]
    if done: row |= {k: json.loads((out/'manifest.json').read_text())[k] for k in ('faces', 'errors')}
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pictures', type=int, nargs='+', default=[100, 1000, 10_000])
    parser.add_argument('--engines', nargs='+', choices=ENGINES, default=ENGINES)
    parser.add_argument('--data', type=Path, help="use the faces of a dataset instead of drawn ones")
    parser.add_argument('--json', type=Path, help="write the figures to this file, and resume from those in it")
    parser.add_argument('--folder', type=Path, help="for photos and parts; temporary by default")
    parser.add_argument('--limit', type=float, default=1e9, help="seconds for one run")
    args = parser.parse_args()
    from fer_nb.core import cores
    rows = json.loads(args.json.read_text())['rows'] if args.json and args.json.exists() else []
    about = f'{cores()} {"core" if cores() == 1 else "cores"}, {platform.machine()}, Python {platform.python_version()}'
    typed = ['python nbs/tutorials/bench_score.py', '--pictures', *map(str, args.pictures), '--engines',
             *(f"'{o}'" for o in args.engines), *(['--data', args.data.name] if args.data else ())]
    record = dict(command=' '.join(typed), seed=0, machine=about,
                  versions={o: version(o) for o in ('fer_nb', 'ray', 'pyarrow', 'numpy')})
    print(f'{about}\n\n| engine | pictures | faces | seconds | pictures/s | core, ms a picture | MB, highest |')
    print('|---' + '|--:'*6 + '|')
    with tempfile.TemporaryDirectory() as scratch:
        work = args.folder or Path(scratch)
        work.mkdir(exist_ok=True)
        for n in args.pictures:
            for engine in args.engines:
                row = next((o for o in rows if (o['engine'], o['pictures']) == (engine, n)), None)
                if row is None: rows.append(row := dict(engine=engine, pictures=n))
                done = one(row, work, args.data, args.limit)
                if args.json: args.json.write_text(json.dumps(record | dict(rows=rows), indent=1) + '\n')
                if not done: return print('interrupted: the same call goes on')
                cells = (engine, f'{n:,}', f"{row['faces']:,}", f"{row['seconds']:.0f}", f"{n/row['seconds']:.1f}",
                         f"{1000*row['core_seconds']/n:.1f}", f"{max(mb for _, mb in row['memory']):,}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == '__main__': main()
