"""The command that holds simulated flow against a real one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import caller

from lab.exchange import calibration

HEAD = "SecurityID,Date,Time,SourceType,Type,Price,Qty,BSFlag,BuyNo,SellNo,ApplSeqNum,ChannelNo\n"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.delenv("TAPEWATCH_SAMPLES", raising=False)
    return caller(monkeypatch, capsys)


def small_sample(path: Path, *types: str) -> Path:
    """Write an order and what follows it, a second later each."""
    rows = [
        f"600000.SH,2023.07.11,09:30:{number:02}.000,0,{kind},100000,100,1,7,0,{number + 1},1\n"
        for number, kind in enumerate(types)
    ]
    path.write_text(HEAD + "".join(rows))
    return path


def test_figures_stand_beside_each_other(call: Callable[..., Any]) -> None:
    said = call("calibrate", "--days", "3")
    assert said.code == 0, said
    for name in calibration.SHANGHAI:
        assert name in said.out
    found = json.loads(call("calibrate", "--days", "3", "--json").out)
    assert found["sample"] is None
    assert [one["name"] for one in found["figures"]] == list(calibration.SHANGHAI)
    assert found["figures"][0]["real"] == calibration.SHANGHAI["messages a second"]


def test_a_file_is_measured_and_what_does_not_fit_is_a_finding(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    sample = small_sample(tmp_path / "sample.csv", "2", "10")
    said = call("calibrate", sample, "--days", "1", "--json")
    found = json.loads(said.out)
    real = {one["name"]: one["real"] for one in found["figures"]}
    assert real["cancels an order"] == real["cancelled within 1 s"] == 1.0
    assert not all(one["is_within"] for one in found["figures"])
    assert said.code == 1
    assert "NO" in call("calibrate", sample, "--days", "1").out


def test_the_folder_of_samples_is_looked_into(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sample(tmp_path / calibration.SAMPLE, "2", "10")
    monkeypatch.setenv("TAPEWATCH_SAMPLES", str(tmp_path))
    found = json.loads(call("calibrate", "--days", "1", "--json").out)
    assert found["sample"] == calibration.SAMPLE


def test_what_cannot_be_measured_is_said_in_a_sentence(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    said = call("calibrate", small_sample(tmp_path / "orders.csv", "2"))
    assert said.code == 2
    assert "orders.csv: there are no orders and cancels" in said.err
    assert call("calibrate", "--days", "0").code == 2
    assert call("calibrate", tmp_path / "none.csv").code == 4
