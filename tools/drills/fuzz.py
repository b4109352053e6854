"Fuzz: thousands of broken inputs for each reader, in a separate process that is watched from outside."

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from drills import targets
from drills.child import MARK

TOOLS = Path(__file__).resolve().parents[1]
HANG = 5  # maximum processor time for an input, seconds
MEGABYTES = 2500  # maximum memory for an input


def environment():
    return os.environ | dict(
        PYTHONPATH=os.pathsep.join((str(TOOLS), os.environ.get('PYTHONPATH', ''))), TF_CPP_MIN_LOG_LEVEL='3'
    )


class Watched:
    "A child that works on the cases from `start` to `stop`."

    def __init__(self, name, seed, start, stop, folder, megabytes):
        self.mark_path = Path(folder).with_suffix('.mark')
        self.mark_path.write_bytes(MARK.pack(-1, 0, 0, 0))  # not started yet
        how = dict(
            target=name,
            seed=seed,
            start=start,
            stop=stop,
            folder=str(folder),
            mark=str(self.mark_path),
            megabytes=megabytes,
            warm=[*range(30)],
        )
        self.said = tempfile.TemporaryFile('w+')
        self.process = psutil.Popen(
            [sys.executable, '-m', 'drills.child', json.dumps(how)],
            stdout=self.said,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )

    @property
    def mark(self):
        with self.mark_path.open('rb') as f, mmap.mmap(f.fileno(), MARK.size, access=mmap.ACCESS_READ) as m:
            return MARK.unpack(m[:])

    def used(self):
        try:
            return sum(self.process.cpu_times()[:2])
        except psutil.Error:
            return 0

    def end(self):
        "Kill it with all its child processes; return the lines that it printed."
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self.said.seek(0)
        lines = [json.loads(o) for o in self.said if o.endswith('}\n')]
        self.said.close()
        return code, lines


def watch(child, deadline, hang):
    "Wait until it ends, hangs, or the time is up; return which."
    case, since = -1, 0
    while child.process.poll() is None:
        time.sleep(0.05)
        now = child.mark[0]
        if now != case:
            case, since = now, child.used()
        elif case >= 0 and child.used() - since > hang:
            return 'hang'
        if time.monotonic() > deadline:
            return 'time'
    return 'ended'


def drill(name, seed, count, seconds, folder, hang=HANG, megabytes=MEGABYTES):
    "Run up to `count` cases of a target, as many as `seconds` allow; return the results, each finding with its input."
    begin = time.monotonic()
    done = dict(target=name, seed=seed, cases=0, accepted=0, refused=0, highest_mb=0, restarts=-1, findings=[])
    with tempfile.TemporaryDirectory(prefix='drill_', dir=folder) as work:
        while done['cases'] < count and time.monotonic() - begin < seconds:
            _run(name, seed, count, begin + seconds, work, hang, megabytes, done)
    maker = None
    for o in done['findings']:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            maker = maker or targets.TARGETS[name](work)
            if o['case'] >= 0:
                o['file'] = _keep(folder, name, *maker.case(seed, o['case']), o['case'])
    return done | dict(seconds=round(time.monotonic() - begin, 1), highest_mb=round(done['highest_mb']))


def _keep(folder, target, name, data, case):
    path = Path(folder) / 'inputs' / f'{target}-{case}{Path(name).suffix}'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return f'inputs/{path.name}'


def _run(name, seed, count, deadline, work, hang, megabytes, done):
    "Run one child, from the case after the last one to its end, however it ends."
    place = Path(tempfile.mkdtemp(dir=work))
    child = Watched(name, seed, done['cases'], count, place, megabytes)
    done['restarts'] += 1
    try:
        why = watch(child, deadline, hang)
    finally:
        code, said = child.end()
    case, refused, accepted, highest = child.mark
    if case < 0:
        if why == 'time':
            return
        raise RuntimeError(
            f"The target {name} could not start ({_cause(code)}): {place.with_suffix('.log').read_text()[-800:]}"
        )
    finished = any(o.get('done') for o in said)
    done['refused'], done['accepted'] = done['refused'] + refused, done['accepted'] + accepted
    done['highest_mb'] = max(done['highest_mb'], highest / 1024)
    done['findings'] += [o for o in said if 'kind' in o]
    if why == 'hang' or why == 'ended' and not finished:
        said = f'more than {hang} s' if why == 'hang' else f'the process ended by {_cause(code)}'
        done['findings'].append(dict(case=case, kind='hang' if why == 'hang' else 'crash', text=said))
        case += 1
    elif why == 'time':
        done['cut'] = True
    done['cases'] = case


def _cause(code):
    return signal.Signals(-code).name if code < 0 else f'exit code {code}'
