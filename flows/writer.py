"""The writer step: the one place where anything leaves the dataflow.

Policy decides, the ledger commits, then the store and the outbox follow, all by key: after a crash
the same messages come again and change nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from msgspec import json as msgspec_json
from msgspec import structs

from flows.acts import Act
from flows.control import ControlLog
from flows.manifest import write_atomically
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
from ledger.writer import LedgerWriter, Receipt


@dataclass(slots=True)
class WriterOutputs:
    """What the writer writes to."""

    ledger: LedgerWriter
    store: Store
    control: ControlLog
    outbox: Path


@dataclass(slots=True)
class Progress:
    """How far the run has come, for people to see."""

    events: int = 0
    alerts: int = 0
    notices: int = 0
    refused: int = 0
    watermark_ns: int = 0
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
        How many shards must have ended before the run is complete.
    on_progress
        Called after each batch of messages.
    """

    policy: Policy
    outputs: WriterOutputs
    run_key: str
    shards: int
    on_progress: Callable[[Progress], None] = lambda _progress: None
    next_number: dict[int, int] = field(default_factory=dict)
    ended: dict[int, bool] = field(default_factory=dict)
    totals: dict[int, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    entry_index: dict[str, int] = field(default_factory=dict)
    watermark_ns: dict[int, int] = field(default_factory=dict)
    control_sequence: int = 0

    def take(self, messages: Sequence[ShardMessage]) -> None:
        """Make a batch of messages durable, whole, before returning."""
        self._learn_control()
        acts: list[Act] = []
        batch = StoreBatch()
        for message in messages:
            self._keep_order(message)
            acts += self.policy.take(message)
            batch.headroom += self.policy.headroom(message)
            batch.dead_letters += [self._dead_letter(line) for line in message.lost]
            self.totals[message.shard] = message.totals
            self.watermark_ns[message.shard] = message.watermark_ns
            self.ended[message.shard] = message.is_last
        self._commit(acts, batch)
        self.on_progress(self._progress(acts))

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
            self.policy.notices.learn(records)
            self.control_sequence = records[-1].sequence

    def _commit(self, acts: Sequence[Act], batch: StoreBatch) -> None:
        receipts = self.outputs.ledger.append([act.draft for act in acts]) if acts else []
        for act, receipt in zip(acts, receipts, strict=True):
            if act.opens:
                self.entry_index[act.opens] = receipt.index
            self._merge(batch, act, receipt)
        self._summarise(batch)
        self.outputs.store.write(batch)
        for act in acts:
            if act.outbox is not None:
                self._hand_out(act.outbox)

    def _merge(self, batch: StoreBatch, act: Act, receipt: Receipt) -> None:
        """Add an act's rows, each with the place of the entry it rests on."""
        origin = receipt.origin
        batch.alerts += [
            structs.replace(
                row, ledger_origin=origin, ledger_index=self.entry_index.get(row.alert_id)
            )
            for row in act.batch.alerts
        ]
        batch.alert_updates += [
            structs.replace(row, ledger_origin=origin, ledger_index=receipt.index)
            for row in act.batch.alert_updates
        ]
        batch.notices += [
            structs.replace(
                row, ledger_origin=origin, ledger_index=self.entry_index.get(row.notice_id)
            )
            for row in act.batch.notices
        ]
        batch.episodes += act.batch.episodes
        if act.draft.kind == "alert.closed":
            self.entry_index.pop(act.batch.alerts[0].alert_id, None)

    def _hand_out(self, notice: NoticeRow) -> None:
        """Put a notice where the broker's own sender picks it up: one file a notice, by id."""
        self.outputs.outbox.mkdir(parents=True, exist_ok=True)
        path = self.outputs.outbox / f"{notice.notice_id}.json"
        write_atomically(path, msgspec_json.encode(notice) + b"\n")

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
        sums: dict[str, int] = {}
        for totals in self.totals.values():
            for name, count in totals.items():
                sums[name] = sums.get(name, 0) + count
        size, head = self.outputs.ledger.head
        state = self.policy.state
        return {
            "events": sums.get("events", 0),
            "rejected": dict(sorted(self.reasons.items())),
            "late": sums.get("late", 0),
            "duplicates": sums.get("duplicates", 0),
            "alerts": dict(sorted(state.alerts_by_detector.items())),
            "notices": state.notices.sent,
            "accounts": sums.get("accounts", 0),
            "ledger": {"origin": self.outputs.ledger.origin, "size": size, "head": head},
            "counts": dict(sorted(sums.items())),
        }

    def _summarise(self, batch: StoreBatch) -> None:
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
            is_complete=self.is_complete(),
            newest=[row for act in acts if act.draft.kind == "alert" for row in act.batch.alerts],
        )

    def close(self) -> None:
        """Bring everything up to date and let go of it."""
        self.outputs.ledger.close()
        self.outputs.store.close()
        self.outputs.control.close()

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash, and where the ledger stood."""
        size, head = self.outputs.ledger.head
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
                }
            ),
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
        self.outputs.ledger.check_snapshot(*state["ledger"])
