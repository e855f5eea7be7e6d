"""``tapewatch bench``: measure this machine."""

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from console import options, screen
from console.commands import single, takes
from console.exits import UsageProblem


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which; without one, list them.")
    ] = None
    quick: Annotated[bool, typer.Option("--quick", help="A small run, to see that it works.")] = (
        False
    )
    full: Annotated[
        bool, typer.Option("--full", help="For scale: 10,000,000 accounts too (24 GiB).")
    ] = False
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw what was measured to an SVG file."),
    ] = None
    kafka: Annotated[
        str,
        typer.Option("--kafka", metavar="HOST:PORT", help="A broker to read from; makes topics."),
    ] = ""
    restart_broker: Annotated[
        str,
        typer.Option(
            "--restart-broker",
            metavar="COMMAND",
            help="For crash on Kafka: kills that broker and brings it back.",
        ),
    ] = ""
    as_json: options.Json = False


@takes(Asked)
def bench(asked: Asked) -> None:
    """Measure this machine, with its name, the commit and the seed beside every figure.

    Examples
    --------
    $ tapewatch bench
    $ tapewatch bench throughput
    $ tapewatch bench throughput --quick --json
    $ tapewatch bench latency --plot latency.svg
    $ tapewatch bench scale --full
    """
    suite: Any = import_module("lab.bench")
    known = dict(suite.names())
    if asked.name is None:
        for name, what in known.items():
            sys.stdout.write(f"{name:<14}{what}\n")
        return
    if asked.name not in known:
        raise UsageProblem(f"There is no bench {asked.name}; there is {', '.join(known)}.")
    try:
        figures = suite.run(
            asked.name,
            quick=asked.quick,
            progress=screen.say,
            kafka=asked.kafka,
            restart_broker=asked.restart_broker,
            full=asked.full,
        )
    except ValueError as error:
        raise UsageProblem(str(error)) from error
    if asked.plot is not None:
        _draw(figures, asked.plot)
    if asked.as_json:
        screen.put_json(figures)
    else:
        _show(figures)


def _draw(figures: dict[str, Any], path: Path) -> None:
    charts = figures.get("charts")
    if not charts:
        raise UsageProblem("This bench has nothing to draw; leave out --plot.")
    plot: Any = import_module("lab.bench.plot")
    path.write_text(plot.to_svg(charts), encoding="utf-8")
    screen.say(f"Drawn to {path}.")


def _show(figures: dict[str, Any], prefix: str = "") -> None:
    """Write figures, one a line; nested ones with their path before them."""
    console = screen.out()
    for name, value in figures.items():
        if name == "charts":
            continue  # points, for --json and --plot
        if isinstance(value, dict):
            _show(value, f"{prefix}{name}.")
            continue
        shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        console.print(f"{prefix + name:<44} {screen.plain(shown)}", soft_wrap=True)


app = single(bench)
