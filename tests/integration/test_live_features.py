"""Live features in a real Redis are those of the file, whenever the run was killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import naive_features
import pytest
from confluent_kafka import Producer
from redis import Redis
from servers.mock_kafka import MockKafka
from servers.redis import RedisServer

from flows.calendars import TradingDays
from flows.crash import VARIABLE
from flows.edges.redis_features import KEY_PREFIX
from lab.bench import inputs, processes
from schemas.caches import cache_folder

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "live-features.md"
EVENTS = 12_000
WAIT_SECONDS = 120.0
SMALL = ("epoch_seconds=0.1", "intake.block_bytes=131072", "intake.unacknowledged_bytes_max=262144")
OUTPUTS = ("features", "alert_stream")
DATABASE = 6  # of this module alone
POINTS = (
    "live.before_send:3",
    "live.after_send:4",
    "ledger.after_commit:2",
    "snapshot.writer:2",
    "between:9",
)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a day with damaged, repeated and late lines."""
    path = tmp_path_factory.mktemp("day") / "day.ndjson"
    lines = inputs.roughen(inputs.market_lines(EVENTS, 3, 400), 5)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.fixture(scope="module")
def wanted(day: Path) -> dict[str, dict[str, str]]:
    return referee(day.read_bytes().splitlines())


def referee(lines: Iterable[bytes]) -> dict[str, dict[str, str]]:
    calendars = TradingDays("XSHG", cache_folder())

    def trading_day(venue: str | None, time_ns: int) -> str:
        return naive_features.trading_day(calendars, venue, time_ns)

    return naive_features.count(lines, trading_day)


@pytest.fixture
def url(redis_server: RedisServer) -> Iterator[str]:
    found = redis_server.url.rpartition("/")[0] + f"/{DATABASE}"
    with Redis.from_url(found) as client:
        client.flushdb()
        yield found
        client.flushdb()


def run(words: Sequence[str], crash_at: str = "") -> "subprocess.CompletedProcess[str]":
    more = {VARIABLE: crash_at} if crash_at else {}
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env=processes.environment(more),
        timeout=WAIT_SECONDS,
    )


