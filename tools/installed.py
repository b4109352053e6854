"Builds the wheel as for a release, and installs it for tests, in a separate environment."
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from common import ROOT

PARTS = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'settings.ini', 'README.md', 'LICENSE', 'NOTICE', 'CHANGELOG.md',
         'CONTRIBUTING.md', 'fer_nb', 'models')


def environment(**more):
    "Variables for a new process, without those that tie it to this Python or to the checkout."
    return {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')} | more


def run(*command, cwd):
    "stdout of a command; exits with a sentence and the output if it fails."
    r = subprocess.run([str(o) for o in command], cwd=cwd, env=environment(), capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"`{' '.join(r.args)}` fails with code {r.returncode}:\n{r.stdout[-2000:]}{r.stderr[-3000:]}")
    return r.stdout


def build(tmp):
    "The wheel, built from an sdist of a copy of the checkout, so files of older builds cannot get in."
    src = tmp/'src'
    src.mkdir()
    for o in PARTS:
        if (ROOT/o).is_dir(): copytree(ROOT/o, src/o, ignore=ignore_patterns('__pycache__', '.*', 'weights'))
        else: copy(ROOT/o, src)
    (src/'nbs').mkdir()
    for o in ('app.ipynb', 'index.ipynb'): copy(ROOT/'nbs'/o, src/'nbs')  # the second must not be in the wheel
    run(sys.executable, '-m', 'build', '--outdir', tmp/'dist', src, cwd=tmp)
    return next((tmp/'dist').glob('*.whl'))


def borrow(wheel, venv):
    """The Python of a new environment with only the wheel. Everything else comes from this environment, which follows
    it on `sys.path`, so TensorFlow need not be installed again."""
    run(sys.executable, '-m', 'venv', '--without-pip', venv, cwd=venv.parent)
    python = venv/'bin/python'
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--disable-pip-version-check',
        '--no-deps', wheel, cwd=venv.parent)
    site = Path(run(python, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv.parent).strip())
    behind = dict.fromkeys((sysconfig.get_path('purelib'), sysconfig.get_path('platlib')))
    (site/'behind.pth').write_text('\n'.join(behind) + '\n')
    (venv/'share').mkdir(exist_ok=True)
    (venv/'share/jupyter').symlink_to(Path(sys.prefix)/'share/jupyter')   # the page's templates and scripts
    return python
