"""The account step: takes one shard's blocks in order, whatever order they arrive in."""

from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import FixedGroup
from detectors.core.features import HandOut
from detectors.core.peers import PeerCounts
from detectors.core.ranking import Review
from detectors.core.sent_rows import join
from detectors.core.stage import AccountStage, OfficeEvent, StageOutput
from flows.align import Mark, SentPart
from flows.arrivals import Arrival
from flows.calendars import TradingDays
from flows.lanes import NEVER_NS, LaneTime, ShardBlock
from flows.packing import pack_tree, unpack_tree
from flows.state_files import ShardFiles
from schemas.alerts import Finding, Headroom
from schemas.columns import EventColumns, Rejected
from schemas.events import SECOND_NS

END_OF_TIME_NS: Final = 2**62
_CLOSE_EVERY_NS: Final = 60 * SECOND_NS
_MARK_EVERY_NS: Final = SECOND_NS // 10  # without rows an instrument shard need not hear more often


class LostLine(Struct, frozen=True, kw_only=True):
    """A refused line with its place in its lane."""

    lane: str
    line_number: int
    rejected: Rejected


class ShardMessage(Struct, kw_only=True):
    """What one block meant for one shard, on its way to the writer.

    ``watermark_ns`` is the time up to which nothing of this shard can still come, and
    ``closed_until_ns`` the time up to which ended days have been judged, which lags a little.
    ``notes`` are sentences for people that no earlier message of the shard held; ``is_last`` says
    that no message of the shard follows. ``arrivals`` are the blocks whose order decided it;
    ``sent`` goes to the instrument shards. Messages of those are ``is_aligned``, come from several
    accounts, and have in ``rests_on`` the account shards' blocks whose order decided them.
    """

    shard: int
    number: int
    watermark_ns: int
    closed_until_ns: int = NEVER_NS
    findings: list[Finding] = []
    headroom: list[Headroom] = []
    office: list[OfficeEvent] = []
    lost: list[LostLine] = []
    totals: dict[str, int] = {}
    notes: list[str] = []
    is_last: bool = False
    arrivals: list[Arrival] = []
    features: HandOut | None = None
    peers: list[PeerCounts] = []
    fixed: list[FixedGroup] = []
    reviews: list[Review] = []
    # When the block (aligned: the oldest row of a finding) was read, by the steady clock: nothing
    # is decided by it.
    read_ns: int = 0
    sent: SentPart | None = None
    is_aligned: bool = False
    rests_on: list[tuple[int, Arrival]] = []


