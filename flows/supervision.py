"""What a run and its supervisor say to each other.

The supervisor gives the run two pipes, named in one environment variable: one that closes when the
supervisor ends, so that the run ends with it, and one into which the run writes lines: its limits
when its input begins, a beat whenever it moves, and that it is done.
"""

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

from msgspec import Struct
from msgspec import json as msgspec_json

from flows import clock
from flows.processes import end_with_parent
from schemas.events import SECOND_NS
from schemas.settings import BY_NAME

VARIABLE: Final = "TAPEWATCH_SUPERVISED"
BEAT: Final = b".\n"
DONE: Final = b"done\n"
_BEAT_EVERY_NS: Final = SECOND_NS // 10


class Limits(Struct, frozen=True, kw_only=True):
    """How patient the supervisor is; each field is the setting ``supervisor.NAME``."""

    stall_seconds: float = float(BY_NAME["supervisor.stall_seconds"].default)
    start_seconds: float = float(BY_NAME["supervisor.start_seconds"].default)
    window_seconds: float = float(BY_NAME["supervisor.window_seconds"].default)
    pause_seconds: float = float(BY_NAME["supervisor.pause_seconds"].default)
    pause_seconds_max: float = float(BY_NAME["supervisor.pause_seconds_max"].default)


class Post(Struct, frozen=True, kw_only=True):
    """What a run is given: its ends of the pipes, and how often it was started again, by reason."""

    life: int
    told: int
    restarts: dict[str, int] = {}


class Pulse:
    """Tells the supervisor that this process moves; without one, nobody.

    Attributes
    ----------
    handle
        The pipe it tells through, for this run's other processes to have too.
    restarts
        How often the run was started again, by reason.
    """

    def __init__(
        self, handle: int | None = None, restarts: Mapping[str, int] | None = None
    ) -> None:
        self.handle = handle
        self.restarts: Mapping[str, int] = restarts or {}
        self._next_ns = 0

    def begin(self, limits: Limits) -> None:
        """Say that from now on beats will come, and how long to wait for one."""
        self._tell(msgspec_json.encode(limits) + b"\n")

    def beat(self) -> None:
        """Say that something was finished; costs a look at the clock."""
        if self.handle is None:
            return
        now_ns = clock.monotonic_ns()
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _BEAT_EVERY_NS
            self._tell(BEAT)

    def done(self) -> None:
        """Say that no more beats will come, though there may be work left."""
        self._tell(DONE)

    def _tell(self, line: bytes) -> None:
        if self.handle is None:
            return
        try:
            os.write(self.handle, line)  # of this length it is written whole or not at all
        except BlockingIOError:
            return  # a supervisor that reads nothing just now will find the lines before this one
        except BrokenPipeError:
            return  # it has ended, and so shall we


def open_pulse(environment: MutableMapping[str, str] | None = None) -> Pulse:
    """Take up the pipes that a supervisor has given this process, if there is one."""
    text = (os.environ if environment is None else environment).pop(VARIABLE, None)
    if text is None:
        return Pulse()
    post = msgspec_json.decode(text, type=Post)
    end_with_parent(post.life)
    return Pulse(post.told, post.restarts)
