"What a user of the installed package meets first: a light import, the right version, the models, the extras."
import importlib.metadata
import re
import subprocess
import sys
from configparser import ConfigParser

import pytest
from conftest import ROOT

import fer_nb
from fer_nb.core import models_dir

HEAVY = ('tensorflow', 'keras', 'matplotlib', 'sklearn', 'pandas', 'seaborn', 'IPython')
RUN_SIDE = ('core', 'emotions', 'inference.image', 'inference.zoo', 'inference.detect', 'inference.recognize',
            'inference.draw', 'video.track', 'apps.client', 'cli.main')
PARTS = 'train', 'app', 'api', 'people', 'phone', 'video', 'sweep', 'ray', 'onnx'       # the extras that make up `all`


def python(code, cwd):
    "stdout of Python code in a new process."
    r = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


@pytest.mark.parametrize('module', ['fer_nb', *(f'fer_nb.{o}' for o in RUN_SIDE)])
def test_the_run_side_imports_nothing_heavy(module, tmp_path):
    assert python(f'import {module}, sys; print(*(o for o in {HEAVY} if o in sys.modules))', tmp_path) == ''


def test_version_is_that_of_the_settings():
    settings = ConfigParser(delimiters=['='])
    settings.read(ROOT/'settings.ini')
    assert fer_nb.__version__ == settings['DEFAULT']['version'] == importlib.metadata.version('fer_nb')
    assert f"## {fer_nb.__version__}" in (ROOT/'CHANGELOG.md').read_text()


def test_every_model_has_its_card_and_history():
    models = sorted(models_dir().glob('*.tflite'))
    assert models
    for m in models: assert m.with_suffix('.json').is_file() and m.with_suffix('.csv').is_file(), m.name
    assert sum(m.stat().st_size for m in models) < 12e6


def test_extras_hold_what_their_names_say():
    needs = importlib.metadata.requires('fer_nb')
    plain = {re.match(r'[\w-]+', o)[0] for o in needs if 'extra ==' not in o}
    assert plain == {'numpy', 'opencv-python', 'ai-edge-litert', 'typer', 'rich'}
    extras = {e: {re.match(r'[\w-]+', o)[0] for o in needs if re.search(f'extra == .{e}.', o)}
              for e in (*PARTS, 'all')}
    assert extras['all'] == set().union(*(extras[o] for o in PARTS))


def test_the_command_is_installed():
    commands = {e.name: e.value for e in importlib.metadata.entry_points(group='console_scripts')}
    assert commands['fer-nb'] == 'fer_nb.cli.main:main'
