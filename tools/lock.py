"""Writes requirements.lock: every package of the extras `all` and `dev` with its hashes, for all Python versions. It
keeps the versions installed in this environment if they fit, so the lock has the versions that the tests ran with."""
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from common import ROOT

LOCK, UV = ROOT/'requirements.lock', 'uv==0.13.9'


def main():
    freeze = [sys.executable, '-m', 'pip', 'freeze', '--exclude-editable']
    installed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        subprocess.run([f'{folder}/bin/pip', 'install', '--quiet', '--disable-pip-version-check', UV], check=True)
        part = Path(folder)/'requirements.lock'
        part.write_text(installed)                                # uv prefers the versions in its output file
        words = ['pip', 'compile', 'setup.py', '--extra', 'all', '--extra', 'dev', '--universal', '--generate-hashes',
                 '--python-version', '3.10', '--no-header', '--quiet', '--output-file', str(part)]
        subprocess.run([f'{folder}/bin/uv', *words], cwd=ROOT, check=True)
        LOCK.write_text(part.read_text())
    print(f'{LOCK.name}: {LOCK.read_text().count("==")} versions')


if __name__ == '__main__': main()
