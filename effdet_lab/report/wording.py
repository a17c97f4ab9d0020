"""Numbers, durations and dates as people read them."""

import math
from datetime import datetime

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def decimal(value: float | None, digits: int = 4) -> str:
    """Always so many digits after the point; a dash for what was not measured.

    >>> decimal(0.65201), decimal(None)
    ('0.6520', '–')
    """
    if value is None:
        return NOTHING
    # A loss of 3e-6 is not zero.
    text = f"{value:.2e}" if 0 < abs(value) < 10**-digits else f"{value:.{digits}f}"
    return text.replace("-", MINUS)


def short(value: float) -> str:
    """As few characters as tell it, for axes and settings.

    >>> short(2500), short(0.1 + 0.2), short(5e-5)
    ('2.5k', '0.3', '5e−5')
    """
    for size, prefix in PREFIXES:
        if abs(value) >= size * (1 - 1e-9):
            return f"{value / size:.4g}{prefix}".replace("-", MINUS)
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def count(value: float) -> str:
    """Three digits that matter, with a prefix.

    >>> count(1_200_548), count(241_000_000), count(12)
    ('1.20 M', '241 M', '12')
    """
    for size, prefix in PREFIXES:
        if abs(value) >= size * 0.9995:
            return f"{value / size:#.3g}".rstrip(".") + f" {prefix}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """
    >>> duration(4.25), duration(75), duration(7260)
    ('4.2 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def day(when: datetime) -> str:
    """
    >>> day(datetime(2026, 11, 24))
    '24 November 2026'
    """
    return f"{when.day} {when:%B %Y}"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """
    >>> plural(1, "job"), plural(2, "job"), plural(2, "class", "classes")
    ('1 job', '2 jobs', '2 classes')
    """
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def parsed(text: str) -> float | None:
    """The finite number a text is, if it is one."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
