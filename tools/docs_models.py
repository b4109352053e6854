"Pages generated from the cards, the recorded benchmarks and the import table; nothing is typed by hand."
import io
import json
import re
from functools import cache

from common import ROOT, title

from fer_nb.inference.zoo import DEFAULT, RULERS, list_models, models_table, read_card

def percent(v, digits=1): return '' if v is None else f'{100*v:.{digits}f}'
def interval(ci): return '' if not ci or ci[0] is None else f'{100*ci[0]:.1f} to {100*ci[1]:.1f}'


def table(head, rows, left=1):
    "A Markdown table; the columns after the first `left` are numbers."
    lines = [head, ['---']*left + ['--:']*(len(head) - left), *rows]
    return '\n'.join(f"| {' | '.join(map(str, o))} |" for o in lines)


# -- Model cards


def heatmap(figures, labels, truth):
    "The confusion matrix as a table whose cells are tinted by their share of the true class."
    head = ''.join(f'<th scope="col"><span>{o}</span></th>' for o in labels)
    rows = []
    for label,counts in zip(labels, figures['confusion']):
        whole = max(1, sum(counts))
        cells = (f'<td style="--s:{n/whole:.2f}"{" class=strong" if n/whole > .5 else ""} title="{truth} {label}, '
                 f'answer {o}: {n:,} of {sum(counts):,}">{100*n/whole:.0f}</td>' for o,n in zip(labels, counts))
        rows.append(f'<tr><th scope="row">{label} <small>{sum(counts):,}</small></th>{"".join(cells)}</tr>')
    return (f'<div class="wide"><table class="confusion"><caption>Rows: {truth}, with the number of faces. Columns: '
            f'the answer. Percent of the row.</caption><thead><tr><td></td>{head}</tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table></div>')


def per_class(figures):
    rows = [(k, f"{o['support']:,}", percent(o['precision']), percent(o['recall']), interval(o.get('recall_ci')),
             percent(o['f1']), interval(o.get('f1_ci'))) for k,o in figures['per_class'].items()]
    return table(('class', 'faces', 'precision', 'recall', '95%', 'F1', '95%'), rows)


def ruler_rows(card):
    for name,words in RULERS.items():
        if not (o := card.ruler(name)): continue
        yield (words, f"{o['n']:,}", percent(o['accuracy']), interval(o['accuracy_ci']), percent(o['macro_f1']),
               interval(o.get('macro_f1_ci')), f"{o['distance']:.3f}" if o.get('distance') is not None else '',
               percent(o.get('calibration_error_scaled', o.get('calibration_error'))))


def history(card, folder):
    "The training history as a plot, or the reason why a mean has none."
    if mean := card.get('averaged'): return f"The weights are the mean of {len(mean)} runs, whose commands come first."
    from fer_nb.training.plots import plot_history
    figure, svg = plot_history(ROOT/f'{folder}/{card.name}.csv'), io.StringIO()
    figure.savefig(svg, format='svg', metadata=dict(Date=None, Creator=None))
    text = re.sub(r'(?s)^.*?(?=<svg)|<metadata>.*?</metadata>', '', svg.getvalue())
    text = re.sub(r'\n\s*', '\n', text).strip()
    label = f'Loss and accuracy of {card.name} by epoch'
    return f'<div class="wide"><figure class="chart" role="img" aria-label="{label}">{text}</figure></div>'


def commands(card): return [o['command'].strip() for o in (*card.get('averaged', ()), card)]


def teachers(card):
    "Where the recorded answers come from that the network, or a run that is part of its mean, learned from."
    found = {t['answers']: t for o in (card, *card.get('averaged', ()))
             for t in o.get('distillation', {}).get('teachers', ()) if 'trunk' in t}
    return '\n\n'.join(f"`{k}` holds the answers of a larger network on the trunk of {t['trunk']} "
                       f"(PublicTest: {t['public']}):\n\n```sh\n{t['command'].strip()}\n```" for k,t in found.items())


ANSWERS = dict(clear='one label', mixed='mixed: two labels', uncertain='uncertain')


def answers(card):
    if not card.get('answers'): return ''
    rows = [(words, percent(o['share']), interval(o['share_ci']), percent(o.get('accuracy')), percent(o['divided']))
            for k,words in ANSWERS.items() for o in [card['answers'][k]]]
    return ('## Clear, mixed and uncertain answers\n\n' + table(
        ('answer', 'of all faces, %', '95%', 'right, %', 'people were divided, %'), rows) + '\n\n'
        f"The threshold is {card['answers']['threshold']:.2f}. [How such an answer is "
        "made](../explain/calibration.md).\n")


def data_rows(card):
    counts = card['training_data'].get('counts', {})
    return [(o, *(f"{counts[s].get(o, 0):,}" for s in counts)) for o in card['labels']], list(counts)


