"""One contract for live features and the alert stream, on both implementations of each."""

from collections.abc import Callable, Iterator

import pytest
from servers.redis import RedisServer

from flows.edges.redis_features import (
    FeatureCache,
    FeatureRow,
    MemoryFeatures,
    RedisFeatures,
    check_features,
    open_features,
)
from flows.edges.redis_stream import (
    AlertStream,
    MemoryStream,
    RedisStream,
    StreamEntry,
    check_stream,
    open_stream,
)
from flows.edges.redis_url import CacheDownError, without_password
from flows.live_outputs import LiveOutputs
from flows.store.rows import AlertRow
from schemas.alerts import Rule

DATABASE = 5  # of this module alone


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    found = redis_server.url.rpartition("/")[0] + f"/{DATABASE}"
    cache = RedisFeatures(found, 0)
    cache._client.flushdb()
    cache.close()
    return found


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[FeatureCache]:
    is_redis = request.param == "redis"
    opened: FeatureCache = (
        RedisFeatures(request.getfixturevalue("url"), 60) if is_redis else MemoryFeatures()
    )
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "redis"])
def stream(request: pytest.FixtureRequest) -> Iterator[AlertStream]:
    opened: AlertStream = MemoryStream(entries_max=1_000)
    if request.param == "redis":
        opened = RedisStream(request.getfixturevalue("url") + "?stream=fan&maxlen=1000")
    yield opened
    opened.close()


def row(seq: int, value: str, run: str = "run", account_id: str = "A") -> FeatureRow:
    return FeatureRow("default", account_id, run, seq, {"orders": value})


def test_what_is_behind_changes_nothing(cache: FeatureCache) -> None:
    assert cache.put([row(9, "nine"), row(8, "eight")]) == 1
    assert cache.put([row(1, "one")]) == 0
    assert cache.get("default", "A")["orders"] == "nine"
    assert cache.put([row(10, "ten")]) == 1
    assert cache.get("default", "A")["orders"] == "ten"


def test_the_same_again_is_the_same(cache: FeatureCache) -> None:
    cache.put([row(3, "three")])
    before = cache.get("default", "A")
    cache.put([row(3, "three")])
    assert cache.get("default", "A") == before


def test_sequences_are_told_apart_above_what_a_double_can_tell(cache: FeatureCache) -> None:
    cache.put([row(2**53 + 1, "later")])
    assert cache.put([row(2**53, "earlier")]) == 0
    assert cache.get("default", "A")["orders"] == "later"


def test_another_run_begins_anew_and_leaves_no_field_behind(cache: FeatureCache) -> None:
    cache.put([FeatureRow("default", "A", "old", 9, {"orders": "9", "gone": "1"})])
    assert cache.put([row(1, "1", run="new")]) == 1
    assert cache.get("default", "A") == {"run": "new", "seq": f"{1:020d}", "orders": "1"}


def test_accounts_and_tenants_are_apart_and_unknown_ones_empty(cache: FeatureCache) -> None:
    cache.put([row(1, "a", account_id="A"), row(1, "b", account_id="B")])
    assert cache.get("default", "B")["orders"] == "b"
    assert cache.get("other", "A") == {}


def test_more_rows_than_one_pipeline_takes(cache: FeatureCache) -> None:
    rows = [row(1, str(n), account_id=f"A{n}") for n in range(2_345)]
    assert cache.put(rows) == len(rows)
    assert cache.get("default", "A2344")["orders"] == "2344"


def test_redis_forgets_idle_accounts_and_the_script_is_sent_again(url: str) -> None:
    cache = RedisFeatures(url, 60)
    cache.put([row(1, "one")])
    assert 0 < cache._client.ttl("tapewatch:features:default:A") <= 60
    cache._client.script_flush()
    assert cache.put([row(2, "two")]) == 1
    cache.close()


def entry(alert_id: str, updates: int, state: str = "open") -> StreamEntry:
    return StreamEntry(alert_id, state, updates, b'{"n":%d}' % updates)


