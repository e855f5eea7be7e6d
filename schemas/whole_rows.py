"""Moving whole rows: numpy moves struct arrays field by field, which takes twenty times as long.

To pick rows by index, ``rows.take(indices)`` moves them whole; ``rows[indices]`` does not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Structs = NDArray[np.void]  # shape (n,), of any struct dtype


def _whole(rows: Structs) -> NDArray[Any]:
    """Return the same rows, as what has no fields."""
    return rows.view(np.dtype((np.void, rows.dtype.itemsize)))


def copied(rows: Structs) -> Structs:
    """Return a copy.

    Examples
    --------
    >>> rows = np.array([(1, 2.0), (3, 4.0)], [("a", "<i8"), ("b", "<f8")])
    >>> copied(rows).tolist()
    [(1, 2.0), (3, 4.0)]
    """
    return _whole(rows).copy().view(rows.dtype)


def joined(parts: Sequence[Structs]) -> Structs:
    """Return rows of one dtype one behind the other, copied; there is one part at least."""
    return np.concatenate([_whole(part) for part in parts]).view(parts[0].dtype)


def put(target: Structs, rows: Structs, places: Any = slice(None)) -> None:
    """Copy rows to ``target[places]``, which is of the same dtype."""
    assert target.dtype == rows.dtype, f"rows of {rows.dtype} do not fit {target.dtype}"
    _whole(target)[places] = _whole(rows)


def as_bytes(rows: Structs) -> bytearray:
    """Return what ``of_bytes`` makes rows of: pickling it does not spell out the dtype."""
    return bytearray(rows.tobytes())


def of_bytes(data: bytearray, dtype: np.dtype[np.void]) -> Structs:
    """Return the rows that bytes hold, writable and not copied."""
    return np.frombuffer(data, dtype)
