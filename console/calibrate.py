"""``tapewatch calibrate``: how real the simulated order flow is."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from console import exits, options, screen
from console.commands import single, takes
from console.exits import UsageProblem

_FOLDER: Final = "TAPEWATCH_SAMPLES"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    sample: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Shanghai orders and trades to measure, as CSV or ZIP; else the sample in the "
            "folder that TAPEWATCH_SAMPLES names; else what was measured of it.",
        ),
    ] = None
    days: Annotated[
        int, typer.Option("--days", metavar="N", help="Days to simulate, each of its own market.")
    ] = 20
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="The same seed gives the same figures.")
    ] = 1
    as_json: options.Json = False


@takes(Asked)
def calibrate(asked: Asked) -> None:
    """Hold the simulated order flow against a real one.

    Share of orders cancelled and how soon, how much counts by the second vary, and how long it
    lasts; each with the ratio of both. Ends with 1 where a figure is not within a fifth.

    Examples
    --------
    $ tapewatch calibrate
    $ tapewatch calibrate --days 5 --json
    $ tapewatch calibrate sse_orders_and_trades.zip
    """
    if asked.days < 1 or asked.seed < 0:
        raise UsageProblem("Ask for at least one day, and for a seed of 0 or more.")
    calibration: Any = import_module("lab.exchange.calibration")
    path = asked.sample or _sample_of(os.environ.get(_FOLDER), calibration.SAMPLE)
    real = _measured(calibration, path) if path else None
    screen.say(f"Simulating {asked.days} days.")
    found = calibration.compare(real, days=asked.days, seed=asked.seed)
    if asked.as_json:
        rows = [
            {"name": one.name, "real": one.real, "simulated": one.simulated}
            | {"ratio": one.ratio, "is_within": one.is_within}
            for one in found
        ]
        screen.put_json({"sample": path and path.name, "days": asked.days, "figures": rows})
    else:
        _show(found)
    if not all(one.is_within for one in found):
        raise typer.Exit(exits.FINDINGS)


def _sample_of(folder: str | None, name: str) -> Path | None:
    path = Path(folder or "") / name
    return path if folder and path.exists() else None


def _measured(calibration: Any, path: Path) -> dict[str, float]:
    screen.say(f"Measuring {path.name}.")
    try:
        figures: dict[str, float] = calibration.figures_of(calibration.read_sample(path))
    except ValueError as error:
        raise UsageProblem(f"{path.name}: {error}.") from error
    return figures


def _show(found: list[Any]) -> None:
    numbers = ("real", "simulated", "ratio")
    table = screen.table("figure", *numbers, "within a fifth", right=numbers)
    for one in found:
        cells = (f"{one.real:.4g}", f"{one.simulated:.4g}", f"{one.ratio:.2f}")
        table.add_row(one.name, *cells, "yes" if one.is_within else "NO")
    screen.out().print(table)


app = single(calibrate)
