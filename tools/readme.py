"Writes README.md from nbs/index.ipynb; with --check only compares. (nbdev_readme needs Quarto, which is not on PyPI.)"
import posixpath
import re
import sys

import nbformat
from common import ROOT, directives, notebooks
from nbconvert import MarkdownExporter

INDEX, LISTED = ROOT/'nbs/index.ipynb', 'nbs/notebooks.ipynb'
LIST = ROOT/LISTED
NOTE = '<!-- Written by tools/readme.py from nbs/index.ipynb: edit that, then call `make export`. -->\n\n'
LINK = re.compile(r'(\]\(|\b(?:src|href)=")([^)"\s]+)')


def prepared(nb):
    "The notebook without front matter, hidden cells and flags; outputs as text."
    cells = []
    for cell in nb.cells:
        flags = directives(cell.source) if cell.cell_type == 'code' else {}
        if cell.cell_type == 'raw' or {'hide', 'default_exp'} & flags.keys(): continue
        if cell.cell_type == 'code':
            cell.source = re.sub(r'^\s*#\s*\|.*\n?', '', cell.source, flags=re.M).strip()
            cell.metadata['hidden'] = flags.get('echo') == 'false'
            for o in cell.outputs:
                pictures = [k for k in o.get('data', {}) if k.startswith('image/')]
                if pictures: sys.exit("A cell of nbs/index.ipynb shows a picture: save it in nbs/images/ and link it.")
        cells.append(cell)
    nb.cells = cells
    return nb


def markdown(nb):
    "Convert cell by cell with nbconvert, so a cell's code can be omitted and its outputs kept."
    parts = []
    for cell in prepared(nb).cells:
        exporter = MarkdownExporter(exclude_input=bool(cell.metadata.pop('hidden', False)))
        one = nbformat.v4.new_notebook(cells=[cell], metadata={'language_info': {'name': 'python'}})
        parts.append(re.sub(r'\n{3,}', '\n\n', exporter.from_notebook_node(one)[0].strip()))
    return '\n\n'.join(p for p in parts if p) + '\n'


def relinked(text, folder='nbs'):
    "Relative links of a page in `folder`, made relative to the top of the repository; code blocks are unchanged."
    def fix(m):
        if re.match(r'[a-z]+:|#|/', m[2]): return m[0]
        return m[1] + posixpath.normpath(posixpath.join(folder, m[2]))
    return ''.join(p if i % 2 else LINK.sub(fix, p) for i, p in enumerate(re.split(r'(```.*?```)', text, flags=re.S)))


def dead(text):
    "Broken relative links."
    links = {m[2].split('#')[0] for m in LINK.finditer(text) if not re.match(r'[a-z]+:|#', m[2])}
    return sorted(o for o in links if not (ROOT/o).exists())


def main():
    text = NOTE + relinked(markdown(nbformat.read(INDEX, as_version=4)))
    readme = ROOT/'README.md'
    if '--check' not in sys.argv: readme.write_text(text, encoding='utf-8')
    wrong = [f"README.md links {o}, which does not exist." for o in dead(text)]
    if not readme.exists() or readme.read_text(encoding='utf-8') != text:
        wrong.append("README.md is not what nbs/index.ipynb gives: call `make export`.")
    listed = LIST.read_text(encoding='utf-8')
    unlisted = [p.name for p in notebooks() if p not in (INDEX.relative_to(ROOT), LIST.relative_to(ROOT))
                and f"({p.relative_to('nbs').as_posix()})" not in listed]
    if unlisted: wrong.append(f"nbs/notebooks.ipynb lacks {', '.join(unlisted)}: call `make notebooks NB={LISTED}`.")
    if wrong: sys.exit('\n'.join(wrong))
    print(f"README.md agrees with nbs/index.ipynb, {len(text.splitlines())} lines")


if __name__ == '__main__': main()
