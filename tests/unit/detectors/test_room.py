"""Room for tables is zero, and large room is the system's."""

from mmap import mmap

import numpy as np

from detectors.core.account_state import ORDER
from detectors.core.room import PAGES_FROM_BYTES, zeroed
from detectors.core.tables import grown


def test_large_room_is_pages_of_its_own_and_small_room_is_not() -> None:
    small, large = (zeroed((rows, 8), np.int64) for rows in (4, PAGES_FROM_BYTES // 64))
    assert (small.shape, large.shape) == ((4, 8), (PAGES_FROM_BYTES // 64, 8))
    assert not small.any()
    assert not large.any()
    assert small.base is None
    assert isinstance(large.base, mmap)


def test_what_grows_keeps_its_rows_and_is_zero_beyond() -> None:
    rows = grown(zeroed((8,), ORDER), 0, 2_000)
    rows["quantity_e8"] = 7
    more = grown(rows, 1_500, 2_001)
    assert len(more) == 2_500
    assert more[:1_500].tobytes() == rows[:1_500].tobytes()
    assert not more["quantity_e8"][1_500:].any()
    assert grown(more, 1_500, 2_500) is more
