"""Letting go of what no rule could use any more: idle accounts, contracts, instruments.

What is let go is what a new row would equal for every step still to come; so no alert depends on
when it happens, or whether.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.core.account_state import AccountState
from detectors.core.tables import USED, Table, remove
from schemas.events import SECOND_NS
from schemas.jit import kernel

if TYPE_CHECKING:
    from detectors.core.contract import Detector
    from detectors.core.memory import SubjectState

Mask = NDArray[np.bool_]


@kernel
def _remove_all(heads: Any, rows: Any, counters: Any, indices: Any) -> None:
    """Take rows out of a table."""
    for index in indices:
        remove(heads, rows, counters, index)


class Follower(Protocol):
    """Something that keeps a row for each row of the account table."""

    def needs(self, used: int, /) -> Mask:
        """Say which of the first ``used`` accounts must stay, shape (used,)."""
        ...

    def let_go(self, accounts: NDArray[np.int64], /) -> None:
        """Forget accounts; others may have their rows from now on."""
        ...


class Evictor:
    """Lets go of one shard's idle accounts, and of contracts and instruments no longer in use.

    Parameters
    ----------
    state
        The shard's tables.
    rules
        Each rule's detector and memory.
    followers
        What else follows the accounts by row: live features, peers.
    horizon_ns
        No row before it can count any more; orders that are over by then have been swept, and days
        that ended by then have been judged.
    """

    def __init__(
        self,
        state: AccountState,
        rules: "list[tuple[Detector, SubjectState]]",
        followers: "Sequence[Follower]",
        horizon_ns: int,
    ) -> None:
        self._state = state
        self._rules = rules
        self._followers = followers
        self._horizon_ns = horizon_ns

    def let_go(self, idle_ns: int) -> NDArray[np.int64]:
        """Let go of what can be; return the accounts' rows, which others may have from now on."""
        idle = resting(self._state.accounts, idle_ns, self._horizon_ns)
        self._let_go_of_subjects("account", idle)
        self._let_go_of_contracts()
        self._drop_registrations(idle)
        return self._let_go_of_accounts(idle)

    def _let_go_of_contracts(self) -> None:
        """Let go of flat positions without orders, which no rule remembers."""
        contracts, orders = self._state.contracts, self._state.orders
        self._let_go_of_subjects("contract", contracts.rows["account"][: contracts.used] >= 0)
        needed = self._remembered("contract", contracts.used)
        needed |= contracts.rows["trip"][: contracts.used] > 0
        needed[orders.rows["contract"][orders.live_indices()]] = True
        live = contracts.live_indices()
        contracts.remove(live[~needed[live]])

    def let_go_of_instruments(self) -> NDArray[np.int64]:
        """Let go of instruments without a contract; return their rows, as for accounts."""
        contracts, instruments = self._state.contracts, self._state.instruments
        unused = live(instruments)
        unused[contracts.rows["instrument"][contracts.live_indices()]] = False
        gone = np.flatnonzero(unused)
        remove_rows(instruments, gone)
        return gone

    def _let_go_of_subjects(self, kind: str, subjects: Mask) -> None:
        for detector, memory in self._rules:
            if detector.subject == kind:
                rows = memory.rows[: memory.used]
                spent = rows_of(memory, subjects) & detector.spent(rows, self._horizon_ns)
                memory.let_go(np.flatnonzero(spent))

    def _remembered(self, kind: str, count: int) -> Mask:
        """Say which subjects some rule still remembers."""
        held = np.zeros(count, np.bool_)
        for detector, memory in self._rules:
            if detector.subject == kind:
                subjects = memory.rows["subject"][: memory.used]
                held[subjects[subjects >= 0]] = True
        return held

    def _drop_registrations(self, idle: Mask) -> None:
        """Take exemptions off file that ended: no row can fall under them."""
        accounts, filed = self._state.accounts.rows, self._state.registrations
        for index in np.flatnonzero(idle & (accounts["registrations"][: len(idle)] > 0)):
            link = int(accounts["registrations"][index])
            if filed.have_ended(link, self._horizon_ns):
                accounts["registrations"][index] = filed.replace(link, [])

    def _let_go_of_accounts(self, idle: Mask) -> NDArray[np.int64]:
        accounts, contracts = self._state.accounts, self._state.contracts
        used = accounts.used
        rows = accounts.rows[:used]
        # What the sender claimed, or that it counts round trips itself, is said only once.
        needed = (rows["registrations"] > 0) | (rows["flags"] > 0) | (rows["claimed"] > 0)
        needed |= self._remembered("account", used)
        needed[contracts.rows["account"][contracts.live_indices()]] = True
        for follower in self._followers:
            needed |= follower.needs(used)
        gone = np.flatnonzero(idle & ~needed)
        self._remove_accounts(gone)
        return gone

    def _remove_accounts(self, gone: NDArray[np.int64]) -> None:
        remove_rows(self._state.accounts, gone)
        for follower in self._followers:
            follower.let_go(gone)


def rows_of(memory: "SubjectState", subjects: Mask) -> Mask:
    """Say which rows of a rule's memory are those of some subjects."""
    held = memory.rows["subject"][: memory.used]
    taken = held >= 0
    chosen = np.zeros(memory.used, np.bool_)
    chosen[taken] = subjects[held[taken]]
    return chosen


def resting(accounts: Table, rest_ns: int, until_ns: int) -> Mask:
    """Say which accounts had no event for so long, shape (used,)."""
    last_ns = (accounts.rows["last_s"][: accounts.used].astype(np.int64) + 1) * SECOND_NS
    return live(accounts) & (last_ns + rest_ns <= until_ns)


def live(table: Table) -> Mask:
    """Say which of the rows ever handed out are in use."""
    mask = np.zeros(int(table.counters[USED]), np.bool_)
    mask[table.live_indices()] = True
    return mask


def remove_rows(table: Table, indices: NDArray[np.int64]) -> None:
    """Take rows out, whose places others may have from now on."""
    with np.errstate(over="ignore"):  # only uncompiled kernels warn
        _remove_all(table.heads, table.rows, table.counters, indices)
