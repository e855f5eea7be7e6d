"""Forgetting who was silent for very long: that bounds what accounts hold that never come back.

An account without events for ``silent_ns`` begins anew with its next one, by that event's own time;
a position that no fill has moved for as long is zero for the next fill. So whether memory was given
back meanwhile makes no difference, nor when.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detectors.core.account_state import (
    FORGOTTEN,
    POSITIONS_FORGOTTEN,
    AccountState,
    StageArrays,
)
from detectors.core.contract_table import give_trip
from detectors.core.idle import Mask, rows_of
from detectors.core.peers import Peers
from detectors.core.placing import DAY_NS
from schemas.jit import kernel

if TYPE_CHECKING:
    from detectors.core.contract import Detector
    from detectors.core.memory import SubjectState


@kernel
def _give_trips(arrays: Any, contracts: Any) -> None:
    for contract in contracts:
        give_trip(arrays, contract)


class Forgetter:
    """Forgets accounts and positions of one shard; what was forgotten is counted.

    Parameters
    ----------
    state
        The shard's tables.
    rules
        Each rule's detector and memory. What rules remember of a day they judge and drop by
        themselves; forgotten is what they would remember for ever.
    peers
        Tiers of accounts, where these are kept.
    """

    def __init__(
        self,
        state: AccountState,
        rules: "list[tuple[Detector, SubjectState]]",
        peers: Peers | None,
    ) -> None:
        self._state = state
        self._rules = [(detector, memory) for detector, memory in rules if detector.is_cumulative]
        self._peers = peers

    def forget(self, silent: Mask, time_ns: int, arrays: StageArrays) -> NDArray[np.int64]:
        """Forget what the marked accounts hold, shape (used,), as of some time.

        Returns
        -------
        ndarray
            The accounts that held something.
        """
        silent = silent & self._holding()
        accounts = np.flatnonzero(silent)
        if len(accounts) == 0:
            return accounts
        theirs = self._of_accounts(silent)
        for detector, memory in self._rules:
            subjects = silent if detector.subject == "account" else theirs
            memory.let_go(np.flatnonzero(rows_of(memory, subjects)))
        self._end_positions(theirs & self._is_open(), arrays)
        rows, filed = self._state.accounts.rows, self._state.registrations
        for account in np.flatnonzero(silent & (rows["registrations"][: len(silent)] > 0)):
            rows["registrations"][account] = filed.replace(int(rows["registrations"][account]), [])
        rows["flags"][accounts] = rows["claimed"][accounts] = 0
        if self._peers is not None:
            self._peers.forget(accounts, time_ns)
        self._state.totals[FORGOTTEN] += len(accounts)
        return accounts

    def forget_positions(self, silent_ns: int, horizon_ns: int, arrays: StageArrays) -> None:
        """Forget open positions that no fill has moved for so long before the horizon."""
        contracts, stale = self._state.contracts, self._is_open()
        trips = contracts.rows["trip"][: contracts.used][stale] - 1
        moved_ns = contracts.trips["last_day"][trips].astype(np.int64) * DAY_NS
        stale[stale] = moved_ns + DAY_NS + silent_ns <= horizon_ns
        self._end_positions(stale, arrays)

    def _end_positions(self, contracts: Mask, arrays: StageArrays) -> None:
        ended = np.flatnonzero(contracts)
        _give_trips(arrays, ended)
        self._state.totals[POSITIONS_FORGOTTEN] += len(ended)

    def _holding(self) -> Mask:
        """Say which accounts hold something that ends with them, shape (used,)."""
        accounts, contracts = self._state.accounts, self._state.contracts
        rows = accounts.rows[: accounts.used]
        holding: Mask = (rows["registrations"] > 0) | (rows["flags"] > 0) | (rows["claimed"] > 0)
        contract_owners = contracts.rows["account"][: contracts.used]
        holding[contract_owners[self._is_open()]] = True
        for detector, memory in self._rules:
            subjects = memory.rows["subject"][: memory.used]
            held = subjects[subjects >= 0]
            holding[held if detector.subject == "account" else contract_owners[held]] = True
        if self._peers is not None:
            holding |= self._peers.filed(accounts.used)
        return holding

    def _of_accounts(self, accounts: Mask) -> Mask:
        """Say which contracts are those of some accounts, shape (contracts used,)."""
        contracts = self._state.contracts
        owners = contracts.rows["account"][: contracts.used]
        held = owners >= 0
        chosen = np.zeros(contracts.used, np.bool_)
        chosen[held] = accounts[owners[held]]
        return chosen

    def _is_open(self) -> Mask:
        """Say which contracts have a position that is not zero, shape (contracts used,)."""
        contracts = self._state.contracts
        rows = contracts.rows[: contracts.used]
        is_open: Mask = (rows["account"] >= 0) & (rows["trip"] > 0)
        return is_open
