"""Makes the environment of the benchmark's peer, the package `fer`: python tools/peer.py [FOLDER] [--python PYTHON].

FOLDER is .peers/fer in the checkout by default; run it again for a repair. It takes 7.5 GB, most of it CUDA: fer needs
facenet-pytorch, which needs a PyTorch below 2.3, and pip gets that with CUDA from PyPI, even if a CPU build of a newer
PyTorch is installed. It is the environment of `pip install fer`, plus a setuptools that still has pkg_resources, which
fer needs to start, and FastAPI, which nbs/tutorials/bench_api.py uses to serve it."""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKER = ROOT/'fer_nb/static/bench/peer_fer.py'
PACKAGES = ('fer==25.10.2', 'setuptools<81', 'fastapi>=0.115', 'uvicorn>=0.30')
GIGABYTES = 16  # pip needs room for downloads and their contents


def said(command):
    "Exit code and last line of a command, including its errors."
    done = subprocess.run([str(o) for o in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace')
    lines = done.stdout.strip().splitlines()
    return done.returncode, lines[-1] if lines else ''


def version(python):
    "(major, minor) of a Python; exits with a sentence if it cannot run."
    remedy = "name a Python 3.10, 3.11 or 3.12 with --python"
    try: code, line = said([python, '-c', 'import sys; print(*sys.version_info[:2])'])
    except OSError as e: sys.exit(f"{python} cannot be started ({e.strerror}): {remedy}.")
    if code: sys.exit(f"{python} is not a working Python ({line}): {remedy}.")
    return tuple(map(int, line.split()))


def free(folder):
    "Free gigabytes on the disk of `folder`."
    there = next(o for o in (folder, *folder.parents) if o.exists())
    return shutil.disk_usage(there).free/1e9


def make(folder, python):
    "The environment's Python, with everything in it."
    print(f"{folder}: an empty environment", flush=True)
    code, line = said([python, '-m', 'venv', folder])
    if code: sys.exit(f"The environment {folder} cannot be made ({line}): Debian and Ubuntu need python3-venv for it.")
    inside = folder/('Scripts/python.exe' if sys.platform == 'win32' else 'bin/python')
    print(f"{folder}: {' '.join(PACKAGES)} and their requirements, several GB, ten minutes", flush=True)
    code, line = said([inside, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *PACKAGES])
    if code:
        sys.exit(f"pip cannot install {PACKAGES[0]} ({line}): check that the package index is reachable; try again.")
    return inside


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, default=ROOT/'.peers/fer', help="default: .peers/fer here")
    parser.add_argument('--python', default=sys.executable, help="a Python 3.10, 3.11 or 3.12; default: this one")
    args = parser.parse_args()
    folder, found = args.folder.resolve(), version(args.python)
    if not (3, 10) <= found <= (3, 12):
        sys.exit(f"fer's PyTorch exists for Python 3.10 to 3.12, and {args.python} is {'.'.join(map(str, found))}: "
                 "name another with --python.")
    if folder.exists() and any(folder.iterdir()) and not (folder/'pyvenv.cfg').is_file():
        sys.exit(f"{folder} holds something else: choose an empty folder, or one that does not exist.")
    if (room := free(folder)) < GIGABYTES and not (folder/'pyvenv.cfg').is_file():
        sys.exit(f"{folder} needs {GIGABYTES} GB during installation, but only {room:.0f} are free: "
                 "choose a folder on another disk.")
    inside = make(folder, args.python)
    code, line = said([inside, WORKER, '--check'])
    if code: sys.exit(f"{inside} cannot run fer ({line}): delete {folder} and run this again.")
    size = sum(o.lstat().st_size for o in folder.rglob('*') if o.is_file())
    print(f"{folder}: {line}, {size/1e9:.1f} GB; "
          f"the benchmark takes it with --peer {folder}, and by default in .peers/fer")


if __name__ == '__main__': main()
