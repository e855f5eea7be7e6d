"""The numbers that the Arrow kernels spell out are those of the tables they read."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from schemas import (
    _arrow_fields,
    _arrow_kernels,
    _arrow_lines,
    _arrow_table,
    _scan_fields,
    _scan_kernels,
    _scan_lex,
    columns,
    wire,
)

KERNELS = (_arrow_table, _arrow_fields, _arrow_kernels, _arrow_lines)
SOURCES = (wire, columns, _scan_fields, _scan_kernels, _scan_lex, *KERNELS)
OF_THEIR_OWN = {"TRUE_WORD", "FALSE_WORD", "TEXT_FRAME"}


def numbers(module: ModuleType) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | np.integer)
    }


@pytest.mark.parametrize("module", KERNELS, ids=lambda module: module.__name__)
def test_a_number_is_the_same_wherever_it_stands(module: ModuleType) -> None:
    for name, value in numbers(module).items():
        told = {int(numbers(other)[name]) for other in SOURCES if name in numbers(other)}
        assert told == {int(value)}, name


def test_there_are_numbers_to_compare() -> None:
    assert {"MONEY", "LIST", "KEEP_ACCOUNT"} <= numbers(_arrow_fields).keys()
    assert {"READER", "NAMES", "ITEMS", "NAME_COUNT"} <= numbers(_arrow_table).keys()


def test_powers_of_ten_are() -> None:
    assert _arrow_lines.POWERS_OF_TEN.tolist() == [10**n for n in range(9)]


def test_choices_are_found_by_field() -> None:
    assert wire.choice_set_of("kind") == wire.KIND_SET
    assert wire.choice_set_of("price") == -1
    assert wire._CHOICE_SETS[wire.choice_set_of("side")] == ("buy", "sell")
