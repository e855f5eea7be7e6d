"""The account stage of one shard: rows in, findings out. No clock, no engine, no input or output.

The same class runs in the plain loop, in Bytewax and in a notebook.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.account_kernels import DONE, MEET, take_rows
from detectors.core.account_state import (
    EVENTS,
    LET_GO,
    TOTAL_NAMES,
    AccountState,
    StageArrays,
    StageSettings,
)
from detectors.core.blocks import dump_blocks, take_up
from detectors.core.contract import HEADROOM, Detector
from detectors.core.features import Features, HandOut
from detectors.core.findings import Narrator, Who
from detectors.core.idle import Evictor, Follower, Stretches, note_activity
from detectors.core.memory import Scratch, SubjectState
from detectors.core.order_table import sweep_orders
from detectors.core.peers import PeerCounts, Peers
from detectors.core.registrations import entries_of
from detectors.core.scopes import rules_for
from detectors.core.sent_rows import Sender, SentColumns
from detectors.core.tables import insert
from schemas.alerts import Finding, Headroom
from schemas.columns import EventColumns, HashKey
from schemas.events import AppEvent, EntitlementChanged, RefAccount
from schemas.hashing import hash_bytes
from schemas.referee import Names as EventNames
from schemas.referee import decode, names_of

_ROWS_AHEAD: Final = 2_048  # a table that is short grows for at least so many rows
ROWS_AT_ONCE: Final = 8_192  # steps of so many rows stay in the processor's cache


class Names(Protocol):
    """Names by number."""

    def __getitem__(self, number: int, /) -> str:
        """Return one."""
        ...


class Calendars(Protocol):
    """Trading days, made elsewhere because looking them up is not the detectors' business.

    ``starts`` and ``numbers`` have shape (calendars, days): where a trading day begins (ns), and
    its number in days since 1970-01-01. Calendar 0 is the default and stands for whole days that
    begin at ``zone_day_ns`` after midnight UTC; calendar k > 0 is row k - 1.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    zone_day_ns: int

    def index(self, venue: str) -> int:
        """Return the venue's calendar, 0 for the default."""
        ...


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What a stage must know beside its detectors."""

    calendars: Calendars
    key: HashKey
    lane_names: Names
    tenant: str = "default"
    lateness_ns: int = 5_000_000_000
    lateness_sources: Mapping[str, int] = field(default_factory=dict)
    duplicate_window_ns: int = 60_000_000_000
    duplicates_max: int = 4_000_000
    order_age_ns: int = 7 * 86_400_000_000_000
    features_every_ns: int | None = None  # None: no live features are kept
    keeps_peers: bool = True
    idle_ns: int = 0  # accounts that rest for longer are let go; 0: none is
    rows_bring_clock: bool = True  # see ``detectors.core.idle.Stretches``

    @property
    def lateness_most_ns(self) -> int:
        """The most that any source is allowed: nothing older than this can still count."""
        return max(self.lateness_ns, *self.lateness_sources.values(), 0)


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
        self.instrument_names: list[tuple[str, str]] = []
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
            rules_anywhere=np.uint64(rules_for(detectors, None, None)),
            zone_day_ns=config.calendars.zone_day_ns,
        )
        aligned = [d for d in detectors if d.is_aligned]
        self._sender = Sender(aligned) if aligned else None
        self._scratch = scratch or Scratch()
        self._room = 0  # steps that the rules can take before any must grow
        every_ns = config.features_every_ns
        self.features = (
            None if every_ns is None else Features(every_ns, config.tenant, idle_ns=config.idle_ns)
        )
        self._stretches = Stretches(config.idle_ns, rows_bring_clock=config.rows_bring_clock)
        self.peers = Peers() if config.keeps_peers else None

    def _table(self, detector: Detector) -> Any:
        return self.state.accounts if detector.subject == "account" else self.state.contracts

    @property
    def sends_on(self) -> bool:
        """Whether some detector stands behind align and needs this stage's rows."""
        return self._sender is not None

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
                while (first := self._stretches.pass_to(rows, int(carry[1]))) is not None:
                    self._take_part(EventColumns(rows[:first], columns.raw), carry, output)
                    self._let_go(output)
                    rows = rows[first:]
                self._take_part(EventColumns(rows, columns.raw), carry, output)
        return output

    def _let_go(self, output: StageOutput) -> None:
        """Let go of accounts that were idle for long when the stretch at hand began."""
        clock_ns = self._stretches.start_ns
        horizon_ns = clock_ns - self.config.lateness_most_ns
        sweep_orders(self._arrays(), self._settings, clock_ns)
        output.extend(self.close(horizon_ns))  # what waits for its verdict cannot go
        rules = list(zip(self.detectors, self.subjects, strict=True))
        gone = Evictor(self.state, rules, self._followers(), horizon_ns).let_go(self.config.idle_ns)
        self.state.totals[LET_GO] += len(gone)
        self._room = 0
        for account in gone:
            self.account_names.pop(account, None)

    def _followers(self) -> list[Follower]:
        """Return what follows the accounts beside the rules."""
        return [one for one in (self.features, self.peers) if one is not None]

    def _take_part(
        self, columns: EventColumns, carry: NDArray[np.int64], output: StageOutput
    ) -> None:
        self._reserve(len(columns), carry)
        steps = self._scratch.steps[: len(columns)]
        office = self._take_rows(columns, carry, steps)
        note_activity(self.state.accounts.rows, steps)
        if self.features is not None:
            self.features.take(columns, steps, len(self.state.accounts.rows))
        if self.peers is not None:
            self.peers.take(columns, steps, len(self.state.accounts.rows))
        if self._sender is not None:
            sent = self._sender.choose(columns, steps, self._arrays(), self._scratch.chosen)
            output.sent += [] if sent is None else [sent]
        findings_before = len(output.findings)
        causes = self._detect(columns, steps, output)
        for index in office:
            before = findings_before + bisect_left(causes, index)
            self._to_office(columns.line(index), int(steps["position"][index]), before, output)

    def _take_rows(
        self, columns: EventColumns, carry: NDArray[np.int64], steps: NDArray[np.void]
    ) -> list[int]:
        """Turn rows into steps; return the indexes of those that policy must hear of."""
        office, progress = self._scratch.office, self._scratch.progress
        progress[:] = 0
        while True:
            arrays = self._arrays()
            stop = take_rows(arrays, self._settings, columns.rows, carry, steps, office, progress)
            if stop == DONE:
                return [int(index) for index in office[: progress[1]]]
            index = int(progress[0])
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
        self.instrument_names.append((names.instrument, names.venue))
        table.rows["rules"][index] = rules_for(self._scoped, names.instrument, names.venue)
        table.rows["calendar"][index] = self.config.calendars.index(names.venue)

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
        return [at for at, _, record in found if int(record["phase"]) != HEADROOM]

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
            "instrument_names": list(self.instrument_names),
            "account_names": dict(self.account_names),
            "features": None if self.features is None else self.features.dump(),
            "peers": None if self.peers is None else self.peers.dump(),
            "stretch": self._stretches.number,
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump; a rule that it holds no block of begins with an empty memory."""
        self.state = AccountState.load(dumped["state"])
        self.subjects = [take_up(detector, dumped["blocks"]) for detector in self.detectors]
        self.instrument_names = list(dumped["instrument_names"])
        for row, (instrument, venue) in enumerate(self.instrument_names):
            # Calendars are numbered in the order in which this process meets them, rules in the
            # order in which they are configured now.
            held = self.state.instruments.rows[row]
            held["calendar"] = self.config.calendars.index(venue)
            held["rules"] = rules_for(self._scoped, instrument, venue)
        self.account_names = dict(dumped["account_names"])
        self._stretches.number = dumped["stretch"]
        self._room = 0
        self._restore_features(dumped.get("features"))
        peers = dumped.get("peers")
        if self.peers is not None and peers is not None:
            self.peers = Peers.load(peers)

    def _restore_features(self, dumped: dict[str, Any] | None) -> None:
        """Take features up, or begin to count here where the snapshot was made without them."""
        every_ns, tenant = self.config.features_every_ns, self.config.tenant
        if every_ns is None:
            self.features = None
        elif dumped is None:
            since = int(self.state.totals[EVENTS])
            self.features = Features(every_ns, tenant, since, self.config.idle_ns)
        else:
            self.features = Features.load(every_ns, tenant, dumped, self.config.idle_ns)
