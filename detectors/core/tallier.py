"""The tallier: what one shard of accounts has to tell those who compare them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import Steps
from detectors.core.room import zeroed
from detectors.core.sent_rows import SentColumns
from detectors.core.tallies import (
    COUNT,
    DUE_NS,
    NAME,
    NEVER_DUE,
    TALLIES_A_STEP,
    TALLY,
    UNIT_AT_HAND,
    end_days,
    follow_units,
)
from detectors.core.windows import Windows
from schemas.columns import Bytes, EventColumns
from schemas.referee import names_of
from schemas.whole_rows import copied, joined, put


class Tallier:
    """The units at hand of one shard's accounts, and their windows.

    Parameters
    ----------
    tenant
        Of lines that name none.
    keeps_windows
        Whether some test looks at windows.
    """

    def __init__(self, tenant: str, *, keeps_windows: bool = False) -> None:
        self._tenant = tenant
        self._windows = Windows() if keeps_windows else None
        self._units = np.zeros(0, UNIT_AT_HAND)
        self._out = np.zeros(0, TALLY)
        self._meta = np.array([NEVER_DUE, 0], np.int64)

    def take(
        self,
        columns: EventColumns,
        steps: Steps,
        groups: tuple[NDArray[np.int32], list[str]],
        accounts: NDArray[np.void],
    ) -> SentColumns | None:
        """Take the steps of some rows; return their tallies.

        Parameters
        ----------
        columns, steps
            The rows, and what they mean.
        groups
            The group each row puts its account in (see ``Peers.groups_of``), and the tiers' names.
        accounts
            The account table's rows.
        """
        if len(accounts) > len(self._units):
            units = zeroed((len(accounts),), UNIT_AT_HAND)
            put(units[: len(self._units)], self._units)
            self._units = units
        if TALLIES_A_STEP * len(steps) > len(self._out):
            self._out = zeroed((TALLIES_A_STEP * len(steps),), TALLY)
        follow_units(self._units, accounts, self._out, self._meta, steps, groups[0])
        parts = [self._written(self._out)]
        if self._windows is not None:
            parts.append(self._windows.take(steps, groups[0], accounts))
        return self._named(parts, columns, groups[1])

    def close(self, watermark_ns: int, accounts: NDArray[np.void]) -> SentColumns | None:
        """End the days and windows that are over by the watermark; return their tallies.

        Called before anybody is told that the shard has come so far.
        """
        parts = []
        if int(self._meta[DUE_NS]) <= watermark_ns:
            out = zeroed((2 * len(self._units),), TALLY)
            end_days(self._units, accounts, out, self._meta, watermark_ns)
            parts.append(self._written(out))
        if self._windows is not None:
            parts.append(self._windows.close(watermark_ns, accounts))
        return self._named(parts, None, [])

    def _written(self, out: NDArray[np.void]) -> NDArray[np.void]:
        count, self._meta[COUNT] = int(self._meta[COUNT]), 0
        return copied(out[:count])

    def _named(
        self, parts: list[NDArray[np.void]], columns: EventColumns | None, tiers: list[str]
    ) -> SentColumns | None:
        """Join tallies, and write down the names among them."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return None
        tallies, raw = joined(parts), bytearray()
        for index in np.flatnonzero(tallies["kind"] == NAME).tolist():
            assert columns is not None, "only rows bring names"
            name = self._name(columns, tallies[index], tiers)
            tallies["line_start"][index], tallies["line_length"][index] = len(raw), len(name)
            raw += name
        data: Bytes = np.frombuffer(bytes(raw), np.uint8)
        return SentColumns(tallies, data)

    def _name(self, columns: EventColumns, tally: np.void, tiers: list[str]) -> bytes:
        names, group = names_of(columns.line(int(tally["row"]))), int(tally["group"])
        tier = tiers[group - 1] if group else ""
        return "\0".join((names.tenant or self._tenant, names.account_id or "", tier)).encode()

    def needs(self, count: int) -> NDArray[np.bool_]:
        """Say which of the first ``count`` accounts have an open day."""
        held = np.zeros(count, np.bool_)
        rows = self._units[:count]
        held[: len(rows)] = rows["is_open"] > 0
        if self._windows is not None:
            held |= self._windows.needs(count)
        return held

    def forget(self, accounts: NDArray[np.int64]) -> None:
        """Take accounts out of their groups."""
        self._units["group"][accounts[accounts < len(self._units)]] = 0
        if self._windows is not None:
            self._windows.forget(accounts)

    def let_go(self, accounts: NDArray[np.int64]) -> None:
        """Forget accounts whose rows others may have from now on."""
        self._units[accounts[accounts < len(self._units)]] = np.zeros((), UNIT_AT_HAND)
        if self._windows is not None:
            self._windows.let_go(accounts)

    def dump(self) -> dict[str, Any]:
        """Return everything; rows, as bytes, are the ones at work: a snapshot copies."""
        used = np.flatnonzero((self._units["day"] != 0) | (self._units["group"] != 0))
        end = int(used[-1]) + 1 if len(used) else 0
        return {
            "units": self._units[:end].view(np.uint8),
            "due_ns": int(self._meta[DUE_NS]),
            "windows": None if self._windows is None else self._windows.dump(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump; windows that it does not hold begin here."""
        self._units = copied(np.frombuffer(dumped["units"], UNIT_AT_HAND))
        self._meta[DUE_NS] = dumped["due_ns"]
        if self._windows is not None and dumped["windows"] is not None:
            self._windows = Windows.load(dumped["windows"])
