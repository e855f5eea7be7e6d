"""``tapewatch alerts compare``: what a second run of a day says differently."""

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from console import options, screen
from console.exits import UsageProblem
from flows.alert_changes import AlertChange, OtherFigures, check_runs, compare
from flows.config import data_folder
from flows.messages import alert_object
from flows.store import AlertRow, StoreReader

_SAYS: Final = {"same": "the same", "amended": "amended", "added": "added", "gone": "gone"}


@dataclass(frozen=True, kw_only=True)
class CompareAsked:
    """The options of ``compare``."""

    data: options.Data = None
    config_file: options.ConfigFile = None
    second: Annotated[
        Path, typer.Option("--with", metavar="DIR", help="The data folder of the second run.")
    ]
    record: Annotated[
        bool,
        typer.Option("--record", help="Write what changed into the ledger of the first run."),
    ] = False
    as_json: options.Json = False


def compare_runs(asked: CompareAsked) -> None:
    """Say what a second run of a day says differently: alerts added, gone and amended.

    Both folders stay as they are, unless --record adds an entry (alert.amended) for each
    difference to the ledger of the first, naming that of the second by size and root. With --json
    one object a line for each difference, with the alert as either run has it and its place in
    that run's ledger.

    Examples
    --------
    $ tapewatch alerts compare --data run1 --with run1-again
    $ tapewatch alerts compare --data run1 --with run1-again --json
    $ tapewatch alerts compare --data run1 --with run1-again --record
    """
    folder = data_folder(None if asked.data is None else str(asked.data), asked.config_file)
    first, second = (_alerts(place) for place in (folder, asked.second))
    try:
        check_runs(folder, asked.second)
        found = compare(first, second)
    except OtherFigures as error:
        raise UsageProblem(str(error)) from error
    changed = [one for one in found if one.change != "same"]
    if asked.record:
        amendments: Any = import_module("flows.amendments")  # half a second that others need not
        added = amendments.write_amendments(folder, changed, amendments.shown_by(asked.second))
        screen.say(f"Wrote {added:,} entries into the ledger of {folder}.")
    if asked.as_json:
        screen.put_json_lines(map(_object, changed))
        return
    _show(changed, Counter(one.change for one in found))


def _alerts(folder: Path) -> list[AlertRow]:
    with StoreReader(folder / "store.sqlite3") as store:
        return list(store.every_alert())


def _object(one: AlertChange) -> dict[str, Any]:
    first, second = (None if row is None else alert_object(row) for row in (one.first, one.second))
    return {"change": one.change, "first": first, "second": second}


def _show(changed: list[AlertChange], counts: Counter[str]) -> None:
    console = screen.out()
    for one in changed:
        row = one.alert
        where = row.account_id if row.instrument is None else f"{row.account_id} {row.instrument}"
        console.print(
            f"[bold]{one.change:<8}[/bold]{row.alert_id[:8]}  {row.rule.id}  {screen.plain(where)}",
            soft_wrap=True,
        )
        for name, held in (("first", one.first), ("second", one.second)):
            if held is not None:
                said = screen.plain(f"{held.state}: {held.why}")
                console.print(f"  [dim]{name:<8}[/dim]{said}", soft_wrap=True)
    told = ", ".join(f"{counts[change]:,} {said}" for change, said in _SAYS.items())
    console.print(f"{told}.")
