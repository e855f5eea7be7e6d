"""The instrument step: rows of all account shards, aligned, for one shard of instruments.

The first of these shards has the peer stage beside its own, and the tallies of all accounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct

from detectors.core.instrument_stage import InstrumentStage
from detectors.core.peer_stage import PeerStage
from detectors.core.sent_rows import SentColumns, join
from detectors.core.stage import StageOutput
from flows.align import Align, Backlog, Mark, tallies_in_order
from flows.arrivals import Arrival
from flows.lanes import NEVER_NS
from flows.packing import pack_tree, unpack_tree
from flows.steps import END_OF_TIME_NS, ShardMessage
from schemas.columns import KIND
from schemas.events import SECOND_NS

PEER_SHARD: Final = 0  # peers are compared in one place
INSTRUMENT_SHARDS_MAX: Final = 4  # each has its own table of who is behind accounts
_FILE: Final = KIND["ref.account"]
_HIGH_BITS: Final = np.uint64(32)  # the low ones choose places in tables
_TELL_EVERY_NS: Final = SECOND_NS
_CLOSE_EVERY_NS: Final = 60 * SECOND_NS


class InstrumentMessage(Struct, kw_only=True):
    """What some blocks of account shards mean for one shard of instruments.

    ``arrivals`` are the account shards' blocks whose order the rows rest on; ``read_ns`` is when
    the oldest of the rows was read, by the steady clock.
    """

    shard: int
    columns: SentColumns
    tallies: SentColumns
    marks: tuple[Mark, ...]
    arrivals: tuple[tuple[int, Arrival], ...] = ()
    read_ns: int = 0


def instrument_shards(account_shards: int) -> int:
    """Return how many shards instruments are dealt to; like the accounts', it never changes."""
    return min(account_shards, INSTRUMENT_SHARDS_MAX)


def deal_sent(messages: Sequence[ShardMessage], shards: int) -> list[InstrumentMessage]:
    """Deal what account shards send on to instrument shards, in one message each.

    Files on accounts go to all of them, tallies to the one that compares accounts. A shard gets a
    message where it gets any of these, and every shard does where one of the parts is due for all.
    """
    parts = [(m, m.sent) for m in messages if m.sent is not None]
    if not parts:
        return []
    columns = join([sent.columns for _, sent in parts if len(sent.columns)])
    all_tallies = join([sent.tallies for _, sent in parts if len(sent.tallies)])
    marks = tuple(sent.mark for _, sent in parts)
    arrivals = tuple((m.shard, arrival) for m, _ in parts for arrival in m.arrivals)
    is_due = any(sent.is_due for _, sent in parts)
    read_ns = min((m.read_ns for m, sent in parts if len(sent.columns)), default=0)
    rows = columns.rows
    is_file = rows["kind"] == _FILE
    shard_of = (rows["instrument_1"] >> _HIGH_BITS) & np.uint64(shards - 1)
    dealt = []
    for shard in range(shards):
        chosen = rows.take(np.flatnonzero(is_file | (shard_of == shard)))
        tallies = all_tallies if shard == PEER_SHARD else join([])
        if is_due or len(chosen) or len(tallies):
            dealt.append(
                InstrumentMessage(
                    shard=shard,
                    columns=SentColumns(chosen, columns.raw),
                    tallies=tallies,
                    marks=marks,
                    arrivals=arrivals,
                    read_ns=read_ns,
                )
            )
    return dealt


class BehindAlign(NamedTuple):
    """What stands behind one shard's align; peers are compared in one of the shards."""

    instruments: InstrumentStage
    peers: PeerStage | None


