"""Pages as Markdown templates: a `.md` file reads as its page does, and whatever it is given is escaped.

In a template `{{ value }}` is written so that Markdown shows it as it is, unless it is :class:`Markdown` already; a
filter says how a figure, an interval or a piece of code is spelt. A tag that stands alone on its line leaves no line
behind, and however many blank lines there are between two parts, the page has one.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from ad_hypotheses.report import words

if TYPE_CHECKING:
    import jinja2

_PACKAGE = "ad_hypotheses"
#: A line that ends with a tag and has something else too; `+` keeps the line break that jinja2 would drop.
_TAG_AFTER_TEXT = re.compile(r"^(?![ \t]*\{%(?:(?!%\}).)*%\}$)(.*[^+-])%\}$", re.MULTILINE)


class Markdown(str):
    """Text that is Markdown already, so that a page shows it unchanged."""

    __slots__ = ()

    def __html__(self) -> str:  # the name under which jinja2 asks for it
        return self


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
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n")
    return Markdown(f"{text}\n" if text else "")


def escaped(value: Any) -> Markdown:
    """Return a value as Markdown shows it.

    Raises:
        TypeError: It is neither text nor a whole number.
    """
    if hasattr(value, "__html__"):
        return Markdown(value)
    if isinstance(value, str):
        return Markdown(words.literal(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(value)
    raise TypeError(f"a page cannot show {value}: give it a filter that says how it is spelt")


def joined(values: Iterable[Any], separator: str = ", ") -> Markdown:
    """Return values behind each other, each escaped."""
    return Markdown(separator.join(map(escaped, values)))


@cache
def _environment() -> jinja2.Environment:
    """Return what knows the filters; made when the first page is, since nothing else needs jinja2."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: _marked(spelling) for name, spelling in _SPELLINGS.items()} | {"join": joined}
    return environment


def _source(name: str) -> str:
    """Return the text of a template whose tags keep the line break behind them, unless they stand alone on a line."""
    text = importlib.resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
    return _TAG_AFTER_TEXT.sub(r"\1+%}", text)


def _sentence(text: str) -> str:
    return words.prose(words.sentence(text), emphasis=False)


def _prose(text: str) -> str:
    return words.prose(text, emphasis=False)


def _count(number: int) -> str:
    return f"{number:,}"


def _marked(spelling: Callable[..., str]) -> Callable[..., Markdown]:
    return lambda *arguments, **settings: Markdown(spelling(*arguments, **settings))


#: Filters of the templates, by name.
_SPELLINGS: dict[str, Callable[..., str]] = {
    "address": str,
    "figure": words.figure,
    "interval": words.interval,
    "percent": words.percent,
    "chance": words.chance,
    "code": words.code,
    "count": _count,
    "prose": _prose,
    "sentence": _sentence,
}
