"""Kill: long commands are killed at random moments (kill -9, with all their processes). Afterwards, the same command
must end as if nothing had happened: with the same result and no half-written files."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from drills.mutate import source

DATA = ['--data', 'faces.csv']
JOBS = {k: o.split() for k, o in {
    # command in a folder with faces.csv, film.mp4, photos/ and the run `teacher`: what it writes is out/
    'train': 'train --data faces.csv --arch mlp --epochs 5 --batch 28 --schedule cosine --optimizer adamw --average .9 '
             '--weight-decay .01 --out out/run --quiet',
    'distill': 'distill --data faces.csv --recipe lenet --option dropout=.2 --teacher teacher --epochs 4 --batch 28 '
               '--out out/run --quiet',
    'sweep': 'sweep --data faces.csv --arch mlp --over rate=0.001:0.01 --over dropout=0.1:0.5 --trials 3 --epochs 2 '
             '--batch 28 --out out/sweep',
    'export': 'export --data faces.csv --run teacher --name mine --precision float32 --out out/models',
    'video': 'video film.mp4 --model lenet --csv out/faces.csv --out out/film.mp4',
    'score': 'score photos --model lenet --batch 8 --out out/scored',
}.items()}

STARTED = []


def fer_nb(words, folder, **how):
    "A running command in its own session; its output goes to a file in `folder`."
    code = f"import sys; sys.argv = {['fer-nb', *map(str, words)]!r}; from fer_nb.cli.main import main; main()"
    env = os.environ | dict(TMPDIR=str(Path(folder) / 'tmp'), TF_CPP_MIN_LOG_LEVEL='3', COLUMNS='200')
    (Path(folder) / 'tmp').mkdir(exist_ok=True)
    with (Path(folder) / 'said.txt').open('ab') as said:
        process = subprocess.Popen(
            [sys.executable, '-c', code],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            **how,
        )
    STARTED.append(process)
    return process


def end(process):
    "Kill it with all its child processes."
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    STARTED.remove(process)


def make(folder):
    "Write the commands' input: a table of drawn faces, a film of 700 frames, 200 photos, a run to learn from."
    import cv2
    import numpy as np

    from drills.targets import faces_table, photo
    from fer_nb.video.files import VideoWriter

    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'faces.csv').write_bytes(faces_table(280))
    face = np.pad(photo(96), ((12, 12), (32, 32), (0, 0)), 'edge')
    with VideoWriter(folder / 'film.mp4', 160, 120, 25) as film:
        for i in range(700):
            film.write(np.roll(face, i % 20, 1), i / 25)
    (folder / 'photos').mkdir()
    for i in range(200):
        cv2.imwrite(str(folder / 'photos' / f'{i:03}.jpg'), np.roll(face, i % 20, 1))
    words = ['train', *DATA, '--arch', 'mlp', '--epochs', '1', '--batch', '28', '--out', 'teacher', '--quiet']
    if (process := fer_nb(words, folder)).wait():
        raise RuntimeError((folder / 'said.txt').read_text()[-800:])
    end(process)
    return folder


def _plain(value):
    "A JSON value without the parts that differ from run to run: times, dates, versions of files with dates in them."
    if isinstance(value, list):
        return [_plain(o) for o in value]
    if not isinstance(value, dict):
        return value
    return {k: _plain(v) for k, v in value.items() if k not in ('created', 'milliseconds', 'seconds')}


def _arrays(path):
    "The hash of the weights of a network and its optimiser, without their names, which depend on the process."
    import h5py

    with zipfile.ZipFile(path) as z:
        file, found = h5py.File(io.BytesIO(z.read('model.weights.h5'))), []
    file.visititems(lambda name, o: found.append((name, o[()].tobytes())) if isinstance(o, h5py.Dataset) else None)
    return hashlib.sha256(b''.join(data for _, data in sorted(found))).hexdigest()


def _content(path):
    "The part of a file that must not differ."
    if path.suffix == '.keras':
        return _arrays(path)
    if path.suffix == '.json':
        return _plain(json.loads(path.read_text()))
    if path.name == 'history.csv' or path.name == 'mine.csv':
        return [o.split(',')[:-1] for o in path.read_text().splitlines()]  # the last column is seconds
    if path.suffix == '.npz':
        with zipfile.ZipFile(path) as z:
            return {o.filename: o.CRC for o in z.infolist()}
    if path.name == 'trials.log':
        return None  # Optuna's journal also records interruptions
    return hashlib.sha256(path.read_bytes()).hexdigest()


def result(out):
    return {str(o.relative_to(out)): _content(o) for o in sorted(out.rglob('*')) if o.is_file()}


def _copy(base, folder):
    shutil.copytree(base, folder)
    (folder / 'out').mkdir()
    return folder


def drill(seed, seconds, folder, jobs=JOBS, most=100):
    "Kill each job as often as `seconds` allow, at most `most` times; return the results."
    begin, folder = time.monotonic(), Path(folder)
    base, found = make(folder / 'base'), []
    for n, (name, words) in enumerate(jobs.items()):
        until = begin + seconds * (n + 1) / len(jobs)
        found.append(_drill(name, words, seed, until, base, folder / name, most))
        shutil.rmtree(folder / name)
    shutil.rmtree(base)
    return found


def _drill(name, words, seed, until, base, folder, most):
    folder.mkdir()
    again = folder / 'again'  # the same path for every run: a manifest records it
    first, start = _copy(base, again), time.monotonic()
    code = (process := fer_nb(words, first)).wait()
    end(process)
    if code:
        return dict(job=name, kills=0, findings=[dict(kind='fails', text=(first / 'said.txt').read_text()[-600:])])
    whole, took = result(first / 'out'), time.monotonic() - start
    shutil.rmtree(first)
    done = dict(job=name, seed=seed, seconds=round(took, 1), kills=0, ended_before=0, findings=[])
    while done['kills'] < most and (not done['kills'] or time.monotonic() + 2 * took < until):
        _once(
            name,
            words,
            source(seed, name, done['kills'], done['ended_before']),
            whole,
            took,
            base,
            again,
            done,
        )
        if done['ended_before'] > most:
            break
    return done


def _once(name, words, rng, whole, took, base, folder, done):
    "Kill the command once or twice, let it end, compare."
    _copy(base, folder)
    moments = [round(rng.uniform(0.1, 1) * took, 2) for _ in range(rng.choice((1, 1, 2)))]
    for moment in moments:
        process = fer_nb(words, folder)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            done['kills'] += 1
        else:
            done['ended_before'] += 1
        end(process)
    code = (process := fer_nb(words, folder)).wait()
    end(process)
    said, again = (folder / 'said.txt').read_text(errors='replace'), result(folder / 'out')
    tell = lambda kind, text: done['findings'].append(dict(kind=kind, moments=moments, text=text[-600:]))
    if code:
        tell('fails', said)
    elif again != whole:
        differ = sorted(k for k in {*whole, *again} if whole.get(k, 'absent') != again.get(k, 'absent'))
        left = [o for o in differ if o not in whole]
        tell('left over' if left == differ else 'differs', ', '.join(differ))
    shutil.rmtree(folder)
