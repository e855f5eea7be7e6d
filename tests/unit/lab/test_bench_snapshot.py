"""The bench of snapshots: both forms run, and measure every barrier but the first."""

import pytest
from msgspec import json

from lab.bench import snapshot_part


@pytest.mark.parametrize("form", ["whole", "pointers"])
def test_a_run_measures_its_barriers(form: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    snapshot_part.main(form, 400_000, 3)
    figures = json.decode(capfdbinary.readouterr().out)
    assert len(figures["seconds"]) in (2, 3)  # the engine may snapshot once more at the end
    assert all(seconds > 0 for seconds in [*figures["seconds"], figures["first_seconds"]])
    assert figures["disk"] > 100_000
