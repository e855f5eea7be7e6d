"""Commands are found, explained and loaded late; errors become sentences."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from command import caller

from console import check, cli, exits, screen
from console.commands import split_help
from flows import adapters
from flows.config import ConfigError
from schemas.reasons import REASONS

HEAVY = {"numba", "bytewax", "sqlalchemy", "pandas", "numpy"}


def every_command() -> dict[str, Any]:
    root: Any = typer.main.get_command(cli.app)
    found = {}
    for name in cli.COMMANDS:
        command = root.get_command(None, name)
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            found |= {f"{name} {each}": inner[each] for each in inner}
    return found


@pytest.mark.parametrize("words", ["--help", "version"])
def test_help_and_version_load_nothing_heavy(words: str) -> None:
    code = (
        "import sys; from console.cli import main\n"
        f"sys.argv = ['tapewatch', {words!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", sorted(set(every_command()) - cli.HIDDEN))
def test_help_begins_with_an_example_of_the_command(name: str) -> None:
    said, examples = split_help(every_command()[name].help)
    assert said
    assert examples
    assert all(line.startswith(f"$ tapewatch {name}") for line in examples)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in cli.HIDDEN])
def test_every_command_is_in_the_table_under_its_module(name: str) -> None:
    assert import_module(cli.COMMANDS[name].module).app is not None


def test_the_formats_named_in_help_are_those_there_are() -> None:
    option = next(p for p in every_command()["check"].params if p.name == "format_name")
    assert all(name in option.help for name in adapters.names())


@pytest.mark.parametrize("name", list(exits._CODES))
def test_every_expected_failure_is_a_class_there_is(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(import_module(module), kind), Exception)


def test_an_expected_failure_is_found_behind_what_an_engine_wraps_it_in() -> None:
    wrapped = RuntimeError("engine")
    wrapped.__cause__ = ConfigError("--set", "a", "b", "c")
    assert exits.expected(wrapped) == (exits.CONFIG, "--set: a: expected c, got b.")
    assert exits.expected(RuntimeError("engine")) is None


def test_a_mistake_of_ours_is_a_sentence_with_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def break_down(_name: str) -> str:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("console.version.installed", break_down)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    call = caller(monkeypatch, capsys)
    said = call("version")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "ZeroDivisionError" in said.err
    assert "boom" in next(tmp_path.glob("tapewatch-error-*.txt")).read_text()
    assert "Traceback" in call("--debug", "version").err


def test_every_suggestion_belongs_to_a_reason() -> None:
    assert set(check._SUGGESTIONS) <= set(REASONS)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_starts_a_formula(start: str) -> None:
    assert screen.harmless(f"{start}cmd()").startswith("'")


def test_negative_numbers_stay_numbers() -> None:
    assert screen.harmless(-5) == "-5"


def test_severity_is_told_by_shape_and_word() -> None:
    shapes = {symbol for symbol, _ in screen.SEVERITY.values()}
    assert len(shapes) == len(screen.SEVERITY)
    assert all(word in screen.severity(word) for word in screen.SEVERITY)
