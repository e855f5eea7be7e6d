"""What scripts rely on: the words, the JSON and the exit codes of the command line."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Call, caller

SIMULATE = ("simulate", "--events", 6000, "--accounts", 600, "--minutes", 10, "--seed", 3)
PLANTS = ("--plants", "win_rate.units@1.2,futures.large_cancels@1.2,lucky_winner")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(monkeypatch, capsys)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small market, its truth, and a data folder with its run."""
    place = tmp_path_factory.mktemp("market")
    out = ("--out", place / "day.ndjson", "--truth", place / "truth.ndjson")
    tapewatch(*SIMULATE, *PLANTS, *out)
    tapewatch("replay", place / "day.ndjson", "--data", place / "data", "--json")
    return place


def tapewatch(*words: object) -> None:
    command = [sys.executable, "-m", "console.cli", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True)


def test_the_summary_of_a_replay_has_every_key(place: Path, call: Call) -> None:
    said = call("replay", place / "day.ndjson", "--data", place / "data", "--json")
    assert said.code == 0
    summary = json.loads(said.out)
    keys = {"events", "rejected", "late", "duplicates", "alerts", "notices", "accounts", "seconds"}
    assert keys | {"ledger"} <= summary.keys()
    assert summary["ledger"].keys() == {"origin", "size", "head"}
    assert (summary["events"], summary["late"], summary["duplicates"]) == (6000, 0, 0)
    assert summary["alerts"] == {"large_cancels": 1, "win_rate": 1}
    assert summary["notices"] == 1
    assert summary["complete"]


def test_a_second_replay_adds_nothing(place: Path, call: Call) -> None:
    first = json.loads(call("audit", "verify", "--data", place / "data", "--json").out)
    call("replay", place / "day.ndjson", "--data", place / "data", "--json")
    second = json.loads(call("audit", "verify", "--data", place / "data", "--json").out)
    assert first == second


def test_every_way_of_running_gives_the_same_alerts(
    place: Path, call: Call, tmp_path: Path
) -> None:
    def ids(data: Path, *how: object) -> set[str]:
        assert call("replay", place / "day.ndjson", "--data", data, "--json", *how).code == 0
        lines = call("alerts", "list", "--data", data, "--json").out.splitlines()
        return {json.loads(line)["alert_id"] for line in lines}

    expected = ids(place / "data")
    assert ids(tmp_path / "loop", "--engine", "loop") == expected


def test_an_alert_as_json_has_every_key(place: Path, call: Call) -> None:
    said = call("alerts", "list", "--data", place / "data", "--json")
    alerts = [json.loads(line) for line in said.out.splitlines()]
    assert len(alerts) == 2
    keys = {"alert_id", "detector", "account_id", "instrument", "severity", "onset_ns", "why"}
    for alert in alerts:
        assert keys | {"evidence", "counterfactual", "rule", "ledger"} <= alert.keys()
        assert alert["ledger"].keys() == {"origin", "index"}
        assert alert["ledger"]["index"] > 0


def test_who_alerts_is_who_was_planted(place: Path, call: Call) -> None:
    truth = [json.loads(line) for line in (place / "truth.ndjson").read_text().splitlines()]
    keys = {"account_id", "behaviour", "strength", "innocent", "registered", "start_ns", "end_ns"}
    assert all(keys <= one.keys() for one in truth)
    lines = call("alerts", "list", "--data", place / "data", "--json").out.splitlines()
    alerted = {json.loads(line)["account_id"] for line in lines}
    assert alerted == {one["account_id"] for one in truth if one["expected_rules"]}


def test_an_alert_is_shown_whole_by_the_beginning_of_its_id(place: Path, call: Call) -> None:
    lines = call("alerts", "list", "--data", place / "data", "--json").out.splitlines()
    alert = next(a for a in map(json.loads, lines) if a["detector"] == "win_rate")
    said = call("alerts", "show", alert["alert_id"][:8], "--data", place / "data")
    for part in (
        "10 of 10 round trips",
        "would not have fired",
        "primary",
        "day.ndjson:",
        "notice",
    ):
        assert part in said.out