@dataclass(slots=True)
class AccountStep:
    """One shard: its stage, its lane's time, and blocks that came before their turn.

    Parameters
    ----------
    shard
        Index of the shard.
    stage
        A stage with the run's detectors.
    batch_rows
        How many rows the stage takes at once; changes speed only.
    """

    shard: int
    stage: AccountStage
    batch_rows: int
    lane_time: LaneTime = field(default_factory=LaneTime)
    next_number: int = 0
    waiting: dict[int, ShardBlock] = field(default_factory=dict)
    closed_until_ns: int = NEVER_NS
    refused: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    marked_ns: int = NEVER_NS  # the watermark that every instrument shard has heard of
    files: ShardFiles | None = None  # where large state lies; None: in the snapshots

    def take(self, block: ShardBlock) -> list[ShardMessage]:
        """Take a block when its turn comes; return the messages of every block now done.

        A block that was applied before is a bug of ours and stops the process: skipping it
        silently would hide a doubled or lost event.
        """
        assert block.number >= self.next_number, (
            f"shard {self.shard}: block {block.number} came again, {self.next_number} is next"
        )
        assert block.number not in self.waiting, f"block {block.number} came twice"
        self.waiting[block.number] = block
        messages = []
        while self.next_number in self.waiting:
            messages.append(self._apply(self.waiting.pop(self.next_number)))
            self.next_number += 1
        return messages

    def _apply(self, block: ShardBlock) -> ShardMessage:
        output = StageOutput()
        carry = _neutral() if block.is_absolute else self.lane_time.carry(block.times)
        self._take_rows(block, carry, output)
        lost = self._lost(block)
        self.lane_time.advance(block.times)
        watermark_ns = self.lane_time.high_ns - self.stage.config.lateness_most_ns
        self._close(END_OF_TIME_NS if block.is_last else watermark_ns, output)
        message = self._message(output, lost, watermark_ns)
        message.number, message.is_last = block.number, block.is_last
        message.read_ns = block.read_ns
        message.sent = self.send_on(message, output)
        return message

    def _take_rows(self, block: ShardBlock, carry: NDArray[np.int64], output: StageOutput) -> None:
        rows = block.columns.rows
        for start in range(0, len(rows), self.batch_rows):
            part = EventColumns(rows[start : start + self.batch_rows], block.columns.raw)
            output.extend(self.stage.take(part, carry))

    def send_on(self, message: ShardMessage, output: StageOutput) -> SentPart | None:
        """Return what a message's block sends to the instrument shards, if it is time to."""
        if not self.stage.sends_on:
            return None
        until_ns = END_OF_TIME_NS if message.is_last else message.watermark_ns
        is_due = bool(message.arrivals) or until_ns >= self.marked_ns + _MARK_EVERY_NS
        # Before the mark is told that says nothing of these days can come any more.
        output.tallies += self.stage.close_tallies(until_ns)
        if not is_due and not output.sent and not output.tallies:
            return None
        if is_due:
            self.marked_ns = until_ns
        mark = Mark(self.shard, message.number, until_ns)
        return SentPart(join(output.sent), mark, is_due, join(output.tallies))

    def _message(
        self, output: StageOutput, lost: list[LostLine], watermark_ns: int
    ) -> ShardMessage:
        return ShardMessage(
            shard=self.shard,
            number=0,
            watermark_ns=watermark_ns,
            closed_until_ns=self.closed_until_ns,
            findings=output.findings,
            headroom=output.headroom,
            office=output.office,
            lost=lost,
            totals=self.totals(),
            notes=self._news(),
            features=output.features,
            peers=output.peers,
        )

    def _close(self, watermark_ns: int, output: StageOutput) -> None:
        """Judge ended days; looking once a minute of lane time costs little and changes nothing."""
        if watermark_ns >= self.closed_until_ns + _CLOSE_EVERY_NS:
            self.closed_until_ns = watermark_ns
            output.extend(self.stage.close(watermark_ns))
        if self.stage.features is not None:
            is_last = watermark_ns == END_OF_TIME_NS
            output.features = self.stage.features.hand_out(watermark_ns, is_last=is_last)

    def _news(self) -> list[str]:
        """Return what people should know of the calendars and was not told before."""
        calendars = self.stage.config.calendars
        if not isinstance(calendars, TradingDays):
            return []
        news = [note for note in calendars.notes(self.lane_time.high_ns) if note not in self.told]
        self.told.update(news)
        return news

    def _lost(self, block: ShardBlock) -> list[LostLine]:
        before = 0 if block.is_absolute else self.lane_time.lines
        names = self.stage.config.lane_names
        self.refused += len(block.rejected)
        for name, count in block.skipped_fields.items():
            self.skipped[name] = self.skipped.get(name, 0) + count
        return [
            LostLine(lane=names[lane], line_number=r.line_number + before, rejected=r)
            for lane, r in block.rejected
        ]

    def lane_times(self) -> dict[str, int]:
        """Return the event time (ns) that each lane has reached; merged lanes move together."""
        names = self.stage.config.lane_names
        assert isinstance(names, tuple)
        return dict.fromkeys(names, self.lane_time.high_ns)

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each kind of table holds."""
        return self.stage.row_counts()

    def totals(self) -> dict[str, int]:
        """Return the shard's counts so far."""
        # Every shard knows the lane's time, so only one of them may count what is the lane's.
        own = {"refused": self.refused, "ahead": self.lane_time.ahead if self.shard == 0 else 0}
        skipped = {f"skipped.{name}": count for name, count in self.skipped.items()}
        return self.stage.totals() | own | skipped

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash."""
        return {
            "stage": self._keep(),
            "lane_time": astuple(self.lane_time),
            "next_number": self.next_number,
            # A steady clock begins anew with the machine: no snapshot may hold its time.
            "waiting": {
                number: replace(block, read_ns=0) for number, block in self.waiting.items()
            },
            "closed_until_ns": self.closed_until_ns,
            "refused": self.refused,
            "skipped": dict(self.skipped),
            "told": sorted(self.told),
            "marked_ns": self.marked_ns,
        }

    def _keep(self) -> Any:
        tree = self.stage.dump()
        return pack_tree(tree) if self.files is None else self.files.keep(tree)

    @classmethod
    def resume(
        cls,
        shard: int,
        make_stage: Callable[[], AccountStage],
        batch_rows: int,
        state: dict[str, Any] | None,
        files: ShardFiles | None = None,
    ) -> "AccountStep":
        """Start a shard, from a snapshot where there is one."""
        step = cls(shard, make_stage(), batch_rows, files=files)
        held = None if state is None else state["stage"]
        tree = unpack_tree(held) if files is None else files.take_up(held)
        if state is not None:
            step.stage.restore(tree)
            step.lane_time = LaneTime(*state["lane_time"])
            step.next_number = state["next_number"]
            step.waiting = dict(state["waiting"])
            step.closed_until_ns = state["closed_until_ns"]
            step.refused = state["refused"]
            step.skipped = dict(state["skipped"])
            step.told = set(state["told"])
            step.marked_ns = state["marked_ns"]
        return step


def _neutral() -> NDArray[np.int64]:
    return np.array([NEVER_NS, NEVER_NS, 0], np.int64)
