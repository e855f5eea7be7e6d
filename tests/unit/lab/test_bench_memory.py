"""The bench of memory counts what tables hold."""

from pathlib import Path

import pytest
from msgspec import json, to_builtins

from lab.bench import inputs, memory, memory_part
from lab.bench.plot import to_svg


def test_it_counts_rows_and_bytes(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    day = tmp_path / "day.ndjson"
    inputs.write_market(day, 2_000, 1, 100)
    memory_part.main(str(day), 2)
    figures = json.decode(capfdbinary.readouterr().out)
    assert 50 < figures["rows"]["accounts"] <= 100
    held = figures["held"]
    accounts, tables, process = figures["growth"][-1]
    assert (accounts, tables) == (figures["rows"]["accounts"], sum(held.values()))
    assert process >= 0
    drawn = to_svg([to_builtins(memory.chart_of([[0, 0, 0], *figures["growth"]]))])
    assert drawn.count("<polyline") == 2
    assert held["accounts"] >= 32 * figures["rows"]["accounts"]
    assert held["rules_rows"] > 40 * figures["rows"]["subjects"]
