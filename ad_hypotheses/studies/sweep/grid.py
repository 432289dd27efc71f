"""A sweep: one YAML file that spans a grid of training configurations, and the models that it stands for."""

from __future__ import annotations

import copy
import itertools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ad_hypotheses.distill.config import SCRATCH, Config, check_config, read_yaml
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.errors import ConfigError, UserError, did_you_mean

KEYS = ("base", "grid", "link", "set", "name")
EXAMPLE = "grid:\n    model.n_layers: [1, 2, 4]\n    training.seed: [0, 1]"


@dataclass(frozen=True)
class GridCell:
    """One model of a sweep.

    Attributes:
        name: Of its folder.
        values: What the grid sets, by dotted key.
        config: What to train.
    """

    name: str
    values: dict[str, Any]
    config: Config


@dataclass(frozen=True)
class Grid:
    """A sweep that can be trained.

    Attributes:
        file: Where it was read.
        base: What its configurations start from, a file or `"<file>: base"`.
        axes: The values of every key of the grid, in order.
        fixed: What is set for all models.
        cells: Its models; the last key varies fastest.
    """

    file: Path
    base: str
    axes: dict[str, list[Any]]
    fixed: dict[str, Any]
    cells: tuple[GridCell, ...]

    @property
    def seeds(self) -> list[str]:
        """Keys that models are averaged over."""
        return [key for key in self.axes if key.split(".")[-1] == "seed"]


def read_sweep(path: Path) -> Grid:
    """Read and check a sweep, every configuration of it.

    Raises:
        ConfigError: A file is missing or no YAML, a key or value is wrong, or two models have one name; every problem
            is listed.
    """
    content = _mapping(path, "the sweep")
    problems = [
        f"{key}: no such key.{did_you_mean(str(key), KEYS)} Known: {', '.join(KEYS)}."
        for key in content
        if key not in KEYS
    ]
    axes, fixed = content.get("grid"), content.get("set") or {}
    links = content.get("link") or {}
    problems += _axis_problems(axes) + _fixed_problems(fixed, axes) + _link_problems(links, axes, fixed)
    if "base" not in content:
        problems.append(
            "base: is missing; name the configuration to start from, e.g. base: models/dark-room/config.yaml"
        )
    if not isinstance(content.get("name", ""), str):
        problems.append(f"name: must be text such as 'l{{n_layers}}-s{{seed}}', but it is {content['name']!r}")
    _refuse(path, problems)
    assert isinstance(axes, dict)
    base, source = _base(content["base"], path)
    _refuse(path, [problem for key in (*axes, *fixed, *links) for problem in _key_problems(key, base)])
    chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    names = _names(content.get("name") or _default_name(axes), axes, chosen, path)
    settings = [{**fixed, **values, **{key: values[axis] for key, axis in links.items()}} for values in chosen]
    return Grid(path, source, axes, fixed, _cells(path, names, chosen, settings, base))


def config_text(cell: GridCell, grid: Grid) -> str:
    """Return the configuration of a model of a sweep as YAML."""
    content = yaml.safe_dump(cell.config.model_dump(), sort_keys=False)
    return f"# {cell.name} of the sweep {grid.file.name}\n{content}"


