"""``tapewatch doctor``: say whether this machine is fit, and how the data folder stands."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed
from pathlib import Path
from typing import Final, Literal, NamedTuple

import typer

import detectors
from console import exits, options, screen
from console.commands import single, takes
from flows.config import data_folder
from flows.datafolder import DataFolder, DataFolderBusyError
from flows.manifest import DataFolderError, Manifest, layout_problem, read_manifest
from schemas.caches import cache_folder

GIB: Final = 1024**3
FREE_BYTES_WANTED: Final = 2 * GIB
PYTHON_FROM: Final = (3, 11)
PYTHON_BELOW: Final = (3, 13)
_MARKS: Final = {"ok": "[green]✔ ok  [/green]", "warn": "[yellow]▲ warn[/yellow]"}
_FAIL: Final = "[red]✘ fail[/red]"


class Verdict(NamedTuple):
    """One thing looked at."""

    what: str
    state: Literal["ok", "warn", "fail"]
    told: str


@dataclass(frozen=True, kw_only=True)
class Asked(options.Reading):
    """The options."""


@takes(Asked)
def doctor(asked: Asked) -> None:
    """Check this machine and the data folder; say what to do about what is not right.

    Exit 0 unless something fails.

    Examples
    --------
    $ tapewatch doctor
    $ tapewatch doctor --data run1 --json
    """
    data = data_folder(None if asked.data is None else str(asked.data), asked.config_file)
    verdicts = list(_examine(data))
    if asked.as_json:
        screen.put_json_lines(v._asdict() for v in verdicts)
    else:
        console = screen.out()
        for one in verdicts:
            mark = _MARKS.get(one.state, _FAIL)
            console.print(f"{mark}  {one.what:<14}{screen.plain(one.told)}", soft_wrap=True)
    if any(one.state == "fail" for one in verdicts):
        raise typer.Exit(exits.UNAVAILABLE)


def _examine(data: Path) -> Iterator[Verdict]:
    yield _python()
    yield _packages()
    yield _kernel_cache()
    yield _processors()
    yield _disk(data)
    yield _folder(data)
    yield _terminal()
    yield Verdict("servers", "ok", "none needed: store and ledger are files in the data folder")


def _python() -> Verdict:
    told = f"{platform.python_version()} at {sys.executable}"
    if PYTHON_FROM <= sys.version_info[:2] < PYTHON_BELOW:
        return Verdict("Python", "ok", told)
    return Verdict("Python", "fail", f"{told}; Tapewatch needs 3.11 or 3.12")


def _packages() -> Verdict:
    names = [
        line.partition(";")[0].strip()
        for line in requires("tapewatch") or []
        if "extra ==" not in line
    ]
    missing = []
    for line in names:
        name = line.split("<")[0].split(">")[0].split("=")[0].split("[")[0].strip()
        try:
            installed(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Verdict("packages", "fail", f"missing: {', '.join(missing)}; run `make venv`")
    return Verdict("packages", "ok", f"{len(names)} of {len(names)} there")


def _kernel_cache() -> Verdict:
    asked, own = os.environ.get("NUMBA_CACHE_DIR"), cache_folder()
    folder = Path(asked) if asked else own or Path(detectors.__file__).parent
    folder = _nearest(folder)
    if os.access(folder, os.W_OK):
        return Verdict("kernel cache", "ok", f"{folder} can be written: kernels compile once")
    return Verdict(
        "kernel cache",
        "warn",
        f"{folder} cannot be written, so every start compiles for up to a minute; set "
        "NUMBA_CACHE_DIR to a folder of yours",
    )


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())


def _processors() -> Verdict:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Verdict("processors", "ok", f"{count} to use; replay --processes {count} uses them")


def _disk(data: Path) -> Verdict:
    folder = _nearest(data)
    free = shutil.disk_usage(folder).free
    told = f"{free / GIB:.1f} GiB free at {folder}"
    if free < FREE_BYTES_WANTED:
        return Verdict("disk", "warn", f"{told}; below 2 GiB a long run may fill it")
    return Verdict("disk", "ok", told)


def _folder(data: Path) -> Verdict:
    if not data.exists():
        return Verdict("data folder", "ok", f"{data} is not there yet; a run makes it")
    try:
        manifest = read_manifest(data)
        if manifest is None and any(data.iterdir()):
            return Verdict("data folder", "fail", f"{data} holds no run; choose another --data")
        with tempfile.TemporaryFile(dir=data):
            pass
        DataFolder(data, "tapewatch doctor").close()
    except DataFolderBusyError as error:
        return Verdict("data folder", "ok", f"at work: {error}")
    except (DataFolderError, OSError) as error:
        return Verdict("data folder", "fail", str(error))
    if manifest is None:
        return Verdict("data folder", "ok", f"{data} is empty")
    return _run_in(data, manifest)


def _run_in(data: Path, manifest: Manifest) -> Verdict:
    problem = layout_problem(data, manifest)
    if problem is not None:
        return Verdict("data folder", "fail", problem)
    state = "completed" if manifest.completed else "stopped; the same command goes on"
    names = ", ".join(source.name for source in manifest.inputs)
    told = f"{data} holds a run over {names}: {state}"
    if manifest.state.changes:
        told += f"; its rules changed {manifest.state.changes} times, which its summary tells"
    return Verdict("data folder", "ok", told)


def _terminal() -> Verdict:
    console = screen.out()
    if not screen.is_terminal(sys.stdout):
        return Verdict("terminal", "ok", "output goes to a file or pipe: plain lines, no live view")
    colour = console.color_system or "no"
    told = f"{console.width} × {console.height}, {colour} colour, {console.encoding}"
    if console.width < 80:  # noqa: PLR2004 - the width that every screen has had since VT52
        return Verdict("terminal", "warn", f"{told}; the live view wants 80 columns")
    return Verdict("terminal", "ok", told)


app = single(doctor)
