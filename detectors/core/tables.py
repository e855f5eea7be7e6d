"""Hash tables of fixed-size rows: chained, so that a row's index never changes while it lives.

A table is a struct array whose dtype has ``key_1``, ``key_2`` (uint64) and ``next`` (int32), the
chain heads (int32, a power of two of them and no fewer than rows, -1 for empty) and three counters.
Kernels find, insert and remove; only Python grows, before a batch, so that no kernel ever runs out.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from detectors.core.room import zeroed
from schemas.jit import Int, inlined, kernel
from schemas.whole_rows import put

USED: Final = 0  # rows ever handed out
FREE: Final = 1  # index + 1 of the first free row; 0 for none
LIVE: Final = 2  # rows in use
CAPACITY_MIN: Final = 64
_CACHE_LINE: Final = 64


@intrinsic
def _fetch_at(_context: Any, array: Any, index: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        item = cgutils.get_item_pointer(  # type: ignore[no-untyped-call]
            context, builder, array_type, view, [args[1]]
        )
        word, pointer = ir.IntType(32), ir.PointerType(ir.IntType(8))
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        )
        start = builder.bitcast(item, pointer)
        size = array_type.dtype.bitwidth // 8 if array_type.ndim == 1 else _CACHE_LINE
        for offset in {*range(0, size, _CACHE_LINE), size - 1}:
            place = builder.gep(start, [word(offset)])
            builder.call(ask, [place, word(0), word(3), word(1)])  # to read, keep, data
        return context.get_dummy_value()

    return types.none(array, index), codegen


def fetch(array: NDArray[Any], index: Int) -> None:
    """Ask the processor for ``array[index]``, which is wanted soon: changes nothing but speed.

    A table's row lies anywhere in memory, and waiting for it takes longer than working on it.
    """


@overload(fetch)
def _fetch_overload(array, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda array, index: _fetch_at(array, np.int64(index))  # type: ignore[call-arg]


@inlined
def find(heads: Any, rows: Any, key_1: Int, key_2: Int) -> Any:
    """Return the index of the row with this key, or -1."""
    index = np.int64(heads[key_1 & np.uint64(len(heads) - 1)])
    while index >= 0:
        row = rows[index]
        if row["key_1"] == key_1 and row["key_2"] == key_2:
            return index
        index = np.int64(row["next"])
    return np.int64(-1)


@inlined
def fetch_head(heads: Any, key_1: Int) -> None:
    """Ask for the head of a key's chain."""
    fetch(heads, np.int64(key_1 & np.uint64(len(heads) - 1)))


@inlined
def fetch_row(heads: Any, rows: Any, key_1: Int) -> None:
    """Ask for the first row of a key's chain, which mostly is the key's."""
    index = heads[key_1 & np.uint64(len(heads) - 1)]
    if index >= 0:
        fetch(rows, index)


@kernel
def insert(heads: Any, rows: Any, counters: Any, key_1: Int, key_2: Int) -> Any:
    """Give a key that is not in the table a row, and return its index.

    The row's own fields are whatever its last user left: the caller sets them all.
    """
    if counters[FREE] > 0:
        index = np.int64(counters[FREE] - 1)
        counters[FREE] = rows[index]["next"]
    else:
        index = np.int64(counters[USED])
        counters[USED] += 1
    counters[LIVE] += 1
    slot = key_1 & np.uint64(len(heads) - 1)
    rows[index]["key_1"] = key_1
    rows[index]["key_2"] = key_2
    rows[index]["next"] = heads[slot]
    heads[slot] = index
    return index


@kernel
def remove(heads: Any, rows: Any, counters: Any, index: Int) -> None:
    """Take a row out; its index may be handed out again."""
    slot = rows[index]["key_1"] & np.uint64(len(heads) - 1)
    after = rows[index]["next"]
    if heads[slot] == index:
        heads[slot] = after
    else:
        before = heads[slot]
        while rows[before]["next"] != index:
            before = rows[before]["next"]
        rows[before]["next"] = after
    rows[index]["next"] = counters[FREE]
    rows[index]["key_1"] = 0
    rows[index]["key_2"] = 0
    counters[FREE] = index + 1
    counters[LIVE] -= 1