def test_an_entry_is_added_once_however_often_it_comes(stream: AlertStream) -> None:
    assert stream.add([entry("a", 0), entry("a", 1), entry("a", 0)]) == 2
    assert stream.add([entry("a", 1), entry("b", 0), entry("a", 1, "closed")]) == 2
    assert [(e["alert_id"], e["state"], e["update_count"]) for e in stream.read()] == [
        ("a", "open", "0"),
        ("a", "open", "1"),
        ("b", "open", "0"),
        ("a", "closed", "1"),
    ]


def test_a_stream_does_not_grow_without_end(stream: AlertStream) -> None:
    stream.add([entry(f"a{n}", 0) for n in range(3_000)])
    held = stream.read()
    assert 1_000 <= len(held) < 1_200  # Redis cuts off whole nodes of its own
    assert held[-1]["alert_id"] == "a2999"


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (check_features, "redis://:secret@host/0"),
        (check_features, "redis://host:1/x?password=secret"),
        (check_features, "http://:secret@host:1/0"),
        (check_stream, "redis://:secret@host:1/0?maxlen=0"),
        (check_stream, "redis://:secret@host:1/0?stream="),
        (check_stream, "redis://:secret@host:99999/0"),
    ],
)
def test_a_bad_url_is_refused_in_a_sentence(check: Callable[[str], None], bad: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        check(bad)
    assert ":secret@" not in str(raised.value)


def test_an_empty_url_is_nothing() -> None:
    assert open_features("", 0) is None
    assert open_stream("") is None
    assert isinstance(open_features("memory:", 0), MemoryFeatures)
    assert isinstance(open_stream("memory:"), MemoryStream)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("redis://me:p@ss:w@host:1/0", "redis://me:(hidden)@host:1/0"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://me@host:1/0", "redis://me@host:1/0"),
        ("no url: me:pw@host", "no url: me:pw@host"),
    ],
)
def test_no_password_is_shown(given: str, shown: str) -> None:
    assert without_password(given) == shown


class Flaky(MemoryFeatures):
    is_down = True

    def put(self, rows: "list[FeatureRow]") -> int:  # type: ignore[override]
        if self.is_down:
            raise CacheDownError("Redis at nowhere: down")
        return MemoryFeatures.put(self, rows)


def test_what_could_not_be_sent_waits_and_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [0]
    monkeypatch.setattr("flows.clock.monotonic_ns", lambda: now_ns[0])
    said: list[str] = []
    cache, stream = Flaky(), MemoryStream(entries_max=2)
    live = LiveOutputs(features=cache, stream=stream, say=said.append)
    for n in range(5):
        live.waiting["default", "A"] = row(n, str(n))
        live._keep_alerts(stream, [alert(f"a{n}")])
        live.send([], [])
        now_ns[0] += 10**9
    assert len(said) == 1
    assert "The run goes on" in said[0]
    assert live.patience.failures < 5
    assert (len(live.waiting), len(live.entries), live.dropped) == (1, 2, 3)
    cache.is_down = False
    now_ns[0] += 31 * 10**9
    live.send([], [])
    assert cache.get("default", "A")["orders"] == "4"
    assert [e["alert_id"] for e in stream.read()] == ["a3", "a4"]
    assert not live.waiting
    assert not live.entries
    assert not live.patience.is_down


def alert(alert_id: str) -> AlertRow:
    return AlertRow(
        alert_id=alert_id,
        tenant="default",
        detector="d",
        rule_id="r",
        account_id="A",
        instrument=None,
        subject="A",
        severity="notice",
        state="open",
        onset_ns=1,
        event_time_ns=1,
        updated_ns=1,
        trading_day="2026-03-04",
        why="w",
        evidence={},
        counterfactual={},
        rule=Rule(id="r", version=1, pack="p", article="a", parameters_hash="h"),
    )
