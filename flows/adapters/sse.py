"""Shanghai level 2, orders and trades in one CSV: SecurityID,Date,Time,SourceType,...

The files come stock by stock, orders then trades, and are merged by time. Records of one time keep
the order of their ApplSeqNum, which is the exchange's own: an order that trades on arrival has its
trades first, and its order record, if anything is left of it, gives the quantity that is left.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from flows.adapters import AdaptedBlock, AdapterOptions, _csv, as_rejected, torn_at
from flows.adapters._overlay import ACCOUNT_FORMAT, Overlay
from flows.adapters._sse_lines import BUY, CANCEL, NEW, SELL, TRADE, event_lines
from flows.edges import files
from schemas.columns import RAW_SIZE_MAX, Rejected
from schemas.events import SECOND_NS, TIME_MAX_NS, TIME_MIN_NS

COLUMNS: Final = (
    *("SecurityID", "Date", "Time", "SourceType", "Type", "Price"),
    *("Qty", "BSFlag", "BuyNo", "SellNo", "ApplSeqNum", "ChannelNo"),
)
ZONE: Final = ZoneInfo("Asia/Shanghai")
MILLISECOND_NS: Final = 1_000_000
ROW: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("line", "<i8"),  # 0-based, the header being line 0
        ("security_start", "<i8"),
        ("security_end", "<i8"),
        ("day", "<i8"),  # as 20230711
        ("channel", "<i8"),
        ("sequence", "<i8"),
        ("record", "<i8"),  # NEW, CANCEL, TRADE
        ("price", "<i8"),  # yuan x 10,000
        ("quantity", "<i8"),
        ("flag", "<i8"),  # the order's side; of a trade: the side that arrived last, or 0
        ("buy", "<i8"),
        ("sell", "<i8"),
    ]
)
_INTEGERS: Final = {
    "Price": "price",
    "Qty": "quantity",
    "BSFlag": "flag",
    "BuyNo": "buy",
    "SellNo": "sell",
    "ApplSeqNum": "sequence",
    "ChannelNo": "channel",
}
_EXPECTED: Final = {
    "SecurityID": "a security of 1 to 32 letters, digits, dots and dashes",
    "Date": "a date as 2023.07.11",
    "Time": "a time as 09:15:00.280",
    "Type": "SourceType,Type 0,2 (new), 0,10 (cancel) or 1,0 (trade)",
    "BSFlag": "1 (buy) or 2 (sell); 0 for an auction's trades only",
}
_RECORDS: Final = {(0, 2): NEW, (0, 10): CANCEL, (1, 0): TRADE}
_SECURITY_BYTES: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_"
)
_SECURITY_SIZE_MAX: Final = 32
Rows = NDArray[np.void]  # of dtype ROW
Faults = NDArray[np.int64]  # shape (n,): 0, or 1 + the index in COLUMNS of the column at fault


class SseAdapter:
    """Orders and trades of an exchange tape, which names no accounts."""

    name = "sse"
    anonymous = True
    default_calendar = "XSHG"

    def recognises(self, first_bytes: bytes) -> bool:
        """Say whether the first line is a header with our columns."""
        header = first_bytes.split(b"\n", 1)[0].decode(errors="replace")
        return set(COLUMNS) <= {name.strip() for name in header.split(",")}

    def adapt(self, path: Path, options: AdapterOptions) -> Iterator[AdaptedBlock]:
        """Yield what was refused, then the events by time; the file is sorted in memory.

        Raises
        ------
        FileProblem
            If the file cannot be read, lacks a column or is too large to be sorted.
        ValueError
            If the overlay is not one.
        """
        overlay = Overlay.parse(options.accounts) if options.accounts else None
        block = files.whole(path)
        table = _csv.read_table(block.raw)
        if missing := [name for name in COLUMNS if name not in table.columns]:
            raise files.FileProblem(
                f"{path} has no column {', '.join(missing)}; its first line must name them."
            )
        rows, rejected = _read_rows(table)
        yield _refused(rejected + torn_at(block, len(table.line_start) + 1))
        text = block.raw.tobytes()
        for first in range(0, len(rows), options.block_lines):
            yield _adapted(text, rows[first : first + options.block_lines], overlay)


def _refused(rejected: list[Rejected]) -> AdaptedBlock:
    return AdaptedBlock(np.zeros(0, np.uint8), np.zeros(0, np.int64), rejected)


def _adapted(text: bytes, rows: Rows, overlay: Overlay | None) -> AdaptedBlock:
    accounts = {name: _accounts(rows, rows[name], overlay) for name in ("buy", "sell")}
    output = bytearray("".join(event_lines(text, rows, accounts["buy"], accounts["sell"])).encode())
    events_each = np.where(rows["record"] == TRADE, 2, 1)
    return AdaptedBlock(np.frombuffer(output, np.uint8), np.repeat(rows["line"], events_each))


def _accounts(rows: Rows, orders: NDArray[np.int64], overlay: Overlay | None) -> list[str]:
    """Return each order's account member with its comma, or nothing."""
    if overlay is None:
        return [""] * len(rows)
    numbers = overlay.account_numbers(rows["day"], rows["channel"], orders)
    return [f'"account_id":"{ACCOUNT_FORMAT % number}",' for number in numbers.tolist()]


