"""YAML in which nothing is read as something else than what is written.

YAML 1.1 keeps the last of two equal keys, reads `011` as 9 and `1:30` as 90. A configuration that holds such a thing
was not meant so, and the model that it makes would be another one than its author believes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

YAMLError = yaml.YAMLError  # of which is what `load_yaml` raises
OCTAL = re.compile(r"[-+]?0[0-9_]+")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
MERGE = "tag:yaml.org,2002:merge"
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _StrictLoader(yaml.SafeLoader):
    """Plain data only, as PyYAML reads it, but for what would be read as something else."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that stands twice in one mapping, and `<<`, of which PyYAML 6.0.4 may take the wrong values."""
        mapping: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            if key.tag == MERGE:
                raise _refusal(key, "<< would copy keys from elsewhere; write them out")
            if isinstance(key, yaml.ScalarNode):
                line, written = key.start_mark.line + 1, (key.tag, key.value)
                if written in lines:
                    raise _refusal(key, f"the key {key.value!r} stands twice, on lines {lines[written]} and {line}")
                lines[written] = line
        return mapping

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Refuse numbers whose value is not the one that their digits show."""
        text = node.value
        if OCTAL.fullmatch(text):
            sign, digits = "-" * text.startswith("-"), text.lstrip("+-0_") or "0"
            raise _refusal(node, f"{text} has a leading 0; write {sign}{digits}, or '{text}' for text")
        if SEXAGESIMAL.fullmatch(text):
            raise _refusal(node, f"{text} is no number; write '{text}' for text")
        try:
            return self.construct_yaml_int(node) if node.tag == NUMBERS[0] else self.construct_yaml_float(node)
        except ValueError as error:  # thousands of digits
            raise _refusal(node, f"a number cannot be read: {error}") from error


for tag in NUMBERS:
    _StrictLoader.add_constructor(tag, _StrictLoader.construct_number)
# 08 and 09 are no octal numbers, and would be text
_StrictLoader.add_implicit_resolver(NUMBERS[0], OCTAL, list("-+0"))


def load_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: It is not valid, holds a key twice, or a number that would be read as another one.
    """
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refusal(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