@kernel
def rehash(heads: Any, rows: Any, live_indices: Any) -> None:
    """Chain the given rows into fresh heads, first row last so that order stays as it was."""
    for index in live_indices:
        slot = rows[index]["key_1"] & np.uint64(len(heads) - 1)
        rows[index]["next"] = heads[slot]
        heads[slot] = index


@inlined
def mix(left: Int, right: Int) -> Any:
    """Mix two 64-bit hashes into one (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = np.uint64(left) ^ (np.uint64(right) * np.uint64(0x9E3779B97F4A7C15))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def grown(rows: NDArray[Any], used: int, need: int) -> NDArray[Any]:
    """Return rows with room for ``need``, the first ``used`` kept.

    A quarter more at least: then each row is copied four times on average, and what is not yet used
    stays a small part.
    """
    if need <= len(rows):
        return rows
    fresh = zeroed((max(need, len(rows) + len(rows) // 4), *rows.shape[1:]), rows.dtype)
    put(fresh[:used], rows[:used])
    return fresh


def empty_heads(rows: int) -> NDArray[np.int32]:
    """Return the heads of chains for so many rows."""
    return np.full(1 << (max(rows, 1) - 1).bit_length(), -1, np.int32)


@dataclass(slots=True)
class Chained:
    """What every table has: rows, the heads of their chains, and three counters.

    Attributes
    ----------
    rows
        Struct array with ``next`` among its fields.
    heads
        Shape (m,), int32, m a power of two.
    counters
        Shape (3,), int64: used, free, live.
    """

    rows: NDArray[np.void]
    heads: NDArray[np.int32]
    counters: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the rows in use."""
        return int(self.counters[LIVE])

    @property
    def used(self) -> int:
        """Rows ever handed out; every live index is below it."""
        return int(self.counters[USED])


@dataclass(slots=True)
class Table(Chained):
    """A hash table whose rows hold their own keys; see the module's words."""

    @classmethod
    def of(cls, dtype: np.dtype[np.void], capacity: int = CAPACITY_MIN) -> "Table":
        """Make an empty table."""
        return cls(np.zeros(capacity, dtype), empty_heads(capacity), np.zeros(3, np.int64))

    @property
    def spare(self) -> int:
        """How many inserts there is room for."""
        return len(self.rows) - len(self)

    def reserve(self, extra: int) -> None:
        """Make room for ``extra`` inserts."""
        self.rows = grown(self.rows, self.used, len(self) + extra)
        if len(self.rows) > len(self.heads):
            self.heads = empty_heads(len(self.rows))
            rehash(self.heads, self.rows, self.live_indices())

    def live_indices(self) -> NDArray[np.int64]:
        """Return the indices in use, ascending."""
        used = self.rows[: self.used]
        return np.flatnonzero((used["key_1"] != 0) | (used["key_2"] != 0))

    def dump(self) -> tuple[NDArray[np.uint8], list[int], int]:
        """Return what has been used, for a snapshot to copy."""
        return self.rows[: self.used].view(np.uint8), self.counters.tolist(), len(self.rows)

    @classmethod
    def load(cls, dtype: np.dtype[np.void], dumped: tuple[Any, list[int], int]) -> "Table":
        """Rebuild a table from its dump."""
        data, counters, capacity = dumped
        table = cls.of(dtype, capacity)
        table.counters[:] = counters
        put(table.rows[: table.used], np.frombuffer(data, dtype))
        # ``next`` of free rows is the free list and stays; chains of live rows are made anew.
        rehash(table.heads, table.rows, table.live_indices())
        return table
