"The notebook's widgets in a real JupyterLab and a real browser. Screenshots go to test-output/."
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import nbformat
import pytest
from conftest import ROOT

pytest.importorskip('jupyterlab')
pytest.importorskip('keras')
pytest.importorskip('playwright')
sys.path.insert(0, str(ROOT/'tools'))
import browser as browsers  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

OUTPUT = ROOT/'test-output'
SLOW = 120_000      # ms

EXPLORER = """
import dataclasses
from fer_nb.training.faces import drawn_faces
from fer_nb.apps.lab import DataExplorer
faces = drawn_faces(280)
images = faces.images.copy(); images[1] = images[0]
explorer = DataExplorer(dataclasses.replace(faces, images=images))
explorer
"""
CURVE = """
import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
import tempfile
from fer_nb.apps.lab import LiveCurve
from fer_nb.training.recipes import Recipe
from fer_nb.training.train import train
curve = LiveCurve()
display(curve)
recipe = Recipe('lenet', epochs=5, batch=32, rate=3e-3, schedule='cosine', augment='light')
run = train(recipe, faces, tempfile.mkdtemp() + '/run', verbose=0, callbacks=[curve.callback])
"""
CAMERA = """
from fer_nb.apps.widgets import CameraWidget
CameraWidget()
"""
ERRORS = """
import numpy as np
from fer_nb.apps.lab import ErrorBrowser
p = np.full((280, 7), .05); p[np.arange(280), faces.labels] = .7
p[faces.labels == 5] = np.eye(7)[4]*.7 + .05          # every sad face is taken for neutral
browser = ErrorBrowser(faces, p)
browser
"""


@contextmanager
def jupyterlab(folder):
    "The address of a JupyterLab that serves `folder`, with nobody's settings: nbdev adds a pre-save hook to them."
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--port=0', '--ip=127.0.0.1', '--allow-root',
               '--IdentityProvider.token=', f'--ServerApp.root_dir={folder}', '--LabApp.news_url=None',
               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--ServerApp.disable_check_xsrf=True']
    env = os.environ | dict(JUPYTER_CONFIG_DIR=str(folder/'.jupyter'))
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        address = next(m[0] for line in server.stderr if (m := re.search(r'http://127\.0\.0\.1:\d+/', line)))
        threading.Thread(target=server.stderr.read, daemon=True).start()     # or its pipe fills up, and it waits
        yield address
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def running(playwright, address, name):
    "The page of a notebook whose cells are all being run."
    browser = playwright.chromium.launch(executable_path=browsers.chromium(), args=['--no-sandbox'])
    try:
        page = browser.new_page(viewport=dict(width=1300, height=1900))
        # on a busy machine JupyterLab asks which kernel to take: the one that it proposes
        def accept(asked):
            print('asked:', asked.inner_text())
            asked.locator('.jp-mod-accept').click()
        page.add_locator_handler(page.locator('.jp-Dialog').first, accept, no_wait_after=True)     # it may ask again
        page.goto(f'{address}lab/tree/{name}', timeout=SLOW)
        page.wait_for_selector('.jp-Notebook .jp-Cell', state='attached', timeout=SLOW)
        idle = '[data-status="idle"]'
        page.wait_for_selector(f'{idle}, .jp-Notebook-ExecutionIndicator{idle}', timeout=SLOW)
        for _ in range(5):                   # before it has its kernel, JupyterLab drops the command without a word
            page.click('.lm-MenuBar-itemLabel:text("Run")')
            page.click('.lm-Menu-itemLabel:text("Run All Cells")')
            prompt = page.locator('.jp-InputPrompt', has_text=re.compile(r'\[(\*|\d+)\]')).first
            try: expect(prompt).to_be_attached(timeout=10_000)
            except AssertionError: continue
            break
        yield page
    finally: browser.close()


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "A JupyterLab that serves one notebook with four widgets; yields (address, folder)."
    folder = tmp_path_factory.mktemp('lab')
    cells = [nbformat.v4.new_code_cell(o.strip()) for o in (EXPLORER, CURVE, ERRORS, CAMERA)]
    kernel = {'name': 'python3', 'display_name': 'python3'}
    notebook = nbformat.v4.new_notebook(metadata={'kernelspec': kernel}, cells=cells)
    nbformat.write(notebook, folder/'widgets.ipynb')
    with jupyterlab(folder) as address: yield address, folder


@pytest.fixture(scope='module')
def page(lab, playwright):
    with running(playwright, lab[0], 'widgets.ipynb') as page: yield page


