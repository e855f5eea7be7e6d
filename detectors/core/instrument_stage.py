"""The instrument stage of one shard of instruments: several accounts' rows in order of time.

Rows come from ``flows.align``; who is behind an account comes among them, so that what was on file
at a moment decides about that moment. No clock, no engine, no input or output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec import Struct, json
from numpy.typing import NDArray

from detectors.core.blocks import dump_blocks, take_up
from detectors.core.contract import Detector, Subject
from detectors.core.findings import Narrator, Who
from detectors.core.idle_parties import PartyEvictor
from detectors.core.instrument_kernels import DONE, FILE, LEARN, MEET, take_trades
from detectors.core.instrument_state import (
    BY_ACCOUNT,
    BY_GROUP,
    BY_OWNER,
    TOTAL_NAMES,
    TRADE,
    InstrumentSettings,
    InstrumentState,
)
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.registrations import Entry, entries_of
from detectors.core.scopes import rules_for
from detectors.core.sent_rows import SentColumns
from detectors.core.stage import StageOutput
from detectors.core.stage_config import Names
from detectors.core.stretches import NOT_BEGUN, Stretches, cut
from detectors.core.tables import Table, insert
from schemas.columns import HashKey
from schemas.events import SECOND_NS, RefAccount
from schemas.referee import Names as EventNames
from schemas.referee import decode, names_of

ROWS_AT_ONCE: Final = 8_192  # steps of so many rows stay in the processor's cache
_ROWS_AHEAD: Final = 1_024  # a table that is short grows for at least so many rows
_SWEEP_NS: Final = 4 * 3_600 * SECOND_NS  # of which a stretch is a quarter
_PPM: Final = 1_000_000
TRADES: Final = frozenset({"fill"})
ORDERS: Final = frozenset({"order.new", "order.replace", "order.cancel"})
_SHARED: Final = {BY_ACCOUNT: "account", BY_OWNER: "beneficial_owner", BY_GROUP: "control_group"}


class _Behind(Struct, gc=False):
    """Who stands on a line: the account, and those behind it where the line is a file on it."""

    tenant: str | None = None
    account_id: str = ""
    counter_account_id: str = ""
    beneficial_owner: str | None = None
    control_group: str | None = None


_BEHIND: Final = json.Decoder(_Behind)


@dataclass(frozen=True, slots=True)
class InstrumentConfig:
    """What the stage must know beside its detectors."""

    key: HashKey
    lane_names: Names
    tenant: str = "default"
    side_window_ns: int = 10_000_000_000
    sides_max: int = 1_000_000
    traders_max: int = 1_000_000
    idle_ns: int = 0  # what rests for longer is let go where it equals a new row; 0: nothing is


class InstrumentScratch:
    """Room that one batch at a time needs; stages that take turns may share it.

    Attributes
    ----------
    steps
        Shape (n,), dtype ``TRADE``.
    fresh
        Shape (2n,), int64: rows whose account needs a name, and -1 - row for counterparties.
    founded
        Shape (n,), int64: parties that need a name.
    progress
        Shape (3,), int64: rows taken, and how many stand in ``fresh`` and in ``founded``.
    buffer
        Room for two findings a step.
    """

    def __init__(self) -> None:
        self.steps = np.zeros(0, TRADE)
        self.fresh = np.zeros(0, np.int64)
        self.founded = np.zeros(0, np.int64)
        self.progress = np.zeros(3, np.int64)
        self.buffer = FindingBuffer.of(2)

    def reserve(self, count: int) -> None:
        """Have room for ``count`` steps."""
        if len(self.steps) < count:
            self.steps = np.zeros(count, TRADE)
            self.fresh = np.zeros(2 * count, np.int64)
            self.founded = np.zeros(count, np.int64)
            self.buffer = FindingBuffer.of(2 * count)


class InstrumentStage:
    """Tables of instruments and of those behind accounts, and every aligned rule's state.

    Parameters
    ----------
    detectors
        Those of a run; the ones on accounts, contracts and peers are left out.
    config
        Hash key and bounds.
    scratch
        Room shared with other stages of the same thread; of its own without.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        config: InstrumentConfig,
        scratch: InstrumentScratch | None = None,
    ) -> None:
        self.detectors = [d for d in detectors if d.is_aligned and d.subject != "peer"]
        self.config = config
        self.state = InstrumentState()
        self.subjects = [
            SubjectState.of(d.state_dtype, d.recent, d.shared_dtype) for d in self.detectors
        ]
        self.instrument_names: dict[int, tuple[str, str]] = {}
        # Tenant and name of each party as they were when it got its row; others may join it later.
        self.party_names: dict[int, tuple[str, str]] = {}
        self._idle = Stretches(config.idle_ns, rows_bring_clock=True)
        on_trades = self._bits("pair", TRADES) | self._bits("trader", TRADES)
        on_orders = self._bits("trader", ORDERS)
        # What is over is let go soon after each day's end: a day may bring many pairs.
        sweep_ns = _SWEEP_NS if on_trades | on_orders else 0
        self._hours = Stretches(sweep_ns, rows_bring_clock=True)
        self._settings = InstrumentSettings(
            config.side_window_ns,
            config.sides_max,
            config.traders_max,
            on_trades,
            self._bits("pair", TRADES),
            on_orders,
            self._bits("party", ORDERS),
        )
        self._scratch = scratch or InstrumentScratch()

    def _bits(self, subject: Subject, kinds: frozenset[str]) -> np.uint64:
        """Return the bits of the rules on one kind of subject that look at some of these rows."""
        looking = [d for d in self.detectors if d.subject == subject and d.kinds & kinds]
        return np.uint64(sum(int(d.selection.rule_bit) for d in looking))

    def take(self, columns: SentColumns) -> StageOutput:
        """Take rows, none earlier than any taken before."""
        output = StageOutput()
        with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
            for start in range(0, len(columns), ROWS_AT_ONCE):
                rows = columns.rows[start : start + ROWS_AT_ONCE]
                clocks_ns = rows["event_time_ns"]
                for part, passed in cut(clocks_ns, NOT_BEGUN, [self._idle, self._hours]):
                    self._take_part(SentColumns(rows[part], columns.raw), output)
                    if passed is self._hours:
                        self._evictor(passed.start_ns, output).let_go_of_traders()
                    elif passed is not None:
                        self._let_go(self._evictor(passed.start_ns, output))
        return output

    def _evictor(self, horizon_ns: int, output: StageOutput) -> PartyEvictor:
        """Return what lets go of all that nothing can use any more when a stretch began."""
        output.extend(self.close(horizon_ns))  # what waits for its verdict cannot go
        rules = list(zip(self.detectors, self.subjects, strict=True))
        return PartyEvictor(self.state, rules, horizon_ns)

    def _let_go(self, evictor: PartyEvictor) -> None:
        evictor.let_go_of_traders()
        for party in evictor.let_go_of_parties().tolist():
            del self.party_names[party]
        instruments = evictor.let_go_of_instruments()
        for instrument in instruments.tolist():
            del self.instrument_names[instrument]
        for subject in self.subjects:
            subject.forget_instruments(instruments)
        evictor.let_go_of_holders()

    def _take_part(self, columns: SentColumns, output: StageOutput) -> None:
        self._reserve(len(columns))
        steps = self._scratch.steps[: len(columns)]
        self._take_rows(columns, steps)
        self._detect(columns, steps, output)

    def _take_rows(self, columns: SentColumns, steps: NDArray[np.void]) -> None:
        scratch = self._scratch
        progress = scratch.progress
        notes = (scratch.fresh, scratch.founded, progress)
        progress[:] = 0
        while True:
            stop = take_trades(self.state.arrays(), self._settings, columns.rows, steps, notes)
            if stop in {DONE, LEARN}:
                fresh = scratch.fresh[: progress[1]]
                self._learn_names(columns, steps, fresh)
                self._name_parties(scratch.founded[: progress[2]])
                progress[1:] = 0
            if stop == DONE:
                return
            index = int(progress[0])
            if stop == MEET:
                self._meet_instrument(columns.rows[index], columns.line(index))
            elif stop == FILE:
                self._register(int(steps["account"][index - 1]), columns.line(index - 1))

    def _learn_names(
        self, columns: SentColumns, steps: NDArray[np.void], fresh: NDArray[np.int64]
    ) -> None:
        """Give accounts that need them their names."""
        is_counter = fresh < 0
        rows = np.where(is_counter, -1 - fresh, fresh)
        names = []
        for row, is_other in zip(rows.tolist(), is_counter.tolist(), strict=True):
            said = _BEHIND.decode(columns.line(row))
            behind = (said.beneficial_owner or "", said.control_group or "")
            tenant = said.tenant or self.config.tenant
            account_id = said.counter_account_id if is_other else said.account_id
            names.append("\0".join((tenant, account_id, *behind)).encode())
        if names:
            holders = np.where(is_counter, steps["counter"][rows], steps["account"][rows])
            self.state.set_names(holders, names)

    def _name_parties(self, founded: NDArray[np.int64]) -> None:
        """Give parties the names of what their first accounts share."""
        for index in founded.tolist():
            party = self.state.parties.rows[index]
            tenant, *shared = self.state.name_of(int(party["holder"]))
            self.party_names[index] = (tenant, shared[int(party["shared_by"]) - BY_ACCOUNT])

    def _reserve(self, count: int) -> None:
        """Make room everywhere, so that no kernel can run out."""
        state = self.state
        self._scratch.reserve(count)
        waiting = min(count, max(0, self.config.sides_max - len(state.sides)) + 1)
        needs = [(state.holders, 2 * count), (state.parties, count), (state.sides, waiting)]
        if self._settings.trader_rules | self._settings.order_trader_rules:
            for table, need in ((state.traders, 2 * count), (state.pairs, count)):
                needs.append((table, min(need, max(0, self.config.traders_max - len(table)))))
        for table, need in needs:
            if need > table.spare:
                table.reserve(max(need, _ROWS_AHEAD))
        for detector, subject in zip(self.detectors, self.subjects, strict=True):
            most = len(self._subjects_of(detector).rows)
            sides = 2 * count if detector.subject == "trader" else count
            subject.reserve(most, sides, uses_pool=detector.uses_pool)

    def _subjects_of(self, detector: Detector) -> Table:
        """Return the table whose rows are the detector's subjects."""
        tables = {"pair": self.state.pairs, "trader": self.state.traders}
        return tables.get(detector.subject, self.state.parties)

    def _meet_instrument(self, row: np.void, line: bytes) -> None:
        """Give an instrument seen for the first time a name and its rules."""
        table = self.state.instruments
        table.reserve(1)
        index = insert(table.heads, table.rows, table.counters, row["instrument_1"], row["venue_1"])
        names = names_of(line)
        assert names.instrument is not None, "only kinds with an instrument bring one"
        assert names.venue is not None, "as above"
        self.instrument_names[int(index)] = (names.instrument, names.venue)
        met = table.rows[index]
        met["rules"] = rules_for(self.detectors, names.instrument, names.venue)
        met["day"], met["day_end_ns"], met["fills"], met["one_sided"] = -1, 0, 0, 0
        met["full_day"] = -1

    def _register(self, holder: int, line: bytes) -> None:
        """Replace the registrations of an account; without a line it was forgotten."""
        listed: list[Entry] = []
        if line:
            event = decode(line)
            assert isinstance(event, RefAccount), "no other kind files anything"
            listed = entries_of(event, self.config.key)
        row = self.state.holders.rows[holder]
        row["registrations"] = self.state.registrations.replace(int(row["registrations"]), listed)

    def _detect(self, columns: SentColumns, steps: NDArray[np.void], output: StageOutput) -> None:
        """Let every rule see the steps, and tell what they find in the rows' order."""
        buffer, found = self._scratch.buffer, []
        for index, detector in enumerate(self.detectors):
            self.subjects[index].share(len(self.state.instruments.rows))
            detector.update(steps, self.subjects[index], buffer)
            found += [(int(f["at"]), index, f) for f in buffer.take()]
        found.sort(key=lambda entry: entry[:2])
        narrator = Narrator(self, columns)
        for _, index, record in found:
            narrator.tell(self.detectors[index], record, output)

    def close(self, watermark_ns: int) -> StageOutput:
        """Judge the days that ended by the watermark, up to which all rows were taken."""
        output, buffer = StageOutput(), self._scratch.buffer
        narrator = Narrator(self, None)
        for detector, subject in zip(self.detectors, self.subjects, strict=True):
            is_full = subject.due_ns <= watermark_ns
            while is_full:
                with np.errstate(over="ignore"):  # as above
                    detector.close(subject, watermark_ns, buffer)
                found = buffer.take()
                is_full = len(found) == len(buffer.records)
                for record in found:
                    narrator.tell(detector, record, output)
        return output

    def who(self, detector: Detector, record: np.void, event: EventNames | None) -> Who:
        """See ``detectors.core.findings.Teller``."""
        if detector.subject == "pair":
            return self._who_of_pair(record, event)
        if detector.subject == "trader":
            return self._who_of_trader(record)
        subject = int(record["subject"])
        party = self.state.parties.rows[subject]
        tenant, name = self.party_names[subject]
        shared = _SHARED[int(party["shared_by"])]
        account_id = None if event is None else event.account_id
        if account_id is None:
            account_id = self.state.name_of(int(party["holder"]))[1]
        instrument, venue = self.instrument_names[int(party["instrument"])]
        who = name if shared == "account" else f"{shared} {name}"
        return Who(
            tenant,
            account_id,
            instrument,
            f"{who} {instrument}@{venue}",
            {"party": {"counted_by": shared, "party_id": name}, "accounts": self._shares(record)},
        )

    def _who_of_pair(self, record: np.void, event: EventNames | None) -> Who:
        traders = self.state.pairs.rows[int(record["subject"])]["traders"]
        rows = [self.state.traders.rows[int(trader)] for trader in traders]
        names = [self.state.name_of(int(row["holder"])) for row in rows]
        (tenant, first), (_, second) = sorted((name[0], name[1]) for name in names)
        instrument, venue = self.instrument_names[int(rows[0]["instrument"])]
        return Who(
            tenant,
            first if event is None or event.account_id is None else event.account_id,
            instrument,
            f"{first} with {second} {instrument}@{venue}",
            {"accounts": self._shares(record)},
        )

    def _who_of_trader(self, record: np.void) -> Who:
        trader = self.state.traders.rows[int(record["subject"])]
        tenant, account_id, *_ = self.state.name_of(int(trader["holder"]))
        instrument, venue = self.instrument_names[int(trader["instrument"])]
        return Who(tenant, account_id, instrument, f"{account_id} {instrument}@{venue}", {})

    def _shares(self, record: np.void) -> list[dict[str, Any]]:
        """Return the accounts a record names, each with its share of what they traded."""
        listed = [
            (int(holder) - 1, int(quantity_e8))
            for holder, quantity_e8 in zip(record["accounts"], record["quantities"], strict=True)
            if holder > 0
        ]
        whole = max(1, sum(quantity_e8 for _, quantity_e8 in listed))
        return [
            {
                "account_id": self.state.name_of(holder)[1],
                "quantity_e8": str(quantity_e8),
                "share_ppm": quantity_e8 * _PPM // whole,
            }
            for holder, quantity_e8 in listed
        ]

    def totals(self) -> dict[str, int]:
        """Return the counts since the beginning."""
        return dict(zip(TOTAL_NAMES, (int(n) for n in self.state.totals), strict=True))

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each kind of table holds; ``subjects`` are those of all rules."""
        state = self.state
        return {
            "holders": len(state.holders),
            "traded_instruments": len(state.instruments),
            "sides": len(state.sides),
            "parties": len(state.parties),
            "traders": len(state.traders),
            "pairs": len(state.pairs),
            "subjects": sum(len(subject) for subject in self.subjects),
        }

    def dump(self) -> dict[str, Any]:
        """Copy the whole state, for a snapshot."""
        return {
            "state": self.state.dump(),
            "blocks": dump_blocks(self.detectors, self.subjects),
            "instrument_names": dict(self.instrument_names),
            "party_names": dict(self.party_names),
            "stretch_ns": self._idle.start_ns,
            "hour_ns": self._hours.start_ns,
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump; a rule that it holds no block of begins with an empty memory."""
        self.state = InstrumentState.load(dumped["state"])
        self.subjects = [take_up(detector, dumped["blocks"]) for detector in self.detectors]
        self.instrument_names = dict(dumped["instrument_names"])
        for row, (instrument, venue) in self.instrument_names.items():
            # Rules are numbered in the order in which they are configured now.
            self.state.instruments.rows[row]["rules"] = rules_for(self.detectors, instrument, venue)
        self.party_names = dict(dumped["party_names"])
        self._idle.go_on(dumped["stretch_ns"])
        self._hours.go_on(dumped["hour_ns"])
