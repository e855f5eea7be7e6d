from collections.abc import Iterable
from pathlib import Path

import pytest
from ledger_fold import contents_of, entries_of
from plan_parts import dealt, lines, make_plan, story

from flows.control import ControlLog
from flows.datafolder import DataFolder
from flows.lanes import shard_of
from flows.loop import run_loop
from flows.plan import InputSpec, Plan
from flows.sources import Source, in_order
from flows.store import StoreReader

BAD = b'{"kind":"order.now"}\n'


def begun(plan: Plan) -> Plan:
    """Write down what the folder is about to hold, as a run does first."""
    with DataFolder(plan.data) as folder:
        folder.open_run(plan.identities(), plan.config.hash(), plan.shards)
    return plan


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for name, part in zip("abc", dealt(story(), 3), strict=True):
        path = tmp_path / f"{name}.ndjson"
        path.write_bytes(lines(part) + BAD)
        paths.append(path)
    return paths


def test_positions_keep_the_name_a_file_had_at_the_first_start(
    tmp_path: Path, files: list[Path]
) -> None:
    begun(make_plan(tmp_path / "data", files[:1]))
    moved = files[0].rename(tmp_path / "renamed")
    assert make_plan(tmp_path / "data", [moved]).source().lane_names == ("a.ndjson",)


def test_lanes_are_told_by_content_however_files_are_named_and_ordered(
    tmp_path: Path, files: list[Path]
) -> None:
    def rows(source: Source) -> list[tuple[int, bytes]]:
        blocks = [item.scan().columns for item in source.items(0, 0)]
        return [
            (int(block.rows["lane"][k]), block.line(k))
            for block in blocks
            for k in range(len(block))
        ]

    first = begun(make_plan(tmp_path / "data", files)).source()
    before = rows(first)
    moved = [path.rename(tmp_path / f"renamed-{path.name}") for path in files]
    again = make_plan(tmp_path / "data", moved[::-1]).source()
    assert again.lane_names == first.lane_names
    assert sorted(first.lane_names) == ["a.ndjson", "b.ndjson", "c.ndjson"]
    assert rows(again) == before


def test_a_renamed_file_adds_no_dead_letter_and_no_entry(tmp_path: Path, files: list[Path]) -> None:
    plan = begun(make_plan(tmp_path / "data", files))
    run_loop(plan, "run").close()
    before = entries_of(plan.paths.ledger / "monitor")
    moved = [path.rename(tmp_path / f"renamed-{path.name}") for path in files]
    run_loop(make_plan(tmp_path / "data", moved[::-1]), "run").close()
    assert entries_of(plan.paths.ledger / "monitor") == before
    with StoreReader(plan.paths.store) as reader:
        assert [row.lane for row in reader.dead_letters().rows] == [path.name for path in files]


def test_blocks_keep_the_size_the_run_began_with(tmp_path: Path, files: list[Path]) -> None:
    def sizes(flags: list[str]) -> list[int]:
        source = make_plan(tmp_path / "data", files[:1], flags).source()
        return [item.size for item in in_order(source)]

    first = sizes(["intake.block_bytes=4096"])
    assert len(first) > 1
    assert sizes(["intake.block_bytes=65536"]) == first


def test_a_run_goes_on_under_settings_that_change_no_result(
    tmp_path: Path, files: list[Path]
) -> None:
    ledger = tmp_path / "data" / "ledger" / "monitor"
    run_loop(make_plan(tmp_path / "data", files[:1], ["epoch_seconds=1"]), "run").close()
    before = contents_of(ledger)
    flags = ["epoch_seconds=9", "intake.batch_rows=3", "lateness_ns=5000000000"]
    run_loop(make_plan(tmp_path / "data", files[:1], flags), "run").close()
    assert contents_of(ledger) == before


def test_the_ledger_begins_with_what_was_set_and_can_change_results(
    tmp_path: Path, files: list[Path]
) -> None:
    flags = ["epoch_seconds=9", "lateness_ns=1"]
    plan = make_plan(tmp_path / "data", files[:1], flags)
    run_loop(plan, "run").close()
    entry = entries_of(plan.paths.ledger / "monitor")[1]
    assert entry["kind"] == "config.changed"
    values = entry["body"]["values"]
    assert values["lateness_ns"] == "1"
    assert values["detectors.win_rate.min_units"] == "4"
    assert "epoch_seconds" not in values
    assert "data" not in values
    with ControlLog(plan.paths.control) as control:
        kinds = [record.kind for record in control.read()]
    assert set(kinds) == {"config", "peer_quantiles"}


def test_what_was_found_in_the_files_reaches_the_summary(tmp_path: Path) -> None:
    path = tmp_path / "marked.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + lines(story()[:5]))
    writer = run_loop(make_plan(tmp_path / "data", [path]), "run")
    (note,) = writer.summary()["notes"]
    writer.close()
    assert "marked.ndjson starts with a byte order mark" in note


def no_blocks(_url: str, _first: int) -> Iterable[bytes]:
    return ()


def test_a_stream_is_read_alone(tmp_path: Path, files: list[Path]) -> None:
    plan = make_plan(tmp_path / "data", files[:1])
    both = Plan(
        plan.data,
        (*plan.inputs, InputSpec(name="sim://day")),
        plan.config,
        factories={"sim": no_blocks},
    )
    with pytest.raises(ValueError, match="read alone"):
        both.source()
    alone = Plan(plan.data, both.inputs[1:], plan.config, factories={"sim": no_blocks})
    assert alone.source().lane_names == ("sim",)


def test_an_unknown_kind_of_input_is_named(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "data", ["ftp://somewhere"])
    with pytest.raises(ValueError, match=r"no input of kind ftp://; there is none"):
        plan.source()


def test_shards_of_accounts_are_those_of_their_rows(tmp_path: Path, files: list[Path]) -> None:
    plan = make_plan(tmp_path / "data", files, ["shards=8"])
    for item in plan.source().items(0, 0):
        columns = item.scan().columns
        for k, shard in enumerate(shard_of(columns.rows, 8)):
            account = columns.line(k).partition(b'"account_id":"')[2].partition(b'"')[0]
            assert plan.shard_of(account.decode()) == shard
