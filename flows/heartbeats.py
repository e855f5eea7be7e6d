"""Heartbeats of a lane that stands still: written down before they are used.

How long a lane is quiet is known by a clock only, and a clock must not decide what comes out. So a
heartbeat goes into the control log first, with its place in the lane's order of blocks; a run that
goes on after a crash finds it there and lets it count at the same place.
"""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from flows.control_topic import ControlPlace, open_control
from flows.lanes import BlockTimes, LaneBlock
from schemas.columns import EventColumns


class Idle(NamedTuple):
    """What a stream yields instead of a block: nothing is to come at or before ``time_ns``."""

    time_ns: int


class Heartbeats:
    """The heartbeats of one lane.

    Parameters
    ----------
    control
        Where the control log is; None keeps none, as for a mere look at the input.
    lane
        Name of the lane.
    """

    def __init__(self, control: Path | ControlPlace | None, lane: str) -> None:
        self._control = control
        self._lane = lane

    @property
    def are_kept(self) -> bool:
        """Say whether heartbeats have anywhere to be written."""
        return self._control is not None

    def recorded(self) -> dict[int, int]:
        """Return event time (ns) by block number of every heartbeat written so far."""
        if self._control is None:
            return {}
        with closing(open_control(self._control)) as control:
            return {
                int(record.body["number"]): int(record.body["time_ns"])
                for record in control.read()
                if record.kind == "heartbeat" and record.lane == self._lane
            }

    def write(self, number: int, time_ns: int) -> None:
        """Write a heartbeat that stands as block ``number``; durable on return."""
        assert self._control is not None
        body = {"number": number, "time_ns": str(time_ns)}
        with closing(open_control(self._control)) as control:
            key = f"heartbeat/{self._lane}/{number}"
            control.append("heartbeat", time_ns, body, key, lane=self._lane)


class BeatItem:
    """A heartbeat in a lane's order of blocks: no rows, only time."""

    def __init__(self, number: int, time_ns: int) -> None:
        self.number = number
        self.size = 0
        self._time_ns = time_ns

    def scan(self) -> LaneBlock:
        """See ``flows.sources.LaneItem``."""
        times = BlockTimes(high_ns=self._time_ns)
        return LaneBlock(number=self.number, columns=EventColumns.empty(), times=times)
