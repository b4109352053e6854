"The tools that `make` calls."
import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import pytest
from conftest import ROOT

pytest.importorskip('nbclient')
sys.path.insert(0, str(ROOT/'tools'))
import check_notebooks  # noqa: E402
import common  # noqa: E402
import nbformat  # noqa: E402
import nbformat.v4 as v4  # noqa: E402
import notebooks as executor  # noqa: E402
import readme  # noqa: E402

def saved(text): return v4.new_output('stream', name='stdout', text=text)


@pytest.mark.parametrize('text, found', [
    ('wrote /tmp/x.csv', 1), ("'/home/me/a.jpg'", 1), ("PosixPath('/root/.cache')", 1), ('/work/a', 1),
    (r'C:\Users\me', 1), ('https://x.org/tmp/a', 0), ('images/tmp/a', 0), ('1/tmp', 0)])
def test_local_paths_in_outputs_are_found(text, found):
    nb = v4.new_notebook(cells=[v4.new_code_cell('f()', outputs=[saved(text)])])
    assert len(list(check_notebooks.problems(nb))) == found


def test_directives():
    assert common.directives('#| slow\n#| eval: false\nx = 1 # | no') == {'slow': '', 'eval': 'false'}


def test_skipped_cells_keep_their_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(executor, 'ROOT', tmp_path)
    monkeypatch.setattr(executor.subprocess, 'run', lambda *a, **k: None)
    cells = [v4.new_code_cell('x = 2; print(x)'), v4.new_code_cell('#| slow\nprint("new")', outputs=[saved('old\n')])]
    path = tmp_path/'a.ipynb'
    for slow, text in ((False, 'old\n'), (True, 'new\n')):
        executor.nbformat.write(v4.new_notebook(cells=cells), path)
        assert executor.execute(path.name, slow) == []
        assert [c.outputs[0].text for c in executor.nbformat.read(path, 4).cells] == ['2\n', text]


def test_a_failing_notebook_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(executor, 'ROOT', tmp_path)
    path = tmp_path/'a.ipynb'
    executor.nbformat.write(v4.new_notebook(cells=[v4.new_code_cell('print(1)'), v4.new_code_cell('1/0')]), path)
    before = path.read_bytes()
    assert 'ZeroDivisionError' in executor.execute(path.name, False)[0]
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_readme_links_and_hidden_cells():
    assert readme.relinked('[a](00_core.ipynb) [b](../LICENSE) [c](https://x.org) <img src="images/r.jpg">') == \
        '[a](nbs/00_core.ipynb) [b](LICENSE) [c](https://x.org) <img src="nbs/images/r.jpg">'
    nb = v4.new_notebook(cells=[v4.new_markdown_cell('# T'), v4.new_code_cell('#| hide\nsecret'),
                                v4.new_code_cell('#| echo: false\nquiet', outputs=[saved('out\n')]),
                                v4.new_code_cell('#| slow\nloud')])
    text = readme.markdown(nb)
    assert 'secret' not in text and 'quiet' not in text and '#|' not in text
    assert 'out' in text and 'loud' in text and text.startswith('# T')


# -- The steps of `make test`


@pytest.fixture
def steps(monkeypatch):
    "Runs made-up steps, {name: code}, by the runner of the real ones: exit code and printed lines."
    spec = spec_from_file_location('steps', ROOT/'tools/test.py')
    runner = module_from_spec(spec)
    spec.loader.exec_module(runner)
    def run(capfd, quick, long, *arguments):
        for kind, codes in (('QUICK', quick), ('LONG', long)):
            monkeypatch.setattr(runner, kind, {k: (f'about {k}', ['-c', code]) for k, code in codes.items()})
        monkeypatch.setattr(runner, 'STEPS', runner.QUICK | runner.LONG)
        monkeypatch.setattr(sys, 'argv', ['test.py', *arguments])
        code = 0
        try: runner.main()
        except SystemExit as e: code = e.code
        return code, re.sub(r'[\d.]+ s$', 'N s', capfd.readouterr().out, flags=re.M).split('\n')
    return run


