"""``tapewatch up``: a stream watched, stopped, and the demo's summary."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import caller

STREAM = "sim://?seed=3&events=9000&accounts=600&minutes=30&plants=order_rate.second@1.2"


def test_sigterm_drains_keeps_everything_and_exits_0(tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = ["up", "--input", f"{STREAM}&speed=400", "--data", str(data)]
    command = [sys.executable, "-m", "console.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # an alert: so the run is well under way
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "order_rate" in first
    assert "Stopped; everything so far is kept" in rest
    assert "sound" in rest
    manifest = json.loads((data / "manifest.json").read_text())
    assert not manifest["completed"]


def test_the_demo_ends_with_a_summary_of_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call = caller(monkeypatch, capsys)
    url = "sim://?seed=3&events=9000&accounts=600&minutes=10&damage=2&plants=win_rate.units@1.2"
    said = call("up", "--demo", "--input", url, "--data", tmp_path / "data")
    assert said.code == 0
    for part in (
        "9,000 events",
        "events/s",
        "win_rate",
        "refused lines by reason",
        "truncated_json",
        "verification notices: 1",
        "sound",
        "first alert after",
        "Try next",
    ):
        assert part in said.out


def test_the_live_view_fits_a_screen_of_80_columns(tmp_path: Path) -> None:
    """Watch a stream through a terminal, and see the view drawn and its words."""
    import pty  # noqa: PLC0415 - there is none everywhere

    url = "sim://?seed=3&events=9000&accounts=600&minutes=10&plants=win_rate.units@1.2&speed=600"
    words = ["up", "--input", url, "--data", str(tmp_path / "data")]
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "console.cli", *words]
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while piece := _read(parent):
            shown += piece
    os.close(parent)
    text = shown.decode(errors="replace")
    assert process.returncode == 0
    assert "● running" in text or "● no data yet" in text
    assert "\x1b[31m" not in text, "NO_COLOR is honoured"


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # the other end is closed: the command ended
        return b""
