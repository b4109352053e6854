"""Full disk and no permission: commands write to a disk of a few kilobytes, and to a folder without permission. Each
must end with one sentence, leave existing files unchanged, and do its work once there is room."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from drills import kill
from drills.mutate import source

MEGABYTES = 24
FREE = 0, 4, 30, 200, 1000, 4000  # free space, kilobytes
COMMANDS = {
    'predict, tables': ['predict', 'photo.jpg', '--model', 'lenet', '--csv', 'out/old.csv', '--json', 'out/old.json'],
    'predict, copies': ['predict', 'photo.jpg', '--model', 'lenet', '--out', 'out/copies'],
    'plot': ['plot', 'photo.jpg', '--out', 'out/old.png'],
    'video': ['video', 'film.mp4', '--model', 'lenet', '--csv', 'out/old.csv', '--out', 'out/film.mp4'],
    'train': ['train', *kill.DATA, '--arch', 'lenet', '--epochs', '2', '--batch', '28', '--out', 'out/run', '--quiet'],
    'export': kill.JOBS['export'],
    'sweep': 'sweep --data faces.csv --arch lenet --over rate=0.001:0.01 --trials 1 --epochs 1 --batch 28 '
             '--out out/sweep'.split(),
}
OLD = {'old.csv': 'old,table\n', 'old.json': '["old"]\n', 'old.png': 'old picture\n'}
PR_CAPBSET_DROP, OVERRIDES = 24, (1, 2, 3)  # Linux: what lets root ignore permissions


def without_rights():
    "In a child before it runs: make root obey permissions."
    libc = ctypes.CDLL(None)
    for o in OVERRIDES:
        libc.prctl(PR_CAPBSET_DROP, o, 0, 0, 0)


def mounted(path):
    "Whether a small disk could be mounted at `path`."
    path.mkdir()
    words = ['mount', '-t', 'tmpfs', '-o', f'size={MEGABYTES}m', 'fer_nb_drill', str(path)]
    try:
        return not subprocess.run(words, capture_output=True).returncode
    except OSError:
        return False


def _run(words, folder, **how):
    (folder / 'said.txt').unlink(missing_ok=True)
    code = (process := kill.fer_nb(words, folder, **how)).wait()
    kill.end(process)
    return code, (folder / 'said.txt').read_text(errors='replace')


def _judged(code, said, out):
    "What is wrong with the end of a command that could not write, as (kind, text), or None."
    lines = [o for o in said.splitlines() if o.startswith('Error: ')]
    if 'Traceback' in said:
        return 'traceback', said[-600:]
    if code != 2 or len(lines) != 1:
        return 'no sentence', f'exit code {code}: {said[-400:]}'
    changed = [k for k, v in OLD.items() if (out / k).read_text(errors='replace') != v]
    if changed:
        return 'lost', f'{changed[0]} is not what it was'
    if parts := [str(o.name) for o in out.rglob('.*.part*')]:
        return 'left over', ', '.join(parts)
    return None


def _full(name, words, rng, folder, done):
    "Run the command with too little room, then with enough."
    out, free = folder / 'out', rng.choice(FREE)
    for o in out.iterdir():
        shutil.rmtree(o) if o.is_dir() else o.unlink()
    for k, v in OLD.items():
        (out / k).write_text(v)
    room = os.statvfs(out)
    with (out / 'filler').open('wb') as f:
        f.truncate(0), os.posix_fallocate(f.fileno(), 0, room.f_bavail * room.f_bsize - free * 1024 or 1)
    code, said = _run(words, folder)
    done['runs'] += 1
    if code == 0:
        done['fitted'] += 1
    elif wrong := _judged(code, said, out):
        done['findings'].append(dict(kind=wrong[0], free_kb=free, text=wrong[1]))
    (out / 'filler').unlink()
    if code:
        code, said = _run(words, folder)
        if code:
            done['findings'].append(dict(kind='does not go on', free_kb=free, text=said[-600:]))


def _forbidden(name, words, folder, done):
    "Run the command on a folder without permission."
    out = folder / 'forbidden'
    out.mkdir()
    for k, v in OLD.items():
        (out / k).write_text(v)
    out.chmod(0o555)
    words = [o.replace('out/', 'forbidden/') for o in words]
    code, said = _run(words, folder, preexec_fn=without_rights)
    done['runs'] += 1
    if wrong := _judged(code, said, out):
        done['findings'].append(dict(kind=wrong[0], folder='read-only', text=wrong[1]))
    out.chmod(0o755)
    shutil.rmtree(out)


def drill(seed, seconds, folder, commands=COMMANDS):
    "Run each command at least once on a full disk and once without permission, more often if time allows."
    import time

    from fer_nb.core import static_file

    begin, work = time.monotonic(), kill.make(Path(folder) / 'disk')
    shutil.copy(static_file('sample.jpg'), work / 'photo.jpg')
    found = [dict(command=o, seed=seed, runs=0, fitted=0, findings=[]) for o in commands]
    try:
        if disk := mounted(work / 'out'):
            turn = 0
            while not turn or time.monotonic() - begin < seconds * 0.7:
                for o in found:
                    if turn and time.monotonic() - begin > seconds * 0.7:
                        break
                    _full(o['command'], commands[o['command']], source(seed, o['command'], turn), work, o)
                turn += 1
        for o in found:
            _forbidden(o['command'], commands[o['command']], work, o)
    finally:
        if disk:
            subprocess.run(['umount', str(work / 'out')], check=False)
        shutil.rmtree(work, ignore_errors=True)
    if not disk:
        found.append(
            dict(skipped="A small disk could not be mounted here (that takes root): the full disk was not tried.")
        )
    return found
