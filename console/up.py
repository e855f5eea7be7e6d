"""``tapewatch up``: the monitor on a stream, with a live view."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from console import options
from console.commands import single, takes
from console.supervise import supervised

INPUT: Final = "sim://?seed=7&events=400000&speed=60"
RESTARTS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Asked(options.Configured):
    """The options."""

    demo: Annotated[
        bool, typer.Option("--demo", help="Show what it does, in one to two minutes, and end.")
    ] = False
    url: Annotated[
        str | None,
        typer.Option("--input", metavar="URL", help=f"What to watch; else {INPUT}"),
    ] = None
    format_name: options.Format = "auto"
    processes: options.Processes = 1
    restarts: options.Restarts = RESTARTS


@takes(Asked)
def up(asked: Asked) -> None:
    """Run the monitor on a stream, with a live view, until Ctrl-C or the stream's end.

    Ctrl-C and SIGTERM finish what was read, save the state and exit 0; the same command goes on
    from there. Where standard output is no terminal, each alert is one line instead.

    Examples
    --------
    $ tapewatch up --demo
    $ tapewatch up --input 'sim://?seed=7&events=100000&minutes=30&speed=60' --data live
    $ tapewatch up --input kafka://broker:9092/orders,app --processes 2 --data live
    """
    # A demo is watched by somebody, and its folder is another one at each start.
    supervised(0 if asked.demo else asked.restarts)
    # A supervisor never comes here, and so need not load what only a run needs.
    from console.stream_run import run_stream  # noqa: PLC0415 - see above

    run_stream(asked, INPUT)


app = single(up)
