"""The writer step: the one place where anything leaves the dataflow.

Policy decides, the ledger commits, then the store and the outbox follow, all by key: after a crash
the same messages come again and change nothing.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import json as msgspec_json
from msgspec import structs

from detectors.core.contract import FixedGroup
from detectors.core.ranking import Review
from flows.acts import Act
from flows.arrivals import Arrival, ArrivalLog
from flows.control import ControlLog
from flows.lanes import NEVER_NS
from flows.live_outputs import LiveOutputs
from flows.market import (
    MarketState,
    MarketStep,
    PeerGroup,
    write_down,
    write_fixed,
    write_review,
)
from flows.notices import CONTROL_KINDS
from flows.observe.observer import AlertMade, Observer
from flows.policy import Policy
from flows.steps import LostLine, ShardMessage
from flows.store.rows import (
    CountRow,
    DeadLetterRow,
    NoticeRow,
    RunSummaryRow,
    StoreBatch,
    dead_letter_id,
)
from flows.store.writer import Store
from flows.topics import OutboxNotice, Topics
from ledger.bundles import sync_folder
from ledger.errors import LedgerError
from ledger.writer import LedgerWriter, Receipt
from schemas.events import SECOND_NS

HORIZON_STEP_NS: Final = 5 * SECOND_NS  # a write to the control log this often, event time
SUMMARY_EVERY: Final = 256  # messages; in between a summary is written with other rows only


@dataclass(slots=True)
class WriterOutputs:
    """What the writer writes to."""

    ledger: LedgerWriter
    store: Store
    control: ControlLog
    outbox: Path
    arrivals: ArrivalLog | None = None  # where several lanes meet in a shard
    topics: Topics = field(default_factory=Topics)
    live: LiveOutputs = field(default_factory=LiveOutputs)


@dataclass(slots=True)
class Progress:
    """How far the run has come, for people to see."""

    events: int = 0
    alerts: int = 0
    notices: int = 0
    refused: int = 0
    watermark_ns: int = 0
    blocks: int = 0  # blocks that every shard has done
    is_complete: bool = False
    newest: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class WriterStep:
    """Takes every shard's messages, in each shard's own order.

    Parameters
    ----------
    policy
        With its state.
    outputs
        Ledger, store, control log, outbox.
    run_key
        Names the run in the store.
    shards
        How many shards must have ended before the run is complete; those of instruments come last.
    instrument_shards
        How many of these are of instruments.
    on_progress
        Called after each batch of messages.
    observer
        Told what was made durable, and how long that took.
    """

    policy: Policy
    outputs: WriterOutputs
    run_key: str
    shards: int
    instrument_shards: int = 0
    on_progress: Callable[[Progress], None] = lambda _progress: None
    next_number: dict[int, int] = field(default_factory=dict)
    ended: dict[int, bool] = field(default_factory=dict)
    totals: dict[int, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    entry_index: dict[str, int] = field(default_factory=dict)
    watermark_ns: dict[int, int] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    control_sequence: int = 0
    horizon_ns: int | None = None
    unsummarised: int = 0  # messages since the summary was last written
    sums: dict[str, int] = field(default_factory=dict)  # of ``totals``
    # Blocks whose order was not written down, since nothing that left rests on it.
    unwritten: list[tuple[int, Arrival]] = field(default_factory=list)
    ordinals: dict[int, int] = field(default_factory=dict)
    forgettable: list[tuple[int, int]] = field(default_factory=list)
    market: MarketStep = field(init=False)
    observer: Observer = field(default_factory=Observer)

    def __post_init__(self) -> None:
        self.market = MarketStep(MarketState(), self.shards - self.instrument_shards)

    def take(self, messages: Sequence[ShardMessage]) -> None:
        """Make a batch of messages durable, whole, before returning."""
        self._learn_control()
        self._raise_horizon(messages)
        acts: list[Act] = []
        alerts: list[AlertMade] = []
        batch = StoreBatch()
        groups: list[PeerGroup] = []
        fixed = [one for message in messages for one in message.fixed]
        for message in messages:
            self._keep_order(message)
            made = self.policy.take(message)
            acts += made
            alerts += _alerts_of(made, message)
            batch.headroom += self.policy.headroom(message)
            batch.dead_letters += [self._dead_letter(line) for line in message.lost]
            self._count(message)
            groups += self.market.take(message)
        reviews = [one for message in messages for one in message.reviews]
        if groups or fixed or reviews:
            self._fix(groups, fixed, reviews)
        self.unsummarised += len(messages)
        self._commit(acts, batch, alerts)
        self.outputs.live.send(messages, batch.alerts)
        self.observer.written(self)
        self.on_progress(self._progress(acts))

    def _count(self, message: ShardMessage) -> None:
        old = self.totals.get(message.shard, {})
        for name, count in message.totals.items():
            self.sums[name] = self.sums.get(name, 0) + count - old.get(name, 0)
        self.totals[message.shard] = message.totals
        self.watermark_ns[message.shard] = message.watermark_ns
        if message.arrivals:
            self.unwritten += [(message.shard, arrival) for arrival in message.arrivals]
            self.ordinals[message.shard] = message.arrivals[-1].ordinal + 1
        self.unwritten += message.rests_on
        self.ended[message.shard] = message.is_last
        self.notes.update(message.notes)

    def begin(self, act: Act) -> None:
        """Write down what the run begins with."""
        self._commit([act], StoreBatch())

    def _keep_order(self, message: ShardMessage) -> None:
        expected = self.next_number.get(message.shard, 0)
        assert message.number == expected, (
            f"shard {message.shard} sent block {message.number}, {expected} is next"
        )
        self.next_number[message.shard] = expected + 1

    def _learn_control(self) -> None:
        records = list(self.outputs.control.read(self.control_sequence))
        if records:
            control = self.outputs.control
            self.policy.notices.learn(
                [control.settle(r) for r in records if r.kind in CONTROL_KINDS]
            )
            self.control_sequence = records[-1].sequence

    def _raise_horizon(self, messages: Sequence[ShardMessage]) -> None:
        """Write down how far decisions may go, before any of them is made."""
        reached_ns = max((self.policy.latest_ns(m) for m in messages), default=NEVER_NS)
        if self.horizon_ns is None:
            self.horizon_ns = self.outputs.control.horizon_ns()
        if self.horizon_ns is None or reached_ns > self.horizon_ns:
            self.horizon_ns = reached_ns + HORIZON_STEP_NS
            self.outputs.control.raise_horizon(self.horizon_ns)

    def _commit(
        self, acts: Sequence[Act], batch: StoreBatch, alerts: Sequence[AlertMade] = ()
    ) -> None:
        if acts:
            self._write_arrivals()
        receipts = self._append(acts)
        self.observer.alerts_committed(alerts)
        for act, receipt in zip(acts, receipts, strict=True):
            self._merge(batch, act, receipt)
        if acts or batch.dead_letters or self.is_complete() or self.unsummarised >= SUMMARY_EVERY:
            self._summarise(batch)
        if batch != _NOTHING:
            with self.observer.timing("store_write"):
                self.outputs.store.write(batch)
        notices = [act.outbox for act in acts if act.outbox is not None]
        self._hand_out(notices)
        self.outputs.topics.publish(batch, [_for_sender(notice) for notice in notices])

    def _write_arrivals(self) -> None:
        """Write down the order of what came, before anything rests on it."""
        if self.unwritten and self.outputs.arrivals is not None:
            self.outputs.arrivals.append(self.unwritten)
            self.unwritten = []

    def _fix(
        self,
        groups: Sequence[PeerGroup],
        fixed: Sequence[FixedGroup],
        reviews: Sequence[Review],
    ) -> None:
        """Write down what all shards counted together, what tests rest on, and who to look at."""
        self._write_arrivals()
        for group in groups:
            write_down(self.outputs.control, group)
        for one in fixed:
            write_fixed(self.outputs.control, one)
        for review in reviews:
            write_review(self.outputs.control, review)

    def _append(self, acts: Sequence[Act]) -> list[Receipt]:
        if not acts:
            return []
        with self.observer.timing("ledger_append"):
            return self.outputs.ledger.append([act.draft for act in acts])

    def _merge(self, batch: StoreBatch, act: Act, receipt: Receipt) -> None:
        """Add an act's rows, each with the place of the entry it rests on."""
        origin = receipt.origin
        # The entry that has the id, even where what is in the log differs from what came now.
        index = receipt.index if receipt.diverges_from is None else receipt.diverges_from
        if act.opens:
            self.entry_index[act.opens] = index
        batch.alerts += [
            structs.replace(
                row, ledger_origin=origin, ledger_index=self.entry_index.get(row.alert_id)
            )
            for row in act.batch.alerts
        ]
        batch.alert_updates += [
            structs.replace(row, ledger_origin=origin, ledger_index=index)
            for row in act.batch.alert_updates
        ]
        batch.notices += [
            structs.replace(
                row, ledger_origin=origin, ledger_index=self.entry_index.get(row.notice_id)
            )
            for row in act.batch.notices
        ]
        batch.episodes += act.batch.episodes
        for row in act.batch.alerts if act.draft.kind == "alert.closed" else ():
            self.entry_index.pop(row.alert_id, None)
        for notice in act.batch.notices:
            if notice.state == "rechecked":
                self.entry_index.pop(notice.notice_id, None)

    def _hand_out(self, notices: Sequence[NoticeRow]) -> None:
        """Put notices where the broker's own sender picks them up: one file each, by id.

        After a crash the same notices come again; a file that is further on already stays.
        """
        if not notices:
            return
        self.outputs.outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        for notice in {notice.notice_id: notice for notice in notices}.values():
            path = self.outputs.outbox / f"{notice.notice_id}.json"
            held = _held_ordinal(path)
            if held is None or held < notice.ordinal:
                _replace_file(path, msgspec_json.encode(_for_sender(notice)) + b"\n")
        sync_folder(self.outputs.outbox)

    def _dead_letter(self, line: LostLine) -> DeadLetterRow:
        rejected = line.rejected
        self.reasons[rejected.reason] = self.reasons.get(rejected.reason, 0) + 1
        return DeadLetterRow(
            id=dead_letter_id(line.lane, rejected.byte_offset),
            lane=line.lane,
            line_number=line.line_number,
            byte_offset=rejected.byte_offset,
            stage=rejected.stage,
            reason=rejected.reason,
            path=rejected.path,
            sentence=rejected.sentence,
            raw=rejected.raw,
        )

    def is_complete(self) -> bool:
        """Say whether every shard has ended."""
        return len(self.ended) == self.shards and all(self.ended.values())

    def summary(self) -> dict[str, Any]:
        """Return what the run amounts to so far."""
        sums = self.sums
        size, head = self.outputs.ledger.head
        state = self.policy.state
        return {
            "events": sums.get("events", 0),
            "rejected": dict(sorted(self.reasons.items())),
            "late": sums.get("late", 0),
            "duplicates": sums.get("duplicates", 0),
            "alerts": dict(sorted(state.alerts_by_detector.items())),
            "notices": state.notices.sent,
            "notices_withheld": dict(sorted(state.notices.withheld.items())),
            "accounts": sums.get("accounts", 0),
            "ledger": {"origin": self.outputs.ledger.origin, "size": size, "head": head},
            "counts": dict(sorted(sums.items())),
            "notes": sorted(self.notes),
        }

    def _summarise(self, batch: StoreBatch) -> None:
        self.unsummarised = 0
        batch.run_summary.append(
            RunSummaryRow(
                run_key=self.run_key, completed=self.is_complete(), summary=self.summary()
            )
        )
        batch.lane_counts += [
            CountRow(lane="", name=f"rejected.{reason}", count=count)
            for reason, count in self.reasons.items()
        ]

    def _progress(self, acts: Sequence[Act]) -> Progress:
        summary = self.summary()
        return Progress(
            events=summary["events"],
            alerts=sum(summary["alerts"].values()),
            notices=summary["notices"],
            refused=sum(self.reasons.values()),
            watermark_ns=max(self.watermark_ns.values(), default=0),
            blocks=min(
                (
                    number
                    for shard, number in self.next_number.items()
                    if shard < self.shards - self.instrument_shards
                ),
                default=0,
            ),
            is_complete=self.is_complete(),
            newest=[row for act in acts if act.draft.kind == "alert" for row in act.batch.alerts],
        )

    def close(self) -> None:
        """Bring everything up to date and let go of it."""
        if self.unsummarised:
            batch = StoreBatch()
            self._summarise(batch)
            self.outputs.store.write(batch)
        self.outputs.ledger.close()
        self.outputs.store.close()
        self.outputs.control.close()
        self.outputs.topics.close()
        self.outputs.live.close()
        if self.outputs.arrivals is not None:
            self.outputs.arrivals.close()

    def abandon(self) -> None:
        """Let go of the files after a failure; what is not written comes again on resume."""
        outputs = self.outputs
        for output in (outputs.ledger, outputs.store, outputs.control, outputs.arrivals):
            if output is not None:
                # The failure that brought us here is the one to be told.
                with suppress(OSError, RuntimeError, LedgerError, sqlite3.Error):
                    output.close()

    def _forget_arrivals(self) -> None:
        """Let go of what the snapshot before last holds: no resume goes back behind the last."""
        self.unwritten = []  # the shards' own snapshots of this epoch hold them
        if self.outputs.arrivals is not None:
            if self.forgettable:
                self.outputs.arrivals.forget(self.forgettable)
            self.forgettable = list(self.ordinals.items())

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash, and where the ledger stood."""
        size, head = self.outputs.ledger.head
        self._forget_arrivals()
        return {
            "policy": msgspec_json.encode(self.policy.state),
            "own": orjson.dumps(
                {
                    "next_number": list(self.next_number.items()),
                    "ended": list(self.ended.items()),
                    "totals": list(self.totals.items()),
                    "reasons": self.reasons,
                    "entry_index": self.entry_index,
                    "watermark_ns": list(self.watermark_ns.items()),
                    "notes": sorted(self.notes),
                    "sums": self.sums,
                }
            ),
            "market": msgspec_json.encode(self.market.snapshot()),
            "ledger": (size, head),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a snapshot; the policy's own state was given to its constructor.

        Raises
        ------
        LedgerRolledBack
            If the ledger is older than the snapshot.
        """
        own = orjson.loads(state["own"])
        self.next_number = dict(own["next_number"])
        self.ended = dict(own["ended"])
        self.totals = dict(own["totals"])
        self.reasons = own["reasons"]
        self.entry_index = own["entry_index"]
        self.watermark_ns = dict(own["watermark_ns"])
        self.notes = set(own["notes"])
        self.sums = own["sums"]
        market = msgspec_json.decode(state["market"], type=MarketState)
        self.market = MarketStep(market, self.shards - self.instrument_shards)
        self.outputs.ledger.check_snapshot(*state["ledger"])


_NOTHING: Final = StoreBatch()


def _alerts_of(acts: Sequence[Act], message: ShardMessage) -> list[AlertMade]:
    return [
        AlertMade(message.read_ns, row.event_time_ns, is_aligned=message.is_aligned)
        for act in acts
        if act.draft.kind == "alert"
        for row in act.batch.alerts
    ]


def _for_sender(notice: NoticeRow) -> OutboxNotice:
    return OutboxNotice(
        notice_id=notice.notice_id,
        ordinal=notice.ordinal,
        state=notice.state,
        tenant=notice.tenant,
        account_id=notice.account_id,
        text=notice.text,
        sent_ns=notice.sent_ns,
        expires_ns=notice.expires_ns,
        answered_ns=notice.answered_ns,
    )


def _replace_file(path: Path, data: bytes) -> None:
    """Replace a file whole; the caller makes the folder durable."""
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _held_ordinal(path: Path) -> int | None:
    try:
        return msgspec_json.decode(path.read_bytes(), type=OutboxNotice).ordinal
    except FileNotFoundError:
        return None
