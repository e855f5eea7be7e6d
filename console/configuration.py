"""``tapewatch config``: every setting, and where it came from."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import typer

from console import options, screen
from console.commands import Command, group, takes
from console.reading import read_config
from flows.edges.redis_url import without_password
from schemas import settings

app = group("""\
Show every setting and where it came from.

Examples
--------
$ tapewatch config show --origin
""")


@dataclass(frozen=True, kw_only=True)
class Asked(options.Configured):
    """The options."""

    origin: Annotated[bool, typer.Option("--origin", help="Say where each value came from.")] = (
        False
    )
    as_json: options.Json = False


@app.command("show", cls=Command)
@takes(Asked)
def config_show(asked: Asked) -> None:
    """Show every setting as a run would use it.

    A flag wins over the environment, that over the file, that over the default. Parameters of
    detectors that nothing sets come from each rule's pack: `tapewatch detectors list`.

    Examples
    --------
    $ tapewatch config show --origin
    $ tapewatch config show --set lateness_ns=2000000000 --json
    """
    config = read_config(asked.data, asked.flags, asked.config_file)
    rows = [
        (name, _shown(name, config.value(name)), config.origin(name)) for name in config.names()
    ]
    if asked.as_json:
        screen.put_json(
            {name: {"value": _plain(value), "origin": origin} for name, value, origin in rows}
        )
        return
    table = screen.table(
        "setting", "value", *(["from"] if asked.origin else []), wrap=("value", "from")
    )
    for name, value, origin in rows:
        is_from_pack = origin.startswith("rule pack")
        shown = "(each rule's own)" if is_from_pack else msgspec.json.encode(value).decode()
        cells = [name, screen.plain(shown), screen.plain(origin)]
        table.add_row(*cells[: 3 if asked.origin else 2])
    screen.out().print(table)


def _shown(name: str, value: Any) -> Any:
    """Return a value as people may see it."""
    setting = settings.BY_NAME.get(name)
    if isinstance(value, str):
        return without_password(value)
    if setting is None or not setting.is_secret:
        return value
    return dict.fromkeys(value, "(hidden)")


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
