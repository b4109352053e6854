"The documentation as its readers find it, in a real browser too; and what a release would lack."
import json
import re
import subprocess
import sys
import threading
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from shutil import copytree

import pytest
from conftest import ROOT

for name in ('furo', 'myst_nb', 'seaborn'): pytest.importorskip(name)
sys.path.insert(0, str(ROOT/'tools'))
import common  # noqa: E402
import docs_reference  # noqa: E402
import release  # noqa: E402

import docs  # noqa: E402

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The whole site, built as `make docs` builds it: without a warning and without a dead link, or this fails."
    out = tmp_path_factory.mktemp('docs')/'html'
    done = subprocess.run([sys.executable, 'tools/docs.py', out], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'no warning, no dead link' in done.stdout
    return out


def read(site, page): return (site/page).read_text(encoding='utf-8')
def plain(html): return re.sub(r'<[^>]+>', '', html)


def test_every_notebook_model_and_public_name_has_its_page(site):
    "Nothing is left out, and a name leads to the page of its module."
    for path in common.notebooks():
        if path.name not in ('index.ipynb', 'app.ipynb'):
            assert (site/path.relative_to('nbs').with_suffix('.html')).is_file(), path
    for card in (ROOT/'models').glob('*.json'): assert (site/f'models/{card.stem}.html').is_file(), card
    inventory = zlib.decompress((site/'objects.inv').read_bytes().split(b'zlib.\n', 1)[1]).decode()
    known = {line.split()[0] for line in inventory.splitlines() if ' py:' in line}
    missing = [f'{m}.{o.name}' for m,_ in docs_reference.modules() for o in docs_reference.entries(m)
               if f'{m}.{o.name}' not in known]
    assert not missing


def test_a_notebook_is_shown_without_flags_and_with_its_code_folded(site):
    "The reader sees the prose, the interface with the comments on its parameters, and the outputs."
    page = read(site, 'inference/03_boxes.html')
    assert 'Code: overlap' in page and '<details' in page
    assert 'Code: _candidates' in read(site, 'inference/04_detectors.html')      # a private helper is named, too
    assert '(N, 4 or more) with the same columns, or a list of' in plain(page)
    assert f'{docs.pages.EDIT}nbs/inference/03_boxes.ipynb' in page
    assert '<td><p>simple_cnn</p></td>' in read(site, 'inference/02_zoo.html')          # a table that a cell displays
    flag = re.compile(r'^\s*#\s?\|\s?(export|hide|default_exp)\b', re.M)
    assert [p for p in site.rglob('*.html') if flag.search(plain(p.read_text()))] == []


def test_a_card_is_a_page_with_both_rulers(site):
    "The figures are those of the file, with their intervals, the matrix and the history."
    for path in (ROOT/'models').glob('*.json'):
        card, page = json.loads(path.read_text()), plain(read(site, f'models/{path.stem}.html'))
        every = [card['evaluation'], *card.get('rulers', {}).values()]
        for o in every:
            low, high = (f'{100*v:.1f}' for v in o['accuracy_ci'])
            assert f"{100*o['accuracy']:.1f}" in page and f'{low} to {high}' in page
        assert card['file']['sha256'] in page and 'Rows: ' in page
        for run in card.get('averaged', ()): assert ' '.join(run['command'].split()) in page
        for o in (card, *card.get('averaged', ())):
            for t in o.get('distillation', {}).get('teachers', ()): assert t.get('trunk', '') in page


def test_the_page_of_figures_has_those_of_readme(site):
    "Every number in a table of README stands there too, next to its command."
    page = plain(read(site, 'research/figures.html'))
    rows = [line for line in (ROOT/'README.md').read_text().splitlines() if line.startswith('| ')]
    cells = {o.strip() for row in rows for o in row.split('|')}
    numbers = [o for o in cells if re.fullmatch(r'[\d,]*\.?\d+%?', o)]
    assert len(numbers) > 30
    assert [o for o in numbers if o not in page] == []


@pytest.fixture(scope='module')
def address(site):
    handler = partial(SimpleHTTPRequestHandler, directory=site)
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_address[1]}/'
        server.shutdown()


PAGES = ('index', 'start', 'tutorials/votes', 'inference/08_draw', 'training/11_metrics', 'models/se_resnet',
         'reference/inference.recognize', 'reference/commands', 'explain/calibration', 'maintain/architecture',
         'research/figures', 'maintain/contributing')


