"""What a person sees who has the wrong Python, or none. Nothing is installed here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "cksum", "cat", "dirname", "date", "rm", "printf", "env", "make", "grep")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with what bootstrapping reads, and a bin with tools but no Python."""
    (tmp_path / "bin").mkdir()
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements-dev.txt", ".ci/venv"):
        shutil.copy(ROOT / name, tmp_path / name)
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def python_that_is(checkout: Path, name: str, version: str) -> Path:
    """Put a Python of a version on the path; an empty version is a shim that does not run."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n[ -n '{version}' ] && echo '{version}' || exit 127\n")
    path.chmod(0o755)
    return path


def bootstrap(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": os.devnull}
    command = [str(checkout / "bin" / "make"), "--no-print-directory", "venv", *arguments]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def first_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    return result.stderr.splitlines()[0]


def test_a_wrong_python_is_one_clear_sentence(checkout: Path) -> None:
    python_that_is(checkout, "python3.12", "")
    found = python_that_is(checkout, "python3", "3.13")
    assert first_line(bootstrap(checkout)) == (
        f"Tapewatch needs Python 3.11 or 3.12; found 3.13 at {found}. Install one, or run "
        "make PYTHON=/path/to/python3.12 with the same target."
    )


def test_no_python_is_one_clear_sentence(checkout: Path) -> None:
    assert "found none. Install one" in first_line(bootstrap(checkout))


def test_a_python_asked_for_is_not_replaced_by_another(checkout: Path) -> None:
    python_that_is(checkout, "python3.12", "3.12")
    asked = python_that_is(checkout, "python3.10", "3.10")
    result = bootstrap(checkout, f"PYTHON={asked}")
    assert f"found 3.10 at {asked}" in first_line(result)
    assert "found nothing that runs at gone" in first_line(bootstrap(checkout, "PYTHON=gone"))


def test_a_shim_that_does_not_run_is_passed_over(checkout: Path) -> None:
    python_that_is(checkout, "python3.12", "")
    found = python_that_is(checkout, "python3.11", "3.11")
    assert first_line(bootstrap(checkout)) == (
        f"Tapewatch: making .venv with Python 3.11 ({found})"
    )


def test_a_fit_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.move(python_that_is(checkout, "python", "3.11"), checkout / ".venv" / "bin" / "python")
    files = ["requirements-dev.txt", "pyproject.toml"]
    stamp = subprocess.run(["cksum", *files], cwd=checkout, capture_output=True, check=True)
    (checkout / ".venv" / "installed").write_bytes(stamp.stdout)
    assert bootstrap(checkout).stderr == ""
    (checkout / "pyproject.toml").write_text("changed")
    assert "installing packages" in bootstrap(checkout).stderr
