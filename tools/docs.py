"""Builds the documentation site from the notebooks' saved outputs: `make docs`, or tools/docs.py [FOLDER].

Nothing is executed. Pages written by hand are in docs/; where one has a line `<!-- NAME -->`, the part of that name is
put in. A page without a server that `make site` left in site/ goes along, and the first page shows it."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import docs_models as made
import docs_pages as pages
import docs_reference as reference
import release
from common import CORES, ROOMS, ROOT, course, notebooks

from fer_nb.inference.zoo import list_models, models_table

ROOM_TITLES = {'': 'Basics', 'inference': 'Inference', 'video': 'Video', 'training': 'Training',
               'apps': 'Apps', 'bench': 'Benchmarks', 'cli': 'Command line'}


COURSE = """Six steps of about twenty minutes each, from a photo to a page of your own. Each has an exercise with its
solution, and runs without data or network."""


def room_of(path): return path.parts[1] if len(path.parts) > 2 else ''
def docname(path): return os.path.splitext(pages.page_of(path))[0]


def by_room():
    "The notebooks of the package, room by room, with their quotes."
    parts = []
    for room in ROOMS:
        paths = [p for p in notebooks() if room_of(p) == room and p.name[0].isdigit()]
        parts += [f'## {ROOM_TITLES[room]}', pages.listing(paths),
                  pages.contents([docname(p) for p in paths], caption=ROOM_TITLES[room])]
    return '\n\n'.join(parts)


def tutorials():
    "The course, in order, then the other tutorials; in the sidebar the steps have their numbers."
    steps = course()
    others = [p for p in notebooks() if room_of(p) == 'tutorials' and p not in steps]
    numbered = [f'{i}. {pages.titles(p)[0]} <{docname(p)}>' for i,p in enumerate(steps, 1)]
    listed = re.sub('^- ', '1. ', pages.listing(steps), flags=re.M)
    return '\n\n'.join(['## The course', COURSE, listed, '## Further tutorials', pages.listing(others),
                        pages.contents([*numbered, *map(docname, others)])])


def howto():
    "The guides, which are notebooks, and the pages of docs/howto."
    guides = [p for p in notebooks() if room_of(p) == 'guides']
    text, names = folder('howto')
    return f'{pages.listing(guides)}\n{text}\n\n' + pages.contents([*map(docname, guides), *names])


def modules():
    "A page for each module, and a list of the pages."
    parts, room = [], None
    for module,path in reference.modules():
        if (at := room_of(path)) != room:
            parts.append(f'## {ROOM_TITLES[at]}')
            room = at
        short = module.removeprefix('fer_nb.')
        names = ', '.join(f'`{o.name}`' for o in reference.entries(module))
        parts.append(f'- [{short}](reference/{short}.md): {names}')
    shorts = [m.removeprefix('fer_nb.') for m,_ in reference.modules()]
    return '\n'.join(re.sub(r'^## ', '\n## ', o) + ('\n' if o[0] == '#' else '') for o in parts) + '\n\n' + \
        pages.contents(['reference/commands', *(f'reference/{o}' for o in shorts)])


def models():
    return made.models_overview() + '\n\n' + pages.contents([f'models/{c.name}' for c in made.cards()])


def folder(name):
    "The pages of a folder of docs/, with their quotes; `order` in the first lines of each gives its place."
    def order(p): return int((re.search(r'<!-- order (\d+) -->', p.read_text(encoding='utf-8')) or [0, 99])[1]), p.name
    paths = [p.relative_to(ROOT) for p in sorted((ROOT/'docs'/name).glob('*.md'), key=order)]
    return pages.listing(paths), [docname(p) for p in paths]


def listed(name, more=()):
    text, names = folder(name)
    return text + '\n\n' + pages.contents([*names, *more])


TRY = '''<section class="try" data-src="try/index.html">
<p><strong>Try it here.</strong> The program runs in your browser: no picture leaves your device.
It loads about 4 MB once.</p>
<button type="button">Start the program</button> <a href="try/index.html">Open it on a page of its own</a>
</section>'''


def try_it(): return TRY if (ROOT/'site/index.html').is_file() else ''


PARTS = dict(
    try_it=try_it, tutorials=tutorials, notebooks=by_room, modules=modules, models=models,
    howto=howto, explain=lambda: listed('explain'), research=lambda: listed('research'),
    maintain=lambda: listed('maintain', ['maintain/contributing', 'maintain/changelog']),
    two_rulers=made.two_rulers, 
    models_research=lambda: models_table(list_models()), comparison=made.comparison,
    films=made.films, in_browser=made.in_browser,
    machine=made.machine, evaluations=made.evaluations, made_by=made.made_by, layers=made.layers_picture,
    rooms=made.rooms_table, benchmark_command=lambda: made.command('benchmark'), release=release.checklist,
    robust_command=lambda: made.command('robust'), citation=lambda: block('CITATION.cff', 'yaml'))


def block(path, language=''): return f"```{language}\n{(ROOT/path).read_text(encoding='utf-8').strip()}\n```"


def filled(text):
    def part(m):
        if m[1].startswith('order '): return ''
        if m[1] not in PARTS: sys.exit(f"docs/ asks for the part {m[1]}, which tools/docs.py does not make.")
        return PARTS[m[1]]()
    return re.sub(r'^<!-- (\w+(?: \d+)?) -->$', part, text, flags=re.M)


def sources(to):
    "Write Sphinx's input into the folder `to`."
    edits = pages.write(to)
    for page in to.rglob('*.md'): page.write_text(filled(page.read_text(encoding='utf-8')), encoding='utf-8')
    for name in ('models', 'reference'): (to/name).mkdir()
    for card in made.cards():
        at = card.path.parent.relative_to(ROOT).as_posix()
        (to/f'models/{card.name}.md').write_text(made.card_page(card, at).replace('BLOB', pages.BLOB), encoding='utf-8')
        edits[f'models/{card.name}'] = f'{at}/{card.name}.json'
    for module,path in reference.modules():
        short = module.removeprefix('fer_nb.')
        text = reference.page(module, *made.page_title(path), '../' + pages.page_of(path))
        (to/f'reference/{short}.md').write_text(text, encoding='utf-8')
        edits[f'reference/{short}'] = path.as_posix()
    (to/'reference/commands.md').write_text(reference.commands(), encoding='utf-8')
    modules = {docname(p): f"reference/{m.removeprefix('fer_nb.')}" for m,p in reference.modules()}
    known = {k: pages.CFG[k] for k in ('author', 'copyright', 'version')}
    url = pages.CFG['doc_host'] + pages.CFG['doc_baseurl'] + '/'
    known |= dict(edits=edits, modules=modules, edit=pages.EDIT, url=url)
    (to/'pages.json').write_text(json.dumps(known), encoding='utf-8')


class Links(HTMLParser):
    "The links of a page, the files that it loads, and its anchors."
    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ('id', 'name') if a.get(k)}
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        if tag == 'link' and a.get('rel') in ('stylesheet', 'icon', 'preload', 'manifest'): self.loads.append(a['href'])
        if a.get('src'): self.loads.append(a['src'])


def dead(out):
    "A sentence for each broken link within the site, and for each file loaded from another host."
    read = {p: Links(p.read_text(encoding='utf-8')) for p in out.rglob('*.html') if 'try' not in p.parts}
    wrong = set()
    for path,page in read.items():
        for link in [*page.links, *page.loads]:
            parts, here = urlsplit(link), path.relative_to(out)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != 'data': wrong.add(f"{here} loads {link}")
                continue
            target = (path.parent/unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir(): target /= 'index.html'
            if not target.exists(): wrong.add(f"{here} links {link}, which does not exist")
            elif parts.fragment and target in read and unquote(parts.fragment) not in read[target].ids:
                wrong.add(f"{here} links {link}, and there is no such place on that page")
    return sorted(wrong)


def unread(out):
    "A sentence for each page on which a Markdown table is left as text."
    return [f"{p.relative_to(out)} shows a table as text" for p in sorted(out.rglob('*.html'))
            if '<p>|' in p.read_text(encoding='utf-8')]


def build(out):
    "Build the site in the folder `out`, which is replaced if the build succeeds."
    with tempfile.TemporaryDirectory() as tmp:
        source, html = Path(tmp)/'source', Path(tmp)/'html'
        source.mkdir()
        sources(source)
        command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-j', str(CORES), '-b', 'html',
                   '-d', Path(tmp)/'doctrees', '-c', ROOT/'docs', source, html]
        env = os.environ | {'FER_NB_DOCS': str(source), 'PYTHONWARNINGS': 'ignore'}
        if subprocess.run(command, env=env).returncode: sys.exit("Sphinx reports problems; see above.")
        (html/'.nojekyll').touch()                      # otherwise GitHub Pages omits _static
        if try_it(): shutil.copytree(ROOT/'site', html/'try')
        if wrong := dead(html) + unread(html): sys.exit('\n'.join(wrong))
        if out.exists():
            if any(out.iterdir()) and not (out/'objects.inv').is_file():
                sys.exit(f"{out} is not a site of these documents: choose another folder.")
            shutil.rmtree(out)
        shutil.copytree(html, out)


def main():
    out, start = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT/'_docs').resolve(), time.time()
    build(out)
    files = [p for p in out.rglob('*') if p.is_file()]
    print(f"{sum(p.suffix == '.html' for p in files)} pages, {sum(p.stat().st_size for p in files)/1e6:.0f} MB, no "
          f"warning, no dead link, {time.time() - start:.0f} s: {out}/index.html")


if __name__ == '__main__': main()
