"""How late a row may be: by the run's setting, or by its source's own."""

import pytest
from detector_kit import Tape, columns_of, feed, stage_of

from schemas.events import SECOND_NS


def late_rows(**config: object) -> int:
    tape = Tape()
    tape.new(100, "o1")
    tape.new(101, "o2")
    tape.new(92, "o3", source="slow")
    stage = stage_of([], **config)
    feed(stage, columns_of(tape.events))
    return stage.totals()["late"]


@pytest.mark.parametrize(
    ("config", "late"),
    [
        ({"lateness_ns": 5 * SECOND_NS}, 1),
        ({"lateness_ns": 5 * SECOND_NS, "lateness_sources": {"slow": 30 * SECOND_NS}}, 0),
        ({"lateness_ns": 5 * SECOND_NS, "lateness_sources": {"t": 30 * SECOND_NS}}, 1),
        ({"lateness_ns": 30 * SECOND_NS, "lateness_sources": {"slow": SECOND_NS}}, 1),
    ],
)
def test_a_source_with_its_own_lateness_is_judged_by_it(
    config: dict[str, object], late: int
) -> None:
    assert late_rows(**config) == late


def test_the_watermark_waits_for_the_slowest_source() -> None:
    config = stage_of([], lateness_ns=5, lateness_sources={"slow": 9, "quick": 1}).config
    assert config.lateness_most_ns == 9