def test_steps_that_run_side_by_side_are_printed_one_after_the_other(steps, capfd, tmp_path):
    first = f"import time, os\nprint('a')\nwhile not os.path.exists({str(tmp_path/'b')!r}): time.sleep(.01)\nprint('A')"
    second = f"open({str(tmp_path/'b')!r}, 'w'); print('b'); print('7 passed')"
    code, lines = steps(capfd, {'quick': 'print("q")'}, {'notebooks': first, 'pytest': second})
    assert code == 0
    assert lines == ['', '== 1/3 quick: about quick', 'q', '-- quick ok, N s', '', '== 2/3 notebooks: about notebooks',
                     'a', 'A', '-- notebooks ok, N s', '', '== 3/3 pytest: about pytest', 'b', '7 passed',
                     '-- pytest ok, N s', '', '3 of 3 steps passed in N s', '7 passed', '']


def test_a_step_that_fails_stops_no_other_and_is_named(steps, capfd):
    code, lines = steps(capfd, {'quick': 'raise SystemExit(3)'}, {'pytest': 'print("1 failed"); exit(1)', 'wheel': ''})
    assert code == 'Failed: quick, pytest. One alone: make test STEPS=quick'
    assert '-- wheel ok, N s' in lines and lines[-3:] == ['1 of 3 steps passed in N s', '1 failed', '']
    assert steps(capfd, {'quick': ''}, {'wheel': 'exit(1)'}, 'quick')[0] == 0
    assert steps(capfd, {'quick': ''}, {}, 'nonesuch')[0] == 'There is no step nonesuch: choose among quick.'
    show = 'import sys; print(sys.argv)'
    shown = steps(capfd, {}, {'pytest': show, 'wheel': show}, '--slow')[1]
    assert shown.count("['-c', '--slow']") == 2 and shown.count("['-c']") == 1          # pytest's closes the run, too


# -- The hooks that `make hooks` installs


