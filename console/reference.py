"""docs/reference/cli.md: every command's help, as the commands give it."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from console import exits
from console.cli import HIDDEN, app

WIDTH: Final = 88
_HEAD: Final = """\
# Command line

This page is made from the commands themselves by `make docs`. Data goes to standard output,
everything else to standard error; `--json` writes for programs; `NO_COLOR` is honoured. A setting
given with `--set` wins over the environment, that over `tapewatch.toml`, that over the default.

| exit code | means |
|---|---|
"""


def cli_page() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("tapewatch", [], resilient_parsing=True, terminal_width=WIDTH)
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in exits.MEANINGS.items())
    return _HEAD + codes + "".join(_sections(root, context))


def _sections(command: Any, context: Any) -> Iterator[str]:
    yield f"\n## {context.command_path}\n\n```text\n{_text(command, context)}\n```\n"
    if not hasattr(command, "list_commands"):
        return
    for name in command.list_commands(context):
        if name in HIDDEN:
            continue
        inner = command.get_command(context, name)
        yield from _sections(
            inner, inner.make_context(name, [], parent=context, resilient_parsing=True)
        )


def _text(command: Any, context: Any) -> str:
    lines = command.get_help(context).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)
