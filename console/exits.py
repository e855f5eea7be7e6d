"""Exit codes, and which failure gives which."""

import errno
from collections.abc import Iterator
from typing import Final

OK: Final = 0
FINDINGS: Final = 1  # also an error of ours: neither is a success
USAGE: Final = 2
CONFIG: Final = 3
UNAVAILABLE: Final = 4
INTEGRITY: Final = 5
LOST: Final = 6  # ``flows.processes.EXIT_PEER_LOST``
MEANINGS: Final = {
    OK: "done",
    FINDINGS: "done, and something was found; or an error of Tapewatch itself",
    USAGE: "the command line is wrong",
    CONFIG: "the configuration is wrong",
    UNAVAILABLE: (
        "a file or broker is missing, a disk is full, or a data folder is in use or holds "
        "something else"
    ),
    INTEGRITY: "the ledger is not sound",
    LOST: "a process of the run was killed or stood still; the same command goes on",
}

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# By name, so that telling an error apart imports none of the rooms below.
_CODES: Final = {
    "console.exits.UsageProblem": USAGE,
    "detectors.core.plugins.PluginError": CONFIG,
    "flows.config.ConfigError": CONFIG,
    "flows.calendars.CalendarError": CONFIG,
    "flows.disk.DiskProblem": UNAVAILABLE,
    "flows.edges._bytes.FileProblem": UNAVAILABLE,
    "flows.edges.kafka_url.KafkaProblem": UNAVAILABLE,
    "flows.manifest.DataFolderError": UNAVAILABLE,
    "flows.store.schema.StoreError": UNAVAILABLE,
    "flows.control.ControlError": UNAVAILABLE,
    "ledger.errors.LedgerDamaged": INTEGRITY,
    "ledger.errors.LedgerError": UNAVAILABLE,
    "ledger.verify.fault.AuditError": INTEGRITY,
    "builtins.FileNotFoundError": UNAVAILABLE,
    "builtins.PermissionError": UNAVAILABLE,
    "builtins.IsADirectoryError": UNAVAILABLE,
    "builtins.NotADirectoryError": UNAVAILABLE,
}


class UsageProblem(Exception):  # noqa: N818 - what people read is a problem of theirs to solve
    """What was asked for cannot be done; the sentence says what to ask for instead."""


def expected(error: BaseException) -> tuple[int, str] | None:
    """Return the exit code and the sentence of a failure people can do something about.

    An engine wraps what its steps raise, so causes are looked at too. None: it is a bug of ours.
    """
    for each in _causes(error):
        for kind in type(each).__mro__:
            code = _CODES.get(f"{kind.__module__}.{kind.__qualname__}")
            if code is not None:
                return code, _sentence(each)
        if isinstance(each, OSError) and each.errno in _FULL:
            place = f" that holds {each.filename}" if each.filename else ""
            return UNAVAILABLE, f"The disk{place} is full. Make room, and run the command again."
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions."
    return str(error)
