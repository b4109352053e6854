"""Executes notebooks in place, in order, and cleans them: `make notebooks`, or tools/notebooks.py [--slow] [NB ...].

Cells flagged `#| slow` or `#| data` (tst_flags in settings.ini) keep their saved outputs, unless SLOW=1 or --slow is
given; cells with `#| eval: false` always do. A notebook that fails is not changed on disk, and is named at the end."""
import argparse
import os
import re
import subprocess
import sys
import time
from configparser import ConfigParser

import nbformat
from check_notebooks import problems
from common import BIN, ROOT, directives, notebooks
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

settings = ConfigParser(delimiters=['='])
settings.read(ROOT/'settings.ini', encoding='utf-8')
FLAGS = set(settings['DEFAULT']['tst_flags'].split())


class Client(NotebookClient):
    "Skips the cells with one of the flags in `skip`."
    skip = FLAGS

    async def async_execute_cell(self, cell, cell_index, *args, **kwargs):
        flags = directives(cell.source) if cell.cell_type == 'code' else {}
        if self.skip & flags.keys() or flags.get('eval') == 'false': return cell
        return await super().async_execute_cell(cell, cell_index, *args, **kwargs)


def tidy(nb):
    "Drop stderr and the output of widgets (which end with their kernel); return the dropped warnings."
    view, warned = 'application/vnd.jupyter.widget-view+json', []
    for cell in nb.cells:
        for o in cell.get('outputs', []):
            if o.get('name') == 'stderr': warned += re.findall(r'.*\w(?:Warning|Error)\b.*', o.text)
        if 'outputs' in cell:
            cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr' and view not in o.get('data', {})]
    return warned


def execute(path, slow):
    "Run one notebook and save it; return a sentence for each error."
    nb = nbformat.read(ROOT/path, as_version=4)
    client = Client(nb, timeout=None if slow else 600, kernel_name='python3', coalesce_streams=True,
                    store_widget_state=False, resources={'metadata': {'path': str((ROOT/path).parent)}})
    client.skip = set() if slow else FLAGS
    try: client.execute(stderr=subprocess.DEVNULL)  # the kernel's own messages; that of cells becomes output
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
        plain = re.sub(r'\x1b\[[\d;]*m', '', str(e)).strip().splitlines()
        return ['\n'.join([f"{path} fails and is left as it was:", *plain[-30:]])]
    for line in tidy(nb): print(f"  {line}")
    part = (ROOT/path).with_suffix('.part')
    nbformat.write(nb, part)
    os.replace(part, ROOT/path)
    subprocess.run([BIN/'nbdev_clean', '--fname', path], cwd=ROOT, check=True)
    return [f"{path}: {o}" for o in problems(nb)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*')
    parser.add_argument('--slow', action='store_true', default=os.environ.get('SLOW', '0') not in ('', '0'))
    args = parser.parse_args()
    wrong = []
    for path in notebooks(args.notebooks):
        start = time.time()
        print(path, end=' ', flush=True)
        found = execute(path, args.slow)
        print('FAILED' if found else 'ok', f'{time.time() - start:.0f} s', flush=True)
        wrong += found
    if wrong: sys.exit('\n'.join(wrong))


if __name__ == '__main__': main()
