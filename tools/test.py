"All tests, each step with its time: `make test`, or tools/test.py [STEP ...]. After a failure the others still run."
import subprocess
import sys
import time

from common import ROOT

STEPS = {
    'export': ("the export leaves no difference", ['tools/check_export.py']),
    'clean': ("the notebooks are clean", ['tools/check_notebooks.py']),
    'readme': ("README.md agrees with its notebook", ['tools/readme.py', '--check']),
    'notebooks': ("nbdev_test", ['tools/test_notebooks.py']),
    'pytest': ("pytest tests/", ['-m', 'pytest', '--durations=5', 'tests']),
    'wheel': ("the wheel works without TensorFlow", ['tools/test_wheel.py']),
}


def run(arguments):
    "Exit code and last line of a Python process whose output passes through."
    last = ''
    with subprocess.Popen([sys.executable, '-u', *arguments], cwd=ROOT, text=True, errors='replace',
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
        for line in p.stdout:
            print(line, end='', flush=True)
            last = line.strip() or last
    return p.returncode, last


def main():
    chosen = sys.argv[1:] or list(STEPS)
    unknown = [o for o in chosen if o not in STEPS]
    if unknown: sys.exit(f"There is no step {unknown[0]}: choose among {', '.join(STEPS)}.")
    failed, closing, begin = [], '', time.time()
    for i, name in enumerate(chosen, 1):
        heading, arguments = STEPS[name]
        print(f"\n== {i}/{len(chosen)} {name}: {heading}", flush=True)
        start = time.time()
        code, last = run(arguments)
        print(f"-- {'FAILED' if code else 'ok'}, {time.time() - start:.1f} s", flush=True)
        if code: failed.append(name)
        if name == 'pytest': closing = last
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} steps passed in {time.time() - begin:.0f} s")
    if closing: print(closing, flush=True)
    if failed: sys.exit(f"Failed: {', '.join(failed)}. One alone: make test STEPS={failed[0]}")


if __name__ == '__main__': main()
