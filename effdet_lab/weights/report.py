"""What became of every tensor when weights were loaded."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Group
from rich.table import Table

Shape = tuple[int, ...]


class NamedShape(NamedTuple):
    """A tensor's name and shape."""

    name: str
    shape: Shape


class Reinitialised(NamedTuple):
    """A tensor of the model that keeps its own initial numbers."""

    name: str
    shape: Shape
    found: Shape | None  # in the file, of another shape; None: not in the file


@dataclass(frozen=True)
class LoadReport:
    """The model's tensors that the file filled or not, and the file's that had no place."""

    source: str
    looks: str  # what network the tensors belong to
    grammar: str  # whose names they have
    conventions: str  # how that network pads, norms and reads pixels, as far as the source tells
    matched: tuple[NamedShape, ...]
    reinitialised: tuple[Reinitialised, ...]
    dropped: tuple[NamedShape, ...]  # by the file's names
    copied_classes: tuple[str, ...] = ()  # whose rows of the predictor were taken by name
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A sentence, then a line for each part that was not filled whole."""
        lines = [
            f"{self.source}: {len(self.matched)} tensors loaded, {len(self.reinitialised)} start anew, "
            f"{len(self.dropped)} of the file left over."
        ]
        for part, (matched, anew, dropped) in self.parts().items():
            if anew or dropped:
                lines.append(f"  {part}: {matched} loaded, {anew} start anew, {dropped} left over")
        lines += [
            f"  {name} is {_shown(shape)} in the model and {_shown(found)} in the file, so it starts anew."
            for name, shape, found in self.reinitialised
            if found is not None
        ]
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks())])

    def __rich__(self) -> Group:
        table = Table("part", "loaded", "start anew", "left over")
        for part, counts in self.parts().items():
            table.add_row(part, *map(str, counts))
        return Group(f"Weights of {self.source}", table, *self.remarks())

    def remarks(self) -> list[str]:
        """What the tensors are, and what else the reader should know."""
        named = f" under the names of {self.grammar}" if self.grammar else ""
        told = f"; {self.conventions}" if self.conventions else ""
        remarks = [f"It is {self.looks}{named}{told}.", *self.notes]
        if self.copied_classes:
            remarks.append(f"Taken over by name: {', '.join(self.copied_classes)}.")
        return remarks

    def parts(self) -> dict[str, tuple[int, int, int]]:
        """Matched, re-initialised and dropped tensors of each part: the first word of the names."""
        matched, anew, dropped = (
            Counter(entry.name.split(".")[0] for entry in entries)
            for entries in (self.matched, self.reinitialised, self.dropped)
        )
        parts = dict.fromkeys([*matched, *anew, *dropped])
        return {part: (matched[part], anew[part], dropped[part]) for part in parts}


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a number"