@pytest.fixture
def clone(tmp_path, monkeypatch):
    "A repository with the tools, in which `git` and `hooks` can be called; people's own settings are out of sight."
    for k, v in dict(HOME=tmp_path, GIT_CONFIG_GLOBAL=tmp_path/'none', GIT_CONFIG_NOSYSTEM=1,
                     PATH=f"{common.BIN}{os.pathsep}{os.environ['PATH']}").items(): monkeypatch.setenv(k, str(v))
    for k in [k for k in os.environ if re.match('GIT_(DIR|INDEX|WORK|COMMON)', k)]: monkeypatch.delenv(k)
    shutil.copytree(ROOT/'tools', tmp_path/'clone/tools', ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT/'pyproject.toml', tmp_path/'clone')
    def git(*arguments, cwd=tmp_path/'clone', code=0):
        names = '-c', 'user.name=A', '-c', 'user.email=a@example.org'
        r = subprocess.run(['git', *names, *arguments], cwd=cwd, capture_output=True, text=True)
        assert (r.returncode != 0) == code, r.stdout + r.stderr
        return r.stdout + r.stderr
    def hooks(cwd=tmp_path/'clone'):
        r = subprocess.run([sys.executable, cwd/'tools/hooks.py'], cwd=cwd, capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr
        return r.stdout
    git('init', '-q')
    git('add', '.')
    git('commit', '-qm', 'tools')
    return SimpleNamespace(path=tmp_path/'clone', git=git, hooks=hooks)


def test_the_hook_reads_what_is_committed_and_nothing_else(clone):
    file, git = clone.path/'a b.py', clone.git
    clone.hooks()
    assert 'nbdev_trust' in (clone.path/'.git/hooks/post-merge').read_text()
    assert git('config', 'include.path').strip() == '../.gitconfig'
    file.write_text('import os\n')
    git('add', '.')
    file.write_text('x = 1\n')                                          # not staged
    assert '`os` imported but unused' in git('commit', '-qm', 'bad', code=1)
    git('add', '.')
    file.write_text('import os\n')                                      # nor this
    git('commit', '-qm', 'good')
    notebook = v4.new_notebook(cells=[v4.new_code_cell(f"x = '{'long'*40}'")])
    executor.nbformat.write(notebook, clone.path/'n.ipynb')
    git('add', 'n.ipynb')
    assert 'E501' in git('commit', '-qm', 'bad', code=1)
    git('commit', '-qnm', 'in spite of it')                             # --no-verify
    file.unlink()
    git('commit', '-qam', 'what is deleted has no style')


def test_worktrees_and_a_hooks_path_have_the_hooks_and_own_ones_stay(clone, tmp_path):
    git, tree = clone.git, tmp_path/'tree'
    git('worktree', 'add', '-q', str(tree))
    clone.hooks(tree)                                                   # nbdev cannot do that by itself
    for where in (clone.path, tree):
        (where/'bad.py').write_text('import os\n')
        git('add', 'bad.py', cwd=where)
        assert 'F401' in git('commit', '-qm', 'bad', cwd=where, code=1)
    git('config', 'core.hooksPath', 'my hooks')
    git('commit', '-qm', 'nothing is called')
    clone.hooks()
    (clone.path/'bad.py').write_text('import re\n')
    assert 'F401' in git('commit', '-qam', 'bad', code=1)
    assert 'nbdev_trust' in (clone.path/'my hooks/post-merge').read_text()
    own = clone.path/'my hooks/pre-commit'
    own.write_text('#!/bin/sh\necho mine\n')
    assert 'stays as it is' in clone.hooks() and own.read_text() == '#!/bin/sh\necho mine\n'
    assert 'mine' in git('commit', '-qam', 'own')


COURSE = common.course()


def test_the_course_is_one_path():
    "Six steps in order, about two hours; each leads to the next one, and the list of notebooks has them first."
    notebooks = [nbformat.read(ROOT/p, 4) for p in COURSE]
    assert [common.step_of(o) for o in notebooks] == [(i, 6) for i in range(1, 7)]
    minutes = [int(re.search(r'^\| \*\*Time\*\* \| (\d+) minutes', o.cells[1].source, re.M)[1]) for o in notebooks]
    assert max(minutes) <= 25 and 100 <= sum(minutes) <= 140
    for nb,following in zip(notebooks, COURSE[1:]):
        assert f'Next: [{common.title(nbformat.read(ROOT/following, 4))[0]}]({following.name})' in nb.cells[1].source
        assert f'({following.name})' in nb.cells[-1].source + nb.cells[-2].source
    listed = (ROOT/'nbs/notebooks.ipynb').read_text()
    places = [listed.index(f'({p.relative_to("nbs")})') for p in COURSE]
    assert places == sorted(places)


@pytest.mark.parametrize('path', COURSE, ids=[o.stem for o in COURSE])
def test_a_step_of_the_course_needs_no_data_and_has_an_exercise(path):
    "Goal, time and needs at the top; a folded solution, which test_documents.py runs; no cell that is left out."
    nb = nbformat.read(ROOT/path, 4)
    for o in ('Goal', 'Time', 'You need'): assert f'| **{o}** |' in nb.cells[1].source
    text = '\n\n'.join(o.source for o in nb.cells if o.cell_type == 'markdown')
    folded = r'<details><summary>Solution</summary>\n\n```python\n.+?\n```\n.*?</details>$'
    assert re.search(rf'^## Exercise\n\n.+?\n\n{folded}', text, re.M | re.S)
    assert text.count('## What comes next') == 1
    flags = [common.directives(o.source) for o in nb.cells if o.cell_type == 'code']
    assert not [o for o in flags if {'data', 'slow', 'eval'} & o.keys()]
