"""``tapewatch audit``: say whether the ledger is sound."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from console import exits, options, screen
from console.commands import Command, group, takes
from console.progress import CountProgress
from flows.config import data_folder
from ledger.verify import AuditError, Progress, Report, verify, verify_data

app = group("""\
Verify the ledger.

Examples
--------
$ tapewatch audit verify --data run1
""")


@dataclass(frozen=True, kw_only=True)
class Asked(options.Reading):
    """The options."""

    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="One log's folder, or a data folder."),
    ] = None


@app.command("verify", cls=Command)
@takes(Asked)
def audit_verify(asked: Asked) -> None:
    """Read every entry of every log and say whether they are sound.

    Exit 0: sound. Exit 5: not; the first fault is named. Nothing is written or locked, a monitor
    may go on writing meanwhile. `python -m ledger.verify FOLDER` does the same with Python's own
    library alone.

    Examples
    --------
    $ tapewatch audit verify --data run1
    $ tapewatch audit verify --data run1 --json
    $ tapewatch audit verify run1/ledger/monitor
    """
    folder = asked.folder or data_folder(
        None if asked.data is None else str(asked.data), asked.config_file
    )
    reports: list[Report] = []
    fault = None
    with CountProgress(None, "verifying entries") as bar:
        try:
            reports = _verify(folder, lambda done, _in_all: bar.update(done))
        except AuditError as error:
            fault = error
    if asked.as_json:
        _put_json(reports, fault)
    else:
        _show(reports, fault)
    if fault is not None:
        raise typer.Exit(exits.INTEGRITY)


def _verify(folder: Path, progress: Progress) -> list[Report]:
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(folder))
    if (folder / "ledger").is_dir():
        return verify_data(folder, progress)
    return [verify(folder, progress)]


def _put_json(reports: list[Report], fault: AuditError | None) -> None:
    screen.put_json(
        {
            "verdict": "sound" if fault is None else "damaged",
            "logs": [asdict(report) for report in reports],
            "fault": None if fault is None else {"where": fault.where, "sentence": fault.sentence},
        }
    )


def _show(reports: list[Report], fault: AuditError | None) -> None:
    console = screen.out()
    for report in reports:
        console.print(
            f"[bold green]✔ {report.verdict}[/bold green] {screen.plain(report.origin)}: "
            f"{report.size:,} entries, the last at {screen.time_text(report.last_ns)}"
        )
        console.print(f"  root {report.head}")
    if fault is not None:
        console.print(f"[bold red]✘ NOT SOUND[/bold red] {screen.plain(fault)}")
    else:
        console.print(
            "Note size and root elsewhere: only then can a log cut off or rewritten as a whole be "
            "told from an honest one."
        )
