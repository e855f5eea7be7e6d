"""A day with late events, run again with all of them in place, is the day without a delay."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from command import caller
from plan_parts import make_plan

from flows.alert_changes import AlertChange, compare
from flows.day_order import write_in_order
from flows.replay import RunOptions, run
from flows.store import AlertRow, StoreReader
from lab.simulator import Market, SimulatorConfig
from ledger.reader import read_entries
from ledger.verify import verify_data

PLANTS = ("win_rate.units", "futures.cancels", "instant_cancels.count", "otr.number")
DAY = SimulatorConfig(
    events=14_000, accounts=900, seed=5, plants=PLANTS, strengths=(1.0, 1.2), minutes=60
)
FLAGS = ("packs.added=surveillance", "shards=4", "detectors.win_rate.min_units=10")


@cache
def sent() -> tuple[bytes, ...]:
    return tuple(b"".join(Market(DAY).blocks()).splitlines(keepends=True))


def delayed(share: float, seed: int) -> list[bytes]:
    """Hold some lines up by so many others that they are late."""
    rng = np.random.default_rng(seed)
    places = np.arange(len(sent()), dtype=np.float64)
    held = rng.random(len(places)) < share
    places[held] += rng.integers(500, 5_000, len(places))[held]
    return [sent()[i] for i in np.argsort(places, kind="stable")]


def alerts_of(folder: Path, path: Path) -> tuple[list[AlertRow], int]:
    plan = make_plan(folder, [path], FLAGS)
    summary = run(plan, RunOptions(engine="loop")).summary
    with StoreReader(plan.paths.store) as reader:
        return list(reader.every_alert()), int(summary["late"])


def counted(changes: list[AlertChange]) -> Counter[str]:
    return Counter(one.change for one in changes)


def test_the_second_run_is_that_of_the_day_without_delay(tmp_path: Path) -> None:
    whole, day, again = (tmp_path / name for name in ("sent.ndjson", "day.ndjson", "again.ndjson"))
    whole.write_bytes(b"".join(sent()))
    day.write_bytes(b"".join(delayed(0.05, 1)))
    ordered = write_in_order(day, again, lambda _lines: None)
    assert ordered.lines == len(sent())
    undisturbed, none_late = alerts_of(tmp_path / "sent", whole)
    first, late = alerts_of(tmp_path / "day", day)
    second, late_again = alerts_of(tmp_path / "again", again)
    assert none_late == late_again == 0
    assert late > 300
    assert len(undisturbed) > 5
    assert counted(compare(undisturbed, second)) == {"same": len(undisturbed)}
    changes = counted(compare(first, second))
    assert changes["amended"] + changes["added"] + changes["gone"] > 3, "or nothing was at stake"


def test_an_alert_that_a_late_event_kept_away_is_added(tmp_path: Path) -> None:
    """One of the fills of ten wins is late: the first run counts nine and stays silent."""
    truth = next(
        one for one in Market(DAY).truth()
        if (one.behaviour, one.strength) == ("win_rate.units", 1.0)
    )  # fmt: skip
    lines = list(sent())
    own = [i for i, line in enumerate(lines)
           if json.loads(line).get("account_id") == truth.account_id
           and json.loads(line)["kind"] == "fill"]  # fmt: skip
    lines.append(lines.pop(own[3]))
    day, again = tmp_path / "day.ndjson", tmp_path / "again.ndjson"
    day.write_bytes(b"".join(lines))
    assert write_in_order(day, again, lambda _lines: None).moved == 1
    first, late = alerts_of(tmp_path / "first", day)
    assert late == 1
    second, _ = alerts_of(tmp_path / "second", again)
    changes = [one for one in compare(first, second) if one.change != "same"]
    mine = [one for one in changes if one.alert.account_id == truth.account_id]
    assert "source.win_rate" in {one.alert.rule_id for one in mine if one.change == "added"}
    assert {one.alert.account_id for one in changes} == {truth.account_id}


def test_the_commands_tell_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    Path("day.ndjson").write_bytes(b"".join(delayed(0.05, 2)))
    assert "stood behind one" in call("sort", "day.ndjson", "--out", "whole.ndjson").err
    told = json.loads(call("sort", "day.ndjson", "--out", "whole.ndjson", "--json").out)
    assert told["lines"] == len(sent())
    assert told["moved"] > 300
    first, _ = alerts_of(tmp_path / "first", tmp_path / "day.ndjson")
    second, _ = alerts_of(tmp_path / "second", tmp_path / "whole.ndjson")
    expected = counted(compare(first, second))
    words = ("alerts", "compare", "--data", "first", "--with", "second")
    objects = [json.loads(line) for line in call(*words, "--json").out.splitlines()]
    assert Counter(one["change"] for one in objects) == expected - Counter(same=10**6)
    for one in objects:
        assert (one["first"] is None) == (one["change"] == "added")
        assert (one["second"] is None) == (one["change"] == "gone")
    said = call(*words)
    assert said.code == 0
    assert f"{expected['same']:,} the same, {expected['amended']:,} amended" in said.out
    assert "0 amended, 0 added, 0 gone" in call(*words[:4], "--with", "first").out
    packed = tmp_path / "day.gz"
    packed.write_bytes(b"\x1f\x8b\x08\x00")
    assert call("sort", packed, "--out", "x.ndjson").code == 4
    assert call("sort", "day.ndjson", "--out", "day.ndjson").code == 4
    assert call("sort", "nowhere.ndjson", "--out", "x.ndjson").code == 4


def test_what_changed_is_recorded_once_and_both_ledgers_stay_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    Path("day.ndjson").write_bytes(b"".join(delayed(0.05, 2)))
    assert call("sort", "day.ndjson", "--out", "whole.ndjson").code == 0
    replay = ("replay", "day.ndjson", "--data", "first", "--json")
    assert call(*replay).code == 0
    assert call("replay", "whole.ndjson", "--data", "second", "--json").code == 0
    before = ledger_lines("first")
    words = ("alerts", "compare", "--data", "first", "--with", "second", "--json", "--record")
    changes = [json.loads(line) for line in call(*words).out.splitlines()]
    assert len(changes) > 1
    after = ledger_lines("first")
    assert after[: len(before)] == before
    added = [json.loads(line) for line in after[len(before) :]]
    assert [one["kind"] for one in added] == ["alert.amended"] * len(changes)
    (report,) = verify_data(Path("second"))
    for entry, change in zip(added, changes, strict=True):
        body = entry["body"]
        assert body["change"] == change["change"]
        for which in ("first", "second"):
            told = change[which]
            assert (body[which] is None) == (told is None)
            if told is not None:
                assert body[which]["alert_id"] == told["alert_id"]
                assert body[which]["index"] == told["ledger"]["index"]
        assert body["second_log"]["root"] == report.head
    assert "Wrote 0 entries" in call(*words).err
    assert ledger_lines("first") == after
    assert json.loads(call(*replay).out)["complete"] is True
    assert ledger_lines("first")[: len(after)] == after
    for folder in ("first", "second"):
        assert call("audit", "verify", "--data", folder).code == 0
        assert call("doctor", "--data", folder).code == 0


def ledger_lines(folder: str) -> list[bytes]:
    return [entry for _, entry in read_entries(Path(folder) / "ledger" / "monitor")]


def test_runs_that_say_nothing_about_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    monkeypatch.chdir(tmp_path)
    Path("day.ndjson").write_bytes(b"".join(sent()))
    Path("half.ndjson").write_bytes(b"".join(sent()[: len(sent()) // 2]))
    figures = ("--set", "detectors.win_rate.min_units=100000")
    assert call("replay", "day.ndjson", "--data", "first", "--json").code == 0
    assert call("replay", "half.ndjson", "--data", "half", "--json").code == 0
    assert call("replay", "day.ndjson", "--data", "strict", "--json", *figures).code == 0
    before = ledger_lines("first")
    for second, why in (("half", "not the whole day"), ("strict", "other settings")):
        said = call("alerts", "compare", "--data", "first", "--with", second, "--record")
        assert said.code != 0
        assert why in " ".join(said.err.split())
    assert ledger_lines("first") == before


def test_sorting_leaves_a_file_beside_it_alone(tmp_path: Path) -> None:
    source, out = tmp_path / "day.ndjson.part", tmp_path / "day.ndjson"
    source.write_bytes(b"".join(reversed(sent()[:500])))
    before = source.read_bytes()
    assert write_in_order(source, out, lambda _lines: None).lines == 500
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day.ndjson", "day.ndjson.part"]
