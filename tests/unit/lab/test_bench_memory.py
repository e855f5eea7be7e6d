"""The bench of memory counts what tables hold."""

from pathlib import Path

import pytest
from msgspec import json

from lab.bench import inputs, memory_part


def test_it_counts_rows_and_bytes(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    day = tmp_path / "day.ndjson"
    inputs.write_market(day, 2_000, 1, 100)
    memory_part.main(str(day), 2)
    figures = json.decode(capfdbinary.readouterr().out)
    assert 50 < figures["rows"]["accounts"] <= 100
    held = figures["held"]
    assert held["accounts"] >= 32 * figures["rows"]["accounts"]
    assert held["rules_rows"] > 40 * figures["rows"]["subjects"]
