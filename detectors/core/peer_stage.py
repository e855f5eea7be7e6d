"""The peer stage: tests that compare accounts with their peers and with their own past.

It sees the tallies of all accounts in order of time (``flows.align``), and at each close, which is
midnight in UTC, fixes what counts until the next one: nulls, sizes of buckets, budgets, and among
how many accounts these are shared. So all of that follows from the events alone. No clock, no
engine, no input or output.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.blocks import dump_blocks, take_up
from detectors.core.contract import SIMULATED, Detector, FixedGroup
from detectors.core.findings import Narrator, Who
from detectors.core.idle import live, remove_rows
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peers import GROUPS_MAX, OTHER
from detectors.core.ranking import Ranking, RankingSpec, Review, summary_of
from detectors.core.sent_rows import SentColumns
from detectors.core.stage import StageOutput
from detectors.core.stage_config import Names
from detectors.core.tables import Table, find, insert
from detectors.core.tallies import COUNTS, DAY, LIFETIME_BINS, NAME
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel
from schemas.referee import Names as EventNames

UNIT_STEP: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("begin_ns", "<i8"),
        ("day_end_ns", "<i8"),
        ("position", "<i8"),
        ("day", "<i4"),
        ("account", "<i4"),
        ("group", "<i4"),  # -1: nobody has named the account
        ("orders", "<u2"),
        ("canceled", "<u2"),
        ("lifetimes", "<u2", (LIFETIME_BINS,)),
        ("what", "<u4"),
        ("kind", "u1"),
        ("registered", "u1"),
        ("claimed", "u1"),
        ("size", "u1"),  # the number of a window's length, and
        ("actions", "<u4"),  # what was done in it
        ("padding", "u1", (4,)),
    ]
)
DAY_STEP: Final = np.dtype(
    [("account", "<i4"), ("group", "<i4"), ("counts", "<u4", (COUNTS,))],
)
_COUNTED: Final = ("orders", "cancels", "quick", "fills", "closing", "wins")
PEER_ACCOUNT: Final = np.dtype(
    [
        ("key_1", "<u8"),
        ("key_2", "<u8"),
        ("next", "<i4"),
        ("group", "<i4"),
        ("last_ns", "<i8"),
    ]
)
DAY_NS: Final = 86_400 * SECOND_NS
REST_DAYS: Final = 30  # whoever has no unit for so long begins anew
ROWS_AT_ONCE: Final = 8_192
_GROUPS: Final = 2 * (GROUPS_MAX + 1)  # of tiers, and of the same with simulated money


class PeerConfig(Struct, frozen=True):
    """What the stage must know beside its tests."""

    lane_names: Names
    ranking: RankingSpec = RankingSpec()


class _Accounts(NamedTuple):
    """The table of accounts as the kernel takes it."""

    heads: NDArray[np.int32]
    rows: NDArray[np.void]
    counters: NDArray[np.int64]


@inlined
def _account_of(accounts: Any, tally: Any) -> Any:
    """Return the tally's account; who trades simulated money too is another one there."""
    key_2 = tally["account_2"] ^ np.uint64(tally["is_simulated"])
    index = find(accounts.heads, accounts.rows, tally["account_1"], key_2)
    if index < 0:
        index = insert(accounts.heads, accounts.rows, accounts.counters, tally["account_1"], key_2)
        accounts.rows[index]["group"] = -1
    return index


@inlined
def _copy(tally: Any, account: Int, group: Int, unit: Any) -> None:
    unit["time_ns"] = tally["event_time_ns"]
    unit["begin_ns"] = tally["begin_ns"]
    unit["day_end_ns"] = tally["day_end_ns"]
    unit["position"] = tally["position"]
    unit["day"] = tally["day"]
    unit["account"] = account
    unit["group"] = group
    unit["orders"] = tally["orders"]
    unit["canceled"] = tally["canceled"]
    unit["what"] = SIMULATED if tally["is_simulated"] else 0
    unit["kind"] = tally["kind"]
    unit["registered"] = tally["registered"]
    unit["claimed"] = tally["claimed"]
    unit["size"] = tally["size"]
    unit["actions"] = tally["actions"]
    for k in range(LIFETIME_BINS):
        unit["lifetimes"][k] = tally["lifetimes"][k]


@kernel
def meet_accounts(accounts: Any, tallies: Any, groups: Any, units: Any) -> None:
    """Turn tallies into steps of units, and note which group names put their account in.

    Parameters
    ----------
    accounts
        Table of ``PEER_ACCOUNT`` with room for a new row each.
    tallies
        Shape (n,), dtype ``TALLY``.
    groups
        Shape (n,), int32: the group of a name.
    units
        Shape (n,), dtype ``UNIT_STEP``: receives the steps.
    """
    for i in range(len(tallies)):
        tally = tallies[i]
        index = _account_of(accounts, tally)
        row = accounts.rows[index]
        if tally["kind"] == NAME:
            row["group"] = groups[i]
        row["last_ns"] = tally["event_time_ns"]
        _copy(tally, index, row["group"], units[i])


