"Checks that fer_nb/*.py are exactly the notebooks' exports, without changing the checkout."
import subprocess
import sys

from common import BIN, ROOT, nbdev_copy

def modules(top):
    "{path below fer_nb/: content} of the package's modules, without the files in static/."
    below = {p.relative_to(top/'fer_nb'): p for p in (top/'fer_nb').rglob('*.py')}
    return {k.as_posix(): p.read_bytes() for k, p in below.items() if k.parts[0] != 'static'}


with nbdev_copy() as tmp:
    for p in (ROOT/'fer_nb').rglob('__init__.py'):             # written by hand; nbdev does not touch them
        (tmp/p.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        (tmp/p.relative_to(ROOT)).write_bytes(p.read_bytes())
    r = subprocess.run([BIN/'nbdev_export'], cwd=tmp, capture_output=True, text=True)
    if r.returncode: sys.exit(f"nbdev_export fails:\n{r.stderr[-2000:]}")
    made = modules(tmp)
have = modules(ROOT)

strays = sorted(have.keys() - made.keys())
wrong = [f"fer_nb/{n} is written by no notebook: remove it, or move its code into one" for n in strays]
wrong += [f"fer_nb/{n} is not what the notebooks export" for n in sorted(made) if made[n] != have.get(n)]
if wrong: sys.exit('\n'.join([*wrong, "Call `make export`. (nbdev_update carries an edited .py file's changes back.)"]))
print(f"{len(made)} files agree")
