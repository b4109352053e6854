"From the repository's files to pages of the site: where each one stands, its links, and notebooks as they are read."
import json
import os
import posixpath
import re
from configparser import ConfigParser

from common import ROOT, directives, notebooks, title
from docs_reference import entries, entry

settings = ConfigParser(delimiters=['='])
settings.read(ROOT/'settings.ini', encoding='utf-8')
CFG = settings['DEFAULT']
BLOB = f"{CFG['git_url']}/blob/{CFG['branch']}/"
EDIT = f"{CFG['git_url']}/edit/{CFG['branch']}/"
TREE = f"{CFG['git_url']}/tree/{CFG['branch']}/"

LINK = re.compile(r'(\]\(|\b(?:src|href)=")([^)"\s]+)')
CODE = re.compile(r'(```.*?```|`[^`\n]+`)', re.S)
MADE = ('docs/models/', 'docs/reference/')       # pages that tools/docs.py makes
NEEDS = {'data': 'needs the dataset: these outputs were saved', 'slow': 'takes minutes: these outputs were saved'}


def page_of(path):
    "Where a file of the repository stands among the site's pages, or None."
    path = str(path)
    if path in ('nbs/index.ipynb', 'README.md'): return 'index.md'
    if path == 'nbs/notebooks.ipynb': return 'notebooks.md'          # docs/ has its own list
    if path == 'nbs/app.ipynb': return None
    if path in ('CONTRIBUTING.md', 'CHANGELOG.md'): return f'maintain/{path.lower()}'
    if path.startswith('docs/') and path.endswith('.md'): return path.removeprefix('docs/')
    if path.startswith('nbs/') and path.endswith('.ipynb'): return path.removeprefix('nbs/')
    return None


def pages():
    "{file in the repository: page} of everything that is written by hand."
    written = [*(ROOT/'docs').rglob('*.md'), ROOT/'CONTRIBUTING.md', ROOT/'CHANGELOG.md']
    found = [p.relative_to(ROOT).as_posix() for p in written] + [p.as_posix() for p in notebooks()]
    listed = 'nbs/index.ipynb', 'nbs/notebooks.ipynb'
    return {p: page for p in found if (page := page_of(p)) and p not in listed}


def relinked(text, path, page, source):
    "Relative links of the file `path`, as the page `page` needs them; pictures are copied to the folder `source`."
    def fix(m):
        if re.match(r'[a-z]+:|/', m[2]): return m[0]
        name, _, anchor = m[2].partition('#')
        anchor = anchor and '#' + re.sub(r'[^\w-]', '', anchor.lower())      # as GitHub and MyST name a heading
        if not name: return m[1] + anchor
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        if target.startswith(MADE): return m[0]
        if not (ROOT/target).exists(): raise SystemExit(f"{path} links {m[2]}, which does not exist.")
        up = posixpath.dirname(page)
        if other := page_of(target): return m[1] + posixpath.relpath(other, up) + anchor
        if target.endswith(('.jpg', '.png', '.gif', '.svg', '.webp')):
            copy = source/target
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT/target).read_bytes())
            return m[1] + posixpath.relpath(target, up)
        return m[1] + ((BLOB if (ROOT/target).is_file() else TREE) + target)
    return ''.join(o if i % 2 else LINK.sub(fix, o) for i,o in enumerate(CODE.split(text)))


def _markdown(text, of): return dict(cell_type='markdown', id=f"api-{of['id']}", metadata={}, source=text)


def _exported(cell, names, module):
    "An exported cell: the reference of what it defines, then its code behind a toggle."
    lines = len(cell['source'].splitlines())
    what = ', '.join(names) if names else 'imports and settings'
    cell['metadata'] = dict(tags=['hide-input', 'exported'], mystnb=dict(
        code_prompt_show=f'Code: {what} ({lines} lines)', code_prompt_hide=f'Hide the code of {what}'))
    shown = [entry(o, index=False) for o in entries(module) if o.name in names]
    return [_markdown('\n\n'.join(shown), cell), cell] if shown else [cell]


def _defined(source): return re.findall(r'^(?:def|class|async def) ([A-Za-z]\w*)|^([A-Z]\w*)\s*=', source, re.M)


def notebook(path, page, source):
    "A notebook as it is read: no hidden cells, no flags, the exported code folded, links that work on the site."
    nb, cells = json.loads((ROOT/path).read_text(encoding='utf-8')), []
    flags = [directives(''.join(c['source'])) for c in nb['cells']]
    exports = next((o['default_exp'] for o in flags if 'default_exp' in o), None)
    for cell, flag in zip(nb['cells'], flags):
        cell['source'] = text = ''.join(cell['source'])
        if cell['cell_type'] == 'raw' or {'hide', 'default_exp'} & flag.keys(): continue
        if cell['cell_type'] == 'markdown': cell['source'] = relinked(text, path, page, source)
        else:
            cell['source'] = re.sub(r'^\s*#\s*\|.*\n?', '', text, flags=re.M).strip()
            if not cell['source']: continue
            if {'export', 'exporti', 'exports'} & flag.keys():
                names = [a or b for a,b in _defined(cell['source'])]
                cells += _exported(cell, names, f'fer_nb.{exports}')
                continue
            tags = [o for o in NEEDS if o in flag] + ['remove-input']*(flag.get('echo') == 'false')
            cell['metadata'] = dict(tags=tags)
            for o in cell['outputs']:
                if 'text/markdown' in o.get('data', {}):
                    o['data']['text/markdown'] = relinked(''.join(o['data']['text/markdown']), path, page, source)
        cells.append(cell)
    nb['cells'] = cells
    nb['metadata'] = dict(kernelspec=dict(name='python3', display_name='python3', language='python'),
                          language_info=dict(name='python'))
    return nb


def titles(path):
    "Title and quote of a notebook or a Markdown file."
    if str(path).endswith('.ipynb'): return title(json.loads((ROOT/path).read_text(encoding='utf-8')))
    text = (ROOT/path).read_text(encoding='utf-8')
    m = re.match(r'# (.+)\n+(?:> (.+))?', text)
    return m[1].strip(), (m[2] or '').strip()


def write(source):
    "All pages into the folder `source`; returns {page without its ending: file that is edited to change it}."
    edits = {}
    for path,page in pages().items():
        out = source/page
        out.parent.mkdir(parents=True, exist_ok=True)
        if page.endswith('.ipynb'): text = json.dumps(notebook(path, page, source))
        else: text = relinked((ROOT/path).read_text(encoding='utf-8'), path, page, source)
        out.write_text(text, encoding='utf-8')
        edits[os.path.splitext(page)[0]] = path
    return edits


def listing(paths, here=''):
    "A list of pages with their quotes, for a page in the folder `here`."
    known = {p: page_of(p) for p in map(str, paths)}
    lines = []
    for path,page in known.items():
        name, quote = titles(path)
        lines.append(f'- [{name}]({posixpath.relpath(page, here or ".")})' + (f': {quote}' if quote else ''))
    return '\n'.join(lines)


def contents(docnames, **options):
    "A table of contents for the sidebar."
    chosen = '\n'.join(f':{k}: {v}' for k,v in (dict(hidden='') | options).items())
    return '\n'.join(['```{toctree}', chosen, '', *docnames, '```'])
