"""All tests, each step with its time: `make test`, or tools/test.py [--slow] [STEP ...]. A failure stops no other.

The quick steps come first, several at a time; then the long ones side by side. Each step's output is printed in one
piece, in the order of the steps; that of the first step still running appears as it arrives."""
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from common import CORES, ROOT

for kind in 'INTRA', 'INTER': os.environ.setdefault(f'TF_NUM_{kind}OP_THREADS', '1')  # as many processes as cores

XDIST = ['-n', str(CORES), '--dist', 'loadfile', '--no-loadscope-reorder'] if CORES > 1 else []
QUICK = {
    'export': ("the export leaves no difference", ['tools/check_export.py']),
    'clean': ("the notebooks are clean", ['tools/check_notebooks.py']),
    'readme': ("README.md agrees with its notebook", ['tools/readme.py', '--check']),
    'style': ("ruff and import-linter find nothing", ['tools/check_style.py']),
}
LONG = {
    'notebooks': ("nbdev_test", ['tools/test_notebooks.py']),
    'pytest': ("pytest tests/", ['-m', 'pytest', '--durations=10', *XDIST, 'tests']),
    'wheel': ("the wheel works without TensorFlow", ['tools/test_wheel.py']),
}
STEPS = QUICK | LONG
TAKES_SLOW = ('notebooks', 'pytest')
PATIENT = 10  # niceness of the steps beside pytest, whose browsers and servers must not be slowed down


class Output:
    "Prints the lines of concurrent steps as if they had run one after the other."
    def __init__(self, names):
        self.waiting, self.done, self.at = {o: [] for o in names}, set(), [*names]
        self.lock = threading.Lock()

    def line(self, name, text):
        with self.lock:
            if self.at[0] == name: print(text, flush=True)
            else: self.waiting[name].append(text)

    def end(self, name):
        with self.lock:
            self.done.add(name)
            while self.at and self.at[0] in self.done:
                self.at.pop(0)
                if self.at:
                    for text in self.waiting[self.at[0]]: print(text, flush=True)


def run(name, heading, arguments, output, niceness=0):
    "Exit code and last line of a step, a Python process."
    start, last = time.time(), ''
    command = [*(['nice', '-n', str(niceness)] if niceness else []), sys.executable, '-u', *arguments]
    output.line(name, heading)
    with subprocess.Popen(command, cwd=ROOT, text=True, errors='replace', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        for line in p.stdout:
            output.line(name, line.rstrip('\n'))
            last = line.strip() or last
    output.line(name, f"-- {name} {'FAILED' if p.returncode else 'ok'}, {time.time() - start:.1f} s")
    output.end(name)
    return p.returncode, last


def main():
    slow, chosen = '--slow' in sys.argv, [o for o in sys.argv[1:] if o != '--slow'] or [*STEPS]
    unknown = [o for o in chosen if o not in STEPS]
    if unknown: sys.exit(f"There is no step {unknown[0]}: choose among {', '.join(STEPS)}.")
    chosen, begin, done = [o for o in STEPS if o in chosen], time.time(), {}
    output = Output(chosen)
    for group, width in ((QUICK, CORES), (LONG, len(LONG))):
        with ThreadPoolExecutor(width) as pool:
            for name in filter(group.__contains__, chosen):
                heading, arguments = STEPS[name]
                heading = f"\n== {chosen.index(name) + 1}/{len(chosen)} {name}: {heading}"
                if slow and name in TAKES_SLOW: arguments = [*arguments, '--slow']
                patient = PATIENT if name != 'pytest' and 'pytest' in chosen and group is LONG else 0
                done[name] = pool.submit(run, name, heading, arguments, output, patient)
    done = {k: o.result() for k, o in done.items()}
    failed = [k for k, (code, _) in done.items() if code]
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} steps passed in {time.time() - begin:.0f} s")
    if 'pytest' in done: print(done['pytest'][1], flush=True)
    if failed: sys.exit(f"Failed: {', '.join(failed)}. One alone: make test STEPS={failed[0]}")


if __name__ == '__main__': main()
