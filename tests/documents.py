"The commands and the Python that the documents show, in the order in which they show them."
import json
import re
import shlex
import sys
from dataclasses import dataclass

from conftest import ROOT

sys.path.insert(0, str(ROOT/'tools'))
import common  # noqa: E402

PROGRAMS = ('fer-nb', 'make', 'pip', 'python')
_SHOWN = re.compile(r'(?:fer-nb|make|pip install|python|\.venv/bin/\S+) ')     # with something behind it
_PYTHON = re.compile(r'(?:from|import) fer_nb')


@dataclass(frozen=True)
class Step:
    "Something that a document shows."
    document:str
    kind:str    # command: a line of a block; span: a command in a sentence; name: one without options there; python
    text:str

    @property
    def id(self): return f"{self.document}: {' '.join(self.text.split())[:90]}"


def _commands(line):
    "The commands of a line of a shell: without its comment, one for each side of `&&`."
    words, one = shlex.split(line, comments=True), []
    for o in [*words, '&&']:
        if o != '&&': one.append(o)
        elif one: yield shlex.join(one); one = []


def _block(language, text):
    "What a block shows. A fenced `sh` has nothing but commands; elsewhere they are known by their names."
    if language == 'python':
        yield 'python', text
        return
    for line in text.replace('\\\n', ' ').splitlines():
        word = line.split()[0] if line.split() else ''
        known = word in PROGRAMS or word.startswith('.venv/bin/')
        if word and not word.startswith('#') and (known or language == 'sh'):
            yield from (('command', o) for o in _commands(line))


def _sentence(text):
    "What a line of prose shows between backticks."
    for span in re.findall(r'`([^`]+)`', text):
        if re.fullmatch(r'fer-nb( [a-z]+)+', span): yield 'name', span
        elif _SHOWN.match(span): yield from (('span', o) for o in _commands(span))
        elif _PYTHON.match(span): yield 'python', span


def shown(markdown):
    "Yields (kind, text) of everything that can be run."
    lines, prose = iter(markdown.splitlines()), True
    for line in lines:
        if fence := re.match(r' *```(\w*)', line):
            block = []
            for inner in lines:
                if inner.strip() == '```': break
                block.append(inner)
            yield from _block(fence[1], '\n'.join(block))
        elif line.startswith('    ') and not prose: yield from _block('', line)
        else: yield from _sentence(line)
        prose = bool(line.strip()) and not line.startswith('    ')


def of_file(name):
    "The steps of a Markdown file or of a notebook's Markdown cells; each once."
    text = (ROOT/name).read_text(encoding='utf-8')
    if name.endswith('.ipynb'):
        text = '\n\n'.join(''.join(o['source']) for o in json.loads(text)['cells'] if o['cell_type'] == 'markdown')
    return list(dict.fromkeys(Step(name, *o) for o in shown(text)))


def of_help():
    "The help of each command of `fer-nb`, and the steps that those texts show."
    import typer

    from fer_nb.cli.main import app
    def walk(command, words):
        yield Step('fer-nb --help', 'command', shlex.join([*words, '--help']))
        texts = [command.help, *(getattr(o, 'help', None) for o in command.params)]
        for text in filter(None, texts): yield from (Step('fer-nb --help', *o) for o in shown(text))
        for name,inner in getattr(command, 'commands', {}).items(): yield from walk(inner, [*words, name])
    return list(dict.fromkeys(walk(typer.main.get_command(app), ['fer-nb'])))


def of_package():
    "The example in the docstring of the package, and what its prose shows."
    import fer_nb
    block = re.search(r'\n\n((?: {4}.*\n|\n)+)', fer_nb.__doc__)[1]
    return [Step('help(fer_nb)', 'python', re.sub('^ {4}', '', block, flags=re.M).strip())]


def everything():
    """All steps, document by document. README.md is written from nbs/index.ipynb: what both show is README's. Of
    the pages in docs/, what no other document shows."""
    readme = of_file('README.md')
    known = {(o.kind, o.text) for o in readme}
    index = [o for o in of_file('nbs/index.ipynb') if (o.kind, o.text) not in known]
    notebooks = [str(o) for o in common.notebooks() if o.name != 'index.ipynb']
    others = [step for name in ('CONTRIBUTING.md', *notebooks) for step in of_file(name)]
    printed = {o.text for o in [*readme, *others]}
    pages = (o.relative_to(ROOT).as_posix() for o in sorted((ROOT/'docs').rglob('*.md')))
    others += [o for name in pages for o in of_file(name) if o.text not in printed]
    return [*of_help(), *of_package(), *readme, *index, *others]
