"""Room for tables that grow, straight from the system.

What such room has not been used for yet takes no memory, and what a table grew out of goes back at
once. A heap keeps both: among tables of many shards, which all grow, as much again as they hold.
"""

from math import prod
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

PAGES_FROM_BYTES: Final = 64 * 1024  # below this, the rest of the last page would count


def zeroed(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of zeros."""
    held = np.dtype(dtype)
    size = prod(shape) * held.itemsize
    if size < PAGES_FROM_BYTES:
        return np.zeros(shape, held)
    return np.ndarray(shape, held, buffer=mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))
