"""``tapewatch notices``: who was asked to verify, and what they answered."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from console import options, screen
from console.alerts import open_store
from console.commands import Command, group, takes
from console.exits import UsageProblem
from console.reading import read_config
from flows.control_topic import ControlPlace, open_control
from flows.store import NoticeRow

app = group("""\
List verification notices and note their answers.

Examples
--------
$ tapewatch notices list --data run1
$ tapewatch notices answer 6a21 --data run1
""")


@dataclass(frozen=True, kw_only=True)
class ListAsked(options.Reading):
    """The options of ``list``."""

    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="sent, answered, expired or rechecked."),
    ] = None
    limit: options.Limit = 100


@dataclass(frozen=True, kw_only=True)
class AnswerAsked(options.Reading):
    """The options of ``answer``."""

    notice_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")]


@app.command("list", cls=Command)
@takes(ListAsked)
def notices_list(asked: ListAsked) -> None:
    """List verification notices, newest first.

    Examples
    --------
    $ tapewatch notices list --data run1
    $ tapewatch notices list --data run1 --state sent --json
    """
    with open_store(asked.data, asked.config_file) as store:
        rows = store.notices(state=asked.state, limit=asked.limit).rows
    if asked.as_json:
        screen.put_json_lines(msgspec.to_builtins(row) for row in rows)
        return
    console = screen.out()
    if not rows:
        console.print("No notices: no simulated account won too often, or all had an open case.")
        return
    table = screen.table("id", "account", "sent (UTC)", "state", "expires (UTC)", "outcome")
    for row in rows:
        table.add_row(
            row.notice_id[:8],
            screen.plain(row.account_id),
            screen.time_text(row.sent_ns, is_short=True),
            row.state,
            screen.time_text(row.expires_ns, is_short=True),
            row.outcome or "",
        )
    console.print(table)


@app.command("answer", cls=Command)
@takes(AnswerAsked)
def notices_answer(asked: AnswerAsked) -> None:
    """Note that a customer answered a notice.

    The answer goes to the control log; a running monitor takes it up within moments, and looks at
    the account again. The same answer twice counts once.

    Examples
    --------
    $ tapewatch notices answer 6a21 --data run1
    """
    with open_store(asked.data, asked.config_file) as store:
        row = store.notice(asked.notice_id)
    if row.state != "sent":
        raise UsageProblem(f"Notice {row.notice_id[:8]} waits for no answer: it is {row.state}.")
    sequence = answer(control_place(asked.data, asked.config_file), row)
    if asked.as_json:
        screen.put_json({"notice_id": row.notice_id, "control_sequence": sequence})
        return
    sys.stdout.write(
        f"Noted as record {sequence} of the control log. The monitor acts on it while it runs.\n"
    )


def answer(place: ControlPlace, notice: NoticeRow) -> int:
    """Write an answer into the control log, and return its place there.

    It counts from the notice's own time on, and never before what was already decided.
    """
    body = {"notice_id": notice.notice_id, "account_id": notice.account_id}
    with open_control(place) as log:
        return log.append(
            "notice.answered", notice.sent_ns + 1, body, f"notice.answered/{notice.notice_id}"
        )


def control_place(data: Path | None, config_file: Path | None) -> ControlPlace:
    """Return where the control log of a data folder is, as it is configured now."""
    config = read_config(data, None, config_file)
    return ControlPlace(
        Path(config.value("data")) / "control.sqlite3",
        str(config.value("control.log")),
        config.value("kafka.properties"),
    )
