"""Supply chain: the installed packages with licences, as a table and as an SBOM (CycloneDX); their known
vulnerabilities (pip-audit, if its database is reachable); and whether requirements.lock still fits setup.py.

The tools run in a temporary environment of their own, separate from our packages."""

import json
import re
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = 'pip-audit==2.10.0', 'cyclonedx-bom==7.5.0'
OWN = 'fer-nb', 'pip', 'setuptools'  # this project, and what an environment is made with


def _said(words, **how):
    return subprocess.run([*map(str, words)], capture_output=True, text=True, **how)


def licence(component):
    "The licence of a component in an SBOM, in any of its three forms, or else as its metadata names it."
    for o in component.get('licenses', ()):
        if 'expression' in o:
            return o['expression']
        named = o.get('license', {})
        if text := named.get('id') or named.get('name'):
            return re.sub(r'\s+', ' ', text)[:80]
    try:
        told = metadata(component['name'])
    except (PackageNotFoundError, KeyError):
        return 'not stated'
    file = told.get('License-File')
    return (told.get('License') or (f'in its file {file}' if file else 'not stated')).splitlines()[0][:80]


def lock_problems(lock, installed):
    "Installed packages that differ from the lock or are missing there: [sentence]."
    pinned = {}
    for name, version in re.findall(r'^([\w.-]+)==([^\s;\\]+)', Path(lock).read_text(), re.M):
        pinned.setdefault(_canonical(name), set()).add(version)
    found = []
    for name, version in installed.items():
        known = pinned.get(_canonical(name))
        if _canonical(name) in OWN or known and version in known:
            continue
        told = f"says {' or '.join(sorted(known))}" if known else 'lacks it'
        found.append(f"{name} is {version}, the lock {told}")
    return found if pinned else ['the lock is empty']


def _canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def drill(folder, lock=ROOT / 'requirements.lock'):
    "The table of licences, the SBOM in `folder`, known vulnerabilities, and differences from the lock."
    findings, skipped = [], []
    sbom = Path(folder) / 'sbom.json'
    with tempfile.TemporaryDirectory(prefix='drill_') as work:
        venv.create(work, with_pip=True)
        made = _said([f'{work}/bin/pip', 'install', '--quiet', '--disable-pip-version-check', *TOOLS])
        if made.returncode:
            return dict(skipped=[f"The tools could not be installed: {made.stderr.strip()[-200:]}"], findings=[])
        made = _said([f'{work}/bin/cyclonedx-py', 'environment', '--output-reproducible', '-o', sbom, sys.executable])
        if made.returncode:
            findings.append(dict(kind='no SBOM', text=made.stderr[-400:]))
        paths = _said([sys.executable, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']).stdout.strip()
        audit = _said(
            [
                f'{work}/bin/pip-audit',
                '--path',
                paths,
                '--format',
                'json',
                '--progress-spinner',
                'off',
                '--timeout',
                '20',
            ]
        )
    parts = json.loads(sbom.read_text()).get('components', []) if sbom.is_file() else []
    rows = sorted((o['name'], o.get('version', ''), licence(o)) for o in parts)
    holes = None
    try:
        told = json.loads(audit.stdout)['dependencies']
    except (ValueError, KeyError):
        skipped.append(f"pip-audit got no answer: {_last(audit.stderr)}")
    else:
        holes = [
            dict(package=o['name'], version=o['version'], id=v['id'], fixed=v['fix_versions'])
            for o in told
            for v in o.get('vulns', ())
        ]
        findings += [
            dict(
                kind='known hole',
                text=f"{o['package']} {o['version']}: {o['id']}, fixed in {', '.join(o['fixed']) or 'none'}",
            )
            for o in holes
        ]
    findings += [dict(kind='lock', text=o) for o in lock_problems(lock, {n: v for n, v, _ in rows})]
    findings += [dict(kind='licence', text=f'{n} {v}') for n, v, o in rows if o == 'not stated']
    return dict(packages=rows, holes=holes, skipped=skipped, findings=findings)


def _last(text):
    return (text.strip().splitlines() or ['no reason given'])[-1][:200]
