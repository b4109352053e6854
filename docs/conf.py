"Sphinx's settings for the site that `make docs` builds; tools/docs.py writes the pages that it reads."
import json
import os
import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from furo.navigation import get_navigation_tree

PAGES = json.loads((Path(os.environ['FER_NB_DOCS'])/'pages.json').read_text(encoding='utf-8'))

project, author, copyright = 'fer_nb', PAGES['author'], PAGES['copyright']
version = release = PAGES['version']
html_baseurl = PAGES['url']
extensions = ['myst_nb', 'sphinx_copybutton']
templates_path, html_static_path = ['_templates'], ['_static']
exclude_patterns = ['pages.json']

html_theme, html_title, html_css_files = 'furo', 'fer_nb', ['site.css']
html_js_files = [('try.js', {'defer': 'defer'})]
html_favicon = '../fer_nb/static/site/icon.svg'
html_show_sphinx = html_copy_source = False
html_theme_options = dict(
    sidebar_hide_name=False,
    light_css_variables={'color-brand-primary': '#0067a3', 'color-brand-content': '#0067a3'},
    dark_css_variables={'color-brand-primary': '#6cb8e8', 'color-brand-content': '#6cb8e8'})
pygments_style, pygments_dark_style = 'friendly', 'github-dark'
html_math_renderer = 'mathml'

nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'         # CommonMark, its default, has no tables
nb_ipywidgets_js = {}                       # its default is loaded from another host
nb_mime_priority_overrides = [('html', 'application/vnd.jupyter.widget-view+json', None)]
myst_enable_extensions = ['dollarmath', 'fieldlist', 'deflist', 'attrs_inline']
myst_heading_anchors = 4
myst_update_mathjax = False
myst_links_external_new_tab = False
copybutton_prompt_text = '$ '
maximum_signature_line_length = 88
toc_object_entries_show_parents = 'hide'
python_use_unqualified_type_names = True
add_module_names = False


def edit_link(app, pagename, templatename, context, doctree):
    "The file to edit is the notebook or the Markdown of the repository, never the page that was made of it."
    path = PAGES['edits'].get(pagename)
    context['edit_url'] = path and PAGES['edit'] + path


def navigation(app, pagename, templatename, context, doctree):
    "The sidebar, computed once: furo would resolve the same tree of all pages again on each of them."
    if not hasattr(app, 'sidebar'):
        everything = dict(collapse=False, titles_only=True, maxdepth=-1, includehidden=True)
        tree = app.builder._get_local_toctree('index', **everything)
        app.sidebar = get_navigation_tree(tree)
        app.above = {o: p for p, found in app.env.toctree_includes.items() for o in found}
    up, here, text = '../'*pagename.count('/'), pagename, app.sidebar
    text = re.sub(r'href="(?!#|\w+:)', f'href="{up}', text)
    while here in app.above:
        link, page = re.escape(f'href="{up}{here}.html"'), ' current-page' if here == pagename else ''
        text = re.sub(rf'<li class="(toctree-l\d[^"]*)"><a class="([^"]*)" {link}>',
                      rf'<li class="\1 current{page}"><a class="current \2" href="{up}{here}.html">', text)
        text = re.sub(rf'({link}>(?:(?!</a>).)*</a><input )', r'\1checked="" ', text)
        here = app.above[here]
    context['furo_navigation_tree'] = text


def no_tree(app, pagename, templatename, context, doctree): context['toctree'] = lambda **_: ''


def autolink(app, doctree, docname):
    "A public name between backticks leads to its reference, where nothing else can be meant."
    own = PAGES['modules'].get(docname)
    names = {}
    for full, o in app.env.get_domain('py').objects.items():
        if o.objtype in ('function', 'class', 'data'): names.setdefault(full.split('.')[-1], []).append(o)
    for node in [*doctree.findall(nodes.literal)]:
        text = node.astext().removesuffix('()')
        telling = text != node.astext() or '_' in text or text != text.lower()
        found = names.get(text, [])
        if not telling: found = [o for o in found if o.docname == own]
        linked = isinstance(node.parent, (nodes.reference, nodes.title))
        if linked or len(found) != 1 or found[0].docname == docname: continue
        uri = app.builder.get_relative_uri(docname, found[0].docname) + '#' + found[0].node_id
        node.replace_self(nodes.reference('', '', node.deepcopy(), refuri=uri, internal=True, classes=['api']))


def setup(app):
    def visit(self, node):
        formula = tex2mathml(node.astext())         # browsers draw MathML; MathJax would come from another host
        self.body.append(f'<p class="formula">{formula}</p>' if isinstance(node, nodes.math_block) else formula)
        raise nodes.SkipNode
    app.add_html_math_renderer('mathml', inline_renderers=(visit, None), block_renderers=(visit, None))
    app.connect('html-page-context', edit_link)
    app.connect('html-page-context', no_tree, priority=400)         # furo's own is 500
    app.connect('html-page-context', navigation, priority=600)
    app.connect('doctree-resolved', autolink)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