def test_alerts_are_exported_as_a_table(place: Path, call: Call) -> None:
    said = call("alerts", "export", "--data", place / "data", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert {row["detector"] for row in rows} == {"win_rate", "large_cancels"}
    assert call("alerts", "export", "--data", place / "data", "--format", "xls").code == 2


def test_an_answer_to_a_notice_counts_once(place: Path, call: Call) -> None:
    lines = call("notices", "list", "--data", place / "data", "--json").out.splitlines()
    notice = json.loads(lines[0])
    assert notice["state"] == "sent"
    words = ("notices", "answer", notice["notice_id"][:10], "--data", place / "data", "--json")
    first, second = (json.loads(call(*words).out) for _ in range(2))
    assert first == second


def test_what_peers_do_in_a_day_is_listed(place: Path, call: Call) -> None:
    said = call("peers", "list", "--data", place / "data", "--json").out.splitlines()
    groups = [json.loads(line) for line in said]
    assert groups
    assert all(group["features"]["orders"]["accounts"] > 0 for group in groups)
    assert "none on file" in call("peers", "list", "--data", place / "data").out
    assert call("peers", "list", "--data", place / "nowhere").code == 4


def test_a_sound_ledger_exits_0_and_a_damaged_one_5(
    place: Path, call: Call, tmp_path: Path
) -> None:
    said = call("audit", "verify", "--data", place / "data", "--json")
    verdict = json.loads(said.out)
    assert (said.code, verdict["verdict"], verdict["fault"]) == (0, "sound", None)
    assert verdict["logs"][0]["size"] > 2
    shutil.copytree(place / "data", tmp_path / "data")
    bundle = next(p for p in (tmp_path / "data" / "ledger").rglob("tile/**/*") if p.is_file())
    content = bytearray(bundle.read_bytes())
    content[40] ^= 1
    bundle.chmod(0o600)
    bundle.write_bytes(content)
    said = call("audit", "verify", tmp_path / "data" / "ledger" / "monitor", "--json")
    assert said.code == 5
    assert json.loads(said.out)["verdict"] == "damaged"
    said = call("audit", "verify", "--data", tmp_path / "data")
    assert "NOT SOUND" in said.out


def test_check_finds_what_a_run_would_refuse(place: Path, call: Call, tmp_path: Path) -> None:
    clean = call("check", place / "day.ndjson", "--json")
    assert (clean.code, json.loads(clean.out)["verdict"]) == (0, "clean")
    lines = (place / "day.ndjson").read_text().splitlines()[:100]
    damaged = [*lines, "", lines[50][:-9], lines[99], lines[99].replace('"kind"', '"hue":1,"kind"')]
    path = tmp_path / "damaged.ndjson"
    path.write_text("\n".join(damaged) + "\n")
    said = call("check", path, "--json")
    found = json.loads(said.out)
    assert said.code == 1
    assert found["rejected"] == {"blank_line": 1, "truncated_json": 1}
    assert found["duplicates"] == 2
    assert found["unknown_fields"] == {"hue": 1}
    first = {one["reason"]: one["first"] for one in found["reasons"]}
    size = len("\n".join(lines)) + 1
    assert first == {
        "blank_line": {"line": 101, "byte": size},
        "truncated_json": {"line": 102, "byte": size + 1},
    }
    shown = call("check", path)
    assert "line 101" in shown.out
    assert "hue × 1" in shown.out


def test_refused_lines_are_kept_and_come_back_as_they_were(
    place: Path, call: Call, tmp_path: Path
) -> None:
    lines = (place / "day.ndjson").read_text().splitlines()[:50]
    (tmp_path / "day.ndjson").write_text("\n".join([*lines, "not json", "[1]"]) + "\n")
    data = tmp_path / "data"
    said = call("replay", tmp_path / "day.ndjson", "--data", data, "--engine", "loop", "--json")
    assert json.loads(said.out)["rejected"] == {"malformed_json": 1, "not_an_object": 1}
    assert "malformed_json" in call("deadletters", "list", "--data", data).out
    raw = call("deadletters", "export", "--data", data, "--format", "raw")
    assert raw.out.splitlines() == ["not json", "[1]"]
    letter = json.loads(call("deadletters", "export", "--data", data).out.splitlines()[0])
    assert (letter["line"], letter["raw"]) == (51, "not json")
    assert "line 51" in call("deadletters", "show", letter["id"][:8], "--data", data).out


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("replay",), 2, "FILE"),
        (("replai",), 2, "Did you mean 'replay'"),
        (("replay", "sim://?seeed=1"), 2, "seed"),
        (("replay", "nats://x"), 2, "sim://"),
        (("replay", "{day}", "--format", "fax"), 2, "ndjson"),
        (("replay", "{day}", "--accounts", "overlay:1:2"), 2, "--accounts"),
        (("replay", "{day}", "--processes", "0"), 2, "--processes"),
        (("replay", "{day}", "--set", "latness_ns=1"), 3, "lateness_ns"),
        (("replay", "{day}", "--set", "detectors.win_rate.unit=leg"), 3, "round_trip"),
        (("replay", "{day}", "--config", "nowhere.toml"), 3, "nowhere.toml"),
        (("replay", "nowhere.ndjson"), 4, "nowhere.ndjson"),
        (("replay", "{day}", "--data", "{place}"), 4, "no Tapewatch data folder"),
        (("replay", "{day}", "--data", "{data}", "--set", "lateness_ns=1"), 4, "another run"),
        (("alerts", "list", "--data", "nowhere"), 4, "no store"),
        (("alerts", "show", "zz", "--data", "{data}"), 4, "zz"),
        (("audit", "verify", "--data", "nowhere"), 4, "nowhere"),
        (("detectors", "show", "nobody"), 2, "win_rate"),
        (("bench", "nothing"), 2, "throughput"),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(
    place: Path, call: Call, words: tuple[str, ...], code: int, part: str
) -> None:
    names = {"day": place / "day.ndjson", "data": place / "data", "place": place}
    said = call(*(word.format(**names) for word in words))
    assert said.code == code
    assert part in said.err
    assert not said.out
    assert "Traceback" not in said.err


