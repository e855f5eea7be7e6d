"""A server as a process of ours: started, waited for, stopped, killed, started again."""

import atexit
import os
import secrets
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flows import clock

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_LOG_TAIL_SIZE: Final = 4_000
# Below the ports that systems hand out to clients: else a client could sit on the port of a
# server that is down for a moment, and the server would not come back.
_PORTS: Final = range(15_000, 30_000)
# Becomes the server after asking Linux to kill it when whoever started it is gone, however that
# ended. As a program of its own, because code between fork and exec may hang where threads run.
# The wish belongs to the thread that starts the server: start servers in the main thread.
_DIES_WITH_PARENT: Final = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class MissingError(Exception):
    """What a server needs is not on this machine; the text says how to have it."""


class ServerFailedError(Exception):
    """A server did not do what it was asked; the text ends with its log."""


def free_port() -> int:
    """Return a port that nothing listens on, chosen so that parallel tests hardly ever agree."""
    for _ in range(100):
        port = _PORTS[secrets.randbelow(len(_PORTS))]  # random's seed is the same in all workers
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise MissingError(f"no free port on {HOST} between {_PORTS[0]} and {_PORTS[-1]}")


class Server(ABC):
    """A server process with its files in one folder.

    Stopping and killing keep the folder and the port, so ``start`` goes on where it was.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @abstractmethod
    def command(self) -> list[str]:
        """Return what to run; the first word is the path of a program."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it serves; may take a second, never longer."""

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises
        ------
        ServerFailedError
            If it ends or is not ready within a minute; it is not left running.
        """
        assert not self.is_running, f"{self.name} runs already"
        trampoline = [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid())]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*trampoline, *self.command()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait until it has.

        Raises
        ------
        ServerFailedError
            If it has not ended after 30 seconds; it is killed then.
        """
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it on the same port with the same data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()  # nobody needs what an orderly end would write
        atexit.unregister(self.kill)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        until_ns = clock.monotonic_ns() + int(READY_SECONDS * 1e9)
        while not self.is_ready():
            if self._ends_within(_POLL_SECONDS):
                self._fail(f"ended with {self._process.returncode} before it was ready")
            if clock.monotonic_ns() > until_ns:
                self._fail(f"was not ready after {READY_SECONDS:.0f} s")

    def _ends_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)  # does nothing where it has ended
        ended = self._ends_within(STOP_SECONDS)
        if not ended:
            self._process.kill()
            self._process.wait()
        self._process = None
        if not ended:
            self._fail(f"did not end within {STOP_SECONDS:.0f} s of {how.name}")

    def _fail(self, what: str) -> None:
        data = self.log.read_bytes()[-_LOG_TAIL_SIZE:] if self.log.exists() else b""
        tail = data.decode(errors="replace").strip() or "(nothing)"
        raise ServerFailedError(f"{self.name} {what}. The end of its log:\n{tail}")
