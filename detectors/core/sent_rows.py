"""Rows that the account stage sends on: what detectors on instruments need to know of an event.

Only rows that had an effect are sent, only of kinds that some detector wants, and only where a rule
applies; files on accounts go with them. A row carries its own line, for the few whose names matter.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.account_state import FILED
from detectors.core.contract import Detector, Steps
from schemas.columns import KIND, KIND_CODES, Bytes, EventColumns, Rows
from schemas.copying import gather_lines
from schemas.jit import kernel
from schemas.whole_rows import as_bytes, copied, joined, of_bytes

_FILE: Final = KIND["ref.account"]

SENT: Final = np.dtype(
    [
        ("line_start", "<i8"),  # into ``SentColumns.raw``
        ("line_length", "<i4"),
        ("kind", "u1"),  # KIND_CODES
        ("side", "u1"),
        ("claimed", "u1"),  # exemptions the sender has claimed for the account so far
        ("flags", "u1"),
        ("event_time_ns", "<i8"),
        ("instrument_1", "<u8"),  # 0 for files on accounts
        ("venue_1", "<u8"),
        ("account_1", "<u8"),
        ("account_2", "<u8"),
        ("counter_1", "<u8"),  # fill: the counterparty's account; file: owner
        ("counter_2", "<u8"),  # and control group
        ("link_1", "<u8"),  # fill_id
        ("price_e8", "<i8"),
        ("quantity_e8", "<i8"),
        ("age_ns", "<i8"),  # of the order, -1 where unknown
        ("position", "<i8"),  # lane << LANE_SHIFT | line number
        ("day_end_ns", "<i8"),
        ("day", "<i4"),
        ("what", "<u4"),  # of the account's step
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class SentColumns:
    """Some rows with their lines.

    Attributes
    ----------
    rows
        Shape (n,), dtype ``SENT``; or ``TALLY``, of which only names have lines.
    raw
        The bytes that the rows' ``line_start`` and ``line_length`` point into.
    """

    rows: NDArray[np.void]
    raw: Bytes

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        """Whether rows and their lines are the same, wherever the lines lie."""
        if not isinstance(other, SentColumns):
            return NotImplemented
        mine, others = self.own_lines(), other.own_lines()
        return (mine.rows.tobytes(), mine.raw.tobytes()) == (
            others.rows.tobytes(),
            others.raw.tobytes(),
        )

    __hash__ = None  # type: ignore[assignment]  # arrays change

    def line(self, index: int) -> bytes:
        """Return the bytes row ``index`` was read from."""
        start = int(self.rows["line_start"][index])
        return bytes(self.raw[start : start + int(self.rows["line_length"][index])])

    def own_lines(self) -> "SentColumns":
        """Return a copy whose bytes are the rows' lines and nothing else."""
        rows = copied(self.rows)
        target = np.empty(int(rows["line_length"].sum()), np.uint8)
        gather_lines(rows, self.raw, target)
        return SentColumns(rows, target)

    def __reduce__(self) -> tuple[Callable[..., "SentColumns"], tuple[Any, ...]]:
        """Pickle with the rows' own lines; only what is no ``SENT`` says what it is."""
        own = self.own_lines()
        dtype = None if own.rows.dtype == SENT else own.rows.dtype
        return _received, (as_bytes(own.rows), own.raw, dtype)


def _received(rows: bytearray, raw: Bytes, dtype: "np.dtype[np.void] | None" = None) -> SentColumns:
    return SentColumns(of_bytes(rows, dtype or SENT), raw)


