"""The page around a report: one file that needs nothing else, with tables that sort."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effdet_lab.report.markup import Html, join, tag
from effdet_lab.report.wording import decimal

REPORT = "report.html"
# The browser itself refuses whatever is not in this file.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A table's cell: what is shown, and what it is sorted by (by its text, where nothing else is said)."""

    shown: Any
    value: float | None = None
    told: str | None = None  # what the mouse is told
    number: bool = False  # set to the right


def number_cell(value: float | None, digits: int = 4) -> Cell:
    """A measured number with all its digits behind it; a dash where there is none."""
    return Cell(decimal(value, digits), value, None if value is None else repr(value), number=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell | Any]], class_: str = "") -> Html:
    """Sorts by a click on a column's head. A column of numbers is set to the right, its head too."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    right = [any(row[index].number for row in cells) for index in range(len(columns))]
    heads = [
        tag("th", name, scope="col", class_="number" if end else None) for name, end in zip(columns, right, strict=True)
    ]
    body = [tag("tr", *(_cell(cell, end) for cell, end in zip(row, right, strict=True))) for row in cells]
    whole = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_=f"sortable {class_}".strip())
    return tag("div", whole, class_="scroll", tabindex="0")


def _cell(cell: Cell, right: bool) -> Html:
    value = None if cell.value is None else repr(cell.value)
    return tag("td", cell.shown, class_="number" if right else None, data_value=value, title=cell.told)


def section(title: str, *content: Html | None) -> Html | None:
    """A part of the page; none where it would be empty."""
    if not any(content):
        return None
    return tag("section", tag("h2", title), *content)


def paragraph(*words: Any, class_: str | None = None) -> Html:
    return tag("p", *words, class_=class_)


def tiles(pairs: Iterable[tuple[str, str, str | None]]) -> Html | None:
    """(name, value, small print): the numbers one looks for first."""
    parts = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", small) if small else None))
        for name, value, small in pairs
    ]
    return tag("dl", *parts, class_="tiles") if parts else None


def facts(pairs: Iterable[tuple[str, Any]]) -> Html | None:
    """Names and what they are, line by line."""
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs]
    return tag("dl", *rows, class_="facts") if rows else None


def notes(sentences: Iterable[str]) -> Html | None:
    """What is missing."""
    items = [tag("li", sentence) for sentence in sentences]
    return tag("ul", *items, class_="notes") if items else None


def page(title: str, kicker: str, summary: str, content: Iterable[Html | None]) -> Html:
    """A whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", _own("page.css")),
    )
    top = tag("header", tag("p", kicker, class_="kicker"), tag("h1", title), tag("p", summary, class_="summary"))
    foot = tag("footer", tag("p", "Written by effdet_lab. This file needs no other."))
    body = tag("body", tag("main", top, join(content), foot), tag("script", _own("page.js")))
    return Html("<!doctype html>\n") + tag("html", head, body, lang="en") + "\n"


def write_page(folder: Path, text: str) -> Path:
    """report.html in this folder, whole or not at all."""
    path = folder / REPORT
    unfinished = folder / f".{REPORT}.{os.getpid()}"
    try:
        # A file's name may hold bytes that are no text; they are written as character references.
        unfinished.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _own(name: str) -> Html:
    """A file of ours, which is not escaped: within style and script nothing is."""
    return Html((HERE / name).read_text(encoding="utf-8"))
