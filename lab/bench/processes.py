"""The command line as other processes, as people and supervisors start it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec import json as msgspec_json

from flows import clock

TAPEWATCH: Final = (sys.executable, "-m", "console.cli")
_FIELDS_BEFORE_PARENT: Final = 1
_RUSAGE_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Ended(Struct, frozen=True, kw_only=True):
    """A process that ended well.

    Attributes
    ----------
    summary
        What it printed.
    seconds
        From start to end, by the wall clock.
    cpu_seconds
        Of the processor, its own children's too.
    peak_bytes
        Most memory, of it or of one of its children.
    """

    summary: dict[str, Any]
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class ProcessFailedError(RuntimeError):
    """A process that should have succeeded did not; the text holds what it said."""


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a child's environment: with compiled modules kept, or every start compiles anew."""
    own = dict(os.environ)
    if own.pop("PYTHONDONTWRITEBYTECODE", None):
        kept = Path(tempfile.gettempdir()) / f"tapewatch-pyc-{os.getuid()}"
        own.setdefault("PYTHONPYCACHEPREFIX", str(kept))
    return own | dict(more or {})


def replay_command(
    files: Sequence[Path | str], data: Path, processes: int = 1, settings: Sequence[str] = ()
) -> list[str]:
    """Return the command that replays files, or a URL."""
    flags = [word for setting in settings for word in ("--set", setting)]
    named = [str(file) for file in files]
    return [
        *TAPEWATCH,
        *("replay", *named, "--data", str(data), "--json", "--processes", str(processes)),
        *flags,
    ]


def start(
    command: Sequence[str], more: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a command that prints a summary."""
    return subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(more)
    )


def finish(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Wait for a process and return what it printed.

    Raises
    ------
    ProcessFailedError
        If it did not end with 0.
    """
    out, err = process.communicate()
    return _printed(process, out, err)


def _printed(process: "subprocess.Popen[bytes]", out: bytes, err: bytes) -> dict[str, Any]:
    if process.returncode != 0:
        raise ProcessFailedError(
            f"{process.args!r} ended with {process.returncode}: {err.decode(errors='replace')}"
        )
    printed: dict[str, Any] = msgspec_json.decode(out)
    return printed


def measure(command: Sequence[str]) -> Ended:
    """Run a command to its end and measure it from outside; see ``finish``."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began_ns = clock.monotonic_ns()
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=out, stderr=err, env=environment()
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = (clock.monotonic_ns() - began_ns) / 1e9
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has taken it from Popen
        out.seek(0)
        err.seek(0)
        printed = _printed(process, out.read(), err.read())
    return Ended(
        summary=printed,
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * _RUSAGE_UNIT,
    )


def kill(process_id: int) -> None:
    """End a process as a power cut would."""
    os.kill(process_id, signal.SIGKILL)


def children_of(process_id: int) -> list[int]:
    """Return the processes that a process started, where /proc tells; else none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has just ended
        # The name may hold spaces and parentheses; state and parent follow the last of them.
        fields = text.rpartition(")")[2].split()
        if int(fields[_FIELDS_BEFORE_PARENT]) == process_id:
            found.append(int(path.parent.name))
    return found
