"""One Arrow IPC stream as tables of places that kernels read, every place checked beforehand.

What arrives is not trusted: pyarrow checks the metadata, but neither that buffers are as long as
their columns need nor what offsets and indexes point at. The former is checked here, the latter
by the tables.
"""

from collections import OrderedDict
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyarrow import ipc

from schemas import _arrow_table as tables
from schemas._arrow_frame import END_SIZE, broken, check_frame
from schemas._arrow_types import Layout, Plan, is_text, make_plan
from schemas.columns import Bytes
from schemas.strict_json import Fault

ROWS_MAX: Final = 10_000
LINES_SIZE_MAX: Final = 64 * 2**20
_PLANS_MAX: Final = 64
_FRAME_SIZE: Final = 32  # the most that stands around a value: quotes, sign, point, padding
_SMALL_SIZE: Final = 2**18  # below this, an estimate will do
_ESCAPED_SIZE: Final = 6  # a byte may be written as \u001f


class ReadBatch(NamedTuple):
    """One record batch, its places checked.

    Attributes
    ----------
    table
        As the kernels read it.
    dictionaries
        By column of the table: a batch whose only column is the names of its dictionary.
    arrays
        By column of the table: what only the referee reads, as pyarrow has it.
    unknown
        Of each column we do not know, its name and which rows have a value, shape (n,) bool.
    lines_size
        What its rows need as lines, at most.
    """

    plan: Plan
    table: tables.Batch
    dictionaries: dict[int, tables.Batch]
    arrays: dict[int, Any]
    unknown: tuple[tuple[str, NDArray[np.bool_]], ...]
    row_count: int
    lines_size: int

    @property
    def kind_column(self) -> int:
        """Where ``kind`` stands in the table; -1 if nowhere."""
        names = [layout.name for layout in self.plan.layouts]
        return names.index("kind") if "kind" in names else -1

    def values(self) -> NDArray[np.bool_]:
        """Return which rows have a value in which column of the plan, shape (columns, n)."""
        lines = self.table.columns[: len(self.plan.layouts)]
        found = [valid_rows(self.table.data, line, self.row_count) for line in lines]
        return np.array(found, np.bool_).reshape(len(found), self.row_count)


class MessageReader:
    """Reads messages; senders' schemas rarely change, so their plans are kept."""

    def __init__(self) -> None:
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def read(self, value: bytes) -> list[ReadBatch]:
        """Return the batches of a message that have rows.

        Raises
        ------
        Fault
            Saying why nothing of the message can be taken.
        """
        schema_end = check_frame(value)
        whole = pa.py_buffer(value)
        block = np.asarray(_Writable(value, whole.address))
        try:
            with ipc.open_stream(whole) as reader:
                plan = self._plan(value[:schema_end], reader.schema)
                batches = [batch for batch in reader if batch.num_rows]
            for batch in batches:
                batch.validate()  # lengths that fit each other; not what offsets point at
            _check_rows(sum(batch.num_rows for batch in batches))
            read = [_BatchReader(plan, block, whole, batch).read() for batch in batches]
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise broken(str(error).partition("\n")[0]) from None
        _check_lines_size(sum(one.lines_size for one in read))
        return read

    def _plan(self, key: bytes, schema: Any) -> Plan:
        plan = self._plans.pop(key, None) or make_plan(schema)
        self._plans[key] = plan
        if len(self._plans) > _PLANS_MAX:
            self._plans.popitem(last=False)
        return plan


class _Writable:
    """Bytes as an array that claims to be writable: numba compiles anew for read-only ones.

    Nobody writes. The array keeps this alive, and this the bytes. No padding is needed: behind
    everything that is read stands the end of the stream, which is as long.
    """

    def __init__(self, value: bytes, address: int) -> None:
        self._value = value
        self.__array_interface__ = {
            "version": 3,
            "shape": (len(value),),
            "typestr": "|u1",
            "data": (address, False),
        }


