"ruff on everything that is written by hand, and import-linter on who imports whom; pyproject.toml has their settings."
import subprocess
import sys

from common import BIN, ROOT

codes = [subprocess.run([BIN/command, *arguments], cwd=ROOT).returncode for command, *arguments in (
    ['ruff', 'check', 'fer_nb', 'tests', 'tools', 'setup.py', 'nbs'], ['lint-imports', '--no-cache'])]
sys.exit(any(codes))