def card_page(card, folder='models'):
    "A model's card as a page."
    first = card.ruler('votes') and 'votes' or 'label'
    rows, splits = data_rows(card)
    facts = [('architecture', f"`{card['architecture']}`"), ('parameters', f"{card['parameters']:,}"),
             ('multiply-adds for a face', f"{card['multiply_adds']:,}"), ('precision', card['precision']),
             ('input', f"{card['input_size']} x {card['input_size']} pixels, grey"),
             ('file', f"`{card['file']['name']}`, {card['file']['bytes']/1000:,.0f} kB"),
             ('one crop, one thread', f"{card['milliseconds']:.2f} ms on the machine that wrote the card"),
             ('SHA-256', f"`{card['file']['sha256']}`"),
             ('epochs', f"{card['epochs']}, " + (f"in {len(card['averaged'])} runs" if card.get('averaged') else
                                                 f"of which epoch {card['best_epoch']} was kept")),
             ('seed', ', '.join(str(o['seed']) for o in card.get('averaged') or [card])),
             ('made', card['created'][:10])]
    parts = [f"# {card.name}", f"> {card['description']}"]
    if card.name == DEFAULT: parts.append("This is the default: `EmotionRecognizer()` loads it.")
    parts += ['## Figures', "On PublicTest, a single crop for each face. Every figure is in percent except the "
              "distance; intervals are 95%.",
              table(('measured against', 'faces', 'accuracy', '95%', 'macro F1', '95%', 'distance',
                     'calibration error'), ruler_rows(card)),
              f"```sh\nfer-nb evaluate --model {card.name} --data fer2013.zip --votes votes.csv --split public\n```"]
    truths = dict(votes='majority', votes8='majority', label='label')
    for name,words in RULERS.items():
        if name != 'votes8' and (o := card.ruler(name)):
            opened = '' if name == first else '<details><summary>Show the matrix and the classes</summary>\n\n'
            parts += [f"## By class, against {words}", opened + heatmap(o, [*o['per_class']], truths[name]),
                      per_class(o) + ('\n\n</details>' if opened else '')]
    parts += [answers(card), '## How it was trained', "```sh\n" + '\n'.join(commands(card)) + "\n```",
              history(card, folder), teachers(card),
              table(('class', *splits), rows),
              '\n'.join(f'- {o}' for o in card['training_data'].get('notes', ())), '## The file',
              table(('what', 'value'), facts, left=2), '\n'.join(f'- {o}' for o in card.get('notes', ())),
              f"The card itself: [`{folder}/{card.name}.json`](BLOB{folder}/{card.name}.json)."]
    return '\n\n'.join(filter(None, parts)) + '\n'


def cards(): return [*list_models(), read_card(ROOT/'models/quality/views.json')]


def two_rulers():
    "Each model by both rulers, as a narrow table."
    rows = [(f'[{c.name}](../models/{c.name}.md)', *(o for name in ('votes', 'label') for r in [c.ruler(name) or {}]
             for o in (percent(r.get('accuracy')), interval(r.get('accuracy_ci'))))) for c in list_models()]
    return table(('model', 'majority, %', '95%', 'label, %', '95%'), rows)


def models_overview():
    "The table of models with links to their pages."
    text = models_table(list_models())
    for c in list_models(): text = text.replace(f'| {c.name} |', f'| [{c.name}](models/{c.name}.md) |')
    return text


# -- The recorded benchmarks


@cache
def recorded(name): return json.loads((ROOT/f'nbs/tutorials/{name}.json').read_text(encoding='utf-8'))


def row(section, **wanted):
    return next(o for o in recorded('benchmark')['sections'][section] if all(o.get(k) == v for k,v in wanted.items()))


def comparison():
    "The figures of README's comparison with another package."
    def pair(label, digits, section, key, ours, theirs, scale=1):
        values = (row(section, who='fer_nb', **ours)[key], row(section, who='fer', **theirs)[key])
        return label, *(f'{scale*o:,.{digits}f}' for o in values)
    mine, cold = dict(model='se_resnet'), [dict(what='library')]*2
    votes, label = (dict(how='one crop', ruler=o) for o in ('votes', 'label'))
    frame = 'a frame of 640x480 with one face of 50 pixels or more, ms'
    framed = dict(faces=1, min_face=50)
    whole = row('frames', who='fer_nb', detector='blazeface', faces=1, min_face=24)
    calibration = 'expected calibration error against the majority, %'
    rows = [pair('agreement with the majority on PublicTest, same crops, %', 1, 'accuracy', 'accuracy', mine | votes,
                 votes, 100),
            pair("agreement with FER-2013's label, %", 1, 'accuracy', 'accuracy', mine | label, label, 100),
            pair(calibration, 1, 'accuracy', 'calibration_error', mine | votes, votes, 100),
            pair('one crop, ms', 2, 'latency', 'median_ms', mine | dict(batch=1), dict(batch=1, runtime='Keras')),
            pair(frame, 1, 'frames', 'median_ms', framed | dict(detector='blazeface'), framed | dict(detector='haar')),
            ('the same frame, from 24 pixels on, which is the default, ms', f"{whole['median_ms']:.1f}", ''),
            pair('cold start, from new process to first answer, s', 2, 'start', 'median_s', *cold),
            pair('memory, MB', 0, 'start', 'memory_mb', *cold),
            pair('installed size with dependencies, MB', 0, 'start', 'installed_mb', *cold)]
    return table(('', 'fer_nb, `se_resnet`', f"fer {recorded('benchmark')['peer']['fer']}"), rows)


