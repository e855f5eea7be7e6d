"""The account stage of one shard: rows in, findings out. No clock, no engine, no input or output.

The same class runs in the plain loop, in Bytewax and in a notebook.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from detectors.core import contract as c
from detectors.core.account_kernels import new_instruments, sweep_orders, take_rows
from detectors.core.account_state import (
    REGISTRATION,
    TOTAL_NAMES,
    AccountState,
    StageArrays,
    StageSettings,
)
from detectors.core.contract import HEADROOM, STEP, Detector, FindingBuffer, SubjectState
from detectors.core.findings import Narrator
from schemas.alerts import Finding, Headroom
from schemas.columns import KIND, EventColumns, HashKey
from schemas.events import TIME_MAX_NS, AppEvent, EntitlementChanged, RefAccount
from schemas.hashing import hash_bytes
from schemas.referee import decode

_OFFICE_KINDS: Final = np.array(
    [KIND["ref.account"], KIND["entitlement.changed"], KIND["app.event"]], np.uint8
)
_INSTRUMENTS_AT_ONCE: Final = 256
_REGISTRATIONS_MIN: Final = 1024


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
    lane_names: tuple[str, ...]
    tenant: str = "default"
    lateness_ns: int = 5_000_000_000
    duplicate_window_ns: int = 60_000_000_000
    duplicates_max: int = 4_000_000
    order_age_ns: int = 7 * 86_400_000_000_000


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


class AccountStage:
    """Account tables and every rule's state, for the accounts of one shard.

    Parameters
    ----------
    detectors
        One a rule; their order is the order of the rule bits.
    config
        Calendars, hash key, lateness and bounds.
    """

    def __init__(self, detectors: Sequence[Detector], config: StageConfig) -> None:
        self.detectors = list(detectors)
        self.config = config
        self.state = AccountState()
        self.subjects = [
            SubjectState.of(d.state_dtype, self._table(d).rows.shape[0]) for d in detectors
        ]
        self.instrument_names: list[tuple[str, str]] = []
        self.account_names: dict[int, tuple[str, str]] = {}
        self._settings = StageSettings(
            lateness_ns=config.lateness_ns,
            duplicate_window_ns=config.duplicate_window_ns,
            order_age_ns=config.order_age_ns,
            rules_anywhere=np.uint64(self._rules_for(None, None)),
            zone_day_ns=config.calendars.zone_day_ns,
        )
        self._buffer = FindingBuffer.of(0)

    def _table(self, detector: Detector) -> Any:
        return self.state.accounts if detector.subject == "account" else self.state.contracts

    def _rules_for(self, instrument: str | None, venue: str | None) -> int:
        """Return the bits of the rules that apply to an instrument of a venue."""
        bits = 0
        for detector in self.detectors:
            rule = detector.rule
            if rule.venues and venue not in rule.venues:
                continue
            if rule.instruments and not _matches(instrument, rule.instruments):
                continue
            if _matches(instrument, rule.instruments_except):
                continue
            bits |= int(detector.rule_bit)
        return bits

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
        rows = columns.rows
        if len(rows) == 0:
            return output
        self._meet_instruments(columns)
        self._reserve(len(rows), carry)
        steps = np.zeros(len(rows), STEP)
        start = 0
        for stop in _segments(rows):
            self._take_segment(columns, (start, stop), carry, steps, output)
            start = stop
        self._detect(columns, steps, output)
        return output

    def _take_segment(
        self,
        columns: EventColumns,
        bounds: tuple[int, int],
        carry: NDArray[np.int64],
        steps: NDArray[np.void],
        output: StageOutput,
    ) -> None:
        start, stop = bounds
        rows = columns.rows[start:stop]
        take_rows(self._arrays(), self._settings, rows, carry, steps[start:stop])
        for offset in np.flatnonzero(np.isin(rows["kind"], _OFFICE_KINDS)):
            if steps["account"][start + offset] >= 0:
                self._to_office(columns, int(start + offset), steps, output)

    def _arrays(self) -> StageArrays:
        calendars = self.config.calendars
        return self.state.arrays(calendars.starts, calendars.numbers)

    def _reserve(self, count: int, carry: NDArray[np.int64]) -> None:
        """Make room everywhere, so that no kernel can run out."""
        orders = self.state.orders
        if orders.used + count > len(orders.rows):
            sweep_orders(self._arrays(), self._settings, int(carry[1]))
        self.state.reserve(count, self.config.duplicates_max)
        for detector, subject in zip(self.detectors, self.subjects, strict=True):
            subject.reserve(len(self._table(detector).rows), count)
        if len(self._buffer.records) < 2 * count + 2:
            self._buffer = FindingBuffer.of(2 * count + 2)

    def _meet_instruments(self, columns: EventColumns) -> None:
        """Give instruments seen for the first time a name, their rules and their calendar."""
        table = self.state.instruments
        found = np.zeros(_INSTRUMENTS_AT_ONCE, np.int64)
        while True:
            table.reserve(_INSTRUMENTS_AT_ONCE)
            first = table.used
            count = new_instruments(table.heads, table.rows, table.counters, columns.rows, found)
            for k in range(count):
                event: Any = decode(columns.line(int(found[k])))
                self.instrument_names.append((event.instrument, event.venue))
                row = table.rows[first + k]
                row["rules"] = self._rules_for(event.instrument, event.venue)
                row["calendar"] = self.config.calendars.index(event.venue)
            if count < _INSTRUMENTS_AT_ONCE:
                return

    def _to_office(
        self, columns: EventColumns, index: int, steps: NDArray[np.void], output: StageOutput
    ) -> None:
        """Let a rare kind of row have its effect: on file, or on to policy."""
        if columns.rows["kind"][index] == KIND["app.event"] and not columns.rows["notice_1"][index]:
            return
        event = decode(columns.line(index))
        if isinstance(event, RefAccount):
            self._file_registrations(int(steps["account"][index]), event)
        elif isinstance(event, AppEvent | EntitlementChanged):
            lane, line = self._place(int(steps["position"][index]))
            # The row's index for now; ``_detect`` knows how many findings came before it.
            output.office.append(
                OfficeEvent(event=event, lane=lane, line=line, findings_before=index)
            )

    def _place(self, position: int) -> tuple[str, int]:
        lane = self.config.lane_names[position >> c.LANE_SHIFT]
        return lane, position & ((1 << c.LANE_SHIFT) - 1)

    def _file_registrations(self, account: int, event: RefAccount) -> None:
        """Replace what is on file about an account."""
        accounts = self.state.accounts.rows
        link = int(accounts[account]["registrations"])
        while link:
            entry = self.state.registrations[link - 1]
            link = int(entry["next"])
            entry["kind"] = 0
        for on_file in event.registrations:
            instrument, until = on_file.instrument, on_file.valid_until_ns
            link = self._append_registration(
                hash_bytes(instrument.encode(), 0, self.config.key)[0] if instrument else 0,
                (on_file.valid_from_ns, TIME_MAX_NS if until is None else until),
                c.REGISTRATIONS[on_file.registration],
                link,
            )
        accounts[account]["registrations"] = link

    def _append_registration(
        self, instrument_1: int, valid: tuple[int, int], kind: int, link: int
    ) -> int:
        if len(self._free_registrations()) == 0:
            self._grow_registrations()
        index = int(self._free_registrations()[0])
        self.state.registrations[index] = (instrument_1, *valid, link, kind, 0)
        return index + 1

    def _free_registrations(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.state.registrations["kind"] == 0)[:1]

    def _grow_registrations(self) -> None:
        grown = np.zeros(max(_REGISTRATIONS_MIN, 2 * len(self.state.registrations)), REGISTRATION)
        grown[: len(self.state.registrations)] = self.state.registrations
        self.state.registrations = grown

    def _detect(self, columns: EventColumns, steps: NDArray[np.void], output: StageOutput) -> None:
        found = []
        for index, detector in enumerate(self.detectors):
            detector.update(steps, self.subjects[index], self._buffer)
            found += [(int(f["at"]), index, f) for f in self._buffer.take()]
        found.sort(key=lambda entry: entry[:2])
        narrator = Narrator(self, columns)
        for _, index, record in found:
            narrator.tell(self.detectors[index], record, output)
        causes = [at for at, _, record in found if int(record["phase"]) != HEADROOM]
        output.office = [
            structs.replace(o, findings_before=bisect_left(causes, o.findings_before))
            for o in output.office
        ]

    def close(self, watermark_ns: int) -> StageOutput:
        """Judge the days that ended by the watermark."""
        output = StageOutput()
        narrator = Narrator(self, None)
        for index, detector in enumerate(self.detectors):
            subject = self.subjects[index]
            if len(self._buffer.records) < len(subject.rows):
                self._buffer = FindingBuffer.of(len(subject.rows))
            detector.close(subject, watermark_ns, self._buffer)
            for record in self._buffer.take():
                narrator.tell(detector, record, output)
        return output

    def totals(self) -> dict[str, int]:
        """Return the counts since the beginning, and how many accounts there are."""
        counts = dict(zip(TOTAL_NAMES, (int(n) for n in self.state.totals), strict=True))
        return counts | {"accounts": len(self.state.accounts)}

    def dump(self) -> dict[str, Any]:
        """Copy the whole state, for a snapshot."""
        return {
            "state": self.state.dump(),
            "rules": [d.rule.id for d in self.detectors],
            "subjects": [
                (
                    s.rows[: self._table(d).used].tobytes(),
                    s.pool.nodes.tobytes(),
                    s.pool.counters.tolist(),
                )
                for d, s in zip(self.detectors, self.subjects, strict=True)
            ],
            "instrument_names": list(self.instrument_names),
            "account_names": dict(self.account_names),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take up a dump made by a stage with the same rules."""
        if dumped["rules"] != [d.rule.id for d in self.detectors]:
            raise ValueError("the snapshot was made with other rules than the ones configured now")
        self.state = AccountState.load(dumped["state"])
        for detector, subject, parts in zip(
            self.detectors, self.subjects, dumped["subjects"], strict=True
        ):
            rows, nodes, counters = parts
            held = np.frombuffer(rows, detector.state_dtype)
            subject.rows = np.zeros(len(self._table(detector).rows), detector.state_dtype)
            subject.rows[: len(held)] = held
            subject.pool.nodes = np.frombuffer(nodes, c.NODE).copy()
            subject.pool.counters = np.array(counters, np.int64)
        self.instrument_names = list(dumped["instrument_names"])
        # Calendars are numbered in the order in which this process meets them.
        for row, (_, venue) in enumerate(self.instrument_names):
            self.state.instruments.rows[row]["calendar"] = self.config.calendars.index(venue)
        self.account_names = dict(dumped["account_names"])


def _matches(instrument: str | None, patterns: Sequence[str]) -> bool:
    return instrument is not None and any(fnmatchcase(instrument, p) for p in patterns)


def _segments(rows: NDArray[np.void]) -> list[int]:
    """Return where each segment ends: after every run of rows that Python must look at."""
    is_office = np.isin(rows["kind"], _OFFICE_KINDS[:2]) | (
        (rows["kind"] == _OFFICE_KINDS[2]) & (rows["notice_1"] != 0)
    )
    ends = np.flatnonzero(is_office[:-1] & ~is_office[1:]) + 1
    return [*ends.tolist(), len(rows)]
