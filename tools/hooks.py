"Makes git call nbdev's hooks and tools/pre-commit: `make hooks`. Existing hooks of your own are kept."
import os
import subprocess
import sys
from pathlib import Path

from common import BIN, ROOT

# The hook for this checkout and all of its worktrees; it calls the tool of the branch that is checked out there.
SHIM = '''#!/bin/sh
# Written by tools/hooks.py of fer_nb
tool="$(git rev-parse --show-toplevel)/tools/pre-commit"
[ ! -x "$tool" ] || exec "$tool" "$@"
'''


def git(*arguments, cwd=ROOT):
    return subprocess.run(['git', *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def nbdev():
    "nbdev's own hooks; it writes to .git/hooks of a main checkout, wherever git looks for hooks."
    main = (ROOT/git('rev-parse', '--git-common-dir')).parent
    subprocess.run([BIN/'nbdev_install_hooks'], cwd=main, check=True)
    return main/'.git/hooks'


def put(path, text):
    "The hook `text` at `path`, unless another one is there."
    if path.exists() and path.read_text(errors='replace') != text:
        return print(f"{path} is not ours and stays as it is: let it call tools/{path.name} if it should.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def main():
    try: theirs, hooks = nbdev(), Path(ROOT, git('rev-parse', '--git-path', 'hooks'))
    except subprocess.CalledProcessError as e: sys.exit(f"`{' '.join(map(str, e.cmd))}` fails: {e.stderr or ''}")
    put(hooks/'pre-commit', SHIM)
    if not os.path.samefile(theirs, hooks):  # core.hooksPath: git would not see nbdev's
        for o in theirs.glob('post-merge'): put(hooks/o.name, o.read_text())


if __name__ == '__main__': main()
