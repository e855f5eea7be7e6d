"""Options that several commands share, so that they are spelled and explained alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder; also TAPEWATCH__DATA. Default: tapewatch-data.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file; else tapewatch.toml in this folder, where there is one.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one thing, as in detectors.win_rate.unit=order; may repeat.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Processes = Annotated[
    int, typer.Option("--processes", metavar="N", help="Processes that share the work.")
]
Restarts = Annotated[
    int,
    typer.Option(
        "--restarts",
        metavar="N",
        help="When a process dies or all stand still, start again, up to N times in ten minutes.",
    ),
]
Format = Annotated[
    str,
    typer.Option("--format", metavar="F", help="ndjson, hyperliquid, sse; auto looks at the file."),
]
Accounts = Annotated[
    str,
    typer.Option(
        "--accounts",
        metavar="overlay:SEED:N",
        help="Lay N synthetic accounts over a source that names none.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", help="At most so many rows.")]


@dataclass(frozen=True, kw_only=True)
class Configured:
    """Options of a command that is configured as a run is."""

    data: Data = None
    flags: Set = None
    config_file: ConfigFile = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of a command that looks into a data folder."""

    data: Data = None
    config_file: ConfigFile = None
    as_json: Json = False
