"""Every public name has an example, and every example says what comes of it."""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

import ad_hypotheses as adh

FUNCTIONS = [name for name in adh.__all__ if name.islower()]
SITES = ("embed", "head", "logits", "mlp", "pos")  # whose examples are the hypotheses themselves


def examples(name: str) -> list[doctest.DocTest]:
    value = getattr(adh, name)
    module = sys.modules[value.__module__]
    finder = doctest.DocTestFinder(recurse=inspect.isclass(value))
    return [test for test in finder.find(value, name, module=module, globs={}) if test.examples]


@pytest.mark.parametrize("name", [*(name for name in FUNCTIONS if name not in SITES), "Model"])
def test_examples_say_what_comes_of_them(name, tmp_path):
    tests = examples(name)
    assert tests, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