@pytest.mark.parametrize('width, scheme', [(390, 'dark'), (1440, 'light')])
def test_pages_ask_no_other_host_and_fit_the_screen(playwright, address, width, scheme):
    "On a phone and on a desk, light and dark: no request leaves, no error, nothing wider than the screen."
    from pages import start_browser
    browser = start_browser(playwright)
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    page, asked, errors = context.new_page(), set(), []
    page.on('request', lambda o: asked.add(o.url))
    page.on('pageerror', lambda o: errors.append(str(o)))
    page.on('response', lambda o: errors.append(f'{o.status} {o.url}') if o.status >= 400 else None)
    for name in PAGES:
        page.goto(f'{address}{name}.html')
        assert page.evaluate('document.documentElement.scrollWidth') <= width, name
    page.goto(f'{address}search.html?q=overlap')
    page.wait_for_selector('#search-results li a')
    assert 'inference' in page.locator('#search-results').inner_text()
    browser.close()
    assert [o for o in asked if not o.startswith((address, 'data:', 'blob:'))] == []
    assert errors == []


def test_dead_links_and_other_hosts_are_noticed(tmp_path):
    "What would embarrass us is named with its page."
    (tmp_path/'a.html').write_text('<h1 id="top"></h1><a href="b.html#here">b</a><a href="gone.html"></a>'
                                   '<a href="#top"></a><a href="https://example.org/">elsewhere may be linked</a>'
                                   '<script src="https://example.org/x.js"></script>')
    (tmp_path/'b.html').write_text('<h1 id="there"></h1><img src="data:image/png;base64,AA">')
    wrong = '\n'.join(docs.dead(tmp_path))
    assert 'gone.html, which does not exist' in wrong and 'b.html#here, and there is no such place' in wrong
    assert 'a.html loads https://example.org/x.js' in wrong and len(wrong.splitlines()) == 3


def test_a_table_that_stays_text_is_noticed(tmp_path):
    "A notebook's output with a table is shown as a table, not as bars and dashes."
    (tmp_path/'a.html').write_text('<table><tr><td>1</td></tr></table><pre>| a | b |</pre>')
    (tmp_path/'b.html').write_text('<div><p>| model | ms | |—|—| | lenet | 1 |</p></div>')
    assert docs.unread(tmp_path) == ['b.html shows a table as text']


def test_pages_can_be_assembled(tmp_path):
    "Every relative link of a notebook or page leads to a page, a picture or a file of the repository."
    docs.sources(tmp_path)
    known = json.loads((tmp_path/'pages.json').read_text())
    assert all((ROOT/path).is_file() for path in known['edits'].values())
    text = (tmp_path/'inference/03_boxes.ipynb').read_text()
    assert 'default_exp' not in text and '{py:function} overlap(' in text
    figures = (tmp_path/'research/figures.md').read_text()
    assert '<!--' not in re.sub(r'```.*?```', '', figures, flags=re.S)


def test_a_parameter_keeps_its_comment():
    "The comment beside a parameter, one that goes on below it, the type and the default."
    names = {o.name: o for o in docs_reference.entries('fer_nb.inference.boxes')}
    assert [*names['Detection'].inner[4:7]] and names['Detection'].inner[0].kind == 'attribute'
    assert ('box', '', 'One box: x, y, w, h, ...') in names['overlap'].params
    assert 'iou: float=0.3' in names['merge'].signature.replace(' = ', '=')


def test_a_release_is_checked_against_the_cards(tmp_path, monkeypatch):
    "What is shipped passes; a network that is not its card's does not, and is named."
    assert release.cards() is None and release.version() is None
    copytree(ROOT/'models', tmp_path/'models')
    network = tmp_path/'models/lenet.tflite'
    network.write_bytes(network.read_bytes()[:-1] + b'!')
    monkeypatch.setattr(release, 'ROOT', tmp_path)
    assert 'lenet.tflite is not the file of its card' in release.cards()


def test_a_release_without_its_parts_is_not_ready(tmp_path, monkeypatch):
    "Each missing part has a sentence that says what to do."
    monkeypatch.setattr(release, 'ROOT', tmp_path)
    (tmp_path/'CHANGELOG.md').write_text('# Changelog\n\n## Unreleased\n\n- Something.\n')
    assert 'Unreleased' in release.changelog()
    assert '`make site`' in release.site() and '`make docs`' in release.docs()
    (tmp_path/'CHANGELOG.md').write_text(f'# Changelog\n\n## {release.VERSION} (2030-01-02)\n\n- Something.\n')
    (tmp_path/'CITATION.cff').write_text('date-released: "2029-01-01"\n')
    assert release.changelog() is None and '2030-01-02' in release.citation()
