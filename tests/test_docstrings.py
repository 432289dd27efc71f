"""Every public name has an example, and every example says what comes of it."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest

import ad_hypotheses as adh

ROOT = Path(__file__).parent.parent
FUNCTIONS = [name for name in adh.__all__ if name.islower()]
SITES = ("embed", "head", "logits", "mlp", "pos")  # whose examples are the hypotheses themselves


def examples(name: str) -> list[doctest.DocTest]:
    value = getattr(adh, name)
    module = sys.modules[value.__module__]
    finder = doctest.DocTestFinder(recurse=inspect.isclass(value))
    return [test for test in finder.find(value, name, module=module, globs={}) if test.examples]


@pytest.mark.parametrize("name", [*(name for name in FUNCTIONS if name not in SITES), "Model", "ScrubbedModel"])
@pytest.mark.default_cases(5)
def test_examples_say_what_comes_of_them(name, tmp_path):
    tests = examples(name)
    assert tests, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


PAGES = {"README.md": "## In Python", "docs/library.md": "# From Python"}


def snippets(page: str) -> list[str]:
    """The Python of a page from one of its headings on, up to the next one of README."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(PAGES[page])[2]
    text = text.partition("\n## ")[0] if page == "README.md" else text
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_in_their_order(page, capsys):
    scope: dict[str, object] = {"__name__": "__main__"}
    for number, snippet in enumerate(snippets(page)):
        exec(compile(snippet, f"<{page} {number}>", "exec"), scope)
    assert scope["adh"] is adh
    assert capsys.readouterr() == ("", "")


def test_the_reference_has_every_name_and_no_other():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)", text, re.MULTILINE)) == sorted(adh.__all__)


def test_the_page_of_the_library_tells_of_every_name():
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert [name for name in adh.__all__ if not re.search(rf"\b{name}\b", text)] == []
