"""What the documents show works: their commands and their Python, run from an installed wheel.

Each document is gone through from top to bottom, in a folder that has the files which the documents speak of. What is
added to a document is tested without a change here; what cannot run as printed stands in one of four tables, with the
reason."""
import json
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import cv2
import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

pytest.importorskip('keras')
pytest.importorskip('voila')
sys.path.insert(0, str(ROOT/'tools'))
import documents  # noqa: E402
import installed  # noqa: E402

STEPS = documents.everything()

# Added to a command by its name, since the last of two values counts; and why.
QUICK = {
    'train': ('--epochs 1', "as printed it takes hours"),
    'distill': ('--epochs 1 --recipe lenet', "as printed it takes hours"),
    'finetune': ('--epochs 1 --head-epochs 1 --model lenet', "as printed it takes minutes"),
    'transfer': ('--epochs 1 --head-epochs 1 --weights none --pixels 32 --backbone MobileNet',
                 "ImageNet's weights would be downloaded, and a larger network takes half a minute to compile"),
    'prune': ('--epochs 1', "as printed it takes minutes"),
    'sweep': ('--epochs 1 --trials 1', "as printed it takes hours"),
    'bench': ('--quick --no-peer --only latency', "as printed it takes half an hour, and the peer 7.5 GB"),
    'camera': ('--device film.mp4 --no-window', "there is no camera; a film stands in for it"),
    'app': ('--port 0', "port 8866 may be in use; and it is asked to end when it has answered"),
    'api': ('--port 0 --workers 1', "the same of port 8867"),
}
# A sentence shows the options that it is about: what else the command cannot do without.
NEEDED = {'train': {'--data': 'fer2013.zip'},
          'export': {'--run': 'runs/lenet', '--data': 'fer2013.zip', '--out': 'out'}}
# Run in the place of what is printed; and why.
INSTEAD = {
    'fer-nb COMMAND --help': ('fer-nb predict --help', "a placeholder; the help of every command is shown above"),
    'fer-nb predict FOLDER --crops --json FILE': ('fer-nb predict my_faces --crops --json FILE', "a placeholder"),
}
# Not run: its options are checked; and why.
PARSED = {'fer-nb app --config FILE': "the block of settings that the page shows is run with it",
          'fer-nb site public': "npm's registry may be out of reach; test_site.py builds a site",
          **dict.fromkeys((
              'fer-nb people fetch', "fer-nb people add Eileen photo.jpg --consent 'NASA, public domain'",
              'fer-nb people check', 'fer-nb predict photo.jpg --people people.db', 'fer-nb people forget Eileen',
              "fer-nb camera --people people.db --dry-run --on 'eileen for 1s every 1m: ./open-door' "
              "--on 'unknown for 3s: ./ring'", 'fer-nb people measure FOLDER', 'fer-nb people measure fer2013.zip'),
              "SFace may not be here, and is downloaded; test_people.py runs them with a stand-in")}

OUTPUTS = ('--out', '--csv', '--json', '--plot', '--parquet', '--export', '--table')
RUNS = ('--run', '--teacher', '--begin')
OWN = ('predict', 'score', 'plot', 'video', 'camera', 'models', 'bench', 'app', 'api')   # in processes of their own
TIMEOUT = 300
ENV = installed.environment(COLUMNS='200', CUDA_VISIBLE_DEVICES='-1', TF_CPP_MIN_LOG_LEVEL='3')


# -- The installed wheel, and what the documents take for granted


@pytest.fixture(scope='session')
def python(tmp_path_factory):
    "The Python of an environment into which the wheel is installed."
    tmp = tmp_path_factory.mktemp('wheel')
    return installed.borrow(installed.build(tmp), tmp/'venv')


