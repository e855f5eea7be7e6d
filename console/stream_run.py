"""The run of ``tapewatch up``: watched live or line by line, and what is said at its end."""

import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from console import assembly, exits, screen
from console.kernels import compile_ahead
from console.live import live_view
from console.notices import answer
from console.reading import read_config
from console.summary import show_run
from console.watch import Watcher
from flows.control_topic import ControlPlace
from flows.plan import InputSpec, Plan
from flows.replay import Outcome, run
from flows.store import NoticeRow
from flows.writer import Progress
from schemas.events import SECOND_NS

if TYPE_CHECKING:
    from console.up import Asked

DEMO_INPUT: Final = "sim://?seed=7&events=200000&minutes=30&speed=90&damage=12"
DEMO_NOTE: Final = (
    "demo: 30 market minutes of each of four venues from seed 7, 90 times as fast as life; 12 "
    "damaged lines are mixed in, and one notice gets its answer"
)


def run_stream(asked: "Asked", default: str) -> None:
    """Run to the stream's end or a stop; watch ``default`` where no input was asked for."""
    data = asked.data
    if asked.demo and data is None:
        data = Path(tempfile.mkdtemp(prefix="tapewatch-demo-"), "data")
    config = read_config(data, asked.flags, asked.config_file)
    url = asked.url or (DEMO_INPUT if asked.demo else default)
    plan = assembly.make_plan(config, [InputSpec(name=url, format=asked.format_name)])
    watcher = Watcher(plan.data, _answers_one(plan.control) if asked.demo else _answers_none)
    note = DEMO_NOTE if asked.demo else f"{url}  Ctrl-C stops; the same command goes on"
    outcome = _watch(plan, watcher, note, asked)
    _tell_end(plan, outcome, watcher, is_demo=asked.demo)


def _watch(plan: Plan, watcher: Watcher, note: str, asked: "Asked") -> Outcome:
    how = assembly.run_options(asked.flags, asked.config_file, "bytewax", asked.processes)
    watcher.start()
    try:
        if screen.is_terminal(sys.stdout):
            with live_view(screen.out(), watcher, note):
                compile_ahead()
                return run(plan, how, watcher.update)
        screen.say(f"{note}; data folder {plan.data}")
        compile_ahead()
        return run(plan, how, _telling(watcher))
    finally:
        watcher.stop()


def _telling(watcher: Watcher) -> Callable[[Progress], None]:
    """Return what writes one line an alert while it takes progress."""

    def tell(progress: Progress) -> None:
        watcher.update(progress)
        for row in progress.newest:
            when = screen.time_text(row.event_time_ns)
            sys.stdout.write(
                f"{when}  {row.severity}  {row.detector}  {row.account_id}  {row.why}\n"
            )
        sys.stdout.flush()

    return tell


def _answers_none(_rows: list[NoticeRow]) -> None:
    """Leave notices to those whom they concern."""


def _answers_one(control: ControlPlace) -> Callable[[list[NoticeRow]], None]:
    """Return what answers the first notice there is, as its customer would."""
    answered: list[str] = []

    def look(rows: list[NoticeRow]) -> None:
        waiting = [row for row in rows if row.state == "sent"]
        if waiting and not answered:
            answer(control, waiting[-1])
            answered.append(waiting[-1].notice_id)

    return look


def _tell_end(plan: Plan, outcome: Outcome, watcher: Watcher, *, is_demo: bool) -> None:
    console = screen.out()
    is_sound = True
    if outcome.summary.get("ledger"):
        is_sound = show_run(console, outcome.summary, plan.data, is_new=not outcome.was_complete)
    if watcher.first_alert_ns is not None:
        console.print(f"first alert after {watcher.first_alert_ns / SECOND_NS:.1f} s")
    if not outcome.is_complete:
        console.print("Stopped; everything so far is kept. The same command goes on from here.")
    if is_demo:
        _say_what_next(plan.data)
    if not is_sound:
        raise typer.Exit(exits.INTEGRITY)


def _say_what_next(data: Path) -> None:
    folder = f"--data {shlex.quote(str(data))}"
    own = screen.own_name()
    console = screen.out()
    console.print("\n[bold]Try next[/bold]")
    for words in (
        f"alerts list {folder}",
        f"notices list {folder}",
        f"deadletters list {folder}",
        f"audit verify {folder}",
        "check YOUR-FILE    (would we take it?)",
    ):
        console.print(f"  {own} {words}", soft_wrap=True)
