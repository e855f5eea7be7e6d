"""Letting go of what an instrument stage needs no more: parties, instruments, accounts, names.

As in ``detectors.core.idle``: what is let go is what a new row would equal. Who is forgotten hangs
on all of an account's events, so the account stage says so, by a file with nothing on it.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detectors.core.idle import Mask, live, remove_rows
from detectors.core.instrument_state import InstrumentState
from detectors.core.tables import Table

if TYPE_CHECKING:
    from detectors.core.contract import Detector, Subject
    from detectors.core.memory import SubjectState


class PartyEvictor:
    """Lets go of one instrument shard's rows.

    Parameters
    ----------
    state
        The shard's tables.
    rules
        Each aligned rule's detector and memory.
    horizon_ns
        All rows before it have come, and days that ended by then have been judged.
    """

    def __init__(
        self,
        state: InstrumentState,
        rules: "list[tuple[Detector, SubjectState]]",
        horizon_ns: int,
    ) -> None:
        self._state = state
        self._rules = rules
        self._horizon_ns = horizon_ns

    def let_go_of_parties(self) -> NDArray[np.int64]:
        """Let go of parties that no rule remembers; return their rows, which others may have."""
        parties = self._state.parties
        gone = np.flatnonzero(live(parties) & ~self._remembered("party", parties))
        remove_rows(parties, gone)
        return gone

    def _remembered(self, kind: "Subject", table: Table) -> Mask:
        """Have the rules forget what is spent; say which subjects they remember, shape (used,)."""
        remembered = np.zeros(table.used, np.bool_)
        for detector, memory in self._rules:
            if detector.subject == kind:
                rows = memory.rows[: memory.used]
                spent = (rows["subject"] >= 0) & detector.spent(rows, self._horizon_ns)
                memory.let_go(np.flatnonzero(spent))
                held = memory.rows["subject"][: memory.used]
                remembered[held[held >= 0]] = True
        return remembered

    def let_go_of_traders(self) -> None:
        """Let go of pairs whose day is over, and of accounts in instruments likewise."""
        pairs, traders = self._state.pairs, self._state.traders
        unused = self._is_over(pairs) & ~self._remembered("pair", pairs)
        remove_rows(pairs, np.flatnonzero(unused))
        unused = self._is_over(traders) & ~self._remembered("trader", traders)
        unused[pairs.rows["traders"][pairs.live_indices()].reshape(-1)] = False
        remove_rows(traders, np.flatnonzero(unused))

    def _is_over(self, table: Table) -> Mask:
        return live(table) & (table.rows["day_end_ns"][: table.used] <= self._horizon_ns)

    def let_go_of_instruments(self) -> NDArray[np.int64]:
        """Let go of instruments without parties or traders whose day is over; return their rows."""
        instruments = self._state.instruments
        unused = self._is_over(instruments)
        for table in (self._state.parties, self._state.traders):
            unused[table.rows["instrument"][table.live_indices()]] = False
        gone = np.flatnonzero(unused)
        remove_rows(instruments, gone)
        return gone

    def let_go_of_holders(self) -> None:
        """Let go of accounts with nothing on file that no party, trader or rule names."""
        holders = self._state.holders
        rows = holders.rows[: holders.used]
        is_filed = (rows["registrations"] > 0) | (rows["owner_1"] != 0) | (rows["group_1"] != 0)
        gone = np.flatnonzero(live(holders) & ~is_filed & ~self._named())
        remove_rows(holders, gone)
        self._state.drop_names(gone)

    def _named(self) -> Mask:
        """Say which accounts a party, a trader, or what a rule remembers, names; shape (used,)."""
        named = np.zeros(self._state.holders.used, np.bool_)
        for table in (self._state.parties, self._state.traders):
            named[table.rows["holder"][table.live_indices()]] = True
        for detector, memory in self._rules:
            if "accounts" in (detector.state_dtype.names or ()):
                rows = memory.rows[: memory.used]
                accounts = rows["accounts"][rows["subject"] >= 0]
                named[accounts[accounts > 0] - 1] = True
        return named