def command(name): return f"```sh\n{recorded(name)['command']}\n```"


def films():
    rows = [(o['faces'], f"{o['times_film']:.1f}", o['threads']) for o in recorded('benchmark')['sections']['video']]
    return table(('faces in the film', 'times as fast as it plays', 'threads'), rows)


def in_browser():
    rows = [(k.replace('of it', 'of which'), f'{v:,.1f}' if v > 100 else f'{v:.2f}')
            for k,v in recorded('site').items() if k != 'machine']
    return f"Measured on {recorded('site')['machine']}.\n\n" + table(('what', 'measured'), rows)


def machine():
    o = recorded('benchmark')
    return (f"{o['machine']['processor']}, {o['machine']['cores']} cores, {o['machine']['memory_gb']:.0f} GB; Python "
            f"{o['versions']['python']}, LiteRT {o['versions']['ai-edge-litert']}, "
            f"OpenCV {o['versions']['opencv-python']}; {o['created'][:10]}.")


def evaluations():
    lines = [f"fer-nb evaluate --model {c.name} --data fer2013.zip --votes votes.csv --split public"
             for c in list_models()]
    return '```sh\n' + '\n'.join(lines) + '\n```'


def made_by():
    return '\n\n'.join(f"{c.name}\n: " + '; '.join(f'`{o}`' for o in commands(c)) for c in list_models())


# -- The picture of the rooms, from the import table


HOLDS = {'core': 'errors, files, extras', 'emotions': 'seven labels, their colours',
         'inference': 'find, crop, read and draw faces', 'video': 'films, cameras, tracks',
         'training': 'data to shipped model', 'apps': 'dashboard, HTTP, browser', 'bench': 'measurements',
         'cli': 'the commands of fer-nb'}
NEEDS = {'inference': 'NumPy, OpenCV, LiteRT', 'training': 'TensorFlow, Keras', 'apps': 'Voila, FastAPI',
         'video': 'PyAV'}


def import_table():
    "The rows of `tool.importlinter` in pyproject.toml, from the top."
    text = (ROOT/'pyproject.toml').read_text(encoding='utf-8')
    layers = json.loads(re.search(r'^layers = (\[.*?\])', text, re.M | re.S)[1])
    return [o.split(' | ') for o in layers]


def layers_picture():
    "An SVG of the import table: each room may import those below it."
    wide, gap, left, top = 420, 11, 30, 0
    rows, parts = import_table(), []
    for rooms in rows:
        w, high = (wide - left - gap*(len(rooms) - 1))/len(rooms), 64 if any(o in NEEDS for o in rooms) else 50
        for j,room in enumerate(rooms):
            x, y = left + j*(w + gap), top
            lines = [f'<text class="name" x="{x+12:g}" y="{y+22}">{room}</text>',
                     f'<text x="{x+12:g}" y="{y+39}">{HOLDS.get(room, "")}</text>']
            if room in NEEDS: lines.append(f'<text class="needs" x="{x+12:g}" y="{y+54}">{NEEDS[room]}</text>')
            kind = ' class="heavy"' if room == 'training' else ''
            parts.append(f'<rect{kind} x="{x:g}" y="{y}" width="{w:g}" height="{high}" rx="8"/>' + ''.join(lines))
        top += high + gap
    total = top - gap
    arrow = f'<path class="down" d="M12 8V{total-10}M5 {total-20}l7 12 7-12"/>'
    label = 'The parts of the package; each may import those below it: ' + ', '.join(map(' beside '.join, rows))
    return (f'<figure class="layers"><svg viewBox="0 0 {wide} {total}" role="img" aria-label="{label}">'
            f'{arrow}{"".join(parts)}</svg><figcaption>An import may point down the arrow only, and never sideways. '
            'Drawn from the table in <code>pyproject.toml</code>.</figcaption></figure>')


def rooms_table():
    "The numbers of notebooks, lines and public names in each room."
    from common import directives, notebooks
    from docs_reference import entries
    found = {}
    for path in notebooks():
        nb = json.loads((ROOT/path).read_text(encoding='utf-8'))
        for cell in nb['cells']:
            flags = directives(''.join(cell['source'])) if cell['cell_type'] == 'code' else {}
            if name := flags.get('default_exp'): module, room = f'fer_nb.{name}', name.split('.')[0]
        if 'tutorials' in path.parts or len(path.parts) < 2 or path.name in ('index.ipynb', 'app.ipynb'): continue
        one = found.setdefault(room, [0, 0, 0])
        one[0] += 1
        one[1] += len(entries(module))
        one[2] += sum(1 for _ in open(ROOT/f"{module.replace('.', '/')}.py", encoding='utf-8'))
    order = [o for rooms in import_table() for o in rooms]
    return table(('part', 'what is in it', 'notebooks', 'public names', 'lines'),
                 [(f'`{k}`', HOLDS.get(k, ''), *(f'{n:,}' for n in found[k])) for k in order if k in found], left=2)


def page_title(path): return title(json.loads((ROOT/path).read_text(encoding='utf-8')))
