"""``tapewatch simulate``: a simulated market with planted abuse, as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from console import options, screen
from console.commands import single, takes
from console.exits import UsageProblem
from console.plants import sort_out
from console.progress import CountProgress
from flows import clock
from lab.simulator import Market, SimulatorConfig, plant_names


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the events go.")]
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="Where it goes what was planted."),
    ] = None
    events: Annotated[
        int, typer.Option("--events", metavar="N", help="Lines to write, exactly.")
    ] = 200_000
    seed: Annotated[
        int, typer.Option("--seed", metavar="S", help="The same seed gives the same bytes.")
    ] = 1
    accounts: Annotated[
        int, typer.Option("--accounts", metavar="N", help="Accounts that trade.")
    ] = 10_000
    minutes: Annotated[
        int | None,
        typer.Option("--minutes", metavar="M", help="Trading minutes; the whole day by default."),
    ] = None
    plants: Annotated[
        list[str] | None,
        typer.Option(
            "--plants",
            metavar="NAME|DIR",
            help="Plant this, with or without @STRENGTH, or the plant files of a folder; may "
            "repeat, or name several with commas. By default everything that fits.",
        ),
    ] = None
    as_json: options.Json = False


@takes(Asked)
def simulate(asked: Asked) -> None:
    """Write a simulated market with planted abuse to a file.

    Beside the events stands the truth: which account was made to do what, and which rules must
    alert on it. Accounts and events themselves give nothing away.

    Examples
    --------
    $ tapewatch simulate --events 200000 --seed 1 --out day.ndjson --truth truth.ndjson
    $ tapewatch simulate --events 5000 --accounts 500 --plants win_rate@1.2 --out small.ndjson
    $ tapewatch simulate --events 20000 --accounts 1000 --plants ./my-plants --out mine.ndjson
    """
    try:
        names, files = sort_out(asked.plants or ())
        market = Market(
            SimulatorConfig(
                events=asked.events,
                seed=asked.seed,
                accounts=asked.accounts,
                minutes=asked.minutes,
                plants=names or None,
                plant_files=files,
            )
        )
        began_ns = clock.monotonic_ns()
        with CountProgress(asked.events, "writing events") as progress:
            truth = asked.truth or asked.out.with_name(asked.out.name + ".truth")
            market.write(asked.out, truth, progress.update)
    except ValueError as error:
        raise UsageProblem(f"{error}.") from error
    _tell(asked, market, truth, (clock.monotonic_ns() - began_ns) / 1e9)


def _tell(asked: Asked, market: Market, truth: Path, seconds: float) -> None:
    planted = market.truth()
    if asked.as_json:
        screen.put_json(
            {
                "events": asked.events,
                "seconds": round(seconds, 3),
                "planted": len(planted),
                "out": str(asked.out),
                "truth": str(truth),
                "plant_names": list(plant_names()),
            }
        )
        return
    abusive = sum(not one.innocent for one in planted)
    screen.say(
        f"Wrote {asked.events:,} events to {asked.out} in {seconds:.1f} s "
        f"({asked.events / seconds:,.0f} events/s), and to {truth} what was planted: "
        f"{abusive} abusive accounts and {len(planted) - abusive} innocent look-alikes."
    )


app = single(simulate)