def summary(words: Sequence[str]) -> dict[str, Any]:
    done = run(words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def alerts(data: Path) -> list[dict[str, Any]]:
    """Return the alerts without what names their place."""
    listed = run([*processes.TAPEWATCH, "alerts", "list", "--data", str(data), "--json"])
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    for alert in found:
        del alert["ledger"]
    return sorted(found, key=lambda alert: str(alert["alert_id"]))


def command(day: Path, data: Path, url: str, count: int = 1, more: Sequence[str] = ()) -> list[str]:
    outputs = [f"outputs.{name}={url}" for name in OUTPUTS]
    return processes.replay_command([day], data, count, [*SMALL, *outputs, *more])


def held(url: str) -> dict[str, dict[str, str]]:
    """Return what Redis holds of every account, without the run's name."""
    found = {}
    with Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter(f"{KEY_PREFIX}default:*", count=1_000):
            fields = client.hgetall(key)
            del fields["run"]
            found[str(key).rpartition(":")[2]] = fields
    return found


def streamed(url: str) -> list[dict[str, str]]:
    with Redis.from_url(url, decode_responses=True) as client:
        return [fields for _, fields in client.xrange("tapewatch.alerts")]


def check_stream(url: str, data: Path) -> None:
    """The stream ends with every alert as it stands, and says nothing twice."""
    entries = streamed(url)
    last = {entry["alert_id"]: json.loads(entry["alert"]) for entry in entries}
    for alert in last.values():
        del alert["ledger"]
    assert sorted(last.values(), key=lambda alert: str(alert["alert_id"])) == alerts(data) != []
    said = [(e["alert_id"], e["state"], e["update_count"]) for e in entries]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("count", [1, 2])
def test_redis_holds_what_the_file_says(
    day: Path, wanted: dict[str, dict[str, str]], url: str, tmp_path: Path, count: int
) -> None:
    assert summary(command(day, tmp_path / "data", url, count))["complete"]
    assert held(url) == wanted
    assert sum(int(fields["open_orders"]) for fields in wanted.values()) > 100
    assert sum(int(fields["order_wins"]) for fields in wanted.values()) > 10
    check_stream(url, tmp_path / "data")


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_leaves_the_features_of_the_file(
    day: Path, wanted: dict[str, dict[str, str]], url: str, tmp_path: Path, point: str
) -> None:
    data = tmp_path / "data"
    count = 1 + POINTS.index(point) % 2
    killed = run(command(day, data, url, count), crash_at=point)
    assert killed.returncode == -signal.SIGKILL
    assert held(url) != wanted
    if point == POINTS[0]:  # what Redis has lost comes again when the run goes on
        with Redis.from_url(url) as client:
            client.flushdb()
    assert summary(command(day, data, url, 3 - count))["complete"]
    assert held(url) == wanted
    check_stream(url, data)


def test_a_redis_that_is_not_there_stops_nothing(day: Path, tmp_path: Path) -> None:
    done = run(command(day, tmp_path / "data", "redis://:secret@127.0.0.1:1/0"))
    assert done.returncode == 0
    assert done.stderr.count("Redis at 127.0.0.1:1: ConnectionError. The run goes on") == 1
    assert "secret" not in done.stdout + done.stderr


def test_a_url_that_names_no_redis_is_refused(day: Path, tmp_path: Path) -> None:
    refused = run(command(day, tmp_path / "data", "redis://:secret@127.0.0.1"))
    assert refused.returncode == 3
    assert "expected redis://HOST:PORT/DB" in refused.stderr
    assert "secret" not in refused.stdout + refused.stderr


def test_passwords_in_urls_are_not_shown(tmp_path: Path) -> None:
    words = [*processes.TAPEWATCH, "config", "show", "--data", str(tmp_path)]
    flag = ("--set", "outputs.features=redis://me:secret@127.0.0.1:6379/0")
    for more in ((), ("--json",)):
        shown = run([*words, *flag, *more])
        assert "(hidden)" in shown.stdout
        assert "secret" not in shown.stdout + shown.stderr


def test_the_how_to_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    page = PAGE.read_text(encoding="utf-8").replace("redis://127.0.0.1:6379/0", url)
    shell, script = (
        re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for kind in ("bash", "python")
    )
    done = run(["sh", "-euc", *shell])
    assert done.returncode == 0, done.stderr
    shown = run([sys.executable, "-c", *script])
    assert shown.returncode == 0, shown.stderr
    assert "tapewatch:features:default:" in shown.stdout
    assert shown.stdout.count('"alert_id"') == 3


@pytest.mark.slow
def test_lanes_that_meet_in_another_order_after_a_kill_leave_the_same(
    mock_kafka: MockKafka, url: str, tmp_path: Path
) -> None:
    """App events come on a topic of their own, so most accounts stand on two lanes."""
    lines = inputs.market_lines(EVENTS, 3, 400)
    producer = Producer(
        {"bootstrap.servers": mock_kafka.bootstrap, "partitioner": "murmur2_random"}
    )
    for topic in ("orders", "app"):
        mock_kafka.create_topic(topic, 4)
    for line in lines:
        event = json.loads(line)
        topic = "app" if event["kind"] == "app.event" else "orders"
        producer.produce(topic, line, key=event.get("account_id", ""))
        producer.poll(0)
    assert producer.flush(WAIT_SECONDS) == 0
    place = f"kafka://{mock_kafka.bootstrap}/orders,app?until=end"
    flags = ("epoch_seconds=0.3", "intake.idle_seconds=3600", "kafka.messages_at_once=150")
    flags = (*flags, f"outputs.features={url}")
    words = [*processes.TAPEWATCH, "replay", place, "--json", "--data", str(tmp_path / "data")]
    words += [word for flag in flags for word in ("--set", flag)]
    killed = run([*words, "--processes", "2"], crash_at="between:12")
    assert killed.returncode == -signal.SIGKILL
    assert held(url)
    assert summary(words)["complete"]
    assert held(url) == referee(lines)
