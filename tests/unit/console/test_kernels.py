"""What is compiled ahead is what runs need."""

from pathlib import Path

import pytest

from console import kernels
from schemas import referee
from schemas.scan import HashKey, Scanner


def test_the_sample_is_a_line_that_scanner_and_referee_take() -> None:
    assert not isinstance(referee.judge(kernels.SAMPLE.rstrip()), referee.Verdict)
    assert Scanner(HashKey()).scan(kernels.SAMPLE).rejected == []


def test_the_stage_and_every_rule_are_run_once() -> None:
    kernels.compile_stage()


def test_an_empty_cache_is_told_from_a_full_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernels.config, "CACHE_DIR", str(tmp_path))
    assert not kernels.are_compiled()
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors" / "self_trading.count_self_trades-1.py311.nbi").touch()
    assert kernels.are_compiled()
    monkeypatch.setattr(kernels.config, "CACHE_DIR", "")
    assert kernels.are_compiled()
