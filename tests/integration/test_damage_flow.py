"""A damaged file through the whole flow: every bad line named, every good one with its effect."""

from pathlib import Path

import pytest
from damage import LINES, make_damaged_file
from ledger_fold import contents_of
from plan_parts import make_plan

from flows.edges.files import FileProblem
from flows.replay import Engine, RunOptions, run
from flows.store import StoreReader

SEED = 7
FLAGS = (
    "shards=4",
    "intake.block_bytes=65536",
    # Low enough that the good lines raise alerts.
    "detectors.instant_cancels.age_max_ns=60000000000",
    "detectors.instant_cancels.cancel_ratio_min=0.1",
)


@pytest.fixture(scope="module")
def good_only(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], list[object]]:
    """Run the good lines alone, in the plain loop; return summary and ledger contents."""
    folder = tmp_path_factory.mktemp("good")
    data, expected = make_damaged_file(SEED)
    bad = {number for number, _, _ in expected}
    kept = [line for k, line in enumerate(data.split(b"\n")[:LINES]) if k not in bad]
    path = folder / "file.ndjson"
    path.write_bytes(b"\n".join(kept) + b"\n")
    plan = make_plan(folder / "data", [path], FLAGS)
    summary = run(plan, RunOptions(engine="loop")).summary
    return summary, list(contents_of(plan.paths.ledger / "monitor"))


@pytest.mark.parametrize("engine", ["loop", "bytewax"])
def test_each_bad_line_is_named_and_each_good_line_has_its_effect(
    tmp_path: Path, engine: Engine, good_only: tuple[dict[str, object], list[object]]
) -> None:
    data, expected = make_damaged_file(SEED)
    path = tmp_path / "file.ndjson"
    path.write_bytes(data)
    plan = make_plan(tmp_path / "data", [path], FLAGS)
    summary = run(plan, RunOptions(engine=engine)).summary
    with StoreReader(plan.paths.store) as reader:
        held = reader.dead_letters(limit=1000).rows
    assert [(row.line_number, row.reason) for row in held] == [
        (number, reason) for number, _, reason in expected
    ]
    starts = [0]
    for line in data.split(b"\n")[: LINES - 1]:
        starts.append(starts[-1] + len(line) + 1)
    assert [row.byte_offset for row in held] == [starts[number] for number, _, _ in expected]
    good_summary, good_contents = good_only
    assert good_summary["alerts"]
    for name in ("events", "alerts", "notices", "accounts", "late", "duplicates"):
        assert summary[name] == good_summary[name]
    assert contents_of(plan.paths.ledger / "monitor") == good_contents
    assert sum(summary["rejected"].values()) == len(expected)


def test_a_file_that_is_no_text_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.ndjson"
    path.write_bytes('{"kind":"order.new"}\n'.encode("utf-16"))
    plan = make_plan(tmp_path / "data", [path], FLAGS)
    with pytest.raises(FileProblem, match="save it as UTF-8"):
        run(plan, RunOptions(engine="loop"))
