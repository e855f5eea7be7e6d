"""``tapewatch replay``: files through the monitor, to their end."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from console import assembly, exits, options, screen
from console.commands import single, takes
from console.kernels import compile_ahead
from console.progress import RunProgress
from console.reading import read_config
from console.summary import show_run
from console.supervise import supervised
from flows.plan import InputSpec, Plan
from flows.replay import Outcome, run


@dataclass(frozen=True, kw_only=True)
class Asked(options.Configured):
    """The options."""

    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files; or a sim:// or kafka:// URL.")
    ]
    format_name: options.Format = "auto"
    accounts: options.Accounts = ""
    processes: options.Processes = 1
    restarts: options.Restarts = 0
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", help="bytewax; or loop: one thread, no resume."),
    ] = "bytewax"
    as_json: options.Json = False


@takes(Asked)
def replay(asked: Asked) -> None:
    """Run files through the monitor, to their end.

    The same command on the same data folder goes on where it stopped; once it has read everything
    it adds nothing and shows the same summary.

    Examples
    --------
    $ tapewatch replay day.ndjson --data run1
    $ tapewatch replay fills.jsonl.gz --format hyperliquid --data run2 --json
    $ tapewatch replay orders.zip --format sse --accounts overlay:7:1000 --data run3
    $ tapewatch replay day.ndjson --data run4 --set detectors.win_rate.unit=order
    $ tapewatch replay 'kafka://broker:9092/orders?until=end' --data run5
    """
    supervised(asked.restarts)
    config = read_config(asked.data, asked.flags, asked.config_file)
    inputs = [
        InputSpec(name=name, format=asked.format_name, accounts=asked.accounts)
        for name in asked.files
    ]
    plan = assembly.make_plan(config, inputs)
    if plan.is_live and asked.engine == "loop":
        raise exits.UsageProblem("The plain loop does not read Kafka; leave out --engine loop.")
    how = assembly.run_options(asked.flags, asked.config_file, asked.engine, asked.processes)
    with RunProgress(assembly.block_count(plan)) as progress:
        compile_ahead()
        outcome = run(plan, how, progress.update)
    if asked.as_json:
        screen.put_json(whole(outcome))
        is_sound = True
    else:
        is_sound = _show(plan, outcome)
    if not outcome.is_complete:
        _say_how_to_go_on(outcome.summary)
    if not is_sound:
        raise typer.Exit(exits.INTEGRITY)


def whole(outcome: Outcome) -> dict[str, Any]:
    """Return a summary with every key scripts rely on, also of a run that did nothing yet."""
    empty: dict[str, Any] = {
        "events": 0,
        "rejected": {},
        "late": 0,
        "duplicates": 0,
        "alerts": {},
        "notices": 0,
        "accounts": 0,
        "seconds": 0.0,
        "ledger": {"origin": "", "size": 0, "head": ""},
    }
    return {**empty, **outcome.summary, "complete": outcome.is_complete}


def _show(plan: Plan, outcome: Outcome) -> bool:
    if not outcome.summary.get("ledger"):
        return True
    console = screen.out()
    if outcome.was_complete and outcome.is_complete:
        console.print("This run was complete already; nothing was added.")
    is_sound = show_run(console, outcome.summary, plan.data, is_new=not outcome.was_complete)
    if outcome.summary["alerts"]:
        console.print(f"Look at them: tapewatch alerts list --data {shlex.quote(str(plan.data))}")
    return is_sound


def _say_how_to_go_on(summary: Mapping[str, Any]) -> None:
    command = shlex.join(["tapewatch", *sys.argv[1:]])
    screen.say(
        f"Stopped after {summary.get('events', 0):,} events, everything so far is kept. "
        f"To go on, run the same command again: {command}"
    )


app = single(replay)
