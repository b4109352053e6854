"ruff on everything that is written by hand, and import-linter on who imports whom; pyproject.toml has their settings."
import subprocess
import sys

from common import BIN, ROOT

written = ('fer_nb', 'tests', 'tools', 'setup.py', 'docs', 'nbs')
ruff = subprocess.run([BIN/'ruff', 'check', '--output-format', 'concise', *written], cwd=ROOT)
rooms = subprocess.run([BIN/'lint-imports', '--no-cache'], cwd=ROOT, capture_output=True, text=True)
if rooms.returncode: print(rooms.stdout[rooms.stdout.find('Contracts'):] + rooms.stderr)
else: print("Every import points downwards.")
sys.exit(ruff.returncode or rooms.returncode)
