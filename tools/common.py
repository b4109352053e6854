"What the tools share: where things are, the order of the notebooks, and how a step fails."
import json
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CORES = min(4, len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1)

# The rooms of the package from the ground up, and the folders of their notebooks
ROOMS = ('', 'inference', 'video', 'training', 'apps', 'bench', 'cli')

# TensorFlow is talkative, and the kernels and commands that the tools start inherit this.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


def notebooks(names=()):
    "Paths relative to ROOT in reading order: room by room, tutorials, the rest, and index last; or just `names`."
    if names:
        missing = [n for n in names if not Path(n).is_file()]
        if missing: sys.exit(f"There is no notebook {missing[0]}.")
        return [Path(n).resolve().relative_to(ROOT) for n in names]
    found = [p.relative_to(ROOT) for p in (ROOT/'nbs').rglob('*.ipynb')]
    found = [p for p in found if not any(part[0] in '._' for part in p.parts)]
    def order(p):
        numbered, room = p.name[0].isdigit(), p.parts[1] if len(p.parts) > 2 else ''
        return p.name == 'index.ipynb', not numbered, ROOMS.index(room) if room in ROOMS else len(ROOMS), str(p)
    return sorted(found, key=order)


@contextmanager
def nbdev_copy():
    "A temporary folder with settings.ini, the notebooks and the package's own files, for nbdev's commands to work on."
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        copy(ROOT/'settings.ini', tmp)
        copytree(ROOT/'nbs', tmp/'nbs', ignore=ignore_patterns('.*', '_*', 'images'))
        copytree(ROOT/'fer_nb/static', tmp/'fer_nb/static')    # its .py file stands in nbdev's index
        yield tmp


def directives(source):
    "nbdev's flags of a cell: `#| slow` and `#| eval: false` give {'slow': '', 'eval': 'false'}."
    return {m[1]: m[2].strip() for m in re.finditer(r'^\s*#\s*\|\s*([\w-]+):?(.*)$', source, re.M)}


def step_of(nb):
    "(n, of how many) if a notebook is a step of the course, as its second cell says; or None."
    text = '\n'.join(''.join(o['source']) for o in nb['cells'][:2])
    m = re.search(r'^\| \*\*Course\*\* \| Step (\d+) of (\d+)\.', text, re.M)
    return m and (int(m[1]), int(m[2]))


def course():
    "Paths of the course's notebooks relative to ROOT, in order."
    steps = {p: step_of(json.loads((ROOT/p).read_text(encoding='utf-8'))) for p in notebooks()}
    return sorted((p for p,o in steps.items() if o), key=steps.get)


def title(nb):
    "A notebook's title and its one-line quote."
    for cell in nb['cells']:
        m = re.match(r'# (.+)\n+(?:> (.+))?', ''.join(cell['source'])) if cell['cell_type'] == 'markdown' else None
        if m: return m[1].strip(), (m[2] or '').strip()
    return '', ''
