"""The settled experiment as a tree that folds."""

from collections.abc import Mapping
from typing import Any

from effdet_lab.report.markup import Html, join, tag
from effdet_lab.report.page import Cell, facts, table
from effdet_lab.report.wording import plural

SPELLED_OUT = 12  # values of a list before it is folded


def tree(settings: Mapping[str, Any]) -> Html:
    """Scalars line by line, records and long lists folded below them."""
    plain = {name: value for name, value in settings.items() if not _folds(value) and name != "kind"}
    folded = {name: value for name, value in settings.items() if _folds(value)}
    lines = facts((name, written(value)) for name, value in plain.items())
    return join([lines, *(_fold(name, value) for name, value in folded.items())])


def _folds(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > SPELLED_OUT or any(isinstance(item, dict) for item in value)
    return isinstance(value, dict)


def _fold(name: str, value: Any) -> Html:
    said = value.get("kind", "") if isinstance(value, dict) else plural(len(value), "value")
    inner = tag("div", tree(value) if isinstance(value, dict) else _list(value), class_="inner")
    return tag("details", tag("summary", name, " ", tag("span", said, class_="quiet")), inner)


def _list(values: list[Any]) -> Html:
    """Records of one kind are a table, others stand in a row."""
    if all(isinstance(value, dict) for value in values):
        columns = [name for name in dict.fromkeys(name for value in values for name in value) if name != "kind"]
        rows = [[number, *(_cell(value.get(name)) for name in columns)] for number, value in enumerate(values)]
        return table(["", *columns], rows)
    return tag("p", ", ".join(written(value) for value in values))


def _cell(value: Any) -> Cell:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(written(value), float(value) if number else None, number=number)


def written(value: Any) -> str:
    """As YAML and the command line write it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return str(value) or "\N{EN DASH}"
