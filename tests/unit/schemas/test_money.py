"""Money is exact or refused."""

import pytest

from schemas.money import MoneyError, format_e8, parse_e8

MAX_E8 = 9_223_372_036_800_000_000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"-0.0", 0),
        (b"+1", 10**8),
        (b"007", 7 * 10**8),
        (b"0.00000001", 1),
        (b"1.500000000000", 150_000_000),
        (b"10e-9", 1),
        (b"1.5e3", 150_000_000_000),
        (b"0e999999999999", 0),
        (b"92233720368", MAX_E8),
        (b"-92233720368.0", -MAX_E8),
        (b"0." + b"0" * 3000 + b"1e3000", 10**7),
    ],
)
def test_exact_values_are_taken(text: bytes, value: int) -> None:
    assert parse_e8(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "bad_decimal"),
        (b".5", "bad_decimal"),
        (b"5.", "bad_decimal"),
        (b"1_000", "bad_decimal"),
        (b"1\n", "bad_decimal"),
        (b"0x10", "bad_decimal"),
        (b"0.000000001", "too_many_decimals"),
        (b"1e-999999999999", "too_many_decimals"),
        (b"92233720368.00000001", "money_out_of_range"),
        (b"1e999999999999", "money_out_of_range"),
        (b"-92233720369", "money_out_of_range"),
    ],
)
def test_everything_else_is_refused_by_name(text: bytes, reason: str) -> None:
    with pytest.raises(MoneyError) as refused:
        parse_e8(text)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-1, "-0.00000001"), (150_000_000, "1.5"), (10**9, "10")]
)
def test_formatting_is_the_shortest_decimal(value: int, text: str) -> None:
    assert format_e8(value) == text
