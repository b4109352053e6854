"""The process in which a target reads its inputs: python -m drills.child REQUEST, started by drills.fuzz.

It has a memory limit, writes its findings to stdout as JSON, and keeps the number of the current case in a small shared
file, so the watching process knows which case made it hang or crash."""

import json
import mmap
import os
import resource
import struct
import sys
import tempfile
import traceback
from pathlib import Path

from drills import mutate, targets

MARK = struct.Struct('qqqq')  # case, rejected, accepted, peak memory in kB


def status(key):
    "A figure of this process from the system, in kB."
    with open('/proc/self/status') as f:
        return next(int(o.split()[1]) for o in f if o.startswith(key))


def limit_memory(megabytes):
    "Limit the additional memory of this process from here on."
    hard = status('VmSize') * 1024 + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def watch_files(allowed, tell):
    "Report every file that Python creates or changes anywhere else."
    changes = {'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.link', 'os.symlink', 'os.truncate', 'shutil.move'}

    def hook(event, args):
        if event == 'open':
            path, mode, flags = args
            if not isinstance(path, (str, bytes)) or not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in changes:
            path = args[0]
        else:
            return
        where = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ''
        if where and not where.startswith(allowed):
            tell('outside', f'{event} {where}')

    sys.addaudithook(hook)


def problem(error):
    "What is wrong with a target's exception, or nothing if it is a `FerError` with one sentence."
    from fer_nb.core import FerError

    if not isinstance(error, FerError):
        place = traceback.extract_tb(error.__traceback__)
        ours = [o for o in place if '/fer_nb/' in o.filename] or place
        where = f'{Path(ours[-1].filename).name}:{ours[-1].name}'
        return 'memory' if isinstance(
            error, MemoryError
        ) else 'exception', f'{type(error).__name__} in {where}: {error}'
    said = str(error)
    if '\n' in said or not said.rstrip().endswith('.') or len(said) > 2000:
        return 'sentence', said
    return None


def main():
    told, how = os.fdopen(os.dup(1), 'w', buffering=1), json.loads(sys.argv[1])
    folder, at = Path(how['folder']), -1
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)  # decoders print a lot
    sys.stderr = open(folder.with_suffix('.log'), 'w', buffering=1)
    tempfile.tempdir = str(folder)
    os.chdir(folder)
    os.environ['HYPOTHESIS_STORAGE_DIRECTORY'] = str(folder)
    mutate.drawn(mutate.source('warm'))  # Hypothesis builds its tables

    def tell(kind, text):
        told.write(json.dumps(dict(case=at, kind=kind, text=text[:600])) + '\n')

    with open(how['mark'], 'r+b') as f:
        mark = mmap.mmap(f.fileno(), MARK.size)
    target = targets.TARGETS[how['target']](folder)
    refused = accepted = highest = 0
    for i in how['warm']:
        target.warm(i)
    limit_memory(how['megabytes'])
    watch_files((str(folder), '/dev/', '/proc/', os.path.expanduser('~/.cache'), '/dev/shm'), tell)
    mark[:] = MARK.pack(how['start'], 0, 0, 0)
    for at in range(how['start'], how['stop']):
        name, data = target.case(how['seed'], at)
        with open('/proc/self/clear_refs', 'w') as f:
            f.write('5')  # resets the peak memory
        mark[:] = MARK.pack(at, refused, accepted, highest)
        try:
            target.read(name, data)
            accepted += 1
        except Exception as e:
            if found := problem(e):
                tell(*found)
            refused += 1
        highest = max(highest, status('VmHWM'))
        mark[:] = MARK.pack(at + 1, refused, accepted, highest)
    told.write(json.dumps(dict(done=True)) + '\n')


if __name__ == '__main__':
    main()
