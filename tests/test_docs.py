"""Documentation cannot drift: its shell commands run, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
import typer
from command import caller
from servers.kafka import KafkaServer

from console import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PLAIN = re.compile(r"tapewatch [^|<>;&$`]*")
INSTALL = "pip install ./"
BROKER = "127.0.0.1:9092"  # where pages say that it is
LONG_PAGES = {  # half a minute and more of commands
    "docs/how-to/runbook.md",
    "docs/how-to/watch-with-prometheus.md",
    "docs/explanation/tests-with-a-bound.md",
}
COMMAND = re.compile(r"\btapewatch ((?:[a-z]+)(?: [a-z]+)?)")


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


WITH_SHELL = [page for page in PAGES if SHELL.search(page.read_text(encoding="utf-8"))]
WITH_BROKER = [page for page in WITH_SHELL if BROKER in page.read_text(encoding="utf-8")]


def shell_lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return "".join(SHELL.findall(text)).splitlines()


def steps(lines: list[str]) -> Iterator[list[str]]:
    """Yield lines that only the shell understands together, and plain commands of ours alone.

    Ours then run inside this process, which spares each its imports.
    """
    for is_ours, group in groupby(lines, key=is_alone):
        if is_ours:
            yield from ([line] for line in group)
        else:
            yield list(group)


def is_alone(line: str) -> bool:
    return bool(PLAIN.fullmatch(line)) or line.startswith(INSTALL)


def install(folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what ``pip install`` does, for this test alone: build a wheel, put it on the path."""
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(folder / "wheels"),
    ]
    subprocess.run(build, cwd=project, check=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    monkeypatch.syspath_prepend(folder / "site")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LONG_PAGES else [])
        for name in names(WITH_SHELL)
        if name not in names(WITH_BROKER)
    ],
)
def test_the_shell_commands_of_a_page_run(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_page(shell_lines(name), tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", names(WITH_BROKER))
def test_the_shell_commands_of_a_page_run_on_kafka(
    name: str,
    kafka_server: KafkaServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [line.replace(BROKER, kafka_server.bootstrap) for line in shell_lines(name)]
    run_page(lines, tmp_path, monkeypatch, capsys)


def run_page(
    page: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = caller(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    lines = [line for line in page if not line.startswith("make ")]
    for step in steps(lines):
        if step[0].startswith(INSTALL):
            install(tmp_path, tmp_path / step[0].removeprefix(INSTALL), monkeypatch)
        elif PLAIN.fullmatch(step[0]):
            said = call(*shlex.split(step[0])[1:])
            assert said.code == 0, (step, said)
        else:
            script = "\n".join(step) + "\n"
            subprocess.run(["sh", "-eu"], input=script, text=True, check=True)


@pytest.mark.parametrize("name", names(WITH_SHELL))
def test_the_make_targets_of_a_page_are_there(name: str) -> None:
    for target in re.findall(r"^make (\w+)", "\n".join(shell_lines(name)), re.MULTILINE):
        result = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert result.returncode == 0, target


@pytest.mark.parametrize("name", names(PAGES))
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", names(PAGES))
def test_commands_that_pages_name_are_there(name: str) -> None:
    root = typer.main.get_command(cli.app)
    for words in COMMAND.findall((ROOT / name).read_text(encoding="utf-8")):
        first, _, second = words.partition(" ")
        assert first in cli.COMMANDS, words
        inner = getattr(root.get_command(None, first), "commands", None)  # type: ignore[attr-defined]
        assert inner is None or not second or second in inner, words


@pytest.mark.parametrize("name", names(PAGES))
def test_tests_that_pages_name_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", text)
    place = re.search(r"Tests without a path are in `(tests/[\w/.]+\.py)`", text)
    if place is not None:
        found += [(place[1], test) for test in re.findall(r"`(test_\w+)`", text)]
    for path, test in found:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, (path, test)


def test_the_demo_of_the_makefile_is_the_demo_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "DEMO_COMMAND = $(BIN)/tapewatch up --demo\n" in makefile
    assert "make demo" in (ROOT / "README.md").read_text(encoding="utf-8")
