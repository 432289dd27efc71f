"""Templates of pages: what is escaped, what is refused, and that no name in them is made up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

import ad_hypotheses
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report import templates
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, escaped, joined, table

PACKAGE = Path(ad_hypotheses.__file__).parent
PAGES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.md"))


@pytest.fixture
def filled(monkeypatch):
    """Fill in a template that is written in the test."""

    def fill(text: str, **values: object) -> str:
        monkeypatch.setattr(templates.importlib.resources, "files", lambda _: Text(text))
        templates._environment.cache_clear()
        return render("text.md", **values)

    yield fill
    templates._environment.cache_clear()


class Text:
    """A package that holds one template under any name."""

    def __init__(self, text: str) -> None:
        self.text = text

    def joinpath(self, _: str) -> Text:
        return self

    def read_text(self, encoding: str) -> str:
        return self.text


def test_text_is_shown_as_it_is_and_markdown_as_it_reads(filled):
    assert (
        filled("{{ a }} {{ b }} {{ a | code }}", a="x_y <b>\n|", b=Markdown("*x*"))
        == "x\\_y \\<b\\> \\| *x* `x_y <b> \\|`\n"
    )
    assert filled("{{ names | join }}", names=["a_b", Markdown("`c`")]) == "a\\_b, `c`\n"
    assert joined(["*", "b"], "; ") == r"\*; b"


def test_a_table_escapes_its_cells_and_aligns_its_numbers():
    assert table(["a_b", "n"], [[Markdown("`c`"), 1], ["x|y", "*"]], left=1) == (
        "| a\\_b | n |\n| --- | --: |\n| `c` | 1 |\n| x\\|y | \\* |"
    )


def test_figures_and_intervals_have_one_spelling(filled):
    number = Number(0.5, 0.4, 0.6)
    text = "{{ a | interval }} {{ a | interval(1) }} {{ b | figure }} {{ b | percent }} {{ c | count }} {{ c }}"
    assert filled(text, a=number, b=0.25, c=1234) == "0.50 [0.40, 0.60] 0.5 [0.4, 0.6] 0.25 25% 1,234 1234\n"


@pytest.mark.parametrize("value", [0.123456, None, True, [1]])
def test_what_nobody_has_spelt_is_refused(filled, value):
    with pytest.raises(TypeError, match=r"a page cannot show .*: give it a filter"):
        filled("{{ value }}", value=value)


def test_a_name_that_is_not_given_is_refused(filled):
    with pytest.raises(jinja2.UndefinedError, match="'nobody' is undefined"):
        filled("{{ nobody }}")
    with pytest.raises(jinja2.UndefinedError, match="no attribute 'nothing'"):
        filled("{{ number.nothing }}", number=Number(0.5, 0.4, 0.6))


def test_tags_leave_no_lines_and_parts_stand_one_blank_line_apart(filled):
    text = """
{% if a %}
# A
{% endif %}

{% if not a %}
not
{% endif %}

x{% if a %} y{% endif %}

{% for n in b %}
- {{ n }}{% if n %}!{% endif %}
{% endfor %}

end
"""
    assert filled(text, a=True, b=[0, 1]) == "# A\n\nx y\n\n- 0\n- 1!\n\nend\n"
    assert filled(text, a=False, b=[]) == "not\n\nx\n\nend\n"
    assert filled("{% if a %}\nx\n{% endif %}\n", a=False) == ""


def test_what_a_block_or_macro_wrote_is_not_escaped_again(filled):
    assert filled("{% set text %}*{{ a }}*{% endset %}{{ text }}", a="_") == "*\\_*\n"
    assert filled("{% macro m(x) %}`{{ x }}`{% endmacro %}{{ m('_') }}") == "`\\_`\n"
    assert escaped("a|b") == r"a\|b"


@pytest.mark.parametrize("name", PAGES)
def test_every_template_of_the_package_can_be_read(name):
    assert templates._environment().get_template(name)


def test_jinja_is_loaded_by_the_first_page_and_not_before():
    modules = "ad_hypotheses.studies.scrub.page"
    script = f"import sys, {modules}; from ad_hypotheses.report import templates; print('jinja2' in sys.modules); "
    script += "templates._environment(); print('jinja2' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert result.stdout.split() == ["False", "True"]
