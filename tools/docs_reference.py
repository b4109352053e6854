"The reference: every public name with its signature, docstring and parameter comments, from the source."
import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cache

from common import ROOT

@dataclass
class Name:
    "A public name in the reference."
    kind:str                # function, class, method, property, attribute or data
    name:str
    module:str
    signature:str = ''
    doc:str = ''
    params:list = field(default_factory=list)       # (name, type, comment)
    inner:list = field(default_factory=list)        # public members of a class
    value:str = ''


def _comments(source):
    "{line: comment} of the comments beside code, with their continuation below it."
    tokens, code, found = tokenize.generate_tokens(io.StringIO(source).readline), set(), {}
    for o in tokens:
        if o.type == tokenize.COMMENT: found[o.start[0]] = o.string.lstrip('# ').rstrip()
        elif o.string.strip(): code |= {*range(o.start[0], o.end[0] + 1)}
    beside = {n: text for n,text in found.items() if n in code}
    for n,text in sorted(found.items()):
        if n not in code and n - 1 in found and (first := max((k for k in beside if k < n), default=None)):
            if all(k in found for k in range(first, n)): beside[first] += ' ' + text
    return beside


def _arguments(a, comments):
    "The parameters in order; a comment belongs to the last parameter on its line."
    every = [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]
    last = {o.lineno: o for o in every}
    for o in every:
        if o.arg in ('self', 'cls') or o.arg.startswith('_'): continue
        kind = ast.unparse(o.annotation) if o.annotation else ''
        yield o.arg, kind, comments.get(o.lineno, '') if last[o.lineno] is o else ''


def _signature(node):
    "The signature as written, without `self`; the details of typer options are on the page of commands."
    text = ast.unparse(node.args)
    text = re.sub(r'^(self|cls)(, |$)', '', text)
    return f'({text})' + (f' -> {ast.unparse(node.returns)}' if node.returns else '')


def _function(node, module, comments, inside=False):
    marks = {ast.unparse(o).split('.')[-1] for o in node.decorator_list}
    kind = 'property' if {'property', 'cached_property'} & marks else 'method' if inside else 'function'
    command = any('command' in o for o in map(ast.unparse, node.decorator_list))
    return Name(kind, node.name, module, '' if kind == 'property' else '(...)' if command else _signature(node),
                ast.get_docstring(node) or '', [] if command else [o for o in _arguments(node.args, comments) if o[2]])


def _class(node, module, comments):
    shown, params, signature = [], [], ''
    for o in node.body:
        if isinstance(o, ast.FunctionDef):
            if o.name == '__init__':
                signature = _signature(o)
                params = [p for p in _arguments(o.args, comments) if p[2]]
            elif o.name == '__call__' or o.name[0] != '_': shown.append(_function(o, module, comments, True))
        elif isinstance(o, ast.AnnAssign) and o.target.id[0] != '_':
            shown.append(Name('attribute', o.target.id, module, '', comments.get(o.lineno, ''),
                              value=ast.unparse(o.annotation)))
    inner = {o.name: o for o in reversed(shown)}            # merges a property and its setter
    return Name('class', node.name, module, signature, ast.get_docstring(node) or '', params,
                sorted(inner.values(), key=shown.index))


class _Qualified(ast.NodeTransformer):
    "Adds the module to the package's own classes in annotations, so the links are correct."
    def __init__(self, tree, module):
        self.homes = {o.name: module for o in tree.body if isinstance(o, ast.ClassDef)}
        for o in ast.walk(tree):
            if isinstance(o, ast.ImportFrom) and o.level:
                home = '.'.join([*module.split('.')[:-o.level], *filter(None, [o.module])])
                self.homes |= {e.asname or e.name: home for e in o.names}

    def visit_Name(self, node):
        home = self.homes.get(node.id)
        return ast.copy_location(ast.Name(f'{home}.{node.id}'), node) if home else node

    def visit_arg(self, node):
        if node.annotation: node.annotation = self.visit(node.annotation)
        return node

    def visit_FunctionDef(self, node):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for o in filter(None, [*every, node.args.vararg, node.args.kwarg]): self.visit_arg(o)
        if node.returns: node.returns = self.visit(node.returns)
        return node

    def visit_ClassDef(self, node):
        for o in node.body:
            if isinstance(o, ast.FunctionDef): self.visit_FunctionDef(o)
            elif isinstance(o, ast.AnnAssign): o.annotation = self.visit(o.annotation)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


