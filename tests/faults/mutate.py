"""What can happen to a file: each function here damages something at random and says what it did.

Every one takes what is to be damaged and a generator, and returns a few words and the damaged copy.
"""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

Thing = TypeVar("Thing")
Rng = np.random.Generator
Damaged = tuple[str, Thing]

DEEP = 3_000  # levels of nesting, more than Python's stack has
NESTED, ENDLESS = "<nested>", "<endless>"  # stand for what Python itself could hardly hold, until it is written
WRITTEN = {NESTED: b"[" * DEEP + b"]" * DEEP, ENDLESS: b"1" * 10_000}


def pick(options: Sequence[Thing], rng: Rng) -> Thing:
    """Return one of the options."""
    return options[int(rng.integers(len(options)))]


# Bytes


def flip_bits(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Flip one to four bits, half of the time near the beginning, where headers are."""
    array = np.frombuffer(content, dtype=np.uint8).copy()
    reach = len(array) if rng.random() < 0.5 else min(len(array), 512)
    places = rng.integers(reach, size=rng.integers(1, 5))
    array[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
    return f"bits flipped in bytes {sorted(places.tolist())}", array.tobytes()


def truncate(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Cut the end off."""
    length = int(rng.integers(len(content)))
    return f"cut to {length} of {len(content)} bytes", content[:length]


def lengthen(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Append bytes, its own or others."""
    more = pick([b"\0" * 64, content, rng.bytes(64), b"\n"], rng)
    return f"{len(more)} bytes appended", content + more


def overwrite(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Put zeros, ones or noise over a stretch: a bad sector."""
    first = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 513)), len(content) - first)
    sector = pick([b"\0" * length, b"\xff" * length, rng.bytes(length)], rng)
    return f"bytes {first} to {first + length} overwritten", content[:first] + sector + content[first + length :]


