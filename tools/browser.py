"Finds a Chromium for the tests, or installs one. As a script, it prints the path."
import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome', 'microsoft-edge')
MAC = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'


def playwrights():
    "The path of Playwright's own Chromium, or None; in another process, because Playwright runs only once in each."
    code = "from playwright.sync_api import sync_playwright as p\nwith p() as o: print(o.chromium.executable_path)"
    path = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip()
    return path if path and Path(path).is_file() else None


def present():
    "The path of an installed Chromium, or None; the variable CHROMIUM names one."
    if named := os.environ.get('CHROMIUM'):
        if not Path(named).is_file(): sys.exit(f"CHROMIUM names {named}, which does not exist.")
        return named
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (MAC if Path(MAC).is_file() else None) or playwrights()


def install():
    "The installers in order: Playwright's, which needs no privileges, then the package manager."
    sudo = [] if os.name == 'nt' or os.getuid() == 0 else ['sudo', '-n']
    apt = ['update'], ['install', '-y', 'chromium']
    commands = [[sys.executable, '-m', 'playwright', 'install', 'chromium']]
    if shutil.which('apt-get'): commands += [[*sudo, 'apt-get', '-qq', *o] for o in apt]
    quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)
    env = os.environ | {'DEBIAN_FRONTEND': 'noninteractive'}
    for command in commands:
        print(f"No Chromium here; trying: {' '.join(command)}", file=sys.stderr, flush=True)
        try: subprocess.run(command, check=False, timeout=600, env=env, **quiet)
        except (OSError, subprocess.TimeoutExpired): continue
        if path := present(): return path
    return None


@cache
def chromium():
    "The path of a Chromium; exits with a sentence if there is none and none can be installed."
    with open(Path(sys.prefix)/'chromium.lock', 'w') as lock:  # only one of two test workers installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = present() or install()
    if not path:
        sys.exit("The tests of the dashboard need a Chromium: install one, "
                 "and name it in the variable CHROMIUM if it is not found.")
    return path


if __name__ == '__main__': print(chromium())
