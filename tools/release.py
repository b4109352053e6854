"""Checks if everything is ready for a release: `make release`, or tools/release.py [CHECK ...]. It changes nothing.

Each check prints a line: that it passed, or what is missing and what to do about it."""
import hashlib
import re
import subprocess
import sys
import tempfile
import zlib
from configparser import ConfigParser
from datetime import date
from pathlib import Path

import numpy as np
from common import ROOT

from fer_nb.core import FerError
from fer_nb.inference.zoo import list_models, read_card

settings = ConfigParser(delimiters=['='])
settings.read(ROOT/'settings.ini', encoding='utf-8')
VERSION = settings['DEFAULT']['version']
MODELS, WHEEL = 12e6, 20e6      # maximum size of the .tflite files and of the wheel, bytes


def read(path): return (ROOT/path).read_text(encoding='utf-8')
def git(*words): return subprocess.run(['git', *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def version():
    "`settings.ini`, `fer_nb/__init__.py` and `CITATION.cff` have the same version, and no tag has it yet"
    named = {'fer_nb/__init__.py': r'__version__ = "(.+?)"', 'CITATION.cff': r'^version: "?([^"\n]+)"?'}
    for path,pattern in named.items():
        found = re.search(pattern, read(path), re.M)
        if not found or found[1] != VERSION:
            return f"{path} says {found[1] if found else 'nothing'}, settings.ini {VERSION}: make them agree."
    if git('tag', '--list', f'v{VERSION}'): return f"There is a tag v{VERSION} already: raise the version."


def changelog():
    "CHANGELOG.md has a dated section of this version, and nothing is left under Unreleased"
    text = read('CHANGELOG.md')
    left = re.search(r'^## Unreleased\n(.*?)(?=^## |\Z)', text, re.M | re.S)
    if left and left[1].strip():
        if re.search(rf'^## \[?{re.escape(VERSION)}\b', text, re.M):
            return f"CHANGELOG.md has {VERSION} already, and lines under Unreleased: raise the version in settings.ini."
        return f"CHANGELOG.md has lines under Unreleased: name that section {VERSION} ({date.today()})."
    if not re.search(rf'^## \[?{re.escape(VERSION)}\]?.*\d{{4}}-\d\d-\d\d', text, re.M):
        return f"CHANGELOG.md has no section {VERSION} with its date: add `## {VERSION} ({date.today()})`."


def citation():
    "CITATION.cff has the date of this version's section in CHANGELOG.md"
    section = re.search(rf'^## \[?{re.escape(VERSION)}\]?.*?(\d{{4}}-\d\d-\d\d)', read('CHANGELOG.md'), re.M)
    released = re.search(r'^date-released: "?([\d-]+)', read('CITATION.cff'), re.M)
    if not section: return "CHANGELOG.md does not say when this version was released."
    if not released or released[1] != section[1]: return f"CITATION.cff: set date-released to {section[1]}."


def cards():
    "Every model has the SHA-256 of its card, its weights, and recorded answers that give the card's accuracy"
    every, whole = [*list_models(ROOT/'models'), read_card(ROOT/'models/quality/views.json')], 0
    for card in every:
        path, said = card.path.with_suffix('.tflite'), card['file']
        data = path.read_bytes()
        whole += len(data)
        if (len(data), hashlib.sha256(data).hexdigest()) != (said['bytes'], said['sha256']):
            return f"{path.name} is not the file of its card: export the model again."
        if card.name == 'views': continue
        for suffix in ('.weights.npz', '.csv', '.npz'):
            beside = path.with_suffix(suffix)
            if not beside.is_file(): return f"{beside.name} is missing: export the model again."
        if problem := recorded(card): return problem
    if whole > MODELS: return f"The models have {whole/1e6:.1f} MB; they are to stay under {MODELS/1e6:.0f}."


def recorded(card):
    "What is wrong with a card's recorded answers on PublicTest, or None."
    with np.load(card.path.with_suffix('.npz')) as z: right = z['probabilities'].argmax(1) == z['labels']
    figures = [o for name in ('votes', 'votes8', 'label') if (o := card.ruler(name)) and o['n'] == len(right)]
    if not any(abs(o['accuracy'] - right.mean()) < .002 for o in figures):
        return f"{card.name}.npz gives an accuracy of {right.mean():.2%}, and its card none that is near: export again."


def tree():
    "Everything is committed"
    if changed := git('status', '--porcelain', '--untracked-files=no'):
        return f"{len(changed.splitlines())} files are changed and not committed, {changed.split()[1]} among them."


def sources():
    "Notebooks, modules and README.md agree, and the style is right"
    for words in (['tools/check_export.py'], ['tools/check_notebooks.py'], ['tools/readme.py', '--check'],
                  ['tools/check_style.py']):
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        if done.returncode: return f"`python {' '.join(words)}` fails: {' '.join(said)}"


def wheel():
    "A wheel can be built; it has this version and an allowed size"
    import installed
    with tempfile.TemporaryDirectory() as tmp:
        try: built = installed.build(Path(tmp))
        except (SystemExit, FerError, OSError) as e: return f"The wheel cannot be built: {e}"
        if f'-{VERSION}-' not in built.name: return f"The wheel is {built.name}; it should be of version {VERSION}."
        if built.stat().st_size > WHEEL: return f"The wheel has more than {WHEEL/1e6:.0f} MB."


def site():
    "The page without a server is built, with the models of this tree"
    folder = ROOT/'site'
    if not (folder/'index.html').is_file(): return "There is no page in site/: call `make site`."
    mine = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (ROOT/'models').rglob('*.tflite')}
    theirs = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder/'models').glob('*.tflite')}
    if not mine <= theirs: return "site/ has other models than models/: call `make site`."


def docs():
    "The documentation is built, of this version, and the page without a server is in it"
    index = ROOT/'_docs/objects.inv'
    if not index.is_file(): return "There is no documentation in _docs/: call `make docs`."
    named = re.search(rb'# Version: (.*)', index.read_bytes())[1].decode()
    if named != VERSION: return f"_docs/ is of version {named or 'none'}: call `make docs`."
    if not (ROOT/'_docs/try/index.html').is_file(): return "_docs/ lacks the page without a server: `make site docs`."
    body = index.read_bytes().split(b'zlib.\n', 1)[1]
    if b'fer_nb.inference.recognize.EmotionRecognizer ' not in zlib.decompress(body): return "_docs/ is incomplete."


CHECKS = dict(version=version, changelog=changelog, citation=citation, cards=cards, sources=sources, wheel=wheel,
              site=site, docs=docs, tree=tree)


def checklist():
    "The checks as a Markdown table, for the documentation."
    return '\n'.join(['| check | what is right when it passes |', '|---|---|',
                      *(f'| `{k}` | {o.__doc__} |' for k,o in CHECKS.items())])


def main():
    chosen = sys.argv[1:] or [*CHECKS]
    if unknown := [o for o in chosen if o not in CHECKS]:
        sys.exit(f"There is no check {unknown[0]}: choose among {', '.join(CHECKS)}.")
    problems = 0
    for name in chosen:
        problem = CHECKS[name]()
        problems += bool(problem)
        print(f"{'missing' if problem else 'ok':8} {name:10} {problem or CHECKS[name].__doc__ + '.'}", flush=True)
    if problems: sys.exit(f"\n{problems} of {len(chosen)} to do before {VERSION} can be released.")
    print(f"\nReady. Now it is your turn: `make test`, then `git tag v{VERSION}`, push the tag, upload the wheel.")


if __name__ == '__main__': main()
