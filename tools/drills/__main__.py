"""Runs the drills: make drills, or

    PYTHONPATH=tools python -m drills [--minutes 10] [--cases 10000] [--seed 0] [--out drills] [DRILL ...]

writes OUT/drills.json and OUT/drills.html, the offending inputs into OUT/inputs/, and the SBOM as OUT/sbom.json.
The exit code is 1 if anything was found. To reproduce a finding of the fuzz drill:

    PYTHONPATH=tools python -m drills --again pictures:1234 [--seed 0]"""

import argparse
import os
import platform
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from drills import kill, report

DRILLS = {'fuzz': 0.35, 'kill': 0.25, 'soak': 0.25, 'disk': 0.15, 'supply': 0}  # shares of the time


def _fuzz(args, seconds, folder):
    from drills import fuzz, targets

    names, found = args.target or [*targets.TARGETS], []
    end = time.monotonic() + seconds
    for i, name in enumerate(names):
        share = max(5, (end - time.monotonic()) / (len(names) - i))  # the others may use the time that one leaves
        found.append(fuzz.drill(name, args.seed, args.cases, share, folder))
        _say(report.fuzz_line(found[-1]))
    return found


def _kill(args, seconds, folder):
    return kill.drill(args.seed, seconds, folder, most=args.kills)


def _soak(args, seconds, folder):
    from drills import soak

    return soak.drill(args.seed, seconds, folder, args.visitors, args.clients)


def _disk(args, seconds, folder):
    from drills import disk

    return disk.drill(args.seed, seconds, folder)


def _supply(args, seconds, folder):
    from drills import supply

    return supply.drill(folder)


def _say(text):
    print(text, flush=True)


def _again(args):
    "Run one case of a target in this process, with its traceback."
    import tempfile

    from drills import targets

    name, case = args.again.split(':')
    with tempfile.TemporaryDirectory() as folder:
        target = targets.TARGETS[name](folder)
        file, data = target.case(args.seed, int(case))
        _say(f'{name}, case {case}: {file}, {len(data)} bytes')
        target.read(file, data)


def main():
    parser = argparse.ArgumentParser(
        prog='drills', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('drill', nargs='*', help=f"of {', '.join(DRILLS)}; all by default")
    parser.add_argument('--minutes', type=float, default=10, help="approximate time for all drills together")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cases', type=int, default=10_000, help="maximum number for each target of the fuzz drill")
    parser.add_argument('--target', action='append', help="target of the fuzz drill; may be repeated")
    parser.add_argument('--kills', type=int, default=100, help="maximum number for each command")
    parser.add_argument('--visitors', type=int, default=20)
    parser.add_argument('--clients', type=int, default=8)
    parser.add_argument('--out', type=Path, default=Path('drills'))
    parser.add_argument('--again', help="TARGET:CASE, to reproduce a finding")
    args = parser.parse_args()
    if args.again:
        return _again(args)
    if unknown := [o for o in args.drill if o not in DRILLS]:
        sys.exit(f"There is no drill {unknown[0]}: {', '.join(DRILLS)}.")
    for o in signal.SIGINT, signal.SIGTERM:
        signal.signal(o, signal.default_int_handler)  # so nothing is left behind
    folder = args.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = args.drill or [*DRILLS]
    whole, begin = sum(DRILLS[o] for o in chosen) or 1, time.monotonic()
    cores = f'{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores'
    machine = f'{cores}, {platform.machine()}, Python {platform.python_version()}'
    done = dict(
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        machine=machine,
        seed=args.seed,
        command='python -m drills ' + ' '.join(sys.argv[1:]),
        drills={},
    )
    try:
        for name in chosen:
            _say(f'== {name}')
            done['drills'][name] = globals()[f'_{name}'](args, 60 * args.minutes * DRILLS[name] / whole, folder)
            done['minutes'] = round((time.monotonic() - begin) / 60, 1)
            report.write(folder, done)  # keeps the results so far, whatever happens
            if name != 'fuzz':
                _say(report.text(name, done['drills'][name]))
    finally:
        for o in [*kill.STARTED]:
            kill.end(o)
    n = len(report.findings(done))
    _say(f"{n} {'finding' if n == 1 else 'findings'} in {done['minutes']} minutes: {folder / 'drills.html'}")
    sys.exit(n > 0)


if __name__ == '__main__':
    main()