@cache
def entries(module):
    "The public names of a module, in the order of its notebook."
    path = ROOT/f"{module.replace('.', '/')}.py"
    source = path.read_text(encoding='utf-8')
    tree, comments = ast.parse(source), _comments(source)
    public = {e for o in tree.body if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '') == '__all__'
              for e in ast.literal_eval(o.value)}
    found, qualified = [], _Qualified(tree, module)
    for o in tree.body:
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): qualified.visit(o)
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef)): made = [_function(o, module, comments)]
        elif isinstance(o, ast.ClassDef): made = [_class(o, module, comments)]
        elif isinstance(o, (ast.Assign, ast.AnnAssign)):
            targets = o.targets if isinstance(o, ast.Assign) else [o.target]
            names = [e.id for t in targets for e in getattr(t, 'elts', [t]) if isinstance(e, ast.Name)]
            value = ' '.join(ast.unparse(o.value).split()) if o.value else ''
            made = [Name('data', n, module, doc=comments.get(o.lineno, ''), value=value) for n in names]
        else: continue
        found += [n for n in made if n.name in public]
    return found


def entry(o, index=True, depth=0, prefix=''):
    "A name as a directive of Sphinx's Python domain, in Markdown."
    kind, fence = o.kind, '`'*(7 - depth)
    options = ['' if index else ':no-index:']
    if kind == 'data' and len(o.value) < 70: options.append(f':value: {o.value}')
    if kind in ('function', 'class', 'data'): options.append(f':module: {o.module}')
    body = [_text(o.doc)]
    body.append('\n'.join(f':param {name}: {_text(text)}' for name,_,text in o.params))
    fields = [m for m in o.inner if m.kind == 'attribute']
    body.append('\n'.join(f':param {m.name}: {_text(m.doc)}\n:type {m.name}: {m.value.replace("fer_nb.", "~fer_nb.")}'
                          for m in fields))
    body += [entry(m, index, depth + 1) for m in o.inner if m.kind != 'attribute']
    head = f'{fence}{{py:{kind}}} {o.name}{o.signature}'
    return '\n'.join([head, *filter(None, options), '', '\n\n'.join(filter(None, body)), fence])


def _text(doc):
    "A docstring as Markdown: indented examples become code, and HTML is escaped."
    doc = re.sub(r'<(?=[a-z/!])', '&lt;', doc) if '`' not in doc else doc
    return re.sub(r'(?m)^(#+ )', r'\\\1', doc)


def modules():
    "The modules with public names, in the order of the rooms."
    from common import notebooks
    for path in notebooks():
        m = re.search(r'#\|\s*default_exp ([\w.]+)', (ROOT/path).read_text(encoding='utf-8'))
        if m: yield f'fer_nb.{m[1]}', path


def page(module, title, quote, link):
    "The reference of a module."
    shown = '\n\n'.join(entry(o) for o in entries(module))
    return (f'# {module.removeprefix("fer_nb.")}\n\n> {quote}\n\nHow it works, with examples: [{title}]({link}).\n\n'
            f'```{{py:module}} {module}\n```\n\n{shown}\n')


def commands():
    "Every command of `fer-nb` with its options, from its help text."
    import typer
    from typer.cli import get_docs_for_click

    from fer_nb.cli.main import app
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name='fer-nb')
    return get_docs_for_click(obj=command, ctx=context, name='fer-nb', title='Commands')
