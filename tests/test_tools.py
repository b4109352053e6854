"The tools that `make` calls."
import sys

import pytest
from conftest import ROOT

pytest.importorskip('nbclient')
sys.path.insert(0, str(ROOT/'tools'))
import check_notebooks  # noqa: E402
import common  # noqa: E402
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