class Worker:
    "The process of worker.py; another one where it ended."
    process = None

    def __init__(self, python): self.python = python

    def start(self):
        command = [self.python, Path(__file__).with_name('worker.py')]
        self.process = subprocess.Popen(command, cwd=self.python.parent, env=ENV, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def stop(self):
        if self.process:
            self.process.kill()                           # TensorFlow would take seconds to say goodbye
            self.process.communicate()

    def ask(self, folder, **request):
        "Exit code and output of `words`, or of `code` in the names of `space`."
        if not self.process or self.process.poll() is not None: self.start()
        patience = threading.Timer(TIMEOUT, self.process.kill)
        patience.start()
        try:
            print(json.dumps(dict(folder=str(folder), **request)), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        finally: patience.cancel()
        answer = json.loads(line) if line else dict(code=-1, said="The process ended, or took too long.")
        return answer['code'], answer['said']


@pytest.fixture(scope='session')
def worker(python):
    worker = Worker(python)
    yield worker
    worker.stop()


def drawn(label, rng):
    "A face of 48 x 48 pixels, whose eyes and mouth say which of seven it is."
    face = np.full((48, 48), rng.integers(60, 120), np.uint8)
    cv2.ellipse(face, (24, 24), (17, 22), 0, 0, 360, 190, -1)
    for x in (17, 31): cv2.circle(face, (x, 18), 1 + label % 4, 40, -1)
    cv2.ellipse(face, (24, 33), (8, 2 + label), 0, 0, 180 if label % 2 else -180, 40, 2)
    return np.clip(face + rng.normal(0, 6, face.shape), 0, 255).astype(np.uint8)


def write_dataset(folder):
    "fer2013.zip as Kaggle has it, and fer2013new.csv, also named votes.csv, in which everybody votes for the label."
    names, rng, rows = 'angry disgust fear happy neutral sad surprise'.split(), np.random.default_rng(0), []
    voted = 'neutral happiness surprise sadness anger disgust fear contempt unknown NF'.split()
    column = dict(zip(names, (4, 5, 6, 1, 0, 3, 2)))
    with zipfile.ZipFile(folder/'fer2013.zip', 'w') as out:
        for i in range(7*16):
            name, usage = names[i % 7], ('Training', 'PublicTest', 'PrivateTest')[max(0, i//7 - 9)//4]
            file = f"{'train' if usage == 'Training' else 'test'}/{name}/{usage}_{i}.png"
            out.writestr(file, cv2.imencode('.png', drawn(i % 7, rng))[1].tobytes())
            rows.append([usage, *('10' if k == column[name] else '0' for k in range(10)), file])
    lines = [['Usage', *voted, 'file'], *rows]
    for name in ('fer2013new.csv', 'votes.csv'):           # the name on the web, and that in the recorded commands
        (folder/name).write_text(''.join(','.join(o) + '\n' for o in lines))


def write_film(path, photo):
    "A second of film in which the camera sways before the photo."
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 30, (320, 320))
    for i in range(30): film.write(cv2.resize(photo[:480, i:480 + i], (320, 320)))
    film.release()


@pytest.fixture(scope='session')
def prepared(sample, tmp_path_factory):
    "A folder with the files that the documents speak of, by their names."
    folder, rng = tmp_path_factory.mktemp('prepared'), np.random.default_rng(1)
    photo = cv2.imread(str(sample))
    for o in ('holiday', 'more', 'experiments', 'nbs/tutorials'): (folder/o).mkdir(parents=True)
    for o in ('photo.jpg', 'holiday/one.jpg', 'holiday/two.jpg'): shutil.copy(sample, folder/o)
    cv2.imwrite(str(folder/'more/three.png'), photo[:, ::-1])
    write_film(folder/'film.mp4', photo)
    write_dataset(folder)
    for k,name in enumerate(('happy', 'sad', 'wink')):
        (folder/'my_faces'/name).mkdir(parents=True)
        for i in range(10): cv2.imwrite(str(folder/f'my_faces/{name}/{i}.png'), drawn(k, rng))
    return folder


@pytest.fixture(scope='session')
def finished_run(worker, prepared, tmp_path_factory):
    "The folder of a training run."
    path = tmp_path_factory.mktemp('run')/'run'
    settings = '--arch lenet --data fer2013.zip --epochs 3 --batch 16 --augment none'
    code, said = worker.ask(prepared, words=['fer-nb', 'train', *settings.split(), '--out', str(path)])
    assert code == 0, said
    return path


# -- Running


def run(python, folder, words):
    "Exit code and output of a command in a process of its own."
    done = subprocess.run([python.with_name(words[0]), *words[1:]], cwd=folder, env=ENV, text=True, timeout=TIMEOUT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


HEALTH = {'app': ('health', {'visitors': 0}), 'api': ('healthz', {'status': 'ok'})}


def serve(python, folder, words, base='/', use=None):
    "The same of a command that serves under `base` until it is asked to end; `use` gets its address meanwhile."
    path, healthy = HEALTH[words[1]]
    with subprocess.Popen([python.with_name(words[0]), *words[1:]], cwd=folder, env=ENV, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            line = process.stdout.readline()
            address = re.search(r'http://localhost:\d+', line)
            assert address, line + process.stdout.read()
            with build_opener(ProxyHandler({})).open(f'{address[0]}{base}{path}', timeout=TIMEOUT) as answer:
                assert json.load(answer) == healthy
            if use: use(address[0])
        finally: process.send_signal(signal.SIGTERM)
        return process.wait(TIMEOUT), line + process.stdout.read()


def check_written(folder, words, begun):
    "Every file and folder that a command was told to write is there, new and not empty."
    for option,value in zip(words, words[1:]):
        if option not in OUTPUTS: continue
        path = folder/value
        files = [o for o in (path.rglob('*') if path.is_dir() else [path]) if o.is_file()]
        assert any(o.stat().st_mtime >= begun and o.stat().st_size for o in files), f'{option} {value} is not written'


def check_make(words):
    "Targets and variables are those of the Makefile."
    makefile = (ROOT/'Makefile').read_text()
    for word in words[1:]:
        name, is_variable, value = word.partition('=')
        if is_variable: assert f'$({name})' in makefile, f'the Makefile does not use {name}'
        else: assert re.search(rf'^{re.escape(word)}:', makefile, re.M), f'the Makefile has no target {word}'
        if name == 'NB': assert (ROOT/value).is_file(), f'there is no {value}'
        if name == 'STEPS': assert {*value.split()} <= {*runpy.run_path(str(ROOT/'tools/test.py'))['STEPS']}, value


def check_pip(words, metadata):
    "Extras are those of the wheel, other packages are among its requirements."
    known = {Requirement(o).name: Requirement(o).specifier for o in metadata.get_all('Requires-Dist')}
    for word in words[2:]:
        if word.startswith('-'): continue
        wanted = Requirement(re.sub(r'^\.', 'fer_nb', word))
        assert wanted.extras <= {*metadata.get_all('Provides-Extra')}, f'there is no extra {wanted.extras}'
        assert wanted.name == 'fer_nb' or not wanted.specifier or wanted.specifier == known[wanted.name], word
        assert wanted.name == 'fer_nb' or wanted.name in known, word


def check_file(words):
    "The program is there, and so are the files of the repository that are named."
    program, *rest = words
    if program == 'python': compile((ROOT/rest[0]).read_text(), rest[0], 'exec')
    else: assert (Path(sys.executable).parent/Path(program).name).is_file(), f'there is no {program}'
    for o in rest: assert not o.startswith('nbs/') or (ROOT/o).is_file(), f'there is no {o}'


class Walk:
    "Goes through the documents: a step once, after all those that stand above it, in the document's own folder."
    def __init__(self, python, worker, prepared, finished_run, root):
        self.python, self.worker, self.prepared, self.root = python, worker, prepared, root
        self.finished_run, self.outcome = finished_run, {}
        self.metadata = PathDistribution(next(python.parent.parent.rglob('fer_nb-*.dist-info'))).metadata

    def result(self, step):
        "None, or what went wrong."
        for o in (o for o in STEPS if o.document == step.document):
            if o not in self.outcome: self.outcome[o] = self.attempt(o)
            if o == step: return self.outcome[o]

    def attempt(self, step):
        try: self.show(step) if step.kind == 'python' else self.do(step)
        except (Exception, SystemExit) as e: return e

    def folder(self, step):
        path = self.root/re.sub(r'\W', '_', step.document)
        if not path.exists(): shutil.copytree(self.prepared, path)
        return path

    def do(self, step):
        "Runs or checks a command."
        words = shlex.split(INSTEAD.get(step.text, (step.text,))[0])
        if words[0] == 'make': return check_make(words)
        if words[0] == 'pip': return check_pip(words, self.metadata)
        if words[0] == 'python' or words[0].startswith('.venv/bin/'): return check_file(words)
        assert words[0] == 'fer-nb', f"{step.document} shows a command that this test does not know: {step.text}"
        if step.kind == 'name' or step.text in PARSED: words.append('--help')
        if '--help' in words: return self.judge(words, *self.worker.ask(self.prepared, words=words))
        name, folder, begun = words[1], self.folder(step), time.time() - 1
        if step.kind == 'span': words += self.needed(words, folder)
        words += shlex.split(QUICK.get(name, ('',))[0])
        self.bring_runs(words, folder)
        if name in HEALTH: code, said = serve(self.python, folder, words)
        elif name in OWN: code, said = run(self.python, folder, words)
        else: code, said = self.worker.ask(folder, words=words)
        self.judge(words, code, said)
        check_written(folder, words, begun)

    def needed(self, words, folder):
        "What a sentence leaves out. It stands for itself, so it does not go on with a run that was made before."
        wanted = dict(NEEDED.get(words[1], {}))
        if words[1] in ('train', 'finetune', 'transfer'): wanted['--out'] = f'runs/{len(self.outcome)}'
        return [o for k,v in wanted.items() if k not in words for o in (k, v)]

    def bring_runs(self, words, folder):
        "The runs, and the files of a teacher's answers, that a command begins with, if the page has not made them."
        for option,value in zip(words, words[1:]):
            if option not in RUNS or (folder/value).exists(): continue
            if value.endswith('.npz'):
                asked = ['fer-nb', 'answers', '--run', str(self.finished_run), '--data', 'fer2013.zip', '--out', value]
                self.judge(asked, *self.worker.ask(folder, words=asked))
            else: shutil.copytree(self.finished_run, folder/value)

    def show(self, step, text=None):
        "Runs a block of Python after those before it; settings of the server go to `fer-nb app`."
        if 'Client(' in step.text and text is None:
            words = shlex.split(f"fer-nb api {QUICK['api'][0]}")
            use = lambda address: self.show(step, step.text.replace('http://localhost:8867', address))
            return self.judge(words, *serve(self.python, self.folder(step), words, use=use))
        if 'get_config()' not in step.text:
            code, said = self.worker.ask(self.folder(step), code=text or step.text, space=step.document)
            return self.judge([step.text], code, said)
        (self.folder(step)/'settings.py').write_text(step.text)
        words = shlex.split('fer-nb app --port 0 --config settings.py')
        base = re.search(r"base_url = '(.+?)'", step.text)
        self.judge(words, *serve(self.python, self.folder(step), words, base[1] if base else '/'))

    def judge(self, words, code, said):
        assert code == 0 and 'Traceback' not in said, f'{shlex.join(words)}\n{said[-3000:]}'


@pytest.fixture(scope='session')
def walk(python, worker, prepared, finished_run, tmp_path_factory):
    return Walk(python, worker, prepared, finished_run, tmp_path_factory.mktemp('walk'))


# -- Tests


def test_what_runs_is_the_installed_wheel(python, worker, prepared):
    site = str(python.parent.parent)
    code, said = worker.ask(prepared, space='x', code='import fer_nb; from fer_nb.cli import main; '
                                                      'print(fer_nb.__file__, main.__file__)')
    assert code == 0 and [site in o for o in said.split()] == [True, True], said
    said = installed.run(python, '-c', 'import fer_nb; print(fer_nb.__file__)', cwd=prepared)
    assert site in said and str(ROOT/'fer_nb') not in said


@pytest.mark.parametrize('step', STEPS, ids=[o.id for o in STEPS])
def test_it_works_as_printed(step, walk):
    if error := walk.result(step): raise error


def test_no_entry_of_the_tables_is_left_over():
    printed = {o.text for o in STEPS}
    assert {*INSTEAD, *PARSED} <= printed
    assert {*QUICK, *NEEDED} <= {shlex.split(o)[1] for o in printed if o.startswith('fer-nb ')}


@pytest.mark.parametrize('markdown, found', [
    ('Say `fer-nb plot a.jpg` twice.', [('span', 'fer-nb plot a.jpg')]),
    ('With `fer-nb data audit` it is told.', [('name', 'fer-nb data audit')]),
    ('```sh\nfer-nb app   # for ever\n\nnew --go && fer-nb models\n```',
     [('command', o) for o in ('fer-nb app', 'new --go', 'fer-nb models')]),
    ('So:\n\n    fer-nb plot a.jpg\n    three faces\n    make test',
     [('command', 'fer-nb plot a.jpg'), ('command', 'make test')]),
    ('```\nfer-nb plot \\\n  a.jpg\nplotted\n```', [('command', 'fer-nb plot a.jpg')]),
    ('```python\nx = 1\ny = 2\n```\nand `import fer_nb`', [('python', 'x = 1\ny = 2'), ('python', 'import fer_nb')]),
    ('```nginx\nserver {}\n```\n`--out FILE`, `nginx`, `faces`', [])])
def test_what_a_document_shows_is_found(markdown, found): assert list(documents.shown(markdown)) == found


@pytest.mark.parametrize('text', ['new --go', 'fer-nb sing', 'fer-nb plot photo.jpg --loud', 'make coffee',
                                  "pip install '.[coffee]'", 'python gone.py', 'fer-nb plot gone.jpg'])
def test_what_is_not_known_or_does_not_work_fails(walk, text):
    assert isinstance(walk.attempt(documents.Step('made up', 'command', text)), (AssertionError, OSError))
