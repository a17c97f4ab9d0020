"""Sizes as people write them: 8GB, 512MiB, 2G, 10M."""

import re

PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")


def parse_bytes(written: str | int) -> int:
    """Bytes of a size: K, M, G and T are powers of 1000, KiB to TiB powers of 1024; a bare number is bytes.

    Raises: ValueError with the sentence that follows `setting=value:`.

    >>> parse_bytes("8GB"), parse_bytes("512 MiB"), parse_bytes(100)
    (8000000000, 536870912, 100)
    """
    units = {prefix + "B": factor for prefix, factor in {**PREFIXES, **BINARY}.items()} | {**PREFIXES, **BINARY}
    return _parse(written, units, "must be a size as 8GB, 512MB or 16GiB.")


def parse_count(written: str | int | float) -> int:
    """A number of things: K, M, G (or B) and T are powers of 1000.

    Raises: ValueError with the sentence that follows `setting=value:`.

    >>> parse_count("2G"), parse_count("10M"), parse_count("5.3M"), parse_count(2e9)
    (2000000000, 10000000, 5300000, 2000000000)
    """
    return _parse(written, PREFIXES | {"B": PREFIXES["G"]}, "must be a number as 2G, 10M or 500K.")


def _parse(written: object, units: dict[str, int], rule: str) -> int:
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError(rule)
    if not isinstance(written, str):
        value = float(written)
    else:
        found = NUMBER_AND_UNIT.fullmatch(written)
        unit = found[2].upper() if found else ""
        value = float(found[1]) * units[unit] if found and unit in units else _plain(written, rule)
    if not 0 < value < float("inf"):
        raise ValueError(rule)
    return round(value)


def _plain(written: str, rule: str) -> float:
    """A number as Python writes it, such as 2e9."""
    try:
        return float(written)
    except ValueError:
        raise ValueError(rule) from None


def as_bytes(size: float) -> str:
    """A size for people.

    >>> as_bytes(9_120_000_000), as_bytes(850_000), as_bytes(12)
    ('9.12 GB', '0.85 MB', '12 B')
    """
    for factor, unit in ((10**9, "GB"), (10**6, "MB")):
        if size >= 0.1 * factor:
            return f"{size / factor:,.2f} {unit}"
    return f"{size:,.0f} B"
