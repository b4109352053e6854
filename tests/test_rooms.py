"The rooms of the package: what stands where, what stays inside a module, and the front door."
import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from itertools import accumulate
from pathlib import Path

import pytest
from conftest import ROOT

import fer_nb

sys.path.insert(0, str(ROOT/'tools'))
import common  # noqa: E402

tomllib = import_module('tomllib' if sys.version_info >= (3, 11) else 'tomli')  # pytest brings tomli where it needs it
PACKAGE = ROOT/'fer_nb'
MODULES = {('fer_nb', *p.relative_to(PACKAGE).with_suffix('').parts): p
           for p in PACKAGE.rglob('*.py') if 'static' not in p.relative_to(PACKAGE).parts}
MODULES = {'.'.join(k).removesuffix('.__init__'): p for k, p in MODULES.items()}


def layers():
    "The rooms and modules at the top of the package, as pyproject.toml orders them for import-linter."
    (rooms,) = tomllib.loads((ROOT/'pyproject.toml').read_text())['tool']['importlinter']['contracts']
    return {o.strip() for line in rooms['layers'] for o in line.split('|')}


# -- Names that begin with an underscore


def private(name): return name.startswith('_') and not name.endswith('__')


def origin(node, package):
    "The absolute name of the module that a `from ... import` names."
    if not node.level: return node.module
    parts = package.split('.')
    return '.'.join([*parts[:len(parts) - node.level + 1], *filter(None, [node.module])])


def dotted(node):
    "'a.b.c' for such an expression, else ''."
    if isinstance(node, ast.Name): return node.id
    return f'{inner}.{node.attr}' if isinstance(node, ast.Attribute) and (inner := dotted(node.value)) else ''


