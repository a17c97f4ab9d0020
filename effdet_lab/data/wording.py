"""Sentences for refusals: long lists shortened, nearest names found."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

SPELLED_OUT = 10  # sentences of one kind before "and n more"


def shortened(sentences: Sequence[str], of: str) -> list[str]:
    """The first sentences, then how many more there are `of` that kind."""
    more = len(sentences) - SPELLED_OUT
    return [*sentences[:SPELLED_OUT], *([f"... and {more} more {of}."] if more > 0 else [])]


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like the word, if any does; capitals do not count."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, choices: Sequence[str]) -> str:
    """The nearest choice as a question, or else the choices.

    >>> did_you_mean("platelet", ["Platelets", "RBC"])
    'Did you mean Platelets?'
    """
    guess = nearest(word, choices)
    return f"Did you mean {guess}?" if guess else f"Known: {listed(choices)}."


def listed(words: Sequence[str], most: int = 8) -> str:
    """The words, the many cut short.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, ... (3 in all)'
    """
    if not words:
        return "nothing"
    return ", ".join(words) if len(words) <= most else f"{', '.join(words[:most])}, ... ({len(words)} in all)"


def unique(names: Sequence[str]) -> list[str]:
    """Names of files without their folders; those that would overwrite one another are numbered."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        stem = Path(name).stem
        seen[stem] = seen.get(stem, 0) + 1
        result.append(stem if seen[stem] == 1 else f"{stem}_{seen[stem]}")
    return result