def test_rules_are_listed_shown_and_linted(call: Call) -> None:
    rules = [json.loads(line) for line in call("detectors", "list", "--json").out.splitlines()]
    assert {"win_rate", "order_rate"} <= {rule["detector"] for rule in rules}
    assert all(f["source"] for rule in rules for f in rule["figures"].values())
    words = ("detectors", "show", "win_rate", "--set", "detectors.win_rate.unit=order", "--json")
    shown = json.loads(call(*words).out)
    unit = next(p for p in shown["parameters"] if p["name"] == "unit")
    assert (unit["default"], unit["set"], unit["origin"]) == ("round_trip", "order", "--set")
    assert call("detectors", "lint").code == 0
    said = call("detectors", "lint", "--set", "detectors.win_rate.threshold=1.5")
    assert (said.code, said.out.count("from 0 to 1")) == (1, 1)


def test_a_rule_is_tried_on_what_was_planted(call: Call) -> None:
    said = call("detectors", "test", "large_cancels", "--json")
    trials = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0
    assert {trial["strength"] for trial in trials} == {0.0, 0.8, 1.0, 3.0}
    assert any(trial["expected"] for trial in trials)
    words = ("detectors", "test", "large_cancels", "--set", "detectors.large_cancels.lots_min=9999")
    assert call(*words).code == 1


def test_settings_are_shown_with_their_origin(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tapewatch.toml").write_text("lateness_ns = 7\n")
    monkeypatch.setenv("TAPEWATCH__DUPLICATES__WINDOW_NS", "8000000000")
    shown = json.loads(call("config", "show", "--set", "shards=16", "--json").out)
    assert shown["lateness_ns"] == {"value": 7, "origin": "tapewatch.toml"}
    assert shown["duplicates.window_ns"] == {
        "value": 8_000_000_000,
        "origin": "TAPEWATCH__DUPLICATES__WINDOW_NS",
    }
    assert shown["shards"] == {"value": 16, "origin": "--set"}
    monkeypatch.setenv("COLUMNS", "200")
    assert "TAPEWATCH__DUPLICATES__WINDOW_NS" in call("config", "show", "--origin").out


def test_doctor_looks_at_everything_and_names_what_fails(place: Path, call: Call) -> None:
    said = call("doctor", "--data", place / "data", "--json")
    verdicts = {v["what"]: v for v in map(json.loads, said.out.splitlines())}
    assert {"Python", "packages", "kernel cache", "disk", "data folder"} <= verdicts.keys()
    assert "completed" in verdicts["data folder"]["told"]
    assert call("doctor", "--data", place).code == 4


def test_benches_are_listed(call: Call) -> None:
    said = call("bench")
    benches = {"throughput", "kafka", "latency", "scale", "restart", "peers", "soak", "crash"}
    assert {line.split()[0] for line in said.out.splitlines()} >= benches
