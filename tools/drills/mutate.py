"""Broken inputs, each reproducible from its seed: bytes of real files that are flipped, cut, doubled and spliced, and
documents with values replaced by Hypothesis."""

import io
import json
import random
import struct
import warnings
import zipfile
from contextlib import suppress

INTERESTING = 0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1


def source(*about):
    "The random source of a case: the same for the same words on every machine."
    return random.Random('/'.join(map(str, about)))


def _flip(data, at, rng, _):
    data[at] ^= 1 << rng.randrange(8)


def _set(data, at, rng, _):
    data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _number(data, at, rng, _):
    kind = rng.choice('HI')
    value = rng.choice(INTERESTING) % 2 ** (8 * struct.calcsize(kind))
    data[at : at + struct.calcsize(kind)] = struct.pack(rng.choice('<>') + kind, value)


def _length(data, rng):
    return 1 + int(len(data) ** rng.random())


def _cut(data, at, rng, _):
    del data[at : at + _length(data, rng)]


def _double(data, at, rng, _):
    data[at:at] = data[at : at + _length(data, rng)] * rng.choice((1, 1, 2, 16))


def _noise(data, at, rng, _):
    n = min(64, _length(data, rng))
    data[at : at + n] = rng.randbytes(n)


def _splice(data, at, rng, others):
    other = rng.choice(others)
    begin = rng.randrange(len(other)) if other else 0
    data[at : at + _length(data, rng)] = other[begin : begin + _length(other, rng)]


def _truncate(data, at, rng, _):
    del data[at:]


MOVES = [_flip] * 4 + [_set] * 4 + [_number] * 5 + [_cut] * 2 + [_double, _noise, _splice, _truncate]


def of_bytes(data, rng, others=()):
    "The file with one to eight changes, many of them near its beginning, where formats have their headers."
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        if not data:
            break
        near = rng.random() < 0.4
        at = rng.randrange(min(len(data), 96 if near else len(data)))
        rng.choice(MOVES)(data, at, rng, others or [bytes(data)])
    return bytes(data)


def anything():
    "Hypothesis's strategy for a JSON value, or a program's version of one."
    import hypothesis.strategies as st

    plain = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.sampled_from(
            (
                '',
                '0',
                '-1',
                'NaN',
                '../../x',
                '/etc/passwd',
                'a' * 5000,
                1e308,
                -1e308,
                10**30,
                -1,
                0,
                2**63,
                '\ud800',
                '\0',
            )
        )
    )
    keys = st.text(max_size=8)
    return st.recursive(plain, lambda o: st.lists(o, max_size=4) | st.dictionaries(keys, o, max_size=4), max_leaves=8)


_drawn = []


def drawn(rng):
    "A value from Hypothesis, whose engine takes its choices from the random bytes."
    from hypothesis import given

    if not _drawn:
        got = []

        @given(anything())
        def keep(value):
            got.append(value)

        _drawn.extend((keep.hypothesis.fuzz_one_input, got))
    one, got = _drawn
    for _ in range(20):  # some bytes are of no use to Hypothesis
        got.clear()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            one(rng.randbytes(400))
        if got:
            return got[-1]
    return None


def _places(value, at=()):
    "Every path into a document."
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for k, o in items:
        yield from _places(o, (*at, k))


def of_document(value, rng):
    "The document with one to three values replaced, removed or moved."
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice([*_places(value)])
        if not at:
            return drawn(rng)
        inner = value
        for k in at[:-1]:
            inner = inner[k]
        how = rng.random()
        if how < 0.15:
            del inner[at[-1]]
        elif how < 0.3:
            other = value
            for k in rng.choice([*_places(value)]):
                other = other[k]
            inner[at[-1]] = json.loads(json.dumps(other))
        else:
            inner[at[-1]] = drawn(rng)
    return value


def as_json(value):
    return json.dumps(value, default=str).encode('utf-8', 'surrogatepass')


def of_json(data, rng, others=()):
    "A JSON file: its values changed, or its bytes."
    if rng.random() < 0.3:
        return of_bytes(data, rng, others)
    return as_json(of_document(json.loads(data), rng))


CELLS = '', ' ', '-1', '1e400', 'nan', 'inf', '9' * 400, '0x10', '"', "'", ',', '\n', '\0', '﻿', 'Training', '=1+1', '٣'


def of_table(data, rng, others=()):
    "A CSV file: a cell, a row or the header changed, or its bytes."
    if rng.random() < 0.4:
        return of_bytes(data, rng, others)
    rows = [o.split(',') for o in data.decode().split('\n')]
    for _ in range(rng.choice((1, 1, 2, 4))):
        row = rng.choice(rows[:2] + rows)
        how = rng.random()
        if how < 0.2:
            row.pop(rng.randrange(len(row))) if row else None
        elif how < 0.3:
            row.insert(0, rng.choice(CELLS))
        elif how < 0.4:
            rows.insert(0, row)
        elif row:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
    return '\n'.join(','.join(o) for o in rows).encode('utf-8', 'surrogatepass')


NAMES = (
    '../../outside.png',
    '/tmp/outside.png',
    'train/happy/\xff.png',
    'a\\b.png',
    'train//.png',
    'CON',
    'ü' * 90,
    'train/happy/x.png/',
)


def of_zip(data, rng, others=()):
    "A zip file: its bytes changed, or repacked with a member of another name, content or compression."
    if rng.random() < 0.5:
        return of_bytes(data, rng, others)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new, suppress(ValueError):
        members = [(o.filename, old.read(o)) for o in old.infolist()]
        k = rng.randrange(len(members))
        name, content = members[k]
        how = rng.random()
        if how < 0.4:
            members[k] = rng.choice(NAMES), content
        elif how < 0.8:
            members[k] = name, of_bytes(content, rng)
        else:
            members[k] = name, bytes(rng.choice((0, 10**6, 3 * 10**7)))
        for i, (name, content) in enumerate(members):
            kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            new.writestr(name, content, kind if i == k else zipfile.ZIP_DEFLATED)
    return out.getvalue()