@dataclass(slots=True)
class InstrumentStep:
    """One shard of instruments: rows held until their time has come, and the stage behind.

    Parameters
    ----------
    shard
        Its number among all shards that send to the writer: those of accounts come first.
    stage
        A stage with the run's aligned detectors.
    align
        Its rows.
    backlog
        Told how many of them wait.
    peers, tallies
        The stage that compares accounts, and the align before it, in the shard that has them.
    """

    shard: int
    stage: InstrumentStage
    align: Align
    backlog: Backlog | None = None
    peers: PeerStage | None = None
    tallies: Align = field(default_factory=lambda: Align(0, tallies_in_order))
    next_number: int = 0
    told_ns: int = NEVER_NS
    closed_until_ns: int = NEVER_NS
    # Blocks of account shards whose order nothing that was sent to the writer rests on.
    arrivals: list[tuple[int, Arrival]] = field(default_factory=list)

    def take(self, message: InstrumentMessage) -> list[ShardMessage]:
        """Take rows; return what comes of those whose time has come with it, if anything."""
        self.align.add(message.columns, message.marks, message.read_ns)
        self.arrivals += message.arrivals
        columns = self.align.release()
        output = StageOutput() if len(columns) == 0 else self.stage.take(columns)
        if self.peers is not None:
            self.tallies.add(message.tallies, message.marks, message.read_ns)
            output.extend(self.peers.take(self.tallies.release()))
        if self.backlog is not None:
            held = self.align.held + self.tallies.held
            self.backlog.note(self.shard, held, self.align.watermark_ns)
        watermark_ns = self.align.released_ns
        self._close(watermark_ns, output)
        is_last = watermark_ns == END_OF_TIME_NS
        if is_last and self.peers is not None:
            output.extend(self.peers.end())
        is_news = output.findings or output.headroom or output.fixed or output.reviews or is_last
        if not is_news and watermark_ns < self.told_ns + _TELL_EVERY_NS:
            return []
        self.told_ns = watermark_ns
        return [self._message(output, is_last=is_last)]

    def _close(self, watermark_ns: int, output: StageOutput) -> None:
        if watermark_ns >= self.closed_until_ns + _CLOSE_EVERY_NS:
            self.closed_until_ns = watermark_ns
            output.extend(self.stage.close(watermark_ns))

    def _message(self, output: StageOutput, *, is_last: bool) -> ShardMessage:
        rests_on: list[tuple[int, Arrival]] = []
        if output.findings or output.fixed or output.reviews:
            rests_on, self.arrivals = self.arrivals, []
        number, self.next_number = self.next_number, self.next_number + 1
        return ShardMessage(
            shard=self.shard,
            number=number,
            watermark_ns=self.align.released_ns,
            closed_until_ns=self.closed_until_ns,
            findings=output.findings,
            headroom=output.headroom,
            fixed=output.fixed,
            reviews=output.reviews,
            totals=self.totals(),
            is_last=is_last,
            is_aligned=True,
            rests_on=rests_on,
            read_ns=self._read_ns_of([finding.event_time_ns for finding in output.findings]),
        )

    def _read_ns_of(self, times_ns: list[int]) -> int:
        found = (self.align.read_ns_of(times_ns), self.tallies.read_ns_of(times_ns))
        return min((read_ns for read_ns in found if read_ns), default=0)

    def row_counts(self) -> dict[str, int]:
        """Return how many rows each kind of table holds, and how many wait for their time."""
        counts = self.stage.row_counts()
        if self.peers is not None:
            own = self.peers.row_counts()
            counts |= own | {"subjects": counts["subjects"] + own["subjects"]}
        return counts | {"waiting": self.align.held + self.tallies.held}

    def totals(self) -> dict[str, int]:
        """Return the shard's counts so far."""
        return self.stage.totals() | {"behind_align": self.align.behind + self.tallies.behind}

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash.

        The arrivals are let go: the account shards' own snapshots of this epoch hold them.
        """
        self.arrivals = []
        return {
            "stage": pack_tree(self.stage.dump()),
            "align": self.align.dump(),
            "peers": None if self.peers is None else pack_tree(self.peers.dump()),
            "tallies": self.tallies.dump(),
            "next_number": self.next_number,
            "told_ns": self.told_ns,
            "closed_until_ns": self.closed_until_ns,
        }

    @classmethod
    def resume(
        cls,
        shard: int,
        sources: int,
        stages: BehindAlign,
        state: dict[str, Any] | None,
        backlog: Backlog | None = None,
    ) -> "InstrumentStep":
        """Start a shard, from a snapshot where there is one."""
        stage, peers = stages
        tallies = Align(sources, tallies_in_order)
        step = cls(shard, stage, Align(sources), backlog, peers, tallies)
        if state is not None:
            step.stage.restore(unpack_tree(state["stage"]))
            step.align = Align.load(sources, state["align"])
            step.tallies = Align.load(sources, state["tallies"], tallies_in_order)
            if step.peers is not None and state["peers"] is not None:
                step.peers.restore(unpack_tree(state["peers"]))
            step.next_number = state["next_number"]
            step.told_ns = state["told_ns"]
            step.closed_until_ns = state["closed_until_ns"]
        return step
