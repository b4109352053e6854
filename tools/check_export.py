"fer_nb/*.py are exactly what the notebooks export; nothing in the checkout is changed."
import subprocess
import sys

from common import BIN, ROOT, nbdev_copy

with nbdev_copy() as tmp:
    (tmp/'fer_nb/__init__.py').write_bytes((ROOT/'fer_nb/__init__.py').read_bytes())
    r = subprocess.run([BIN/'nbdev_export'], cwd=tmp, capture_output=True, text=True)
    if r.returncode: sys.exit(f"nbdev_export fails:\n{r.stderr[-2000:]}")
    made = {p.name: p.read_bytes() for p in (tmp/'fer_nb').glob('*.py')}
have = {p.name: p.read_bytes() for p in (ROOT/'fer_nb').glob('*.py')}

strays = sorted(have.keys() - made.keys())
wrong = [f"fer_nb/{n} is written by no notebook: remove it, or move its code into one" for n in strays]
wrong += [f"fer_nb/{n} is not what the notebooks export" for n in sorted(made) if made[n] != have.get(n)]
if wrong: sys.exit('\n'.join([*wrong, "Call `make export`. (nbdev_update carries an edited .py file's changes back.)"]))
print(f"{len(made)} files agree")
