"""Lanes of Kafka without a broker: positions, times, heartbeats, ends, and what is paused."""

import json
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka_parts import URL, ListReader, lane_of, lanes_reader, line, numbered

from flows.arrivals import Arrival, ArrivalLog
from flows.control import ControlLog
from flows.edges.kafka_sink import parse_sink
from flows.edges.kafka_url import PARTITIONS_MAX, KafkaLanes, KafkaProblem, parse
from flows.kafka_source import POSITION_MAX, READY_BYTES_MAX, SLOTS, KafkaLanesReader, freeze
from flows.lanes import LaneBlock, deal
from flows.message_formats import join_lines
from lab.arrow_feed import encode, messages
from schemas.arrow import ROWS_MAX
from schemas.events import SECOND_NS

START_NS = 1_772_415_000_000_000_000
LIVE = "kafka://127.0.0.1:9/orders,app"


def opened(number: int, seconds: float) -> bytes:
    return line(
        {
            "kind": "app.event",
            "source": "app",
            "event_id": f"E{number}",
            "event_time_ns": START_NS + round(seconds * SECOND_NS),
            "account_id": "A-1",
            "name": "open",
        }
    )


def taken(reader: KafkaLanesReader, turns: int = 3) -> list[LaneBlock]:
    return [
        block for _ in range(turns) for slot in range(SLOTS) for block, _, _ in reader.take(slot)
    ]


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "control.sqlite3"


def test_rows_carry_offset_lane_and_the_lane_s_own_time(control: Path) -> None:
    values = [opened(n, n) for n in range(6)]
    lists = {1: [(n * 2, value) for n, value in enumerate(values)]}  # compacted: gaps
    blocks = taken(lanes_reader(ListReader(lists, [(1, 2), (1, 2), (1, 2)]), control))
    rows = [row for block in blocks for row in block.columns.rows]
    assert [int(row["line_number"]) for row in rows] == [0, 2, 4, 6, 8, 10]
    assert {int(row["lane"]) for row in rows} == {1}
    reached = [(int(row["high_before_ns"]) - START_NS) / SECOND_NS for row in rows[1:]]
    assert reached == [0, 1, 2, 3, 4]
    assert [b.next_number for b in blocks if len(b.columns)] == [3, 7, 11]
    assert blocks[-1].is_last


def test_a_resumed_lane_goes_on_at_its_offset_with_its_time(control: Path) -> None:
    lists = {0: numbered([opened(n, n) for n in range(9)])}
    whole = taken(lanes_reader(ListReader(lists, [(0, 9)]), control))
    first = lanes_reader(ListReader(lists, [(0, 4)]), control)
    first.take(0)
    first.take(1)  # reads four, for slot 0
    state = freeze(first.take(0)[0][2])
    assert state[0] == 4
    second = lanes_reader(ListReader(lists, []), control)
    second.resume(0, {0: state})
    rest = [row for block in taken(second, 4) for row in block.columns.rows]
    expected = [row for block in whole for row in block.columns.rows][-len(rest) :]
    assert [int(row["line_number"]) for row in rest] == list(range(state[0], 9))
    assert [row["high_before_ns"] for row in rest] == [row["high_before_ns"] for row in expected]


def test_latest_begins_at_the_end_and_stays_there_after_a_crash(control: Path) -> None:
    lists = {0: numbered([opened(n, n) for n in range(3)])}
    url = LIVE.replace(",app", "") + "?start=latest"
    assert not any(len(b.columns) for b in taken(lanes_reader(ListReader(lists, []), control, url)))
    lists[0] += [(n, opened(n, n)) for n in range(3, 6)]
    again = taken(lanes_reader(ListReader(lists, []), control, url), 3)
    assert [int(r["line_number"]) for b in again for r in b.columns.rows] == [3, 4, 5]


def test_a_partition_that_appears_is_read_from_its_beginning(control: Path) -> None:
    lists = {0: numbered([opened(0, 0)])}
    source = ListReader(lists, [])
    reader = lanes_reader(source, control, "kafka://127.0.0.1:9/orders?start=latest")
    taken(reader)
    lists[1] = numbered([opened(1, 1), opened(2, 2)])
    source.new = [1]
    blocks = taken(reader, 3)
    assert [int(r["line_number"]) for b in blocks for r in b.columns.rows] == [0, 1]
    assert {b.lane_count for b in blocks} == {2}


def test_a_partition_made_while_nobody_ran_is_read_from_its_beginning(control: Path) -> None:
    url = "kafka://127.0.0.1:9/orders?start=latest"
    lists = {0: numbered([opened(0, 0)])}
    taken(lanes_reader(ListReader(lists, []), control, url))
    lists[1] = numbered([opened(1, 1), opened(2, 2)])
    blocks = taken(lanes_reader(ListReader(lists, []), control, url))
    assert [(b.lane, len(b.columns)) for b in blocks if len(b.columns)] == [(1, 2)]


ARROW = URL + "&format=arrow"


