"""Documentation cannot drift: its shell commands run, its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from console import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"\btapewatch ((?:[a-z]+)(?: [a-z]+)?)")


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


WITH_SHELL = [page for page in PAGES if SHELL.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", names(WITH_SHELL))
def test_the_shell_commands_of_a_page_run(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = "".join(SHELL.findall(text)).splitlines()
    script = [line for line in lines if not line.startswith("make ")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-eu"],
        input="\n".join(script) + "\n",
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", names(WITH_SHELL))
def test_the_make_targets_of_a_page_are_there(name: str) -> None:
    text = "".join(SHELL.findall((ROOT / name).read_text(encoding="utf-8")))
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
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


def test_the_demo_of_the_makefile_is_the_demo_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "DEMO_COMMAND = $(BIN)/tapewatch up --demo\n" in makefile
    assert "make demo" in (ROOT / "README.md").read_text(encoding="utf-8")
