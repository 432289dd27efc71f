"""A configuration means what is written in it, or is refused with the line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ad_hypotheses.distill.config import read_yaml
from ad_hypotheses.errors import ConfigError
from ad_hypotheses.storage.strict_yaml import load_yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nbatch: 2\nseed: 3", "the key 'seed' stands twice, on lines 1 and 3"),
        ("model: {d_model: 8, d_model: 16}", "the key 'd_model' stands twice, on lines 1 and 1"),
        ("a: [{b: 1, 'b': 2}]", "the key 'b' stands twice"),
        ("a: &a {b: 1}\nc: {<<: *a, b: 2}", "<< would copy keys from elsewhere; write them out"),
        ("seed: 011", "011 has a leading 0; write 11, or '011' for text"),
        ("seed: -0_7", "-0_7 has a leading 0; write -7"),
        ("seed: 08", "08 has a leading 0; write 8"),
        ("seed: 00", "00 has a leading 0; write 0"),
        ("seeds: [1, 1:30]", "1:30 is no number; write '1:30' for text"),
        ("rate: 1:30.5", "1:30.5 is no number"),
        ("seed: " + 5000 * "9", "a number cannot be read"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(text, message, tmp_path):
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "one.yaml", "the configuration")
    assert message in str(caught.value)
    assert f"{tmp_path / 'one.yaml'} is not valid YAML" in str(caught.value)
    assert f"line {text.count(chr(10)) + 1}, column" in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-0", "10", "0x1f", "1_000", "0.5", "01.5", "1e3", "'011'", "'1:30'", "12:99"])
def test_other_numbers_and_text_are_what_they_always_were(text):
    assert load_yaml(f"a: {text}") == yaml.safe_load(f"a: {text}")


def test_values_may_be_repeated_by_an_alias():
    assert load_yaml("a: &a {x: 1, y: 2}\nb: *a\nc: [*a]") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2},
                                                               "c": [{"x": 1, "y": 2}]}  # fmt: skip


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!python/name:os.getcwd", "!unknown 1"])
def test_no_tag_makes_an_object(text):
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        load_yaml(f"a: {text}")


def test_shipped_configurations_mean_what_they_did():
    files = sorted(ROOT.glob("models/**/*.yaml"))
    assert len(files) > 20
    for path in files:
        assert load_yaml(path.read_text()) == yaml.safe_load(path.read_text())


def test_yaml_is_read_in_one_place():
    calls = {
        path.name
        for path in (ROOT / "ad_hypotheses").rglob("*.py")
        if any(f"yaml.{name}" in path.read_text() for name in ("safe_load", "SafeLoader", "load(", "full_load"))
    }
    assert calls == {"strict_yaml.py"}
