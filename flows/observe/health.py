"""Whether a process lives and is ready: two answers, each with a sentence."""

from typing import NamedTuple

from flows import clock
from schemas.events import SECOND_NS


class Answer(NamedTuple):
    """What a probe is told."""

    is_good: bool
    sentence: str


class Health:
    """What the main loop leaves behind for the probes.

    The flow's thread writes, the server's reads; each field is one word, so nothing is locked.

    Parameters
    ----------
    stall_seconds
        The main loop may stand still for so long.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_ns = round(stall_seconds * SECOND_NS)
        self._moved_ns = 0
        self._doing = ""
        self._open_parts: set[int] = set()
        self._has_joined = False
        self._has_polled = False
        self._has_taken = False
        self._is_stopping = False

    def joined(self) -> None:
        """Note that the other processes are reached and the input is open."""
        self._has_joined = True

    def part_opened(self, part: int) -> None:
        """Note a part that will be polled."""
        self._open_parts.add(part)

    def part_ended(self, part: int) -> None:
        """Note a part that will not be polled again."""
        self._open_parts.discard(part)

    def polled(self) -> int:
        """Note that the input is asked for more; return the time."""
        self._has_polled = True
        return self._move("")

    def begin(self, doing: str) -> int:
        """Note that a piece of work begins; return the time."""
        return self._move(doing)

    def end(self) -> int:
        """Note that the piece of work is done; return the time."""
        self._has_taken = True
        return self._move("")

    def stopping(self) -> None:
        """Note that a stop was asked for."""
        self._is_stopping = True

    def _move(self, doing: str) -> int:
        self._moved_ns = clock.monotonic_ns()
        self._doing = doing
        return self._moved_ns

    def live(self) -> Answer:
        """Say whether the main loop moves."""
        moved_ns = self._moved_ns
        if moved_ns == 0:
            return Answer(is_good=True, sentence="Starting: the main loop has not begun.")
        still_ns = clock.monotonic_ns() - moved_ns
        seconds = still_ns / SECOND_NS
        if still_ns <= self._stall_ns or not (self._doing or self._open_parts):
            return Answer(is_good=True, sentence=f"The main loop moved {seconds:.1f} s ago.")
        where = f" at: {self._doing}" if self._doing else ""
        return Answer(
            is_good=False,
            sentence=(
                f"The main loop has not moved for {seconds:.1f} s{where}. Look at the disk and the "
                "other processes; ending the process is safe, the same command goes on."
            ),
        )

    def ready(self) -> Answer:
        """Say whether the process takes input."""
        if self._is_stopping:
            return Answer(is_good=False, sentence="Stopping: what was read is being finished.")
        waits_for_first_poll = bool(self._open_parts) and not self._has_polled
        if self._has_taken or self._has_polled or (self._has_joined and not waits_for_first_poll):
            return Answer(is_good=True, sentence="Ready.")
        return Answer(is_good=False, sentence="Starting: the input is not open yet.")
