"""Several processes as one run: this process is worker 0, the others are its children.

A child reads its orders from its standard input and ends when that closes, so that a killed parent
leaves nobody behind; when any process ends early, all end. They share one data folder; only
worker 0 writes to store and ledger.
"""

import ctypes
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import IO, Final

from msgspec import Struct
from msgspec import json as msgspec_json

_PR_SET_PDEATHSIG: Final = 1
_LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(15_000, 32_768)  # below those of outgoing connections, above most servers'
EXIT_PEER_LOST: Final = 6  # what was lost is a process, and nothing of what it had done
_NEWS_SECONDS: Final = 10.0  # a child that ended was the reason, or there was another one
_ECHO_SECONDS: Final = 0.5  # from the first end to those that it brings about


class WorkerOrders(Struct, frozen=True, kw_only=True):
    """What a child must know: the plan's own words, and its place in the cluster."""

    data: str
    inputs: list[dict[str, str]]
    flags: list[str]
    config_file: str | None
    run_key: str
    process: int
    addresses: list[str]
    memory: int | None = None
    pulse: int | None = None


def free_addresses(count: int) -> list[str]:
    """Find loopback addresses that nobody listens on just now."""
    found: list[str] = []
    with ExitStack() as held:
        while len(found) < count:
            # Between our look and the workers' listening nobody else may get the port: so none that
            # the system deals out to clients, and no row of ports that two runs would both try.
            port = _PORTS[secrets.randbelow(len(_PORTS))]
            each = held.enter_context(closing(socket.socket()))
            with suppress(OSError):
                each.bind((_LOOPBACK, port))
                found.append(f"{_LOOPBACK}:{port}")
    return found


_threads_left = threading.Event()


def leave_threads() -> None:
    """Note that the engine failed and has left threads of its own behind.

    They want the interpreter once more, to say that they lost the other processes; where it is
    just being taken down, that aborts the process. So it must end without.
    """
    _threads_left.set()


def exit_now(code: int) -> None:
    """End the process, taking the interpreter down only where that is safe."""
    if _threads_left.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class Children:
    """The other processes of a run.

    Parameters
    ----------
    command
        Starts a worker that reads ``WorkerOrders`` as one line from its standard input.
    count
        How many to start. They take as long as this process to begin, so start them early.
    handles
        The open files that their orders will name.
    """

    def __init__(self, command: Sequence[str], count: int, handles: Sequence[int] = ()) -> None:
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=handles)  # noqa: S603 - our own command
            for _ in range(count)
        ]
        self._stopping = False
        self._asked = False
        self._sent = False
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def send(self, orders: Sequence[WorkerOrders]) -> None:
        """Give each its orders."""
        self._sent = True
        for process, order in zip(self._processes, orders, strict=True):
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended, which is noticed elsewhere
                process.stdin.write(msgspec_json.encode(order) + b"\n")
                process.stdin.flush()

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """End this process when a child ends before its time: a half run must not go on."""
        code = process.wait()
        if code == 0 or self._stopping:
            return
        code = self._reason(code)
        sys.stderr.write(
            f"A worker process ended early (exit {code}); stopping. "
            "The same command goes on from the last snapshot.\n"
        )
        sys.stderr.flush()
        os._exit(code if code > 0 else EXIT_PEER_LOST)

    def _reason(self, code: int) -> int:
        """Return the exit code that tells most; one child's end makes others fail, in any order."""
        codes = [code]
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                codes.append(process.wait(_ECHO_SECONDS))
        return min(codes) if min(codes) < 0 else code  # negative: of one that was killed

    def leave_alone(self) -> None:
        """Take no notice any more of how they end: this process has failed by itself."""
        self._stopping = True

    def await_news(self, _panic: BaseException) -> None:
        """Give a child's end, which makes the engine panic here, the time to be noticed."""
        threading.Event().wait(_NEWS_SECONDS)

    def stop(self) -> None:
        """Ask the children to drain and stop; once, for at its end a child takes no signals."""
        if self._asked:
            return
        self._asked = True
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def join(self) -> None:
        """Wait for the children, whose part of the flow ends with ours."""
        self._stopping = True
        for process in self._processes:
            process.wait()
        self._close()

    def dismiss(self) -> None:
        """End children that were given no orders: they have nothing that could be lost."""
        if self._sent:
            return
        self._stopping = True
        for process in self._processes:
            process.kill()
            process.wait()
        self._close()

    def _close(self) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()


def read_orders(handle: int) -> WorkerOrders:
    """Read a child's orders from a file descriptor, and from then on end with the parent."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(handle, 1 << 16)
        if not piece:
            os._exit(EXIT_PEER_LOST)
        line += piece
    end_with_parent(handle)
    return msgspec_json.decode(line, type=WorkerOrders)


def end_with_parent(handle: int) -> None:
    """From now on end when the parent does, whose end of a pipe then closes."""
    _die_with_parent()
    threading.Thread(target=_end_when_closed, args=(handle,), daemon=True).start()


def give_up(panic: BaseException) -> None:
    """End this child, whose engine has lost the other processes or itself."""
    sys.stderr.write(f"The engine of a worker process failed: {panic}\n")
    sys.stderr.flush()
    os._exit(1)


def _die_with_parent() -> None:
    """Ask the kernel, where it can, to end us in the moment our parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def tell_parent() -> None:
    """Pass a request to stop on to worker 0, for a run stops as a whole or not at all."""
    os.kill(os.getppid(), signal.SIGTERM)


def _end_when_closed(handle: int) -> None:
    # Not through sys.stdin: its lock, held by a waiting thread, would break our own exit.
    while os.read(handle, 1):
        pass
    os._exit(EXIT_PEER_LOST)


def hold_recovery(path: Path) -> IO[bytes]:
    """Hold the recovery store as a child, for as long as the returned file is open."""
    file = path.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def wait_for_recovery(path: Path) -> None:
    """Wait until no child of an earlier run holds the recovery store; they end by themselves."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