def test_the_explorer_narrows_the_faces_down(page):
    total, tiles = page.locator('.fer-nb-lab .total').first, page.locator('.fer-nb-lab .tile')
    expect(total).to_contain_text('280 faces, page 1 of 5', timeout=SLOW)
    expect(tiles).to_have_count(60)
    page.select_option('select[aria-label="class"]', 'happy')
    expect(total).to_contain_text('40 faces')
    assert all('happy' in (tiles.nth(i).get_attribute('title') or '') for i in range(0, 40, 13))
    page.select_option('select[aria-label="class"]', 'all')
    page.select_option('select[aria-label="copies"]', 'only copies')
    expect(total).to_contain_text('2 faces')
    page.select_option('select[aria-label="copies"]', 'all')
    page.locator('input[aria-label="blurrier than, %"]').fill('10')
    expect(total).to_contain_text('28 faces')
    page.locator('input[aria-label="blurrier than, %"]').fill('100')
    expect(total).to_contain_text('280 faces')
    page.click('button:has-text("next ›") >> nth=0')
    expect(total).to_contain_text('page 2 of 5')


def test_the_curve_is_drawn_while_it_learns(page):
    chart = page.locator('svg[aria-label="accuracy by epoch"]')
    expect(chart.locator('polyline')).to_have_count(2, timeout=SLOW)
    done = page.locator('.fer-nb-lab .total').nth(1)
    expect(done).to_contain_text('Done: validation accuracy', timeout=SLOW)
    assert len(chart.locator('polyline').first.get_attribute('points').split()) == 5


def test_a_cell_of_the_matrix_opens_its_faces(page):
    cell = page.locator('button[aria-label="sad read as neutral: 40"]')
    expect(cell).to_be_visible(timeout=SLOW)
    cell.click()
    expect(page.locator('h3:has-text("sad, read as neutral")')).to_be_visible()
    tiles = ', '.join(f'.fer-nb-lab .tile[title*="sad, read as neutral {o}"]' for o in ('90', '7'))
    expect(page.locator(tiles)).to_have_count(40)
    expect(page.locator('button[aria-label="sad read as happy: 0"]')).to_be_disabled()
    page.screenshot(path=OUTPUT/'lab.png')


def test_the_kernel_reads_the_camera(page):
    "The engine in the browser is for visitors of a served page; a notebook has its kernel."
    camera = page.locator('[data-place]')
    expect(camera.get_by_role('button', name='Start')).to_be_visible(timeout=SLOW)
    assert camera.get_attribute('data-place') == 'kernel'
    assert not page.locator('select[aria-label="Where frames are read"]').is_visible()


def test_no_pixel_is_saved_with_the_notebook(page, lab):
    page.keyboard.press('Control+s')
    deadline = time.time() + 60
    path = lab[1]/'widgets.ipynb'
    def saved(): return any(c.get('outputs') for c in nbformat.read(path, 4).cells)
    while time.time() < deadline and not saved(): time.sleep(.5)
    text = path.read_text()
    assert saved() and 'image/png' not in text and 'iVBORw0KGgo' not in text
    assert len(text) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(o.stem for o in (ROOT/'nbs/tutorials').glob('*.ipynb')))
def test_a_tutorial_runs_from_top_to_bottom(name, playwright, tmp_path):
    shutil.copytree(ROOT/'nbs/tutorials', tmp_path/'nbs')
    path = tmp_path/f'nbs/{name}.ipynb'
    notebook = nbformat.read(path, 4)
    if 'FER2013' not in os.environ and any(o.source.startswith('#| data') for o in notebook.cells):
        pytest.skip('needs the data: set FER2013 and FERPLUS')
    for cell in notebook.cells:
        if cell.cell_type == 'code': cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    with jupyterlab(tmp_path/'nbs') as address, running(playwright, address, path.name) as page:
        for _ in range(90):
            page.wait_for_timeout(10_000)            # two saves at once would be asked about
            if (again := page.locator('.jp-Dialog button:has-text("Overwrite")')).count(): again.click()
            else: page.keyboard.press('Control+s')
            cells = [o for o in nbformat.read(path, 4).cells if o.cell_type == 'code' and o.source.strip()]
            failed = [o for c in cells for o in c.outputs if o.output_type == 'error']
            assert not failed, '\n'.join(failed[0].traceback)
            if all(o.execution_count for o in cells): break
        else: raise AssertionError(f'{name} is not at its end after a quarter of an hour')