def empty(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Leave nothing."""
    return "emptied", b""


def replace_all(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Put something of another kind in its place."""
    strangers = [
        b"\x89PNG\r\n\x1a\n" + rng.bytes(64),
        b"PK\x03\x04" + rng.bytes(64),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "é".encode("utf-16"),
        b"null",
        b"[" * DEEP,
        b"{a: " * DEEP,
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        b"9" * 10_000,
    ]
    stranger = pick(strangers, rng)
    return f"replaced by {stranger[:12]!r}...", stranger


BYTES: tuple[Callable[[bytes, Rng], Damaged[bytes]], ...] = (
    flip_bits, flip_bits, truncate, lengthen, overwrite, empty, replace_all,
)  # fmt: skip


def damage(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Damage bytes in one of these ways."""
    return pick(BYTES, rng)(content or b"\0", rng)


# Plain data: what YAML and JSON hold


def strange_values() -> list[Any]:
    """Values that hardly fit where they are put."""
    return [
        None, True, False, 0, 1, -1, 2, 3, 7, 64, 10**6, 10**18, 2**63, -(2**63), ENDLESS, 0.5, -0.5, 1e-300, 1e308,
        -0.0, float("nan"), float("inf"), -float("inf"), "", " ", "0", "nan", "1e3", "é", "\0", "x" * 5_000, "../..",
        "/dev/zero", "reflex", "a\nb", [], [[]], {}, {"": None}, {"name": 1}, [1, "2", None], [float("nan")], NESTED,
    ]  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in plain data, from the top."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def at(tree: Any, path: Sequence[Any]) -> Any:
    """Return the value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def alter(tree: Any, rng: Rng) -> Damaged[Any]:
    """Change one place of plain data: another value, a key or an item less, more, or of another name."""
    tree = copy.deepcopy(tree)
    inner = [path for path in places(tree) if path]
    if not inner or rng.random() < 0.02:
        value = pick(strange_values(), rng)
        return f"everything is {str(value)[:40]!r}", value
    path = pick(inner, rng)
    holder, key = at(tree, path[:-1]), path[-1]
    where = ".".join(map(str, path))
    way = rng.integers(8)
    if way == 0:
        del holder[key]
        return f"{where} deleted", tree
    if way == 1 and isinstance(holder, dict):
        other = pick([f"{key}s", str(key).upper(), "", "é", "__class__", 1, None, True, 1.5], rng)
        holder[other] = holder.pop(key) if rng.random() < 0.5 else holder[key]
        return f"{where} also or instead called {other!r}", tree
    if way == 1:
        holder.insert(key, pick([holder[key], *strange_values()], rng))
        return f"one more item before {where}", tree
    if way == 2:
        other = pick(inner, rng)
        holder[key] = copy.deepcopy(at(tree, other))
        return f"{where} is what {'.'.join(map(str, other))} is", tree
    if way in (3, 4) and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        old = holder[key]
        numbers = [old + 1, -old, old * 1000, old / 2, str(old), [old], float(old) if abs(old) < 1e300 else old, 0]
        holder[key] = pick(numbers, rng)
    else:
        holder[key] = pick(strange_values(), rng)
    return f"{where} is {str(holder[key])[:40]!r}", tree


def as_json(tree: Any) -> bytes:
    """Return plain data as JSON."""
    return _written(json.dumps(tree, indent=1), '"{}"')


def as_yaml(tree: Any) -> bytes:
    """Return plain data as YAML."""
    return _written(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), "{}")


def _written(text: str, quoted: str) -> bytes:
    content = text.encode(errors="surrogatepass")
    for mark, meant in WRITTEN.items():
        content = content.replace(quoted.format(mark).encode(), meant)
    return content


# Text


def scribble(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Edit lines as a hurried person does: double one, drop one, swap two, indent, retype a number or a word."""
    lines = content.decode(errors="replace").splitlines() or [""]
    number = int(rng.integers(len(lines)))
    line, way = lines[number], int(rng.integers(8))
    if way == 0:
        lines.insert(number, line)
    elif way == 1:
        del lines[number]
    elif way == 2:
        other = int(rng.integers(len(lines)))
        lines[number], lines[other] = lines[other], line
    elif way == 3:
        lines[number] = pick(["  ", "\t", " "], rng) + line
    elif way == 4:
        numbers = ["011", "1:30", "0x10", "1_000", "1e3", "1.", ".5", "~", "yes", "2001-01-01", "!!python/none", "*a",
                   "&a 1", "- 1", "'1'", "[[[[", "{{", "<<: *a", "1" * 10_000, "0b11", "+5",
                   "=", "!!binary aGk="]  # fmt: skip
        digits = [place for place, letter in enumerate(line) if letter.isdigit()]
        place = pick(digits, rng) if digits else len(line)
        lines[number] = line[:place] + pick(numbers, rng) + line[place + 1 :]
    elif way == 5:
        place = int(rng.integers(len(line) + 1))
        lines[number] = line[:place] + pick(list(":{}[],#'\"|>%@`&*!?-\t\0é\u2028"), rng) + line[place + 1 :]
    elif way == 6 and "{" in line and ":" in line:
        inside = line[line.index("{") + 1 : line.rindex("}")] if "}" in line else line
        pair = pick(inside.split(","), rng)
        lines[number] = line.replace("{", "{" + pair + ", ", 1)
    else:
        words = line.split(" ")
        del words[int(rng.integers(len(words)))]
        lines[number] = " ".join(words)
    return f"line {number + 1}: {line[:60]!r} is now {lines[number][:60] if number < len(lines) else ''!r}", (
        "\n".join(lines) + "\n"
    ).encode(errors="surrogatepass")


# Arrays


def alter_array(array: np.ndarray, rng: Rng) -> Damaged[np.ndarray]:
    """Give an array what it must not have: NaN, another type, another shape, values out of any range."""
    ways: list[Callable[[], Damaged[np.ndarray]]] = [
        lambda: ("one row less", array[:-1]) if array.ndim and len(array) else ("one axis more", array[None]),
        lambda: ("one row more", np.concatenate([array, array[:1]])) if array.ndim else ("a list", array[None]),
        lambda: ("no rows", array[:0]) if array.ndim else ("a list", array[None]),
        lambda: ("one axis more", array[..., None]),
        lambda: ("one axis less", array.reshape(-1)) if array.ndim > 1 else ("one axis more", array[None]),
        lambda: ("axes swapped", np.swapaxes(array, 0, -1)) if array.ndim > 1 else ("text", array.astype(str)),
        lambda: ("as text", array.astype(str)),
        lambda: (
            ("as complex numbers", array.astype(complex)) if array.dtype.kind in "biuf" else ("flat", array.ravel())
        ),
        lambda: ("as booleans", array.astype(bool)) if array.dtype.kind in "iuf" else ("as is", array),
        lambda: ("in the other byte order", array.astype(array.dtype.newbyteorder())),
    ]
    if array.dtype.kind in "f" and array.size:
        ways += [lambda value=value: _with(array, value, rng) for value in (np.nan, np.inf, -np.inf)] * 2
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(array.dtype)
        ways += [lambda value=value: _with(array, value, rng) for value in (limits.min, limits.max, 97)]
    return pick(ways, rng)()


def _with(array: np.ndarray, value: Any, rng: Rng) -> Damaged[np.ndarray]:
    array = np.array(array)
    place = int(rng.integers(array.size))
    array.flat[place] = value
    return f"item {place} is {value}", array


def npy(array: np.ndarray) -> bytes:
    """Return an array as a `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def alter_npz(content: bytes, rng: Rng) -> Damaged[bytes]:
    """Rewrite a `.npz` file, sound as a zip file, with one array altered, missing, misnamed or none at all."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = pick(sorted(members), rng)
    way = int(rng.integers(5))
    if way == 0:
        words = f"{name} missing"
        del members[name]
    elif way == 1:
        words, members[f"other{name}"] = f"{name} misnamed", members.pop(name)
    elif way == 2:
        words, members[name] = damage(members[name], rng)
    else:
        words, array = alter_array(np.load(io.BytesIO(members[name])), rng)
        members[name] = npy(array)
    file_like = io.BytesIO()
    with zipfile.ZipFile(file_like, "w") as file:
        for key, value in members.items():
            file.writestr(key, value)
    return f"{name}: {words}", file_like.getvalue()


# Places on the disk


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


PLACES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe that nobody writes to": _fifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": _circle,
    "a link to its folder": lambda path: path.symlink_to("."),
    "a link to /dev/null": lambda path: path.symlink_to("/dev/null"),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
}


def misplace(path: Path, rng: Rng) -> str:
    """Put something that is not a file in the place of a file or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    words = pick(sorted(PLACES), rng)
    PLACES[words](path)
    return words
