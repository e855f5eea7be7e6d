"""Start a run, look on, and start it again when one of its processes dies or all stand still.

The supervisor is a process above the run: it holds nothing, so it has nothing to lose. It looks at
two things only, how the run ends and whether it moves. A run that ends with a sentence of its own,
such as a refusal or a mistake of ours, would do so again, and is not started again.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Final, Literal, NamedTuple

from msgspec import json as msgspec_json

from flows import clock
from flows.processes import EXIT_PEER_LOST
from flows.supervision import BEAT, DONE, VARIABLE, Limits, Post
from schemas.events import SECOND_NS

Reason = Literal["died", "hung"]
# Ended by somebody who asked for it, before the run could take it as a stop.
_ASKED: Final = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
_GRACE_SECONDS: Final = 1.0  # for beats that wait unread when this process itself stood still


class Ending(NamedTuple):
    """How a life of the run ended; with a reason, it should be started again."""

    code: int
    reason: Reason | None = None


class Restarts:
    """How often, and after which pause, a run may be started again.

    Parameters
    ----------
    most
        Restarts within the window of ``Limits``.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._times_ns: list[int] = []
        self.counts: Counter[str] = Counter()

    def pause_seconds(self, reason: str, limits: Limits, now_ns: int) -> float | None:
        """Count a restart and return how long to wait before it; None: not again.

        Examples
        --------
        >>> restarts = Restarts(2)
        >>> [restarts.pause_seconds("died", Limits(), second * 10**9) for second in (0, 9, 20, 650)]
        [1.0, 2.0, None, 1.0]
        """
        window_ns = limits.window_seconds * SECOND_NS
        self._times_ns = [each for each in self._times_ns if now_ns - each < window_ns]
        if len(self._times_ns) >= self._most:
            return None
        pause = limits.pause_seconds * (1 << len(self._times_ns))
        self._times_ns.append(now_ns)
        self.counts[reason] += 1
        return min(pause, limits.pause_seconds_max)


class Supervisor:
    """Runs a command, again and again if need be.

    Parameters
    ----------
    command
        Starts the run; the same words go on where it stopped.
    restarts_max
        See ``Restarts``.
    say
        Told in sentences what is done.
    """

    def __init__(
        self, command: Sequence[str], restarts_max: int, say: Callable[[str], None]
    ) -> None:
        self._command = command
        self._restarts = Restarts(restarts_max)
        self._say = say
        self._limits = Limits()
        self._life: _Life | None = None
        self._stop = threading.Event()

    def run(self) -> int:
        """Run to the end, and return the exit code."""
        with self._on_signals():
            while True:
                ending = self._live()
                if ending.reason is None:
                    return ending.code
                pause = self._pause(ending)
                if pause is None:
                    return EXIT_PEER_LOST
                if self._stop.wait(pause):
                    return 0  # between two lives nothing is under way

    def _live(self) -> Ending:
        """Start the run and look on until it has ended, with all of its processes."""
        self._life = life = _Life(self._command, self._restarts.counts, self._limits)
        if self._stop.is_set():  # asked for while it was being started
            life.stop()
        ending = life.watch()
        life.end()
        self._limits = life.limits
        if ending.code in _ASKED:
            return Ending(0 if self._stop.is_set() else 128 - ending.code)
        return ending

    def _pause(self, ending: Ending) -> float | None:
        """Say what happened; return how long to wait before the next start, None: there is none."""
        limits = self._limits
        what = (
            f"The run finished nothing for {limits.stall_seconds:g} s and was ended"
            if ending.reason == "hung"
            else "A process of the run died"
        )
        if self._stop.is_set():
            self._say(f"{what} while it was stopping. The same command goes on.")
            return None
        assert ending.reason is not None
        pause = self._restarts.pause_seconds(ending.reason, limits, clock.monotonic_ns())
        if pause is None:
            self._say(
                f"{what}, too often within {limits.window_seconds:g} s to start it again. Nothing "
                "durable is lost: look for the reason, then run the same command to go on."
            )
        else:
            count = self._restarts.counts.total()
            self._say(f"{what}. It is started again in {pause:g} s (restart {count}).")
        return pause

    @contextmanager
    def _on_signals(self) -> Iterator[None]:
        """Pass a request to stop on to the run while the block runs."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        old = {number: signal.signal(number, self._asked) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _asked(self, *_: object) -> None:
        if not self._stop.is_set():
            self._stop.set()
            if self._life is not None:
                self._life.stop()


class _Life:
    """The run from one start to its end: process 0, and the others that it starts."""

    def __init__(self, command: Sequence[str], restarts: Counter[str], limits: Limits) -> None:
        self.limits = limits
        self._heard: SimpleQueue[bytes | int] = SimpleQueue()  # lines, and at last the exit code
        life, self._life = os.pipe()
        told, telling = os.pipe()
        os.set_blocking(telling, False)
        post = Post(life=life, told=telling, restarts=dict(restarts))
        environment = {**os.environ, VARIABLE: msgspec_json.encode(post).decode()}
        # A group of its own can be ended whole, without knowing who is in it; and Ctrl-C comes to
        # us alone, to be passed on once.
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, pass_fds=(life, telling), process_group=0
        )
        os.close(life)
        os.close(telling)
        self._is_over = False
        self._waiting = threading.Thread(target=self._await_end, daemon=True)
        self._waiting.start()
        threading.Thread(target=self._read, args=(told,), daemon=True).start()

    def _await_end(self) -> None:
        if not hasattr(os, "waitid"):  # as on macOS
            self._heard.put(self._process.wait())
            return
        # Left as a zombie, so that its number, which is its group's too, goes to nobody else.
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        is_exit = ended.si_code == os.CLD_EXITED
        self._heard.put(ended.si_status if is_exit else -ended.si_status)

    def _read(self, told: int) -> None:
        with os.fdopen(told, "rb") as lines:
            for line in lines:
                self._heard.put(line)

    def watch(self) -> Ending:
        """Return how it ended, or that it stands still."""
        seconds: float | None = None  # before the input begins, nobody knows how long it takes
        while True:
            try:
                heard = self._hear(seconds)
            except Empty:
                return Ending(EXIT_PEER_LOST, "hung")
            if isinstance(heard, int):
                is_lost = heard == EXIT_PEER_LOST or (heard < 0 and heard not in _ASKED)
                return Ending(heard, "died" if is_lost else None)
            if heard == DONE:
                seconds = None
            elif heard == BEAT:
                seconds = self.limits.stall_seconds
            else:
                self.limits = msgspec_json.decode(heard, type=Limits)
                seconds = self.limits.stall_seconds + self.limits.start_seconds

    def _hear(self, seconds: float | None) -> bytes | int:
        with suppress(Empty):
            return self._heard.get(timeout=seconds)
        return self._heard.get(timeout=_GRACE_SECONDS)

    def stop(self) -> None:
        """Ask it to stop where it is."""
        if not self._is_over:
            os.kill(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """End whoever is left of it."""
        if self._is_over:
            return
        self._is_over = True
        with suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)
        self._waiting.join()  # it looks at the zombie, which there must be until then
        self._process.wait()
        os.close(self._life)


def supervise(words: Sequence[str], restarts_max: int, say: Callable[[str], None]) -> int:
    """Run ``tapewatch`` with these words under supervision; return the exit code."""
    command = [sys.executable, "-m", "console.cli", *words]
    return Supervisor(command, restarts_max, say).run()
