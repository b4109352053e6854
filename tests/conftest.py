"Options and fixtures of the tests."
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # for what the tests start, too


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help="run the tests that need minutes, too")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's `&` has it so; what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line('markers', 'slow: needs minutes; skipped unless --slow is given')


# Under pytest-xdist the tests of a file go to one worker, those of one server too, and the longest start first.
TOGETHER = {'test_serve': 'test_app'}
FIRST = ('test_documents', 'test_app', 'test_site', 'test_deploy', 'test_api', 'test_train', 'test_transfer',
         'test_score', 'test_video_files', 'test_cli', 'test_export', 'test_distill', 'test_lab', 'test_bench',
         'test_compress', 'test_sweep')


def group(path): return TOGETHER.get(Path(path).stem, Path(path).stem)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        def _split_scope(self, nodeid): return group(nodeid.split('::')[0])
    return ByServer(config, log)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, 'workerinput'):
        items.sort(key=lambda item: FIRST.index(group(item.path)) if group(item.path) in FIRST else len(FIRST))
    if config.getoption('--slow'): return
    for item in items:
        if 'slow' in item.keywords: item.add_marker(pytest.mark.skip(reason='slow; run with --slow'))


@pytest.fixture
def command(capfd, monkeypatch):
    """Runs `fer-nb ARGUMENTS` in this process, where TensorFlow is imported once for all tests: exit code, stdout and
    stderr as subprocess.run gives them. In a process of its own the program runs in test_cli.py, among others."""
    from fer_nb.cli.main import main
    def run(*arguments, cwd='.'):
        with monkeypatch.context() as m:
            m.setattr(sys, 'argv', ['fer-nb', *map(str, arguments)])
            m.chdir(cwd)
            m.setenv('COLUMNS', '200')
            capfd.readouterr()
            code = 0
            try: main()
            except SystemExit as e: code = e.code or 0
            return subprocess.CompletedProcess(sys.argv, code, *capfd.readouterr())
    return run


@pytest.fixture(scope='session')
def fer2013():
    "The real FER-2013: the path in the variable FER2013 (zip, folder or CSV), or shared/data beside the checkout."
    path = Path(os.environ.get('FER2013') or ROOT.parent/'shared/data/fer2013/fer2013.zip')
    if not path.exists(): pytest.skip("no FER-2013: set the variable FER2013 to its zip, folder or CSV")
    return path


@pytest.fixture(scope='session')
def ferplus():
    "The votes of FER+: the path in the variable FERPLUS, or shared/data beside the checkout."
    path = Path(os.environ.get('FERPLUS') or ROOT.parent/'shared/data/ferplus/votes.csv')
    if not path.exists(): pytest.skip("no FER+: set the variable FERPLUS to its table of votes")
    return path


@pytest.fixture(scope='session')
def sample():
    "The public-domain photo that the package carries: one smiling face."
    import fer_nb
    return Path(fer_nb.__file__).parent/'static/sample.jpg'


@pytest.fixture
def with_answers(tmp_path):
    "Makes a copy of LeNet named mine, whose card has these `answers`; its path."
    from fer_nb.core import models_dir
    from fer_nb.inference.zoo import read_card
    def make(answers, model='lenet'):
        card = read_card(models_dir()/f'{model}.json')
        about = {**card} | dict(name='mine', answers=answers, file=card['file'] | dict(name='mine.tflite'))
        (tmp_path/'mine.json').write_text(json.dumps(about))
        (tmp_path/'mine.tflite').write_bytes(card.model_path.read_bytes())
        return tmp_path/'mine.tflite'
    return make


@pytest.fixture(scope='session')
def server(tmp_path_factory):
    "The dashboard, served as by `fer-nb app --port 0`; pages that tests leave behind lose their kernels early."
    pytest.importorskip('voila')
    from fer_nb.apps.serve import start
    config = tmp_path_factory.mktemp('server')/'early.py'
    config.write_text("c = get_config()\nc.PageServer.max_visitors = 0\n"
                      "c.MappingKernelManager.cull_idle_timeout, c.MappingKernelManager.cull_interval = 30, 5\n")
    with start(port=0, config=config) as running: yield running


@pytest.fixture(scope='session')
def chromium(playwright, tmp_path_factory):
    "A Chromium whose camera shows two faces."
    import pages  # finds tools/
    fake_camera = importlib.import_module('fake_camera')
    film = fake_camera.write(tmp_path_factory.mktemp('camera')/'two.mjpeg', faces=2)
    browser = pages.start_browser(playwright, *pages.FAKE, f'--use-file-for-fake-video-capture={film}')
    yield browser
    browser.close()


@pytest.fixture(scope='session')
def pictures(tmp_path_factory, sample):
    "Good and bad files by name."
    import pages
    return pages.pictures(tmp_path_factory.mktemp('pictures'), sample)


@pytest.fixture(scope='session')
def playwright():
    "One Playwright for all tests in a browser: it does not run twice in a process. Screenshots go to test-output/."
    (ROOT/'test-output').mkdir(exist_ok=True)
    with pytest.importorskip('playwright.sync_api').sync_playwright() as p: yield p
