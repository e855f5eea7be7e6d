"""``tapewatch check``: say what would be refused of a file."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from console import assembly, exits, options, screen
from console.commands import single, takes
from console.file_check import FileCheck, Refused, look_through
from console.progress import CountProgress
from console.reading import read_config
from flows.plan import InputSpec
from schemas.events import SECOND_NS
from schemas.reasons import REASONS

RAW_SHOWN: Final = 160


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options."""

    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to look at.")]
    format_name: options.Format = "auto"
    accounts: options.Accounts = ""
    flags: options.Set = None
    config_file: options.ConfigFile = None
    as_json: options.Json = False


@takes(Asked)
def check(asked: Asked) -> None:
    """Say what would be refused of a file, and why; store nothing.

    Reads with the scanner a run reads with. Exit 0: every line is good. Exit 1: some would be
    refused, late or dropped as duplicates.

    Examples
    --------
    $ tapewatch check day.ndjson
    $ tapewatch check fills.jsonl.gz --format hyperliquid --json
    """
    config = read_config(None, asked.flags, asked.config_file)
    spec = InputSpec(name=asked.file, format=asked.format_name, accounts=asked.accounts)
    if spec.scheme:
        raise exits.UsageProblem(f"{spec.name} is a stream; check reads a file.")
    assembly.check_input(spec)
    with CountProgress(None, "checking") as progress:
        found = look_through(
            spec,
            int(config.value("intake.block_bytes")),
            int(config.value("lateness_ns")),
            int(config.value("duplicates.window_ns")),
            progress.update,
        )
    if asked.as_json:
        screen.put_json(_as_object(asked.file, found))
    else:
        _show(asked.file, found, int(config.value("lateness_ns")))
    if found.has_findings:
        raise typer.Exit(exits.FINDINGS)


def suggestion(reason: str) -> str:
    """Return what to do about a reason, in one sentence."""
    return _SUGGESTIONS.get(reason, _SUGGESTION)


_SUGGESTION: Final = "Mend it where the file is made; the other lines are taken as they are."
_SUGGESTIONS: Final = {
    "blank_line": "Write one event a line and nothing between them.",
    "line_too_long": "Look for a lost line feed: one event is never that long.",
    "bad_utf8": "Write the file as UTF-8.",
    "byte_order_mark": "Leave byte order marks out; UTF-8 needs none.",
    "control_character": "Escape control characters in strings, as \\n or \\u0001.",
    "malformed_json": "Write every line as one JSON object; single quotes are not JSON.",
    "truncated_json": "Look for a line feed inside an event, or a file cut short.",
    "trailing_data": "Put each event on a line of its own.",
    "not_finite": "Leave out a number that is not there: NaN and Infinity are not JSON.",
    "duplicate_key": "Decide which of the two values counts; we do not guess.",
    "missing_field": "Add the field; docs/reference/events.schema.json lists what each kind needs.",
    "unknown_kind": "Use one of the kinds in docs/reference/events.schema.json.",
    "wrong_type": "Write the field as the type its kind asks for.",
    "not_a_choice": "Use one of the field's choices.",
    "bad_decimal": 'Write money and quantities as plain decimals, such as "12.50" or 12.50.',
    "too_many_decimals": "Round to 8 decimals where the file is made; we never round.",
    "missing_price": "Give the price, or say order_type market.",
    "bad_arrow": "Send one Arrow IPC stream a message, closed, uncompressed, not the file format.",
    "bad_column": "Send money as decimal128 with up to 8 decimals, and times as int64.",
    "batch_too_large": "Send fewer rows a message.",
    "torn_record": "Copy the file again: its last record was cut.",
    "bad_record": "Look whether --format names the right format.",
}


def _place(one: Refused) -> dict[str, Any]:
    rejected = one.first.rejected
    # An adapted record has no byte of its own; it is counted below zero.
    byte = rejected.byte_offset if rejected.byte_offset >= 0 else None
    return {"line": one.first.line_number + 1, "byte": byte}


def _as_object(file: str, found: FileCheck) -> dict[str, Any]:
    return {
        "file": file,
        "verdict": "findings" if found.has_findings else "clean",
        "events": found.totals.get("events", 0),
        "rejected": {reason: one.count for reason, one in sorted(found.refused.items())},
        "late": found.totals.get("late", 0),
        "duplicates": found.totals.get("duplicates", 0),
        "reasons": [
            {
                "reason": reason,
                "count": one.count,
                "first": _place(one),
                "stage": one.first.rejected.stage,
                "path": one.first.rejected.path,
                "expected": one.first.rejected.expected,
                "got": one.first.rejected.got,
                "sentence": one.first.rejected.sentence,
                "suggestion": suggestion(reason),
                "raw": one.first.rejected.raw[:RAW_SHOWN].decode(errors="replace"),
            }
            for reason, one in _by_count(found)
        ],
        "unknown_fields": dict(sorted(found.unknown_fields.items())),
        "skipped_fields": dict(sorted(found.skipped_fields.items())),
    }


def _by_count(found: FileCheck) -> list[tuple[str, Refused]]:
    return sorted(found.refused.items(), key=lambda pair: (-pair[1].count, pair[0]))


def _show(file: str, found: FileCheck, lateness_ns: int) -> None:
    console = screen.out()
    console.soft_wrap = True
    good = found.totals.get("events", 0)
    refused = sum(one.count for one in found.refused.values())
    console.print(f"[bold]{screen.plain(file)}[/bold]: {good:,} events taken, {refused:,} refused")
    for reason, one in _by_count(found):
        place = _place(one)
        byte = "" if place["byte"] is None else f", byte {place['byte']:,}"
        raw = one.first.rejected.raw[:RAW_SHOWN].decode(errors="replace")
        console.print(f"\n[yellow]▲ {reason}[/yellow] × {one.count:,}  {REASONS.get(reason, '')}")
        console.print(f"  first   line {place['line']:,}{byte}")
        console.print(f"  why     {screen.plain(one.first.rejected.sentence)}")
        console.print(f"  line    {screen.plain(raw)}")
        console.print(f"  do      {suggestion(reason)}")
    _show_rest(found, lateness_ns)


def _show_rest(found: FileCheck, lateness_ns: int) -> None:
    console = screen.out()
    console.soft_wrap = True
    if late := found.totals.get("late", 0):
        console.print(
            f"\n[yellow]▲ late[/yellow] × {late:,}  Older than what came before by more than "
            f"{lateness_ns / SECOND_NS:g} s; sort the file by event_time_ns, or raise lateness_ns."
        )
    if duplicates := found.totals.get("duplicates", 0):
        console.print(
            f"\n[yellow]▲ duplicates[/yellow] × {duplicates:,}  The same source and event_id came "
            "again and would be dropped; give every event an id of its own."
        )
    for names, what in (
        (found.unknown_fields, "fields we do not know, kept out of every rule"),
        (found.skipped_fields, "fields left out because our events cannot hold their value"),
    ):
        if names:
            listed = ", ".join(f"{name} × {count:,}" for name, count in sorted(names.items()))
            console.print(f"\nnote: {what}: {screen.plain(listed)}")
    if not found.has_findings:
        console.print("[green]✔ clean[/green]: a run would take all of it.")


app = single(check)
