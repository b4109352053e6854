"Builds the wheel, installs it in an empty environment without TensorFlow, and reads the sample photo there."
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from common import ROOT

LIMIT = 20e6
PARTS = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'settings.ini', 'README.md', 'LICENSE', 'NOTICE', 'CHANGELOG.md',
         'CONTRIBUTING.md', 'fer_nb', 'models')


def run(*command, cwd):
    "stdout of a command, or one sentence and what it printed."
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')}
    r = subprocess.run([str(o) for o in command], cwd=cwd, env=env, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"`{' '.join(r.args)}` fails with code {r.returncode}:\n{r.stdout[-2000:]}{r.stderr[-3000:]}")
    return r.stdout


def build(tmp):
    "The wheel, built from the sdist, that from a copy of the checkout: files left from older builds cannot slip in."
    src = tmp/'src'
    src.mkdir()
    for o in PARTS:
        if (ROOT/o).is_dir(): copytree(ROOT/o, src/o, ignore=ignore_patterns('__pycache__', '.*'))
        else: copy(ROOT/o, src)
    (src/'nbs').mkdir()
    for o in ('app.ipynb', 'apps/00_widgets.ipynb'): copy(ROOT/'nbs'/o, src/'nbs')  # the second must stay out
    run(sys.executable, '-m', 'build', '--outdir', tmp/'dist', src, cwd=tmp)
    return next((tmp/'dist').glob('*.whl'))


def contents(wheel):
    "The wheel carries every model with its card, the static files, the page, and nothing else."
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f'fer_nb/shipped/{p.name}' for p in (ROOT/'models').iterdir()
              if p.suffix in ('.tflite', '.json', '.csv') or p.name.endswith('.weights.npz')}
    wanted |= {'fer_nb/page/app.ipynb'}
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT/'fer_nb').rglob('*')
               if p.is_file() and '__pycache__' not in p.parts and p.name[0] != '.'}
    if wanted - names: sys.exit(f"The wheel lacks {', '.join(sorted(wanted - names))}.")
    extra = {n for n in names - wanted if '.dist-info/' not in n}
    if extra: sys.exit(f"The wheel carries {', '.join(sorted(extra))}, which nobody needs at run time.")
    size = wheel.stat().st_size
    if size > LIMIT: sys.exit(f"The wheel has {size/1e6:.1f} MB; it is to stay under {LIMIT/1e6:.0f}.")
    print(f"{wheel.name}: {len(names)} files, {size/1e6:.1f} MB", flush=True)


def read_photo(wheel, tmp):
    "In a new environment, from another folder."
    run(sys.executable, '-m', 'venv', tmp/'venv', cwd=tmp)
    py, elsewhere = tmp/'venv/bin/python', tmp/'elsewhere'
    elsewhere.mkdir()
    run(py, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wheel, cwd=elsewhere)
    code = "from importlib.util import find_spec; print(*filter(find_spec, ('tensorflow', 'keras', 'matplotlib')))"
    heavy = run(py, '-c', code, cwd=elsewhere).strip()
    if heavy: sys.exit(f"A plain install brings {heavy}: the run side must do without.")
    copy(ROOT/'fer_nb/static/sample.jpg', elsewhere/'photo.jpg')
    answer = run(tmp/'venv/bin/fer-nb', 'predict', 'photo.jpg', '--json', '-', '--out', 'out', cwd=elsewhere)
    faces = json.loads(answer)[0]['faces']
    if [f['label'] for f in faces] != ['happy']:
        sys.exit(f"The installed wheel reads {faces} in the sample photo; it is one happy face.")
    if not any((elsewhere/'out').glob('*.jpg')):
        sys.exit("The installed wheel writes no annotated picture.")
    found = run(py, '-c', "from fer_nb.apps.serve import page; print(page())", cwd=elsewhere).strip()
    if not found.endswith('fer_nb/page/app.ipynb'): sys.exit(f"The installed wheel takes its page from {found}.")
    print(f"installed without TensorFlow, it reads: {faces[0]['label']}, confidence {faces[0]['confidence']:.2f}")


with tempfile.TemporaryDirectory() as tmp:
    wheel = build(Path(tmp))
    contents(wheel)
    read_photo(wheel, Path(tmp))