def trespasses(source, package=''):
    "Private names of the package's modules that `source` imports or reaches by attribute; (imported, reached)."
    tree, modules, imported, reached = ast.parse(source), {}, [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for o in node.names:
                if o.name.split('.')[0] != 'fer_nb': continue
                if any(map(private, o.name.split('.'))): imported.append(o.name)
                if o.asname: modules[o.asname] = o.name
                else: modules |= {whole: whole for whole in accumulate(o.name.split('.'), '{}.{}'.format)}
        elif isinstance(node, ast.ImportFrom) and (origin(node, package) or '').split('.')[0] == 'fer_nb':
            home = origin(node, package)
            imported += [f'{home}.{o.name}' for o in node.names if private(o.name)]
            if any(map(private, home.split('.'))): imported.append(home)
            modules |= {o.asname or o.name: f'{home}.{o.name}' for o in node.names if f'{home}.{o.name}' in MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and (at := modules.get(dotted(node.value))):
            reached.append(f'{at}.{node.attr}')
    return imported, reached


@pytest.mark.parametrize('source, package, imported, reached', [
    ('from fer_nb.core import _one', '', ['fer_nb.core._one'], []),
    ('def f():\n    from ..core import _one as one', 'fer_nb.cli', ['fer_nb.core._one'], []),
    ('from .. import core\ncore._one()', 'fer_nb.cli', [], ['fer_nb.core._one']),
    ('import fer_nb.core\nfer_nb.core._one = 1', '', [], ['fer_nb.core._one']),
    ('import fer_nb.core as c\nc._one.two', '', [], ['fer_nb.core._one']),
    ('import fer_nb._modidx', '', ['fer_nb._modidx'], []),
    ('from fer_nb import __version__\nfrom os import _exit\nimport fer_nb.core as c\nc.x._y; c.__name__', '', [], [])])
def test_private_names_are_noticed(source, package, imported, reached):
    assert trespasses(source, package) == (imported, reached)


@pytest.mark.parametrize('name', sorted(MODULES))
def test_a_module_keeps_to_itself_what_begins_with_an_underscore(name):
    path = MODULES[name]
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    imported, reached = trespasses(path.read_text(encoding='utf-8'), package)
    assert not imported + reached, f"{name} uses {', '.join(imported + reached)}: make it public, or move it"


def test_tests_and_tools_import_no_private_name():
    found = {p.name: names for folder in ('tests', 'tools') for p in (ROOT/folder).glob('*.py')
             if (names := trespasses(p.read_text(encoding='utf-8'))[0])}
    assert not found


# -- The rooms


def test_every_module_stands_in_a_room():
    rooms, ground = layers() - {'core', 'emotions'}, {'fer_nb', 'fer_nb._modidx', 'fer_nb.core', 'fer_nb.emotions'}
    astray = {name for name in MODULES if name not in ground and name.split('.')[1] not in rooms or name.count('.') > 2}
    assert not astray
    assert ground | {f'fer_nb.{room}' for room in rooms} <= {*MODULES}          # each has its __init__.py


def test_notebooks_and_tools_know_the_same_rooms():
    assert {*common.ROOMS} - {''} == layers() - {'core', 'emotions'}
    for path in common.notebooks():
        written = re.search(r'#\| *default_exp ([\w.]+)', (ROOT/path).read_text(encoding='utf-8'))
        if written: assert path.parent == Path('nbs', *written[1].split('.')[:-1]), f"{path} writes fer_nb.{written[1]}"


# -- The front door


def python(code, cwd):
    "What Python code prints in a new process, read as JSON."
    r = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def loaded(tmp_path_factory):
    "{name: error or None}: each name of `__all__`, taken from a package of which nothing was loaded before."
    return python('''
import sys, json
import fer_nb
answer = {}
for name in fer_nb.__all__:
    for o in [o for o in sys.modules if o.split('.')[0] == 'fer_nb']: del sys.modules[o]
    import fer_nb
    try: exec(f'from fer_nb import {name}'); answer[name] = None
    except Exception as e: answer[name] = repr(e)
print(json.dumps(answer))''', tmp_path_factory.mktemp('door'))


@pytest.mark.parametrize('name', fer_nb.__all__)
def test_a_name_loads_by_itself(loaded, name): assert loaded[name] is None


def test_dir_shows_every_name_before_it_is_loaded(tmp_path):
    code = 'import json, fer_nb; print(json.dumps([dir(fer_nb), [*{*fer_nb.__all__} - {*vars(fer_nb)}]]))'
    shown, missing = python(code, tmp_path)
    assert {*fer_nb.__all__, '__version__', '__doc__'} <= {*shown} and sorted(missing) == sorted(fer_nb.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"): fer_nb.nonesuch  # noqa: B018
    assert not hasattr(fer_nb, '_nonesuch')


def test_the_import_is_quick_and_light(tmp_path):
    code = ("import json, sys, time; t = time.perf_counter(); import fer_nb; t = time.perf_counter() - t; "
            "print(json.dumps([t, [o for o in ('numpy', 'cv2', 'typer', 'tensorflow') if o in sys.modules]]))")
    times, heavy = zip(*(python(code, tmp_path) for _ in range(5)))
    assert min(times) < .2 and not any(heavy)


def test_editors_see_the_same_names():
    "What stands under TYPE_CHECKING is what `__getattr__` loads, and the docstring's example uses it."
    tree = ast.parse((PACKAGE/'__init__.py').read_text())
    (guard,) = (o for o in tree.body if isinstance(o, ast.If))
    assert ast.unparse(guard.test) == 'TYPE_CHECKING'
    seen = {o.name: node.module for node in guard.body for o in node.names if node.level == 1 and not o.asname}
    assert seen == fer_nb._HOME and sorted(seen) == sorted(fer_nb.__all__)
    assert (PACKAGE/'py.typed').is_file()
    (line,) = (o for o in fer_nb.__doc__.splitlines() if o.strip().startswith('from fer_nb import'))
    assert {o.strip() for o in line.split('import')[1].split(',')} <= {*fer_nb.__all__}


def test_the_package_is_the_one_of_this_checkout(): assert Path(fer_nb.__file__).parent == PACKAGE