def join(parts: Sequence[SentColumns]) -> SentColumns:
    """Put parts of one sort, none empty, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return SentColumns(np.zeros(0, SENT), np.zeros(0, np.uint8))
    rows = joined([part.rows for part in parts])
    sizes = np.array([0, *(len(part.raw) for part in parts[:-1])])
    rows["line_start"] += np.repeat(np.cumsum(sizes), [len(part) for part in parts])
    return SentColumns(rows, np.concatenate([part.raw for part in parts]))


def files_of_nothing(accounts: NDArray[np.void], time_ns: int) -> SentColumns:
    """Return a file without a line for each account, of dtype ``ACCOUNT``: it was forgotten."""
    rows = np.zeros(len(accounts), SENT)
    rows["kind"], rows["event_time_ns"], rows["day"] = _FILE, time_ns, -1
    for name in ("key_1", "key_2"):
        rows[name.replace("key", "account")] = accounts[name]
    return SentColumns(rows, np.zeros(0, np.uint8))


@kernel
def choose(rows: Any, steps: Any, accounts: Any, wanted: Any, chosen: Any) -> Any:
    """Write the indexes of the rows that are sent on to ``chosen``; return how many.

    Parameters
    ----------
    rows, steps
        Shape (n,), dtypes ``ROW`` and ``STEP``.
    accounts
        Shape (m,), dtype ``ACCOUNT``.
    wanted
        Shape (2, 256), uint64: by kind the bits of ``STEP.rules`` that want such rows, of any
        account, and of those with an owner or a control group on file; files are always sent.
    chosen
        Shape (n,), int64.
    """
    count = 0
    for i in range(len(rows)):
        kind, account = rows[i]["kind"], steps[i]["account"]
        if account < 0:
            continue
        bits = wanted[0, kind]
        if wanted[1, kind] != 0 and accounts[account]["flags"] & FILED != 0:
            bits |= wanted[1, kind]
        if kind == _FILE or steps[i]["rules"] & bits != 0:
            chosen[count] = i
            count += 1
    return count


@kernel
def fill_sent(rows: Any, steps: Any, chosen: Any, arrays: Any, sent: Any) -> None:
    """Write chosen rows as they are sent; lines still point into the block.

    ``arrays`` are the ``StageArrays``: what an order's cancel does not say itself is known there.
    """
    for k in range(len(chosen)):
        row, step, out = rows[chosen[k]], steps[chosen[k]], sent[k]
        out["line_start"] = row["line_start"]
        out["line_length"] = row["line_length"]
        out["kind"] = row["kind"]
        out["side"] = row["side"]
        out["claimed"] = step["claimed"]
        out["flags"] = row["flags"]
        out["event_time_ns"] = row["event_time_ns"]
        out["instrument_1"] = row["instrument_1"]
        out["venue_1"] = row["venue_1"]
        if step["contract"] >= 0:
            instrument = arrays.instruments[arrays.contracts[step["contract"]]["instrument"]]
            out["instrument_1"] = instrument["key_1"]
            out["venue_1"] = instrument["key_2"]
        out["account_1"] = row["account_1"]
        out["account_2"] = row["account_2"]
        out["counter_1"] = row["name_1"]
        out["counter_2"] = row["notice_1"]
        out["link_1"] = row["link_1"]
        out["price_e8"] = row["price_e8"]
        out["quantity_e8"] = step["quantity_e8"]
        out["age_ns"] = step["age_ns"]
        out["position"] = step["position"]
        out["day_end_ns"] = step["day_end_ns"]
        out["day"] = step["day"]
        out["what"] = step["what"]


class Sender:
    """Chooses what is sent on for some detectors.

    Parameters
    ----------
    detectors
        Those whose rows stand behind align; at least one.
    """

    def __init__(self, detectors: Iterable[Detector]) -> None:
        self._wanted = np.zeros((2, 256), np.uint64)
        for detector in detectors:
            for kind in detector.kinds:
                # Nobody else is of a party, but a fill may be told by either side.
                is_linked = detector.subject == "party" and kind != "fill"
                self._wanted[int(is_linked), KIND_CODES.index(kind)] |= detector.selection.rule_bit

    def choose(
        self, columns: EventColumns, steps: Steps, arrays: Any, room: NDArray[np.int64]
    ) -> SentColumns | None:
        """Return the rows to send, with their own lines; None where there are none.

        ``room`` has shape (n,) at least and is written over.
        """
        rows: Rows = columns.rows
        count = choose(rows, steps, arrays.accounts, self._wanted, room)
        if count == 0:
            return None
        sent = np.zeros(count, SENT)
        fill_sent(rows, steps, room[:count], arrays, sent)
        if isinstance(columns.raw, np.ndarray):
            return SentColumns(sent, columns.raw).own_lines()
        written, raw = EventColumns(rows.take(room[:count]), columns.raw).lines()
        sent["line_start"], sent["line_length"] = written["line_start"], written["line_length"]
        return SentColumns(sent, raw)
