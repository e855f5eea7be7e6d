"""``tapewatch sort``: a file's events in order of time, late ones in their places."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from console import options, screen
from console.commands import single, takes
from console.progress import CountProgress
from flows.day_order import write_in_order


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Plain NDJSON.")]
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the lines go.")]
    as_json: options.Json = False


@takes(Asked)
def sort(asked: Asked) -> None:
    """Write a file's events in order of time, late ones in their places.

    Lines of one time keep their order, and what a run would refuse stays where it stood. To run a
    day again with what came late: sort it, replay it into a folder of its own, compare the alerts.

    Examples
    --------
    $ tapewatch sort day.ndjson --out whole-day.ndjson
    """
    with CountProgress(None, "sorting") as progress:
        found = write_in_order(asked.file, asked.out, progress.update)
    if asked.as_json:
        screen.put_json({"lines": found.lines, "moved": found.moved, "out": str(asked.out)})
        return
    screen.say(
        f"Wrote {found.lines:,} lines to {asked.out} in order of time; {found.moved:,} stood "
        "behind one of a later time."
    )


app = single(sort)
