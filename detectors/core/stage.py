"""The account stage of one shard: rows in, findings out. No clock, no engine, no input or output.

The same class runs in the plain loop, in Bytewax and in a notebook.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.account_kernels import BACK, DONE, MEET, take_rows
from detectors.core.account_state import (
    EVENTS,
    LET_GO,
    TOTAL_NAMES,
    AccountState,
    StageArrays,
    StageSettings,
)
from detectors.core.blocks import dump_blocks, take_up
from detectors.core.contract import HEADROOM, Detector, FixedGroup
from detectors.core.features import Features, HandOut
from detectors.core.findings import Narrator, Who
from detectors.core.forgetting import Forgetter
from detectors.core.idle import Evictor, Follower, resting
from detectors.core.memory import Scratch, SubjectState
from detectors.core.order_table import sweep_orders
from detectors.core.peers import PeerCounts, Peers
from detectors.core.ranking import Review
from detectors.core.registrations import entries_of
from detectors.core.scopes import rules_for
from detectors.core.sent_rows import Sender, SentColumns, files_of_nothing
from detectors.core.stage_config import StageConfig
from detectors.core.stretches import Stretches, cut
from detectors.core.tables import insert
from detectors.core.tallier import Tallier
from schemas.alerts import Finding, Headroom
from schemas.columns import EventColumns
from schemas.events import SECOND_NS, AppEvent, EntitlementChanged, RefAccount
from schemas.hashing import hash_bytes
from schemas.referee import Names as EventNames
from schemas.referee import decode, names_of

_BACK: Final = 2  # in the scratch's ``progress``: the account that is back
_ROWS_AHEAD: Final = 2_048  # a table that is short grows for at least so many rows
_NO_GROUPS: Final = np.zeros(0, np.int32)
ROWS_AT_ONCE: Final = 8_192  # steps of so many rows stay in the processor's cache


class OfficeEvent(Struct, frozen=True, kw_only=True):
    """An event that concerns policy rather than a detector: an answer, an entitlement.

    ``findings_before`` counts the findings of the same output that rows before this one caused:
    an answer and a finding must meet in the rows' order, whatever their batching.
    """

    event: AppEvent | EntitlementChanged
    lane: str
    line: int
    findings_before: int = 0


@dataclass(slots=True)
class StageOutput:
    """What one call of a stage brought about, in order."""

    findings: list[Finding] = field(default_factory=list)
    headroom: list[Headroom] = field(default_factory=list)
    office: list[OfficeEvent] = field(default_factory=list)
    features: HandOut | None = None
    peers: list[PeerCounts] = field(default_factory=list)
    sent: list[SentColumns] = field(default_factory=list)
    tallies: list[SentColumns] = field(default_factory=list)
    fixed: list[FixedGroup] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)

    def extend(self, later: "StageOutput") -> None:
        """Append what later rows brought about."""
        before = len(self.findings)
        self.office += [
            structs.replace(o, findings_before=o.findings_before + before) for o in later.office
        ]
        self.findings += later.findings
        self.headroom += later.headroom
        self.peers += later.peers
        self.sent += later.sent
        self.tallies += later.tallies
        self.fixed += later.fixed
        self.reviews += later.reviews


class AccountStage:
    """Account tables and every rule's state, for the accounts of one shard.

    Parameters
    ----------
    detectors
        One a rule; their order is the order of the rule bits. Aligned ones do not run here: what
        they need is sent on.
    config
        Calendars, hash key, lateness and bounds.
    scratch
        Room shared with other stages of the same thread; of its own without.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        config: StageConfig,
        scratch: Scratch | None = None,
    ) -> None:
        self._scoped = list(detectors)
        self.detectors = [d for d in detectors if not d.is_aligned]
        self.config = config
        self.state = AccountState()
        self.subjects = [SubjectState.of(d.state_dtype, d.recent) for d in self.detectors]
        self.instrument_names: dict[int, tuple[str, str]] = {}
        self.account_names: dict[int, tuple[str, str]] = {}
        self._settings = StageSettings(
            lateness_ns=config.lateness_ns,
            lateness_most_ns=config.lateness_most_ns,
            late_sources=np.array(
                [hash_bytes(s.encode(), 0, config.key)[0] for s in config.lateness_sources],
                np.uint64,
            ),
            late_ns=np.array(list(config.lateness_sources.values()), np.int64),
            duplicate_window_ns=config.duplicate_window_ns,
            duplicates_max=config.duplicates_max,
            order_age_ns=config.order_age_ns,
            silent_ns=config.silent_ns,
            rules_anywhere=np.uint64(rules_for(detectors, None, None)),
            zone_day_ns=config.calendars.zone_day_ns,
        )
        aligned = [d for d in detectors if d.is_aligned and d.subject != "peer"]
        self._sender = Sender(aligned) if aligned else None
        self._scratch = scratch or Scratch()
        self._room = 0  # steps that the rules can take before any must grow
        every_ns = config.features_every_ns
        self.features = (
            None if every_ns is None else Features(every_ns, config.tenant, idle_ns=config.rest_ns)
        )
        self._idle = Stretches(config.idle_ns, rows_bring_clock=config.rows_bring_clock)
        self._silent = Stretches(config.silent_ns, rows_bring_clock=config.rows_bring_clock)
        self.peers = Peers() if config.keeps_peers else None
        keeps_units = config.keeps_units or any(d.subject == "peer" for d in detectors)
        keeps_windows = any(d.looks_at_windows for d in detectors)
        self.tallier = Tallier(config.tenant, keeps_windows=keeps_windows) if keeps_units else None

    def _table(self, detector: Detector) -> Any:
        return self.state.accounts if detector.subject == "account" else self.state.contracts

    @property
    def sends_on(self) -> bool:
        """Whether some detector stands behind align and needs this stage's rows or tallies."""
        return self._sender is not None or self.tallier is not None

    def take(self, columns: EventColumns, carry: NDArray[np.int64]) -> StageOutput:
        """Take rows of this shard in lane order.

        Parameters
        ----------
        columns
            Rows with the bytes they came from.
        carry
            Shape (3,), int64: lane time, merged clock and line count before this block.
        """
        output = StageOutput()
        with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
            for start in range(0, len(columns), ROWS_AT_ONCE):
                rows = columns.rows[start : start + ROWS_AT_ONCE]
                sorts = (self._idle, self._silent)
                for part, passed in cut(rows["clock_ns"], int(carry[1]), sorts):
                    self._take_part(EventColumns(rows[part], columns.raw), carry, output)
                    if passed is not None:
                        self._let_go(passed, output)
        return output

    def _let_go(self, passed: Stretches, output: StageOutput) -> None:
        """Let go of what nothing can use any more when the stretch at hand began."""
        horizon_ns = passed.start_ns - self.config.lateness_most_ns
        sweep_orders(self._arrays(), self._settings, passed.start_ns)
        output.extend(self.close(horizon_ns))  # what waits for its verdict cannot go
        output.tallies += self.close_tallies(horizon_ns)
        rest_ns = self.config.idle_ns
        if passed is self._silent:
            rest_ns = self.config.silent_ns
            self._forget(resting(self.state.accounts, rest_ns, horizon_ns), horizon_ns, output)
            self._forgetter().forget_positions(rest_ns, horizon_ns, self._arrays())
        followers: list[Follower] = [
            one for one in (self.features, self.peers, self.tallier) if one is not None
        ]
        evictor = Evictor(self.state, self._rules(), followers, horizon_ns)
        gone = evictor.let_go(rest_ns).tolist()
        self.state.totals[LET_GO] += len(gone)
        for account in gone:
            self.account_names.pop(account, None)
        for instrument in evictor.let_go_of_instruments().tolist():
            del self.instrument_names[instrument]
        self._room = 0

    def _rules(self) -> list[tuple[Detector, SubjectState]]:
        return list(zip(self.detectors, self.subjects, strict=True))

    def _forgetter(self) -> Forgetter:
        return Forgetter(self.state, self._rules(), self.peers)

    def _forget(self, silent: NDArray[np.bool_], time_ns: int, output: StageOutput) -> None:
        """Forget accounts, in the shards of instruments too."""
        accounts = self._forgetter().forget(silent, time_ns, self._arrays())
        if self.tallier is not None:
            self.tallier.forget(accounts)
        if self._sender is not None and len(accounts):
            output.sent.append(files_of_nothing(self.state.accounts.rows[accounts], time_ns))

    def _begin_anew(self, account: int, time_ns: int, output: StageOutput) -> None:
        """Forget an account that comes back after a very long silence."""
        silent = np.zeros(self.state.accounts.used, np.bool_)
        silent[account] = True
        self._forget(silent, time_ns, output)
        self.state.accounts.rows["last_s"][account] = time_ns // SECOND_NS

    def _take_part(
        self, columns: EventColumns, carry: NDArray[np.int64], output: StageOutput
    ) -> None:
        while (taken := self._take_some(columns, carry, output)) < len(columns):
            columns = EventColumns(columns.rows[taken:], columns.raw)
            account = int(self._scratch.progress[_BACK])
            self._begin_anew(account, int(columns.rows["event_time_ns"][0]), output)

    def _take_some(
        self, columns: EventColumns, carry: NDArray[np.int64], output: StageOutput
    ) -> int:
        """Take rows up to the first whose account must be forgotten before; return how many."""
        self._reserve(len(columns), carry)
        office, taken = self._take_rows(columns, carry)
        columns = EventColumns(columns.rows[:taken], columns.raw)
        steps = self._scratch.steps[:taken]
        if self.features is not None:
            self.features.take(columns, steps, len(self.state.accounts.rows))
        self._count_among_peers(columns, steps, output)
        if self._sender is not None:
            sent = self._sender.choose(columns, steps, self._arrays(), self._scratch.chosen)
            output.sent += [] if sent is None else [sent]
        findings_before = len(output.findings)
        causes = self._detect(columns, steps, output)
        for index in office:
            before = findings_before + bisect_left(causes, index)
            self._to_office(columns.line(index), int(steps["position"][index]), before, output)
        return taken

    def _count_among_peers(
        self, columns: EventColumns, steps: NDArray[np.void], output: StageOutput
    ) -> None:
        """Count what accounts do in a day, and in units for tests that compare them."""
        accounts, groups, tiers = self.state.accounts.rows, _NO_GROUPS, list[str]()
        if self.peers is not None:
            groups = self.peers.groups_of(columns, steps)
            self.peers.take(steps, groups, len(accounts))
            tiers = self.peers.tiers
        if self.tallier is not None:
            tallies = self.tallier.take(columns, steps, (groups, tiers), accounts)
            output.tallies += [] if tallies is None else [tallies]

    def close_tallies(self, watermark_ns: int) -> list[SentColumns]:
        """End the units of days that ended by the watermark, before anybody is told of it."""
        if self.tallier is None:
            return []
        tallies = self.tallier.close(watermark_ns, self.state.accounts.rows)
        return [] if tallies is None else [tallies]

    def _take_rows(self, columns: EventColumns, carry: NDArray[np.int64]) -> tuple[list[int], int]:
        """Turn rows into steps; return those that policy must hear of, and how many were taken."""
        office, progress = self._scratch.office, self._scratch.progress
        steps = self._scratch.steps[: len(columns)]
        progress[:] = 0
        while True:
            arrays = self._arrays()
            stop = take_rows(arrays, self._settings, columns.rows, carry, steps, office, progress)
            index = int(progress[0])
            if stop in {DONE, BACK}:
                return [int(row) for row in office[: progress[1]]], index
            if stop == MEET:
                self._meet_instrument(columns.rows[index], columns.line(index))
            else:
                account = int(steps["account"][index - 1])
                self._file_registrations(account, columns.line(index - 1))

    def _arrays(self) -> StageArrays:
        calendars = self.config.calendars
        return self.state.arrays(calendars.starts, calendars.numbers)

    def _reserve(self, count: int, carry: NDArray[np.int64]) -> None:
        """Make room everywhere, so that no kernel can run out."""
        state = self.state
        self._scratch.reserve(count)
        state.seen.reserve(count, self.config.duplicates_max)
        if count > state.orders.spare:
            self._make_room_for_orders(count, carry)
        for table in (state.accounts, state.contracts):
            if count > table.spare:
                table.reserve(max(count, _ROWS_AHEAD))
                self._room = 0  # rules need a slot for each of its rows
        if count > self._room:
            self._make_room_for_rules(count)
        self._room -= count  # a step takes at most one place of a rule's

    def _make_room_for_orders(self, count: int, carry: NDArray[np.int64]) -> None:
        """Forget the orders that are over; grow where that does not help for long."""
        orders = self.state.orders
        sweep_orders(self._arrays(), self._settings, int(carry[1]))
        # Full again soon: grow now, so that sweeps stay rare.
        if 2 * (len(orders) + count) > len(orders.rows):
            orders.reserve(len(orders.rows) + count)
        orders.reserve(count)

    def _make_room_for_rules(self, count: int) -> None:
        """Grow the rules' memories, and note for how many steps there is room now."""
        spare = []
        for detector, subject in zip(self.detectors, self.subjects, strict=True):
            subjects = len(self._table(detector).rows)
            subject.reserve(subjects, count, uses_pool=detector.uses_pool)
            spare.append(subject.spare(uses_pool=detector.uses_pool))
        self._room = min(spare, default=count)

    def _meet_instrument(self, row: np.void, line: bytes) -> None:
        """Give an instrument seen for the first time a name, its rules and its calendar."""
        table = self.state.instruments
        table.reserve(1)
        key_1, key_2 = row["instrument_1"], row["venue_1"]
        index = insert(table.heads, table.rows, table.counters, key_1, key_2)
        names = names_of(line)
        assert names.instrument is not None, "only kinds with an instrument bring one"
        assert names.venue is not None, "as above"
        self.instrument_names[int(index)] = (names.instrument, names.venue)
        met = table.rows[index]
        met["rules"] = rules_for(self._scoped, names.instrument, names.venue)
        met["calendar"] = self.config.calendars.index(names.venue)
        met["day_start_ns"] = met["day_end_ns"] = 0  # no day was looked up yet

    def _to_office(
        self, line: bytes, position: int, findings_before: int, output: StageOutput
    ) -> None:
        """Hand a row on to policy."""
        event = decode(line)
        assert isinstance(event, AppEvent | EntitlementChanged), "no other kind goes there"
        lane, number = self._place(position)
        output.office.append(
            OfficeEvent(event=event, lane=lane, line=number, findings_before=findings_before)
        )

    def _place(self, position: int) -> tuple[str, int]:
        lane = self.config.lane_names[position >> c.LANE_SHIFT]
        return lane, position & ((1 << c.LANE_SHIFT) - 1)

    def _file_registrations(self, account: int, line: bytes) -> None:
        """Replace what is on file about an account."""
        event = decode(line)
        assert isinstance(event, RefAccount), "no other kind files anything"
        row = self.state.accounts.rows[account]
        listed = entries_of(event, self.config.key)
        row["registrations"] = self.state.registrations.replace(int(row["registrations"]), listed)

    def _detect(
        self, columns: EventColumns, steps: NDArray[np.void], output: StageOutput
    ) -> list[int]:
        """Let every rule see the steps; return the row that caused each finding, ascending."""
        found = []
        buffer = self._scratch.buffer
        for index, detector in enumerate(self.detectors):
            detector.update(steps, self.subjects[index], buffer)
            found += [(int(f["at"]), index, f) for f in buffer.take()]
        if not found:
            return []
        found.sort(key=lambda entry: entry[:2])
        narrator = Narrator(self, columns)
        for _, index, record in found:
            narrator.tell(self.detectors[index], record, output)
        return [at for at, _, record in found if int(record["phase"]) < HEADROOM]

    def close(self, watermark_ns: int) -> StageOutput:
        """Judge the days that ended by the watermark."""
        output = StageOutput()
        for detector, subject in zip(self.detectors, self.subjects, strict=True):
            if subject.due_ns <= watermark_ns:
                self._close_one(detector, subject, watermark_ns, output)
        if self.peers is not None:
            output.peers = self.peers.close(watermark_ns)
        return output

    def _close_one(
        self, detector: Detector, subject: SubjectState, watermark_ns: int, output: StageOutput
    ) -> None:
        buffer, narrator = self._scratch.buffer, Narrator(self, None)
        is_full = True
        while is_full:
            with np.errstate(over="ignore"):  # as above
                detector.close(subject, watermark_ns, buffer)
            found = buffer.take()
            is_full = len(found) == len(buffer.records)
            for record in found:
                narrator.tell(detector, record, output)

    def who(self, detector: Detector, record: np.void, event: EventNames | None) -> Who:
        """See ``detectors.core.findings.Teller``."""
        subject = account = int(record["subject"])
        if detector.subject == "contract":
            account = int(self.state.contracts.rows[subject]["account"])
        if event is not None and event.account_id is not None:
            self.account_names[account] = (event.tenant or self.config.tenant, event.account_id)
        tenant, account_id = self.account_names[account]
        if detector.subject == "account":
            return Who(tenant, account_id, None, account_id, {})
        contract = self.state.contracts.rows[subject]
        instrument, venue = self.instrument_names[int(contract["instrument"])]
        return Who(tenant, account_id, instrument, f"{account_id} {instrument}@{venue}", {})

    def totals(self) -> dict[str, int]:
        """Return the counts since the beginning, and how many accounts there are."""
        counts = dict(zip(TOTAL_NAMES, (int(n) for n in self.state.totals), strict=True))
        return counts | {
            "forced_rotations": self.state.forced_rotations,
            "accounts": len(self.state.accounts),
        }

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each kind of table holds; ``subjects`` are those of all rules."""
        state = self.state
        return {
            "accounts": len(state.accounts),
            "orders": len(state.orders),
            "contracts": len(state.contracts),
            "instruments": len(state.instruments),
            "subjects": sum(len(subject) for subject in self.subjects),
        }

    def dump(self) -> dict[str, Any]:
        """Return the whole state: its arrays, as bytes, are the ones at work; a snapshot copies."""
        return {
            "state": self.state.dump(),
            "blocks": dump_blocks(self.detectors, self.subjects),
            "instrument_names": dict(self.instrument_names),
            "account_names": dict(self.account_names),
            "features": None if self.features is None else self.features.dump(),
            "peers": None if self.peers is None else self.peers.dump(),
            "tallier": None if self.tallier is None else self.tallier.dump(),
            "stretches": (self._idle.start_ns, self._silent.start_ns),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump; a rule that it holds no block of begins with an empty memory."""
        self.state = AccountState.load(dumped["state"])
        self.subjects = [take_up(detector, dumped["blocks"]) for detector in self.detectors]
        self.instrument_names = dict(dumped["instrument_names"])
        for row, (instrument, venue) in self.instrument_names.items():
            # Calendars are numbered in the order in which this process meets them, rules in the
            # order in which they are configured now.
            held = self.state.instruments.rows[row]
            held["calendar"] = self.config.calendars.index(venue)
            held["rules"] = rules_for(self._scoped, instrument, venue)
        self.account_names = dict(dumped["account_names"])
        idle_ns, silent_ns = dumped["stretches"]
        self._idle.go_on(idle_ns)
        self._silent.go_on(silent_ns)
        self._room = 0
        self._restore_features(dumped.get("features"))
        peers = dumped.get("peers")
        if self.peers is not None and peers is not None:
            self.peers = Peers.load(peers)
        tallier = dumped.get("tallier")
        if self.tallier is not None and tallier is not None:
            self.tallier.restore(tallier)

    def _restore_features(self, dumped: dict[str, Any] | None) -> None:
        """Take features up, or begin to count here where the snapshot was made without them."""
        every_ns, tenant = self.config.features_every_ns, self.config.tenant
        if every_ns is None:
            self.features = None
        elif dumped is None:
            since = int(self.state.totals[EVENTS])
            self.features = Features(every_ns, tenant, since, self.config.rest_ns)
        else:
            self.features = Features.load(every_ns, tenant, dumped, self.config.rest_ns)
