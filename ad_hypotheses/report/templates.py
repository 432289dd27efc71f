"""Pages as Markdown templates: a `.md` file reads as its page does, and whatever it is given is escaped.

In a template `{{ value }}` is written so that Markdown shows it as it is, unless it is :class:`Markdown` already; a
filter says how a figure, an interval or a piece of code is spelt. A tag that stands alone on its line leaves no line
behind, and however many blank lines there are between two parts, the page has one. A table that no page holds is cut
into several.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ad_hypotheses.report import words
from ad_hypotheses.report.narrow import narrow_tables
from ad_hypotheses.report.words import Markdown

if TYPE_CHECKING:
    import jinja2

_PACKAGE = "ad_hypotheses"
#: A line that ends with a tag and has something else too; `+` keeps the line break that jinja2 would drop.
_TAG_AFTER_TEXT = re.compile(r"^(?![ \t]*\{%(?:(?!%\}).)*%\}$)(.*[^+-])%\}$", re.MULTILINE)


def render(template: str, **values: Any) -> Markdown:
    """Fill a template in.

    Args:
        template: Path of the file inside the package, `"studies/scrub/scrub.md"`.
        values: What it names.

    Returns:
        The page, which ends with a line break; of a template that has nothing to say, nothing.

    Raises:
        jinja2.UndefinedError: It names something that it is not given.
        TypeError: It shows something that is neither text nor a whole number without a filter that spells it.
    """
    text = _environment().get_template(template).render(values)
    text = narrow_tables(re.sub(r"\n{3,}", "\n\n", text).strip("\n"))
    return Markdown(f"{text}\n" if text else "")


@cache
def _environment() -> jinja2.Environment:
    """Return what knows the filters; made when the first page is, since nothing else needs jinja2."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=words.escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    return environment


def _source(name: str) -> str:
    """Return the text of a template whose tags keep the line break behind them, unless they stand alone on a line."""
    text = importlib.resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
    return _TAG_AFTER_TEXT.sub(r"\1+%}", text)


def _sentence(text: str) -> Markdown:
    return words.prose(words.sentence(text))


#: Ways to spell a value, by the name of the filter.
_FILTERS: dict[str, Callable[..., str]] = {
    "address": words.address,
    "amount": words.amount,
    "chance": words.chance,
    "code": words.code,
    "count": words.count,
    "counted": words.counted,
    "figure": words.figure,
    "interval": words.interval,
    "join": words.joined,
    "percent": words.percent,
    "points": words.points,
    "prose": words.prose,
    "sentence": _sentence,
    "share": words.share,
}