def labels(values: Sequence[Any]) -> list[str]:
    """Return what the values of a key are called in names, tables and plots, no two alike.

    A section is called by its name (`dyna-q`), and numbered where there are several of that name.
    """
    plain = [_label(value) for value in values]
    return [
        text if plain.count(text) == 1 else f"{text}-{plain[: index + 1].count(text)}"
        for index, text in enumerate(plain)
    ]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return what keys are called: by their last part, or in full where two have the same."""
    last = [key.split(".")[-1] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def _label(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", "section"))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return "-".join(map(_label, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mapping(path: Path, subject: str) -> dict[str, Any]:
    content = read_yaml(path, subject)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must be a mapping of keys, but it is {type(content).__name__}.")
    return content


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{path} cannot be used:\n{listed}")


def _axis_problems(axes: Any) -> list[str]:
    if not isinstance(axes, dict) or not axes:
        return [f"grid: needs at least one key with a list of values, e.g.\n  {EXAMPLE}"]
    problems = []
    for key, values in axes.items():
        if isinstance(values, dict):
            inner = next(iter(values), "n_layers")
            problems.append(f"grid.{key}: is a section; write the key with a dot: '{key}.{inner}: [...]'")
        elif not isinstance(values, list):
            problems.append(f"grid.{key}: must be a list of values, but it is {values!r}; one value belongs under set")
        elif not values:
            problems.append(f"grid.{key}: the list is empty, so there is nothing to train")
        else:
            again = [value for index, value in enumerate(values) if value in values[:index]]
            problems += [f"grid.{key}: {value!r} stands there twice" for value in again]
    return problems


def _fixed_problems(fixed: Any, axes: Any) -> list[str]:
    if not isinstance(fixed, dict):
        return [f"set: must be dotted keys with a value each, e.g. training.updates: 1000, but it is {fixed!r}"]
    both = [key for key in fixed if isinstance(axes, dict) and key in axes]
    return [f"set.{key}: stands under grid as well; leave it out of one" for key in both]


def _link_problems(links: Any, axes: Any, fixed: Any) -> list[str]:
    if not isinstance(links, dict):
        return [f"link: must be keys with a key of the grid each, e.g. histories.seed: training.seed, not {links!r}"]
    problems = []
    for key, axis in links.items():
        if not isinstance(axes, dict) or axis not in axes:
            hint = did_you_mean(str(axis), axes) if isinstance(axes, dict) else ""
            problems.append(f"link.{key}: {axis!r} is no key of the grid, whose value it could take.{hint}")
        if (isinstance(axes, dict) and key in axes) or (isinstance(fixed, dict) and key in fixed):
            problems.append(f"link.{key}: stands under grid or set as well; leave it out of one")
    return problems


def _base(given: Any, path: Path) -> tuple[dict[str, Any], str]:
    """Return the configuration to start from, and where it stands."""
    if isinstance(given, dict):
        return given, f"{path}: base"
    if not isinstance(given, str):
        raise ConfigError(f"{path} cannot be used:\n  base: must be a file or a whole configuration, not {given!r}")
    places = [path.parent / given, Path(given)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        looked = "\n".join(f"    {place}" for place in dict.fromkeys(places))
        raise ConfigError(f"{path} cannot be used:\n  base: there is no file {given!r}. Looked for:\n{looked}")
    return _mapping(file, "the configuration"), file.as_posix()


def _key_problems(key: Any, base: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a dotted key, once and not for every model."""
    parts = str(key).split(".")
    sections = Config.model_fields
    if parts[0] not in sections:
        return [f"{key}: there is no section {parts[0]!r}.{_closest(parts, base)} Sections: {', '.join(sections)}."]
    known = getattr(sections[parts[0]].annotation, "model_fields", None)
    if known is not None and len(parts) > 1 and parts[1] not in known:
        meant = did_you_mean(parts[1], known).replace("'", f"'{parts[0]}.", 1)
        return [f"{key}: {parts[0]} has no key {parts[1]!r}.{meant} Known: {', '.join(known)}."]
    if len(parts) > 2 or "" in parts:
        return [f"{key}: must be a section and one of its keys, e.g. model.n_layers"]
    return []


def _closest(parts: Sequence[str], base: Mapping[str, Any]) -> str:
    """Return the key that was meant: with another section, or with the section that was left out."""
    if len(parts) > 1:
        return did_you_mean(parts[0], Config.model_fields)
    places = {
        key: f"{name}.{key}"
        for name, field in Config.model_fields.items()
        for key in (getattr(field.annotation, "model_fields", None) or dict(base.get(name) or {}))
    }
    close = re.search("'(.+)'", did_you_mean(parts[0], places))
    return f" Did you mean {places[close[1]]!r}?" if close else did_you_mean(parts[0], Config.model_fields)


