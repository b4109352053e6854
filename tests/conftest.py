"Options and fixtures of the tests."
import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help="run the tests that need minutes, too")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's `&` has it so; what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line('markers', 'slow: needs minutes; skipped unless --slow is given')


def pytest_collection_modifyitems(config, items):
    if config.getoption('--slow'): return
    for item in items:
        if 'slow' in item.keywords: item.add_marker(pytest.mark.skip(reason='slow; run with --slow'))


@pytest.fixture(scope='session')
def fer2013():
    "The real FER-2013: the path in the variable FER2013 (zip, folder or CSV), or shared/data beside the checkout."
    path = Path(os.environ.get('FER2013') or ROOT.parent/'shared/data/fer2013/fer2013.zip')
    if not path.exists(): pytest.skip("no FER-2013: set the variable FER2013 to its zip, folder or CSV")
    return path


@pytest.fixture(scope='session')
def sample():
    "The public-domain photo that the package carries: one smiling face."
    import fer_nb
    return Path(fer_nb.__file__).parent/'static/sample.jpg'


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
def playwright():
    "One Playwright for all tests in a browser: it does not run twice in a process. Screenshots go to test-output/."
    (ROOT/'test-output').mkdir(exist_ok=True)
    with pytest.importorskip('playwright.sync_api').sync_playwright() as p: yield p
