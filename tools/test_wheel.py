"Builds the wheel, installs it in an empty environment without TensorFlow, and reads the sample photo there."
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from shutil import copy

from common import ROOT
from installed import build, run

LIMIT = 20e6


def contents(wheel):
    "The wheel contains every model with its card, the static files, the page, and nothing else."
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = lambda p: p.suffix in ('.tflite', '.json', '.csv') or p.name.endswith('.weights.npz')
    wanted = {f'fer_nb/shipped/{p.name}' for p in (ROOT/'models').iterdir() if shipped(p)} | {'fer_nb/page/app.ipynb'}
    wanted |= {f'fer_nb/shipped/quality/views{o}' for o in ('.tflite', '.json')}
    wanted |= {str(p.relative_to(ROOT)) for p in (ROOT/'fer_nb').rglob('*')
               if p.is_file() and '__pycache__' not in p.parts and p.name[0] != '.'}
    if wanted - names: sys.exit(f"The wheel lacks {', '.join(sorted(wanted - names))}.")
    wanted |= {f'fer_nb/weights/{o}' for o in ('blazeface.tflite', 'blazeface.LICENSE.txt')}
    extra = {n for n in names - wanted if '.dist-info/' not in n}
    if extra: sys.exit(f"The wheel contains {', '.join(sorted(extra))}, which is not needed at run time.")
    size = wheel.stat().st_size
    if size > LIMIT: sys.exit(f"The wheel has {size/1e6:.1f} MB; the limit is {LIMIT/1e6:.0f}.")
    print(f"{wheel.name}: {len(names)} files, {size/1e6:.1f} MB", flush=True)


def read_photo(wheel, tmp):
    "In a new environment, from another folder."
    run(sys.executable, '-m', 'venv', tmp/'venv', cwd=tmp)
    py, elsewhere = tmp/'venv/bin/python', tmp/'elsewhere'
    elsewhere.mkdir()
    run(py, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', wheel, cwd=elsewhere)
    code = "from importlib.util import find_spec; print(*filter(find_spec, ('tensorflow', 'keras', 'matplotlib')))"
    heavy = run(py, '-c', code, cwd=elsewhere).strip()
    if heavy: sys.exit(f"A plain install brings {heavy}, which inference must not need.")
    code = "from fer_nb.inference.detectors import resolve; print(resolve('auto')[0])"
    detector = run(py, '-c', code, cwd=elsewhere).strip()
    if detector != 'blazeface': sys.exit(f"A plain install detects faces with {detector}: the wheel needs blazeface.")
    copy(ROOT/'fer_nb/static/sample.jpg', elsewhere/'photo.jpg')
    answer = run(tmp/'venv/bin/fer-nb', 'predict', 'photo.jpg', '--json', '-', '--out', 'out', cwd=elsewhere)
    faces = json.loads(answer)[0]['faces']
    if [f['label'] for f in faces] != ['happy']:
        sys.exit(f"The installed wheel reads {faces} in the sample photo, not one happy face.")
    if not any((elsewhere/'out').glob('*.jpg')):
        sys.exit("The installed wheel writes no annotated picture.")
    found = run(py, '-c', "from fer_nb.apps.serve import page; print(page())", cwd=elsewhere).strip()
    if not found.endswith('fer_nb/page/app.ipynb'): sys.exit(f"The installed wheel takes its page from {found}.")
    print(f"installed without TensorFlow, it reads: {faces[0]['label']}, confidence {faces[0]['confidence']:.2f}")


with tempfile.TemporaryDirectory() as tmp:
    wheel = build(Path(tmp))
    contents(wheel)
    read_photo(wheel, Path(tmp))
