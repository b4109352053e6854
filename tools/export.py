"After editing notebooks: cleans them, exports the modules, renders README.md."
import subprocess
import sys

from common import BIN, ROOT

for command in (['nbdev_clean'], ['nbdev_export'], [sys.executable, ROOT/'tools/readme.py']):
    command[0] = BIN/command[0]
    code = subprocess.run(command, cwd=ROOT).returncode
    if code: sys.exit(code)
