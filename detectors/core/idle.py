"""Letting go of accounts that were idle for long, of which no rule could use anything any more.

What is let go is what a new row would equal for every step still to come; so no alert depends on
when it happens, or whether. It happens when lane time passes whole multiples of a stretch: a
function of the shard's own rows, however they come in batches.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.core.account_state import AccountState
from detectors.core.tables import USED, Table, remove
from schemas.columns import Rows
from schemas.events import SECOND_NS
from schemas.jit import kernel

if TYPE_CHECKING:
    from detectors.core.contract import Detector
    from detectors.core.memory import SubjectState

_STRETCHES: Final = 4  # an account is let go at most a quarter of the idle time after it might be
NOT_BEGUN: Final = -(2**62)

Mask = NDArray[np.bool_]


@kernel
def note_activity(accounts: Any, steps: Any) -> None:
    """Keep each account's latest event time, in seconds."""
    for i in range(len(steps)):
        index = steps[i]["account"]
        if index >= 0:
            second = np.uint32(steps[i]["time_ns"] // SECOND_NS)
            accounts[index]["last_s"] = max(accounts[index]["last_s"], second)


@kernel
def remove_all(heads: Any, rows: Any, counters: Any, indices: Any) -> None:
    """Take rows out of a table."""
    for index in indices:
        remove(heads, rows, counters, index)


class Stretches:
    """Where lane time passes from one stretch to the next.

    Parameters
    ----------
    idle_ns
        How long an account must be idle; 0: nothing is ever let go.
    rows_bring_clock
        Rows carry a time that no later row is before, but for the lateness allowed. Else, with
        lanes that come as they please, only the time that was carried in is such a one.
    """

    def __init__(self, idle_ns: int, *, rows_bring_clock: bool) -> None:
        self._every_ns = -(-idle_ns // _STRETCHES)
        self._rows_bring_clock = rows_bring_clock
        self.number = NOT_BEGUN

    @property
    def start_ns(self) -> int:
        """Where the stretch begins."""
        return self.number * self._every_ns

    def pass_to(self, rows: Rows, carried_ns: int) -> int | None:
        """Return the first row of a later stretch, which is then the one at hand; None: no row."""
        if self._every_ns == 0 or len(rows) == 0:
            return None
        if self.number == NOT_BEGUN:
            self._begin(rows, carried_ns)
        last_ns = self._clock_at(rows, -1, carried_ns)
        if last_ns < 0 or last_ns // self._every_ns <= self.number:
            return None
        first = 0
        if carried_ns // self._every_ns <= self.number:
            first = int(np.searchsorted(rows["clock_ns"], (self.number + 1) * self._every_ns))
        self.number = self._clock_at(rows, first, carried_ns) // self._every_ns
        return first

    def _begin(self, rows: Rows, carried_ns: int) -> None:
        """Take the stretch of the first row that has a clock as the first."""
        first = int(np.searchsorted(rows["clock_ns"], 0)) if carried_ns < 0 else 0
        if first < len(rows) and (clock_ns := self._clock_at(rows, first, carried_ns)) >= 0:
            self.number = clock_ns // self._every_ns

    def _clock_at(self, rows: Rows, index: int, carried_ns: int) -> int:
        if not self._rows_bring_clock:
            return carried_ns
        return max(carried_ns, int(rows["clock_ns"][index]))


class Follower(Protocol):
    """Something that keeps a row for each row of the account table."""

    def needs(self, used: int, /) -> Mask:
        """Say which of the first ``used`` accounts must stay, shape (used,)."""
        ...

    def let_go(self, accounts: NDArray[np.int64], /) -> None:
        """Forget accounts; others may have their rows from now on."""
        ...


class Evictor:
    """Lets go of one shard's idle accounts.

    Parameters
    ----------
    state
        The shard's tables.
    rules
        Each rule's detector and memory.
    followers
        What else follows the accounts by row: live features, peers.
    horizon_ns
        No row before it can count any more; orders that are over by then have been swept.
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

    def let_go(self, idle_ns: int) -> list[int]:
        """Let go of what can be; return the accounts' rows, which others may have from now on."""
        accounts = self._state.accounts
        last_ns = (accounts.rows["last_s"][: accounts.used].astype(np.int64) + 1) * SECOND_NS
        idle = _live(accounts) & (last_ns + idle_ns <= self._horizon_ns)
        if not idle.any():
            return []
        contracts = self._state.contracts
        owners = contracts.rows["account"][: contracts.used]
        live = owners >= 0
        idle_contracts = live & idle[np.where(live, owners, 0)]
        self._let_go_of_subjects("account", idle)
        self._let_go_of_subjects("contract", idle_contracts)
        self._let_go_of_contracts(idle_contracts)
        self._drop_registrations(idle)
        return self._let_go_of_accounts(idle)

    def _let_go_of_subjects(self, kind: str, idle: Mask) -> None:
        for detector, memory in self._rules:
            if detector.subject == kind:
                rows = memory.rows[: memory.used]
                taken = rows["subject"] >= 0
                ours = taken & idle[np.where(taken, rows["subject"], 0)]
                memory.let_go(np.flatnonzero(ours & detector.spent(rows, self._horizon_ns)))

    def _remembered(self, kind: str, count: int) -> Mask:
        """Say which subjects some rule still remembers."""
        held = np.zeros(count, np.bool_)
        for detector, memory in self._rules:
            if detector.subject == kind:
                subjects = memory.rows["subject"][: memory.used]
                held[subjects[subjects >= 0]] = True
        return held

    def _let_go_of_contracts(self, idle: Mask) -> None:
        """Let go of flat positions without orders, which no rule remembers."""
        contracts, orders = self._state.contracts, self._state.orders
        used = contracts.used
        needed = (contracts.rows["trip"][:used] > 0) | self._remembered("contract", used)
        needed[orders.rows["contract"][orders.live_indices()]] = True
        contracts.remove(np.flatnonzero(idle & ~needed))

    def _drop_registrations(self, idle: Mask) -> None:
        """Take exemptions off file that ended: no row can fall under them."""
        accounts, filed = self._state.accounts.rows, self._state.registrations
        for index in np.flatnonzero(idle & (accounts["registrations"][: len(idle)] > 0)):
            link = int(accounts["registrations"][index])
            if filed.have_ended(link, self._horizon_ns):
                accounts["registrations"][index] = filed.replace(link, [])

    def _let_go_of_accounts(self, idle: Mask) -> list[int]:
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
        _remove(accounts, gone)
        for follower in self._followers:
            follower.let_go(gone)
        return [int(index) for index in gone]


def _live(table: Table) -> Mask:
    live = np.zeros(int(table.counters[USED]), np.bool_)
    live[table.live_indices()] = True
    return live


def _remove(table: Table, indices: NDArray[np.int64]) -> None:
    with np.errstate(over="ignore"):  # only uncompiled kernels warn
        remove_all(table.heads, table.rows, table.counters, indices)
