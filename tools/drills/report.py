"The findings of the drills, as JSON and as a page."

import json
from html import escape
from pathlib import Path

CSS = '''body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:1rem 0}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:left}
td.n{text-align:right}.bad{color:#b00}details{margin:1rem 0}svg{max-width:100%}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}.bad{color:#f77}}'''


def entries(drill):
    "The parts of a drill, each with its findings."
    return drill if isinstance(drill, list) else [drill]


def findings(done):
    "[(drill, part, finding)] of all drills."
    name = lambda o: o.get('target') or o.get('job') or o.get('command') or ''
    return [
        (d, name(o), f) for d, parts in done['drills'].items() for o in entries(parts) for f in o.get('findings', ())
    ]


def fuzz_line(o):
    "A target's figures in one line."
    return (
        f"{o['target']}: {o['cases']:,} inputs in {o['seconds']:.0f} s, {o['accepted']:,} read, "
        f"{o['refused']:,} refused, "
        f"{o['highest_mb']} MB at most, {len(o['findings'])} findings"
    )


def text(name, drill):
    "A drill's figures for the terminal."
    lines = []
    for o in entries(drill):
        plain = {k: v for k, v in o.items() if isinstance(v, (str, int, float)) and k != 'seed'}
        plain['findings'] = len(o.get('findings', ()))
        lines.append(', '.join(f'{k} {v}' for k, v in plain.items()))
        lines += [f'  skipped: {s}' for s in o.get('skipped', ())] if isinstance(o.get('skipped'), list) else []
        lines += [f"  {f['kind']}: {f['text']}" for f in o.get('findings', ())]
    return '\n'.join(lines)


def table(rows, columns):
    "An HTML table of dicts."
    head = ''.join(f'<th>{escape(c)}</th>' for c in columns)
    cell = lambda v: f'<td class="n">{v:,}</td>' if isinstance(v, (int, float)) else f'<td>{escape(str(v))}</td>'
    body = ''.join('<tr>' + ''.join(cell(o.get(c, '')) for c in columns) + '</tr>' for o in rows)
    return f'<table><tr>{head}</tr>{body}</table>'


def curve(rows, keys, width=860, height=220):
    "Memory over time, as SVG."
    far, top = max(o['seconds'] for o in rows) or 1, max(o[k] for o in rows for k in keys) * 1.1
    lines = ''
    for k, colour in zip(keys, ('#0072B2', '#D55E00')):
        points = ' '.join(f"{width * o['seconds'] / far:.1f},{height - height * o[k] / top:.1f}" for o in rows)
        y = height - height * rows[-1][k] / top - 6
        lines += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        lines += f'<text x="{width - 4}" y="{y:.0f}" text-anchor="end" fill="{colour}">{k}: {rows[-1][k]:,}</text>'
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="memory over time">{lines}</svg>'


COLUMNS = {
    'fuzz': ('target', 'cases', 'accepted', 'refused', 'highest_mb', 'restarts', 'seconds'),
    'kill': ('job', 'kills', 'ended_before', 'seconds'),
    'disk': ('command', 'runs', 'fitted'),
    'soak': ('seconds', 'visitors', 'clients', 'page_messages', 'api_requests', 'errors', 'kernels_left'),
}


def section(name, drill):
    "A drill on the page."
    parts = entries(drill)
    out = f'<h2>{name}</h2>'
    if name in COLUMNS:
        out += table(
            [o | dict(findings=len(o.get('findings', ()))) for o in parts if len(o) > 1], (*COLUMNS[name], 'findings')
        )
    if name == 'soak' and parts[0].get('rows'):
        out += curve(parts[0]['rows'], ('page_mb', 'api_mb'))
    if name == 'supply' and parts[0].get('packages'):
        rows = [dict(zip(('package', 'version', 'licence'), o)) for o in parts[0]['packages']]
        licences = table(rows, ('package', 'version', 'licence'))
        out += f"<details><summary>{len(rows)} packages and their licences</summary>{licences}</details>"
    for o in parts:
        said = o.get('skipped', ())
        out += ''.join(f'<p>{escape(s)}</p>' for s in ([said] if isinstance(said, str) else said))
    return out


def write(folder, done):
    "drills.json and drills.html."
    folder = Path(folder)
    (folder / 'drills.json').write_text(json.dumps(done, indent=1) + '\n')
    found = [
        dict(drill=d, part=p, kind=f['kind'], what=f['text'], input=f.get('file', '')) for d, p, f in findings(done)
    ]
    body = ''.join(section(k, v) for k, v in done['drills'].items())
    listed = table(found, ('drill', 'part', 'kind', 'what', 'input')) if found else '<p>Nothing was found.</p>'
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Drills</title><style>{CSS}</style><h1>Drills</h1>'
        f"<p>{done['created']}, {escape(done['machine'])}, seed {done['seed']}, {done.get('minutes', 0)} minutes: "
        f"<code>{escape(done['command'])}</code></p><h2>Findings</h2>{listed}{body}</html>"
    )
    (folder / 'drills.html').write_text(page)