def packed(values: list[bytes], rows: int) -> list[tuple[int, bytes]]:
    """Put events into Arrow messages, at every other offset from 40 on."""
    return [(40 + 2 * n, value) for n, value in enumerate(messages(values, rows))]


def test_rows_of_arrow_messages_have_positions_of_their_own(control: Path) -> None:
    source = ListReader({1: packed([opened(n, n) for n in range(7)], 3)}, [(1, 2), (1, 1)])
    source.first[1] = 40
    blocks = taken(lanes_reader(source, control, ARROW))
    rows = [row for block in blocks for row in block.columns.rows]
    assert [divmod(int(row["line_number"]), ROWS_MAX) for row in rows] == [
        (40, 0), (40, 1), (40, 2), (42, 0), (42, 1), (42, 2), (44, 0)
    ]  # fmt: skip
    reached = [(int(row["high_before_ns"]) - START_NS) / SECOND_NS for row in rows[1:]]
    assert reached == [0, 1, 2, 3, 4, 5]
    places = [(b.number, b.next_number) for b in blocks if len(b.columns)]
    assert places == [(40 * ROWS_MAX, 43 * ROWS_MAX), (43 * ROWS_MAX, 45 * ROWS_MAX)]
    assert blocks[-1].is_last


def test_an_arrow_lane_goes_on_at_its_message(control: Path) -> None:
    lists = {
        0: [(n, value) for n, (_, value) in enumerate(packed([opened(n, n) for n in range(9)], 2))]
    }
    first = lanes_reader(ListReader(lists, [(0, 2)]), control, ARROW)
    first.take(1)
    state = freeze(first.take(0)[-1][2])
    assert state[0] == 2
    second = lanes_reader(ListReader(lists, []), control, ARROW)
    second.resume(0, {0: state})
    rest = [row for block in taken(second, 4) for row in block.columns.rows]
    assert [divmod(int(row["line_number"]), ROWS_MAX) for row in rest] == [
        (2, 0), (2, 1), (3, 0), (3, 1), (4, 0)
    ]  # fmt: skip
    assert [(int(r["high_before_ns"]) - START_NS) // SECOND_NS for r in rest] == [3, 4, 5, 6, 7]


def test_refused_rows_of_arrow_messages_say_where_they_stood(control: Path) -> None:
    bad = line({"kind": "app.event", "source": "app", "event_id": "x", "event_time_ns": START_NS})
    values = [(7, encode([opened(1, 1), bad])), (8, b"no Arrow"), (9, encode([opened(2, 2)]))]
    source = ListReader({0: values}, [])
    source.first[0] = 7
    blocks = taken(lanes_reader(source, control, ARROW))
    refused = [r for block in blocks for _, r in block.rejected]
    assert [(r.reason, divmod(r.byte_offset, ROWS_MAX)) for r in refused] == [
        ("missing_field", (7, 1)),
        ("bad_arrow", (8, 0)),
    ]
    assert refused[0].got.endswith(" (message 7, row 1)")
    assert refused[0].raw.startswith(b'{"kind":"app.event"')
    assert sum(len(block.columns) for block in blocks) == 2


def test_a_shard_s_block_takes_the_lines_of_its_arrow_rows_along(control: Path) -> None:
    source = ListReader({0: packed([opened(n, n) for n in range(6)], 4)}, [])
    source.first[0] = 40
    for block in taken(lanes_reader(source, control, ARROW)):
        for part in deal(block, 4):
            copied = pickle.loads(pickle.dumps(part))
            assert isinstance(copied.columns.raw, np.ndarray)
            lines = [copied.columns.line(index) for index in range(len(copied.columns))]
            assert lines == [part.columns.line(index) for index in range(len(part.columns))]
            assert all(json.loads(each)["name"] == "open" for each in lines)


def test_positions_that_no_longer_fit_stop_the_run(control: Path) -> None:
    offset = POSITION_MAX // ROWS_MAX
    source = ListReader({0: [(offset, encode([opened(1, 1)]))]}, [])
    source.first[0] = offset
    with pytest.raises(KafkaProblem, match="Go on with a new topic"):
        taken(lanes_reader(source, control, ARROW))


def test_an_idle_lane_is_brought_along_by_heartbeats_that_are_written_first(control: Path) -> None:
    app = lane_of(1, 0)
    lists: dict[int, list[tuple[int, bytes]]] = {
        0: numbered([opened(n, n) for n in range(40)]),
        app: numbered([opened(100, 0)]),
    }
    schedule = [(app, 1), *[(0, 4)] * 10]
    reader = lanes_reader(ListReader(lists, schedule), control, LIVE, idle_ns=0)
    blocks = [b for b in taken(reader, 11) if b.lane == app and len(b.columns) == 0]
    beats = [b.times.high_ns for b in blocks if b.times.high_ns > 0]
    assert beats
    assert beats == sorted(beats)
    with closing(ControlLog(control)) as log:
        written = [r for r in log.read() if r.kind == "heartbeat"]
    assert [int(r.body["time_ns"]) for r in written] == beats
    assert {(r.lane, r.body["number"]) for r in written} == {("app/0", 1)}
    # After a crash they come again, at the same place of the lane and before what follows there.
    lists[app].append((1, opened(101, 50)))
    again = lanes_reader(ListReader(lists, [(app, 9)]), control, LIVE)
    told = [b for b in taken(again) if b.lane == app]
    repeated = [b.times.high_ns for b in told if not len(b.columns) and b.next_number == 1]
    assert repeated[-len(beats) :] == beats
    assert [len(b.columns) for b in told if len(b.columns)] == [1, 1]


def test_a_slot_whose_turn_does_not_come_is_paused(control: Path) -> None:
    big = [line({"pad": "x" * 400_000, "n": n}) for n in range(40)]
    lists = {0: numbered(big), 1: numbered([opened(n, n) for n in range(40)])}
    source = ListReader(lists, [])
    reader = lanes_reader(source, control)
    for _ in range(30):
        reader.take(1)
    assert source.paused == {0}
    assert source.positions[0] < len(big)
    held = sum(size for _, size, _ in reader.take(0))
    assert READY_BYTES_MAX < held < READY_BYTES_MAX + 4 * 400_100
    assert source.paused == set()


def test_an_empty_partition_ends_at_once(control: Path) -> None:
    reader = lanes_reader(ListReader({0: [], 17: numbered([opened(1, 1)])}, []), control)
    blocks = taken(reader, 2)
    assert sorted(b.lane for b in blocks if b.is_last) == [0, 17]
    assert all(reader.is_done(slot) for slot in range(SLOTS))


def test_slots_share_a_consumer_and_the_last_one_closes_it(control: Path) -> None:
    source = ListReader({0: [], 1: []}, [])
    reader = lanes_reader(source, control)
    reader.resume(0, {})
    reader.resume(1, {})
    reader.release(0)
    assert not source.is_closed
    reader.release(1)
    assert source.is_closed


def test_committed_is_what_was_told(control: Path) -> None:
    source = ListReader({0: []}, [])
    lanes_reader(source, control).commit({0: 7})
    assert source.committed == {0: 7}


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_every_message_is_one_line(values: list[bytes]) -> None:
    joined = join_lines(values)
    assert joined.count(b"\n") == max(1, len(values))


def test_a_pretty_message_is_one_event_and_a_line_feed_in_a_text_stays_refused() -> None:
    assert join_lines([b'{"a":\n 1}\n', b"x"]) == b'{"a":\r 1}\nx\n'


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("kafka://broker/orders", "with a port for every broker"),
        ("kafka:///orders", "with a port for every broker"),
        ("kafka://b:1/", "'' is no name of a topic"),
        ("kafka://b:1/a b", "'a b' is no name of a topic"),
        ("kafka://b:1/a,a", "name 1 to 16 different topics"),
        (
            "kafka://b:1/a?strat=latest",
            "there is no option 'strat'; there is format, group, start, until",
        ),
        ("kafka://b:1/a?format=xml", "format=xml is not known; choose json or arrow"),
        ("kafka://b:1/a?start=now", "start=now is not known; choose earliest or latest"),
        ("kafka://b:1/a?until=noon", "until=noon is not known; choose stopped or end"),
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="kafka") as refused:
        parse(url)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("url", ["kafka://b/alerts", "http://b:1/alerts", "kafka://b:1/a?x=1"])
