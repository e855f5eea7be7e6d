"""``tapewatch evaluate``: hold detectors against worlds whose truth is known."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from console import options, screen
from console.commands import single, takes
from console.exits import UsageProblem
from console.plants import check_rules
from lab.simulator import load_plants

_PAGE: Final = """\
# Evaluation of the tests with a bound

What `certified.win_rate` claims, held against worlds in which the truth is known, and whom
`surveillance.layering` names; and what alerts say would have prevented them, held to it by replay.
With seed {seed}; the same versions (here numpy {numpy}) give the same figures. Made by
`tapewatch evaluate{words}`.
What the test is, and what its bound does not say, is told in the explanation of tests with a bound.

"""
_PLANTED: Final = """\
# Evaluation of plants from files

With seed {seed}; the same versions (here numpy {numpy}) give the same figures. Made by
`tapewatch evaluate{words}`.

"""
_DRAWING: Final = (
    "## Share certified, drawn\n\n![Share of accounts certified by round trips]({place})\n"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    quick: Annotated[
        bool, typer.Option("--quick", help="A small run, to see that it works: wide intervals.")
    ] = False
    plants: Annotated[
        Path | None,
        typer.Option(
            "--plants", metavar="DIR", help="Plant these files instead, and say who is named."
        ),
    ] = None
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples", metavar="DIR", help="Look at real market files in a folder instead."
        ),
    ] = None
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write the tables to a Markdown file."),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw shares named by round trips to an SVG."),
    ] = None
    as_json: options.Json = False


@takes(Asked)
def evaluate(asked: Asked) -> None:
    """Measure what tests with a bound claim: false alarms, delays, and who is named in vain.

    Beside it stands what an oracle or simpler ways make of the same outcomes. Counts and shares
    come with intervals of 95 %. What alerts say would have prevented them is replayed. A full run
    takes some minutes.

    Examples
    --------
    $ tapewatch evaluate --quick
    $ tapewatch evaluate --quick --json
    $ tapewatch evaluate --report evaluation.md --plot evaluation.svg
    $ tapewatch evaluate --plants ./my-plants --quick
    $ tapewatch evaluate --samples ./samples
    """
    for path in filter(None, (asked.report, asked.plot)):
        if not path.parent.is_dir():  # said before the minutes that the work takes
            raise UsageProblem(
                f"There is no folder {path.parent} to write {path.name} to; make it."
            )
    found = _found(asked)
    if asked.as_json:
        screen.put_json(found)
    else:
        _show(found)
    if asked.plot is not None:
        plot: Any = import_module("lab.bench.plot")
        asked.plot.write_text(plot.to_svg(found["charts"]), encoding="utf-8")
        screen.say(f"Drawn to {asked.plot}.")
    if asked.report is not None:
        asked.report.write_text(page(found, asked), encoding="utf-8")
        screen.say(f"Written to {asked.report}.")


def _found(asked: Asked) -> dict[str, Any]:
    suite: Any = import_module("lab.evaluate")
    found: dict[str, Any]
    if asked.plants is None and asked.samples is None:
        found = suite.run(quick=asked.quick, say=screen.say)
        return found
    if asked.plot is not None:
        raise UsageProblem("Only the tests' own evaluation is drawn; leave --plot out.")
    if asked.plants is None:
        found = suite.run_samples(asked.samples, say=screen.say)
        return found
    if asked.samples is not None:
        raise UsageProblem("Plants are not put into real files by this; give one of the two.")
    try:
        plants = load_plants(asked.plants)
        check_rules(plants)
        found = suite.run_plants(plants, quick=asked.quick, say=screen.say)
    except ValueError as error:
        raise UsageProblem(f"{error}.") from error
    return found


def page(found: dict[str, Any], asked: Asked) -> str:
    """Return the report as a page, with the drawing where one was asked for."""
    assert asked.report is not None
    shown: Any = import_module("lab.evaluate.tables")
    words = " --quick" if asked.quick else ""
    words += f" --report {asked.report.as_posix()}"
    words += f" --plot {asked.plot.as_posix()}" if asked.plot else ""
    numpy = found["machine"]["versions"]["numpy"]
    if asked.plants is not None:
        words = f" --plants {asked.plants.as_posix()}{words}"
    made = _PAGE if asked.plants is None else _PLANTED
    text = made.format(words=words, seed=found["seed"], numpy=numpy)
    text += str(shown.to_markdown(found))
    if asked.plot is not None:
        place = os.path.relpath(asked.plot, asked.report.parent)
        text += "\n" + _DRAWING.format(place=Path(place).as_posix())
    return text


def _show(found: dict[str, Any]) -> None:
    shown: Any = import_module("lab.evaluate.tables")
    console = screen.out()
    for table in shown.tables(found):
        console.print(f"\n[bold]{screen.plain(table.title)}[/bold]\n{screen.plain(table.note)}")
        drawn = screen.table(*table.head, right=table.numbers, wrap=table.head)
        for row in table.rows:
            drawn.add_row(*map(screen.plain, row))
        console.print(drawn)


app = single(evaluate)
