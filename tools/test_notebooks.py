"""nbdev_test on every notebook, each in a separate process, so none relies on another's imports, and nothing is forked.
tools/test_notebooks.py [--slow] [NB ...]; --slow includes the cells flagged so, except those that need data."""
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from common import BIN, CORES, ROOT, notebooks

def test(path, *flags):
    start = time.time()
    command = [BIN/'nbdev_test', '--path', path, '--n_workers', '0', *flags]
    r = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return path, r, time.time() - start


def main():
    names, flags = [o for o in sys.argv[1:] if o != '--slow'], ['--flags', 'slow'] if '--slow' in sys.argv else []
    failed, paths = [], notebooks(names)
    paths.sort(key=lambda p: p.parts[1] not in ('training', 'tutorials'))  # long ones first, so none is left alone
    with ThreadPoolExecutor(CORES) as pool:
        for done in as_completed([pool.submit(test, path, *flags) for path in paths]):
            path, r, seconds = done.result()
            print(f"{'FAILED' if r.returncode else 'ok':6} {seconds:5.1f} s  {path}", flush=True)
            if r.returncode: failed.append(path); print(r.stdout[-2000:] + r.stderr[-6000:])
    if failed: sys.exit(f"{len(failed)} notebooks fail: {', '.join(map(str, sorted(failed)))}")


if __name__ == '__main__': main()
