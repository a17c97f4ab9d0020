"""Sizes as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdet_lab.sizes import as_bytes, parse_bytes, parse_count


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("8GB", 8 * 10**9),
        ("8 gb", 8 * 10**9),
        ("8G", 8 * 10**9),
        ("512MB", 512 * 10**6),
        ("16GiB", 16 * 2**30),
        ("16gib", 16 * 2**30),
        ("1.5 TB", 1_500 * 10**9),
        ("64 KiB", 64 * 1024),
        ("1000", 1000),
        (1000, 1000),
        ("12B", 12),
    ],
)
def test_bytes_are_decimal_unless_they_say_they_are_binary(written, size):
    assert parse_bytes(written) == size


@pytest.mark.parametrize(
    ("written", "count"),
    [("2G", 2e9), ("2B", 2e9), ("10M", 10e6), ("5.3M", 5.3e6), ("500k", 500e3), ("2e9", 2e9), (2e9, 2e9), (7, 7)],
)
def test_counts_are_decimal(written, count):
    assert parse_count(written) == count


@pytest.mark.parametrize("written", ["", "GB", "8XB", "eight", "8 G B", "-8GB", "0", "0GB", "nan", "inf", True, None])
def test_what_is_no_size_is_refused_with_a_size(written):
    with pytest.raises(ValueError, match="must be a size as 8GB, 512MB or 16GiB"):
        parse_bytes(written)


@pytest.mark.parametrize("written", ["2GB", "2GiB", "-1M", "0", "two"])
def test_what_is_no_count_is_refused_with_a_count(written):
    with pytest.raises(ValueError, match="must be a number as 2G, 10M or 500K"):
        parse_count(written)


@settings(max_examples=50)
@given(st.integers(1, 10**6), st.sampled_from(["K", "M", "G", "T"]))
def test_a_count_and_a_size_mean_the_same_by_a_decimal_prefix(number, prefix):
    assert parse_count(f"{number}{prefix}") == parse_bytes(f"{number}{prefix}B")


@settings(max_examples=50)
@given(st.integers(10**6, 10**13))
def test_what_is_told_is_read_again_to_a_twentieth(size):
    assert parse_bytes(as_bytes(size).replace(",", "")) == pytest.approx(size, rel=0.05)
