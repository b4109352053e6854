"nbdev_test on every notebook, each in a process of its own: none leans on another's imports, and nothing is forked."
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from common import BIN, ROOT, notebooks


def test(path):
    start = time.time()
    r = subprocess.run([BIN/'nbdev_test', '--path', path, '--n_workers', '0'], cwd=ROOT, capture_output=True, text=True)
    return path, r, time.time() - start


def main():
    failed, cores = [], len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    with ThreadPoolExecutor(min(4, cores)) as pool:
        for path, r, seconds in pool.map(test, notebooks(sys.argv[1:])):
            print(f"{'FAILED' if r.returncode else 'ok':6} {seconds:5.1f} s  {path}", flush=True)
            if r.returncode: failed.append(path); print(r.stdout[-2000:] + r.stderr[-6000:])
    if failed: sys.exit(f"{len(failed)} notebooks fail: {', '.join(map(str, failed))}")


if __name__ == '__main__': main()
