"""``tapewatch deadletters``: refused lines, kept whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from console import options, screen
from console.alerts import open_store
from console.check import suggestion
from console.commands import Command, group, takes
from console.exits import UsageProblem
from flows.messages import dead_letter_object
from flows.store import DeadLetterRow, StoreReader

app = group("""\
List, show and export refused lines.

Examples
--------
$ tapewatch deadletters list --data run1
$ tapewatch deadletters show 09bc --data run1
$ tapewatch deadletters export --data run1 > refused.ndjson
""")

PAGE: Final = 1_000
CSV_COLUMNS: Final = (
    "id",
    "lane",
    "line",
    "byte_offset",
    "stage",
    "reason",
    "path",
    "sentence",
    "raw",
)


@dataclass(frozen=True, kw_only=True)
class ListAsked(options.Reading):
    """The options of ``list``."""

    reason: Annotated[
        str | None, typer.Option("--reason", metavar="REASON", help="Of this reason only.")
    ] = None
    limit: options.Limit = 20


@dataclass(frozen=True, kw_only=True)
class ShowAsked(options.Reading):
    """The options of ``show``."""

    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")]


@dataclass(frozen=True, kw_only=True)
class ExportAsked:
    """The options of ``export``."""

    data: options.Data = None
    config_file: options.ConfigFile = None
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="REASON", help="Of this reason only.")
    ] = None
    format_name: Annotated[
        str, typer.Option("--format", metavar="F", help="ndjson, csv, or raw: the lines alone.")
    ] = "ndjson"


@app.command("list", cls=Command)
@takes(ListAsked)
def deadletters_list(asked: ListAsked) -> None:
    """List refused lines: how many of each reason, and the first of them.

    Examples
    --------
    $ tapewatch deadletters list --data run1
    $ tapewatch deadletters list --data run1 --reason missing_field --json
    """
    with open_store(asked.data, asked.config_file) as store:
        if asked.as_json:
            page = store.dead_letters(reason=asked.reason, limit=asked.limit)
            screen.put_json_lines(dead_letter_object(row) for row in page.rows)
        elif asked.reason is None:
            _show_groups(store)
        else:
            _show_lines(store.dead_letters(reason=asked.reason, limit=asked.limit).rows)


def _show_groups(store: StoreReader) -> None:
    console = screen.out()
    groups = store.dead_letter_groups()
    if not groups:
        console.print("No refused lines: every line was taken.")
        return
    table = screen.table(
        "reason", "lines", "first at", "why", right=("lines",), wrap=("first at", "why")
    )
    for one in groups:
        first = one.first
        place = "" if first is None else f"{first.lane}:{first.line_number + 1}"
        why = "" if first is None else first.sentence
        table.add_row(one.reason, f"{one.total:,}", screen.plain(place), screen.plain(why))
    console.print(table)
    lost = sum(one.total - one.kept for one in groups)
    if lost:
        console.print(f"{lost:,} further lines were counted and not kept (dead_letters.kept_max).")


def _show_lines(rows: list[DeadLetterRow]) -> None:
    console = screen.out()
    table = screen.table("id", "at", "why", wrap=("at", "why"))
    for row in rows:
        place = f"{row.lane}:{row.line_number + 1}"
        table.add_row(row.id[:8], screen.plain(place), screen.plain(row.sentence))
    console.print(table if rows else "No refused lines of this reason.")


@app.command("show", cls=Command)
@takes(ShowAsked)
def deadletters_show(asked: ShowAsked) -> None:
    """Show one refused line: where it stood, what is wrong with it, and its bytes.

    Examples
    --------
    $ tapewatch deadletters show 09bc --data run1
    """
    with open_store(asked.data, asked.config_file) as store:
        row = store.dead_letter(asked.letter_id)
    if asked.as_json:
        screen.put_json(dead_letter_object(row))
        return
    console = screen.out()
    byte = f", byte {row.byte_offset:,}" if row.byte_offset >= 0 else ""
    lines = (
        ("where", f"{row.lane} line {row.line_number + 1:,}{byte}"),
        ("reason", f"{row.reason} ({row.stage})"),
        ("why", row.sentence),
        ("do", suggestion(row.reason)),
        ("line", row.raw.decode(errors="backslashreplace")),
    )
    for name, text in lines:
        console.print(f"[dim]{name:<8}[/dim]{screen.plain(text)}", soft_wrap=True)


@app.command("export", cls=Command)
@takes(ExportAsked)
def deadletters_export(asked: ExportAsked) -> None:
    """Write refused lines to standard output.

    ndjson has each line with its place and reason; raw has the lines alone, to mend and replay.

    Examples
    --------
    $ tapewatch deadletters export --data run1 > refused.ndjson
    $ tapewatch deadletters export --data run1 --format raw > to-mend.ndjson
    """
    if asked.format_name not in {"ndjson", "csv", "raw"}:
        raise UsageProblem(f"--format {asked.format_name}: choose ndjson, csv or raw.")
    with open_store(asked.data, asked.config_file) as store:
        rows = _every(store, asked.reason)
        if asked.format_name == "csv":
            screen.put_csv(CSV_COLUMNS, map(dead_letter_object, rows))
        elif asked.format_name == "ndjson":
            screen.put_json_lines(map(dead_letter_object, rows))
        else:
            screen.put_bytes(row.raw + b"\n" for row in rows)


def _every(store: StoreReader, reason: str | None) -> Iterator[DeadLetterRow]:
    after: str | None = None
    while True:
        page = store.dead_letters(reason=reason, limit=PAGE, after=after)
        yield from page.rows
        after = page.after
        if after is None:
            return
