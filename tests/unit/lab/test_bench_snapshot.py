"""The bench of snapshots: both forms run, and measure every barrier but the first."""

import pytest
from msgspec import json, to_builtins

from lab.bench import snapshot, snapshot_part
from lab.bench.plot import to_svg


@pytest.mark.parametrize("form", ["whole", "pointers"])
def test_a_run_measures_its_barriers(form: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    snapshot_part.main(form, 400_000, 3)
    figures = json.decode(capfdbinary.readouterr().out)
    assert len(figures["seconds"]) in (2, 3)  # the engine may snapshot once more at the end
    assert all(seconds > 0 for seconds in [*figures["seconds"], figures["first_seconds"]])
    assert figures["disk"] > 100_000
    drawn = to_svg([to_builtins(snapshot.chart_of({form: figures["seconds"]}))])
    assert drawn.count("<circle") == len(figures["seconds"])