def _check_rows(count: int) -> None:
    if count > ROWS_MAX:
        raise Fault("batch_too_large", f"at most {ROWS_MAX:,} rows a message", f"{count:,}")


def _check_lines_size(size: int) -> None:
    """Refuse a message that is small only because it says the same long text again and again."""
    if size > LINES_SIZE_MAX:
        limit = f"rows that take at most {LINES_SIZE_MAX // 2**20} MiB when they are written out"
        raise Fault("batch_too_large", limit, f"up to {size // 2**20:,} MiB")


class _BatchReader:
    """Finds the buffers of one batch's columns inside its message."""

    def __init__(self, plan: Plan, block: Bytes, whole: Any, batch: Any) -> None:
        self._plan = plan
        self._block = block
        self._base = int(whole.address)
        self._size = int(whole.size)
        self._batch = batch
        self._count = int(batch.num_rows)
        self._table = plan.table.copy()
        self._names: list[tuple[int, NDArray[np.int64]]] = []
        self._items: list[NDArray[np.int64]] = []
        self._arrays: dict[int, Any] = {}
        self._name_count = 0

    def read(self) -> ReadBatch:
        """Return the batch; see ``MessageReader.read``."""
        size = sum(self._read_column(i, one) for i, one in enumerate(self._plan.layouts))
        size += self._count * int((self._table[:, tables.PREFIX_LENGTH] + _FRAME_SIZE).sum())
        names = np.zeros((self._name_count, tables.NAME_FIELDS), np.int64)
        hashes = np.zeros((self._name_count, tables.HASH_FIELDS), np.uint64)
        return ReadBatch(
            plan=self._plan,
            table=tables.Batch(
                self._block,
                np.concatenate([self._table, *(i[np.newaxis] for i in self._items)]),
                names,
                hashes,
            ),
            dictionaries={
                index: tables.Batch(self._block, line[np.newaxis], names, hashes)
                for index, line in self._names
            },
            arrays=self._arrays,
            unknown=tuple((name, self._valid(index)) for index, name in self._plan.unknown),
            row_count=self._count,
            lines_size=size,
        )

    def _read_column(self, index: int, layout: Layout) -> int:
        """Fill in one line of the table; return how many bytes the values have, as text."""
        array, line = self._batch.column(layout.column), self._table[index]
        buffers = self._fill_validity(line, array)
        end = array.offset + self._count
        if layout.reader == tables.TEXTS:
            return self._fill_texts(line, array, buffers)
        if layout.reader == tables.NAMES:
            line[tables.STARTS] = self._start(buffers[1], end * int(line[tables.WIDTH]))
            return self._read_dictionary(index, layout, line, array.dictionary)
        if layout.reader == tables.LISTS:
            line[tables.STARTS] = self._start(buffers[1], (end + 1) * int(line[tables.WIDTH]))
            return self._read_items(index, layout, line, array)
        if layout.reader == tables.OTHERS:
            return self._keep(index, layout, line, array)
        bits = 1 if layout.reader == tables.BOOLEANS else 8 * int(line[tables.WIDTH])
        line[tables.VALUES] = self._start(buffers[1], (end * bits + 7) // 8)
        return 0

    def _start(self, buffer: Any, needed: int) -> int:
        """Return where a buffer of at least ``needed`` bytes starts in the message."""
        if needed == 0:
            return 0
        if buffer is None or buffer.size < needed:
            raise broken("a column that is shorter than its batch")
        start = int(buffer.address) - self._base
        if start < 0 or start + buffer.size > self._size - END_SIZE:
            raise broken("values that are not little-endian")
        return start

    def _fill_validity(self, line: NDArray[np.int64], array: Any) -> list[Any]:
        """Fill in where the bitmap of values starts; return all buffers."""
        buffers: list[Any] = array.buffers()
        line[tables.OFFSET] = array.offset
        line[tables.VALIDITY] = -1
        if buffers[0] is not None and not pa.types.is_union(array.type):
            size = (array.offset + len(array) + 7) // 8
            line[tables.VALIDITY] = self._start(buffers[0], size)
        return buffers

    def _fill_texts(self, line: NDArray[np.int64], array: Any, buffers: list[Any]) -> int:
        """Fill in where texts stand."""
        count = array.offset + len(array) + 1
        line[tables.STARTS] = self._start(buffers[1], count * int(line[tables.WIDTH]))
        size = 0 if buffers[2] is None else int(buffers[2].size)
        line[tables.VALUES], line[tables.SIZE] = self._start(buffers[2], size), size
        return size * _ESCAPED_SIZE

    def _read_dictionary(
        self, index: int, layout: Layout, line: NDArray[np.int64], names: Any
    ) -> int:
        """Note the dictionary of a column, whose names are read before its rows."""
        count = len(names)
        line[tables.FIRST_NAME], line[tables.NAME_COUNT] = self._name_count, count
        self._name_count += count
        if count == 0:
            return 0
        own = np.zeros(tables.COLUMN_FIELDS, np.int64)
        own[tables.WIDTH] = layout.inner_width
        self._fill_texts(own, names, self._fill_validity(own, names))
        self._names.append((index, own))
        size = self._count * int(own[tables.SIZE])
        return _ESCAPED_SIZE * (
            size if size < _SMALL_SIZE else self._count * self._widest(own, count)
        )

    def _read_items(self, index: int, layout: Layout, line: NDArray[np.int64], array: Any) -> int:
        """Put the texts of a column of lists on a line of their own; keep other items."""
        items = array.values
        line[tables.NAME_COUNT] = len(items)
        line[tables.FIRST_NAME] = -1
        if not is_text(items.type):
            return self._keep(index, layout, line, array)
        size = 0
        if len(items):
            own = np.zeros(tables.COLUMN_FIELDS, np.int64)
            own[tables.READER], own[tables.WIDTH] = tables.ITEMS, layout.inner_width
            size = self._fill_texts(own, items, self._fill_validity(own, items))
            line[tables.FIRST_NAME] = len(self._table) + len(self._items)
            self._items.append(own)
        return size + len(items) * _FRAME_SIZE

    def _widest(self, line: NDArray[np.int64], count: int) -> int:
        """Return the size of a dictionary's longest name; the kernels check where names stand."""
        kind = np.dtype(f"<i{int(line[tables.WIDTH])}")
        start = int(line[tables.STARTS]) + int(line[tables.OFFSET]) * kind.itemsize
        ends = np.frombuffer(self._block, kind, count + 1, start).astype(np.int64)
        return int(np.clip(np.diff(ends).max(initial=0), 0, line[tables.SIZE]))

    def _keep(self, index: int, layout: Layout, line: NDArray[np.int64], array: Any) -> int:
        """Keep a column for the referee, unless it has values that nobody can take."""
        if layout.refusal is not None:
            if valid_rows(self._block, line, self._count).any():
                raise Fault("bad_column", *layout.refusal, f"$.{layout.name}")
            return 0
        try:
            array.validate(full=True)
        except pa.ArrowException as error:
            raise broken(f"column {layout.name}: {error}".partition("\n")[0]) from None
        self._arrays[index] = array
        return int(array.nbytes) * _ESCAPED_SIZE

    def _valid(self, index: int) -> NDArray[np.bool_]:
        """Return which rows have a value in a column that we do not know, whatever its type."""
        array = self._batch.column(index)
        if pa.types.is_null(array.type):
            return np.zeros(self._count, np.bool_)
        line = np.zeros(tables.COLUMN_FIELDS, np.int64)
        self._fill_validity(line, array)
        return valid_rows(self._block, line, self._count)


def valid_rows(block: Bytes, line: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return which of a column's rows have a value, shape (count,)."""
    start, first = int(line[tables.VALIDITY]), int(line[tables.OFFSET])
    if start < 0:
        return np.ones(count, np.bool_)
    bits = np.unpackbits(block[start : start + (first + count + 7) // 8], bitorder="little")
    return bits[first : first + count].astype(np.bool_)
