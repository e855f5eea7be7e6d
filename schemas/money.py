"""Money and quantity: exact decimals as int64 in units of 10^-8, never through a float.

A value is taken exactly or not at all. It counts what a value *is*, not how it is spelled:
``1.500000000000`` has one decimal that matters and is taken, and so is ``10e-9``.
"""

import re
from typing import Final

from schemas.events import E8, MONEY_MAX

DECIMALS: Final = 8
_SPELLING: Final = re.compile(rb"([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?\Z")
_EXPONENT_CAP: Final = 2_000_000  # beyond a line's length every exponent means the same


class MoneyError(ValueError):
    """Text that is not exact money.

    Parameters
    ----------
    reason
        ``bad_decimal``, ``too_many_decimals`` or ``money_out_of_range``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_e8(text: bytes) -> int:
    """Read a plain decimal into units of 10^-8.

    Parameters
    ----------
    text
        Optional sign, digits, optionally a point and digits, optionally an exponent.

    Raises
    ------
    MoneyError
        If it is spelled otherwise, is no multiple of 10^-8, or exceeds 92,233,720,368.

    Examples
    --------
    >>> parse_e8(b"-0.1"), parse_e8(b"1.5e3")
    (-10000000, 150000000000)
    """
    match = _SPELLING.match(text)
    if match is None:
        raise MoneyError("bad_decimal")
    sign, whole, fraction, exponent = match.groups()
    digits = (whole + (fraction or b"")).lstrip(b"0")
    if not digits:
        return 0
    significant = digits.rstrip(b"0")
    power = _read_exponent(exponent or b"0") - len(fraction or b"")
    power += DECIMALS + len(digits) - len(significant)
    if len(significant) + power > len(str(MONEY_MAX * E8)):
        raise MoneyError("money_out_of_range")
    if power < 0:
        raise MoneyError("too_many_decimals")
    value: int = int(significant) * 10**power
    if value > MONEY_MAX * E8:
        raise MoneyError("money_out_of_range")
    return -value if sign == b"-" else value


def _read_exponent(text: bytes) -> int:
    """Read an exponent of any length, capped where the cap changes no answer."""
    digits = text.lstrip(b"+-").lstrip(b"0")
    size = int(digits or b"0") if len(digits) <= DECIMALS else _EXPONENT_CAP
    size = min(size, _EXPONENT_CAP)
    return -size if text.startswith(b"-") else size


def format_e8(value: int) -> str:
    """Write units of 10^-8 as the shortest plain decimal.

    Examples
    --------
    >>> format_e8(150000000), format_e8(-1), format_e8(0)
    ('1.5', '-0.00000001', '0')
    """
    whole, rest = divmod(abs(value), E8)
    text = f"{whole}.{rest:08d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