class PeerStage:
    """Accounts with their groups, and the memory of every test.

    Parameters
    ----------
    detectors
        Those of a run; the ones whose subject is no peer are left out.
    config
        Names of lanes.
    """

    def __init__(self, detectors: Sequence[Detector], config: PeerConfig) -> None:
        self.detectors = [d for d in detectors if d.subject == "peer"]
        self.config = config
        self.accounts = Table.of(PEER_ACCOUNT)
        self.subjects = [self._fresh(detector) for detector in self.detectors]
        self.names: dict[int, tuple[str, str]] = {}
        self.groups: dict[tuple[str, bool], int] = {}
        self.days = np.zeros(0, DAY_STEP)  # that ended since the latest close
        self.rankings: dict[int, Ranking] = {}
        self.next_close_ns: int | None = None
        if config.ranking.is_wanted:
            Ranking(config.ranking)  # refuses what cannot be had, before anything is read
        self.units = np.zeros(0, UNIT_STEP)
        self._buffer = FindingBuffer.of(2)

    @staticmethod
    def _fresh(detector: Detector) -> SubjectState:
        state = SubjectState.of(detector.state_dtype, detector.recent, detector.shared_dtype)
        state.shared = np.zeros(_GROUPS, detector.shared_dtype)
        return state

    def take(self, tallies: SentColumns) -> StageOutput:
        """Take tallies, none earlier than any taken before."""
        output = StageOutput()
        rows = tallies.rows
        start = 0
        with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
            while start < len(rows):
                stop = min(start + ROWS_AT_ONCE, len(rows))
                times = rows["event_time_ns"][start:]
                # What ends at one moment is held against each other, so it stays together.
                stop = start + int(np.searchsorted(times, times[stop - start - 1], side="right"))
                close_ns = self._close_before(int(times[0]))
                stop = min(stop, start + int(np.searchsorted(times, close_ns)))
                if stop == start:
                    self._pass_close(int(times[0]), output)
                    continue
                self._take_part(SentColumns(rows[start:stop], tallies.raw), output)
                start = stop
        return output

    def end(self) -> StageOutput:
        """Close what is open at the end of all input, as the next close would."""
        output = StageOutput()
        if self.next_close_ns is not None:
            self._pass_close(self.next_close_ns, output)
        return output

    def _close_before(self, time_ns: int) -> int:
        """Return the next close; the first one comes after the first tally."""
        if self.next_close_ns is None:
            self.next_close_ns = (time_ns // DAY_NS + 1) * DAY_NS
        return self.next_close_ns

    def _pass_close(self, time_ns: int, output: StageOutput) -> None:
        """Fix what counts from the close on; days on which nothing came have none of their own."""
        assert self.next_close_ns is not None, "there was a tally before"
        closed_ns = self.next_close_ns
        self.next_close_ns = (time_ns // DAY_NS + 1) * DAY_NS
        names = {number: key for key, number in self.groups.items()}
        self._review(closed_ns, names, output)
        self._let_go(closed_ns)
        for detector, state in zip(self.detectors, self.subjects, strict=True):
            for fixed in detector.fix(state, closed_ns):
                tier, is_simulated = names[fixed.group]
                output.fixed.append(
                    FixedGroup(
                        time_ns=closed_ns,
                        rule=detector.rule.id,
                        tier=tier,
                        is_simulated=is_simulated,
                        fixed=fixed,
                    )
                )

    def _review(
        self, closed_ns: int, names: dict[int, tuple[str, bool]], output: StageOutput
    ) -> None:
        """Rank the days that ended before the close, in each group."""
        days, self.days = self.days, np.zeros(0, DAY_STEP)
        for group in np.unique(days["group"]).tolist():
            ranking = self.rankings.get(group) or Ranking(self.config.ranking)
            self.rankings[group] = ranking
            own = days[days["group"] == group]
            accounts, rows, drifted = ranking.rank(
                (*self.names[account], summary_of(dict(zip(_COUNTED, counts, strict=True))))
                for account, counts in zip(
                    own["account"].tolist(), own["counts"].tolist(), strict=True
                )
            )
            tier, is_simulated = names[group]
            output.reviews.append(
                Review(
                    time_ns=closed_ns,
                    tier=tier,
                    is_simulated=is_simulated,
                    scored_by=ranking.scored_by,
                    accounts=accounts,
                    rows=rows,
                    drifted=drifted,
                )
            )

    def _let_go(self, closed_ns: int) -> None:
        """Let go of accounts that had no unit for long."""
        rows = self.accounts.rows[: self.accounts.used]
        gone = np.flatnonzero(
            live(self.accounts) & (rows["last_ns"] < closed_ns - REST_DAYS * DAY_NS)
        )
        if len(gone) == 0:
            return
        remove_rows(self.accounts, gone)
        marked = np.zeros(self.accounts.used, np.bool_)
        marked[gone] = True
        for state in self.subjects:
            held = state.rows["subject"][: state.used]
            theirs = (held >= 0) & marked[np.maximum(held, 0)]
            state.let_go(np.flatnonzero(theirs))
        for account in gone.tolist():
            self.names.pop(account, None)

    def _take_part(self, tallies: SentColumns, output: StageOutput) -> None:
        count = len(tallies)
        self.accounts.reserve(count)
        if len(self.units) < count:
            self.units = np.zeros(count, UNIT_STEP)
            self._buffer = FindingBuffer.of(2 * count)
        units = self.units[:count]
        named = np.flatnonzero(tallies.rows["kind"] == NAME).tolist()
        groups = np.full(count, -1, np.int32)
        who = [tallies.line(index).decode().split("\0") for index in named]
        for index, (_, _, tier) in zip(named, who, strict=True):
            groups[index] = self._group(tier, bool(tallies.rows["is_simulated"][index]))
        accounts = _Accounts(self.accounts.heads, self.accounts.rows, self.accounts.counters)
        meet_accounts(accounts, tallies.rows, groups, units)
        for index, (tenant, account_id, _) in zip(named, who, strict=True):
            self.names[int(units["account"][index])] = (tenant, account_id)
        if self.config.ranking.is_wanted:
            self._keep_days(tallies.rows, units)
        self._test(units, output)

    def _keep_days(self, tallies: NDArray[np.void], units: NDArray[np.void]) -> None:
        """Keep the days among some tallies until the close."""
        over = np.flatnonzero((tallies["kind"] == DAY) & (units["group"] >= 0))
        days = np.zeros(len(over), DAY_STEP)
        days["account"], days["group"] = units["account"][over], units["group"][over]
        days["counts"] = tallies["counts"][over]
        self.days = np.concatenate([self.days, days])

    def _group(self, tier: str, is_simulated: bool) -> int:  # noqa: FBT001 - half of the key
        is_new = (tier, is_simulated) not in self.groups
        if is_new and len(self.groups) >= _GROUPS - 2:  # the last two are for all others
            tier = OTHER
        return self.groups.setdefault((tier, is_simulated), len(self.groups))

    def _test(self, units: NDArray[np.void], output: StageOutput) -> None:
        found = []
        for index, detector in enumerate(self.detectors):
            state = self.subjects[index]
            state.reserve(len(self.accounts.rows), len(units), uses_pool=False)
            detector.update(units, state, self._buffer)
            found += [(int(f["at"]), index, f) for f in self._buffer.take()]
        found.sort(key=lambda entry: entry[:2])
        narrator = Narrator(self, None)
        for _, index, record in found:
            narrator.tell(self.detectors[index], record, output)

    def who(self, detector: Detector, record: np.void, event: EventNames | None) -> Who:
        """See ``detectors.core.findings.Teller``."""
        del detector, event  # there is one sort of subject, and tallies have no names
        tenant, account_id = self.names[int(record["subject"])]
        return Who(tenant, account_id, None, account_id, {})

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each kind of table holds; ``subjects`` are those of all tests."""
        return {"peers": len(self.accounts), "subjects": sum(len(s) for s in self.subjects)}

    def dump(self) -> dict[str, Any]:
        """Copy the whole state, for a snapshot."""
        return {
            "accounts": self.accounts.dump(),
            "blocks": dump_blocks(self.detectors, self.subjects),
            "names": dict(self.names),
            "groups": [(*key, number) for key, number in self.groups.items()],
            "next_close_ns": self.next_close_ns,
            "days": self.days.view(np.uint8),
            "rankings": {group: ranking.dump() for group, ranking in self.rankings.items()},
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump; a test that it holds no block of begins with an empty memory."""
        self.accounts = Table.load(PEER_ACCOUNT, dumped["accounts"])
        self.subjects = [take_up(detector, dumped["blocks"]) for detector in self.detectors]
        for index, state in enumerate(self.subjects):
            if len(state.shared) == 0:
                self.subjects[index] = self._fresh(self.detectors[index])
        self.names = dict(dumped["names"])
        self.groups = {(tier, is_simulated): n for tier, is_simulated, n in dumped["groups"]}
        self.next_close_ns = dumped["next_close_ns"]
        self.days = np.frombuffer(dumped["days"], DAY_STEP).copy()
        for group, held in dumped["rankings"].items():
            self.rankings[group] = Ranking(self.config.ranking)
            self.rankings[group].restore(held)