def _default_name(axes: Mapping[str, Any]) -> str:
    return "-".join(f"{short.replace('.', '_')}_{{{key}}}" for key, short in short_names(list(axes)).items())


def _names(form: str, axes: Mapping[str, list[Any]], chosen: Sequence[Mapping[str, Any]], path: Path) -> list[str]:
    short = short_names(list(axes))
    try:
        pieces = list(string.Formatter().parse(form))
    except ValueError as error:
        raise ConfigError(f"{path} cannot be used:\n  name: {form!r}: {error}") from error
    known = {**{key: key for key in axes}, **{name: key for key, name in short.items()}}
    unknown = [field for _, field, _, _ in pieces if field is not None and field not in known]
    _refuse(path, [f"name: {{{field}}} is no key of the grid.{did_you_mean(field, known)} "
                   f"Known: {', '.join(short.values())}." for field in unknown])  # fmt: skip
    called = {key: dict(zip(map(repr, values), labels(values), strict=True)) for key, values in axes.items()}

    def name(values: Mapping[str, Any]) -> str:
        written = ""
        for literal, field, spec, _ in pieces:
            written += literal
            if field is not None:
                key = known[field]
                value = values[key] if spec else called[key][repr(values[key])]
                written += format(value, spec or "")
        return written

    try:
        names = [name(values) for values in chosen]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be used:\n  name: {form!r} does not fit the values: {error}") from error
    _refuse(path, _name_problems(names, chosen, short, form))
    return names


def _name_problems(
    names: Sequence[str], chosen: Sequence[Mapping[str, Any]], short: Mapping[str, str], form: str
) -> list[str]:
    wrong = [name for name in dict.fromkeys(names) if not re.fullmatch(r"[\w=+@,][\w.=+@,-]*", name)]
    problems = [f"name: {name!r} cannot be a folder; use letters, digits and - _ ." for name in wrong]
    problems += [f"name: a model cannot be called {SCRATCH!r}" for name in names if name == SCRATCH]
    for name in dict.fromkeys(names):
        alike = [values for other, values in zip(names, chosen, strict=True) if other == name]
        if len(alike) > 1:
            differ = [key for key in short if any(setting[key] != alike[0][key] for setting in alike)]
            needs = ", ".join(f"{{{short[key]}}}" for key in differ)
            problems.append(f"name: {len(alike)} models are called {name!r}; {form!r} must hold {needs}")
    return problems


def _cells(
    path: Path,
    names: Sequence[str],
    chosen: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any]],
    base: Mapping[str, Any],
) -> tuple[GridCell, ...]:
    """Check the configuration of every model: `chosen` are the values of the grid, `settings` all that is set."""
    cells: list[GridCell] = []
    wrong: dict[str, list[str]] = {}  # a problem: the models that have it
    for name, values, put in zip(names, chosen, settings, strict=True):
        content = copy.deepcopy(dict(base))
        try:
            for key, value in put.items():
                _put(content, key, value)
            config = check_config(content, name, "named")
            require_feasible(config, name)
        except UserError as error:
            head, _, rest = str(error).partition("cannot be used:\n")
            for problem in re.split(r"\n(?=  \S)", rest) if rest else [head]:
                wrong.setdefault(problem.strip(), []).append(_cell_text(name, values))
        else:
            cells.append(GridCell(name, dict(values), config))
    _refuse(path, [f"{_which(which, len(names))}:\n    {problem}" for problem, which in wrong.items()])
    return tuple(cells)


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if content.get(section) is None:
            content[section] = {}
        content = content[section]
        if not isinstance(content, dict):
            raise ConfigError(f"{key}: {section} is {content!r}, which has no keys")
    content[last] = copy.deepcopy(value)


def _cell_text(name: str, values: Mapping[str, Any]) -> str:
    return f"{name} ({', '.join(f'{key} {_label(value)}' for key, value in values.items())})"


def _which(cells: Sequence[str], n_cells: int) -> str:
    if len(cells) == n_cells > 1:
        return f"all {n_cells} models"
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return ", ".join(cells[:3]) + more
