"Checks that the notebooks are clean: nbdev_clean changes nothing; outputs have no error, stderr or local path."
import json
import re
import subprocess
import sys

from common import BIN, ROOT, directives, nbdev_copy, notebooks

LOCAL = re.compile(r'''(?<![\w.:/~-])/(?:work|home|root|tmp|private|var/folders|Users|mnt|opt)/[^\s'"<>)]*
                   |\b[A-Z]:\\Users\\''', re.X)


def texts(output):
    "The texts of one saved output, without pictures in base64."
    parts = [output.get('text', ''), output.get('traceback', '')]
    parts += [v for k, v in output.get('data', {}).items() if k.startswith('text/') or 'svg' in k]
    return re.sub(r'base64,[\w+/=\\\s]+', '', '\n'.join(''.join(p) for p in parts))


def problems(nb):
    "One sentence for each thing that does not belong in a notebook's saved outputs."
    for cell in nb['cells']:
        first = ''.join(cell['source']).strip().split('\n')
        where = next((line for line in first if not line.startswith('#')), first[0])[:60]
        for output in cell.get('outputs', []):
            local = LOCAL.search(texts(output))
            if output['output_type'] == 'error': yield f"the cell `{where}` ends in {output['ename']}"
            elif output.get('name') == 'stderr': yield f"the cell `{where}` prints to stderr"
            elif local: yield f"the cell `{where}` prints the local path {local[0]}"


def unrun(nb):
    "The cells that print but have no saved output, because they were not executed."
    for cell in nb['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or {'hide', 'eval'} & directives(source).keys() or cell['outputs']: continue
        shown = re.search(r'^print\(.*', source, re.M)
        if shown: yield f"the cell with `{shown[0][:60]}` was saved without its output: call `make notebooks`"


def main():
    wrong = []
    with nbdev_copy() as tmp:
        r = subprocess.run([BIN/'nbdev_clean'], cwd=tmp, capture_output=True, text=True)
        if r.returncode: sys.exit(f"nbdev_clean fails:\n{r.stderr[-2000:]}")
        for path in notebooks():
            if (tmp/path).read_bytes() != (ROOT/path).read_bytes():
                wrong.append(f"{path} is not clean: call `make export`")
            nb = json.loads((ROOT/path).read_text(encoding='utf-8'))
            wrong += [f"{path}: {o}" for o in [*problems(nb), *unrun(nb)]]
    if wrong: sys.exit('\n'.join(wrong))
    print(f"{len(notebooks())} notebooks are clean")


if __name__ == '__main__': main()
