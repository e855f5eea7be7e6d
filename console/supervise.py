"""From a command that runs to a supervisor above it."""

import os
import sys
from typing import Final

import typer

from console import screen
from console.exits import UsageProblem
from flows.supervision import VARIABLE
from flows.supervisor import supervise

RESTARTS_MAX: Final = 1_000
_SHOW_CURSOR: Final = "\x1b[?25h"  # a live view that was killed has left it hidden


def supervised(restarts: int) -> None:
    """Return in a process that is to run; with restarts, that is one below this one.

    Raises
    ------
    UsageProblem
        If that is no number of restarts.
    typer.Exit
        In the supervisor, when the run has ended.
    """
    if not 0 <= restarts <= RESTARTS_MAX:
        raise UsageProblem(f"--restarts {restarts}: give a number from 0 to {RESTARTS_MAX}.")
    if restarts and VARIABLE not in os.environ:
        raise typer.Exit(supervise(sys.argv[1:], restarts, _say))


def _say(sentence: str) -> None:
    if screen.is_terminal(sys.stdout):
        sys.stdout.write(_SHOW_CURSOR)
        sys.stdout.flush()
    screen.say(sentence)