def test_an_output_needs_brokers_with_ports_and_one_topic(url: str) -> None:
    with pytest.raises(ValueError, match="expected kafka://HOST:PORT/TOPIC"):
        parse_sink(url)


def test_other_brokers_are_the_same_input_and_other_topics_are_not() -> None:
    one = parse("kafka://a:1,b:2/orders,app?group=x")
    assert one.identity == parse("kafka://c:9/orders,app").identity
    assert one.identity != parse("kafka://a:1/orders").identity
    assert one.identity != parse("kafka://c:9/orders,app?format=arrow").identity
    assert (one.brokers, one.topics, one.group) == ("a:1,b:2", ("orders", "app"), "x")


def test_lanes_have_numbers_and_names() -> None:
    names = KafkaLanes(("orders", "app"))
    assert names.number("app", 3) == PARTITIONS_MAX + 3 == lane_of(1, 3)
    assert names[lane_of(1, 3)] == "app/3"


def test_arrivals_are_kept_once_and_forgotten_when_they_can_be(tmp_path: Path) -> None:
    with closing(ArrivalLog(tmp_path / "arrivals.sqlite3")) as log:
        some: list[tuple[int, Any]] = [
            (s, Arrival(n, n % 2, n * 10)) for s in (0, 1) for n in range(5)
        ]
        log.append(some)
        log.append(some[:3])
        assert log.read(1, 2) == [Arrival(2, 0, 20), Arrival(3, 1, 30), Arrival(4, 0, 40)]
        log.forget([(0, 4)])
        assert log.read(0, 0) == [Arrival(4, 0, 40)]
        assert len(log.read(1, 0)) == 5


def test_the_url_of_the_tests_is_one() -> None:
    assert parse(URL).until == "end"
