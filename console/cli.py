"""The command line: which commands there are, and what becomes of what goes wrong."""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer

from console import exits
from console.commands import Place, root_group
from flows.processes import exit_now

COMMANDS: Final = {
    "up": Place("console.up", "Run the monitor on a stream, with a live view, until Ctrl-C."),
    "replay": Place("console.replay", "Run files through the monitor, to their end."),
    "simulate": Place("console.simulate", "Write a simulated market with planted abuse to a file."),
    "check": Place("console.check", "Say what would be refused of a file; store nothing."),
    "sort": Place("console.sort", "Put a file's events in order, late ones in their places."),
    "detectors": Place("console.detectors", "List, show, lint and test the rules."),
    "alerts": Place("console.alerts", "List, show, export and compare alerts."),
    "notices": Place("console.notices", "List verification notices and note their answers."),
    "deadletters": Place("console.deadletters", "List, show and export refused lines."),
    "peers": Place("console.peers", "Show what accounts of a tier usually do in a day."),
    "audit": Place("console.audit", "Verify the ledger."),
    "bench": Place("console.bench", "Measure this machine."),
    "evaluate": Place("console.evaluate", "Hold the tests with a bound against known truths."),
    "calibrate": Place("console.calibrate", "Hold the simulated order flow against a real one."),
    "doctor": Place("console.doctor", "Check this machine and the data folder."),
    "config": Place("console.configuration", "Show every setting and where it came from."),
    "version": Place("console.version", "Show the version."),
    "worker": Place("console.worker", "Be one of several processes of a run."),
}
HIDDEN: Final = frozenset({"worker"})  # only ever started by a run
HELP: Final = """\
Tapewatch: order, trade and app-event streams in; alerts, notices and a verifiable ledger out.

Examples
--------
$ tapewatch up --demo
$ tapewatch replay day.ndjson --data run1
$ tapewatch alerts list --data run1
$ tapewatch audit verify --data run1
"""

app = typer.Typer(
    cls=root_group(COMMANDS, HIDDEN),
    help=HELP,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _begin(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error of Tapewatch itself, show where.")
    ] = False,
) -> None:
    del debug  # looked for in ``main``, where errors arrive


def main() -> None:
    """Run the command line; every way out has one of the exit codes of ``console.exits``."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its code, never a crash.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        typer.main.get_command(app)(prog_name="tapewatch")
    except Exception as error:  # noqa: BLE001 - the one place; every error ends as a sentence
        exit_now(_report(error))


def _report(error: Exception) -> int:
    """Say what went wrong, on the error output, and return the exit code."""
    known = exits.expected(error)
    if known is not None:
        code, sentence = known
        sys.stderr.write(f"{sentence}\n")
        return code
    trace = "".join(traceback.format_exception(error))
    if "--debug" in sys.argv:
        sys.stderr.write(trace)
        return exits.FINDINGS
    handle, name = tempfile.mkstemp(prefix="tapewatch-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(trace)
    sys.stderr.write(
        f"Tapewatch failed, which is its own mistake ({type(error).__name__}). Where it happened "
        f"is written in {Path(name)}; please report it with that file.\n"
    )
    return exits.FINDINGS


if __name__ == "__main__":
    main()