def _read_rows(table: _csv.Table) -> tuple[Rows, list[Rejected]]:
    """Return the good rows by time, and the refused ones by line."""
    lines = table.whole_lines()
    rows, faults = _parse(table, lines)
    fault_of = np.full(len(table.line_start), -1, np.int64)  # -1: as a whole
    fault_of[lines] = faults
    refused = np.flatnonzero(fault_of).tolist()
    rejected = [_reject(table, index, int(fault_of[index])) for index in refused]
    good = rows[faults == 0]
    return good[np.lexsort((good["sequence"], good["channel"], good["time_ns"]))], rejected


def _parse(table: _csv.Table, lines: NDArray[np.int64]) -> tuple[Rows, Faults]:
    rows = np.zeros(len(lines), ROW)
    faults = np.zeros(len(lines), np.int64)
    rows["line"] = lines + 1
    rows["security_start"], rows["security_end"] = table.bounds(lines, "SecurityID")
    _blame(faults, "SecurityID", _are_securities(table, rows))
    rows["day"], rows["time_ns"] = _times(table, lines, faults)
    source_type = _integers(table, lines, "SourceType", faults)
    record_type = _integers(table, lines, "Type", faults)
    for (source_code, type_code), record in _RECORDS.items():
        rows["record"][(source_type == source_code) & (record_type == type_code)] = record
    _blame(faults, "Type", rows["record"] > 0)
    for column, name in _INTEGERS.items():
        rows[name] = _integers(table, lines, column, faults)
    is_side = (rows["flag"] == BUY) | (rows["flag"] == SELL)
    _blame(faults, "BSFlag", is_side | ((rows["flag"] == 0) & (rows["record"] == TRADE)))
    return rows, faults


def _blame(faults: Faults, column: str, is_good: NDArray[np.bool_]) -> None:
    """Note the column for rows that had no fault so far."""
    faults[(faults == 0) & ~is_good] = COLUMNS.index(column) + 1


def _integers(
    table: _csv.Table, lines: NDArray[np.int64], column: str, faults: Faults
) -> NDArray[np.int64]:
    values, is_good = _csv.integers(table.raw, *table.bounds(lines, column))
    _blame(faults, column, is_good)
    return values


def _are_securities(table: _csv.Table, rows: Rows) -> NDArray[np.bool_]:
    start, end = rows["security_start"], rows["security_end"]
    allowed = np.zeros(256, np.bool_)
    allowed[list(_SECURITY_BYTES)] = True
    are_good: NDArray[np.bool_] = (end > start) & (end - start <= _SECURITY_SIZE_MAX)
    for place in range(_SECURITY_SIZE_MAX):
        inside = are_good & (start + place < end)
        are_good &= ~inside | allowed[table.raw[np.where(inside, start + place, 0)]]
    return are_good


def _times(
    table: _csv.Table, lines: NDArray[np.int64], faults: Faults
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the days as 20230711 and the times in UTC ns."""
    day, has_day = _csv.shaped_digits(table.raw, *table.bounds(lines, "Date"), "0000.00.00")
    clock, has_clock = _csv.shaped_digits(table.raw, *table.bounds(lines, "Time"), "00:00:00.000")
    hour, minute, second = clock // 10**7, clock // 10**5 % 100, clock // 1000 % 100
    has_clock &= (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004 - a clock's figures
    since_midnight = ((hour * 60 + minute) * 60 + second) * SECOND_NS
    days, day_index = np.unique(day, return_inverse=True)
    midnight = np.array([_midnight_ns(int(one)) for one in days], np.int64)[day_index]
    _blame(faults, "Date", has_day & (midnight >= TIME_MIN_NS))
    _blame(faults, "Time", has_clock)
    return day, midnight + since_midnight + clock % 1000 * MILLISECOND_NS


def _midnight_ns(day: int) -> int:
    """Return when a day began in Shanghai, or 0 if there is no such day."""
    try:
        local = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=ZONE).astimezone(UTC)
    except (ValueError, OverflowError):
        return 0
    midnight = int(local.timestamp()) * SECOND_NS
    return midnight if TIME_MIN_NS <= midnight < TIME_MAX_NS - 86_400 * SECOND_NS else 0


def _reject(table: _csv.Table, index: int, fault: int) -> Rejected:
    line = table.line(index)
    place = (index + 1, int(table.line_start[index]))
    if fault > 0:
        column = COLUMNS[fault - 1]
        got = line.split(b",")[table.columns.index(column)][:40].decode(errors="replace")
        expected = _EXPECTED.get(column, "a whole number of at most 18 digits")
        return as_rejected(*place, line, expected=expected, got=repr(got), path=column)
    expected, got = f"{len(table.columns)} fields", f"{table.field_count[index]}"
    is_torn = table.ends_torn and index == len(table.line_start) - 1
    if not is_torn or table.field_count[index] > len(table.columns):
        return as_rejected(*place, line, expected=expected, got=got)
    return Rejected("torn_record", "adapt", "", expected, got, *place, line[:RAW_SIZE_MAX])


ADAPTER = SseAdapter()
