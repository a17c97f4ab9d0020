"""HTML and SVG as nested calls: whatever is not markup already is escaped, so no name of a user's becomes a tag."""

from collections.abc import Iterable
from html import escape
from typing import Any

VOID = {"br", "hr", "img", "link", "meta"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """One element; an attribute that is None or False is left out.

    A trailing underscore is dropped and the others become hyphens: `class_`, `data_value`.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    words = "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{name}{words}>" if name in VOID else f"<{name}{words}>{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Html:
    """One after another; None is nothing."""
    return Html("".join(_markup(child) for child in children if child is not None))


def _markup(child: Any) -> str:
    return child if isinstance(child, Html) else escape(str(child))


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escape(str(value))}"'
