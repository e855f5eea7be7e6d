"""A damaged file gives the listed reason at the listed line, and every good line its row."""

import json

import damage
import jsonschema
import naive_scan
import pytest

from schemas import json_schema, reasons, referee, wire
from schemas.columns import ROW, HashKey, Scanned
from schemas.scan import Scanner

KEY = HashKey(3, 4)
SEED = 20_260_302
IN_SCHEMA = [d for d in damage.DAMAGES if d.in_schema]


@pytest.fixture(scope="module")
def scanned() -> Scanned:
    data, _ = damage.make_damaged_file(SEED)
    return Scanner(KEY).scan(data)


def test_there_are_enough_kinds_of_damage() -> None:
    assert len({d.name for d in damage.DAMAGES}) == len(damage.DAMAGES) >= 45


def test_every_reason_a_line_can_have_is_among_the_damage() -> None:
    of_adapters = {"bad_record", "torn_record"}
    of_messages = {"bad_arrow", "bad_column", "batch_too_large"}
    assert {d.reason for d in damage.DAMAGES} == set(reasons.REASONS) - of_adapters - of_messages


@pytest.mark.parametrize("kind", damage.DAMAGES, ids=lambda d: d.name)
def test_damage_is_refused_for_its_reason_at_its_place(kind: damage.Damage) -> None:
    verdict = referee.judge(kind.make(damage.sample_order()))
    assert isinstance(verdict, referee.Verdict)
    assert (verdict.reason, verdict.path) == (kind.reason, kind.path)
    assert verdict.expected
    assert verdict.got


def test_the_sample_itself_is_good() -> None:
    assert not isinstance(referee.judge(damage.spell(damage.sample_order())), referee.Verdict)


def test_the_listed_reasons_stand_at_the_listed_lines(scanned: Scanned) -> None:
    _, expected = damage.make_damaged_file(SEED)
    found = [(r.line_number, r.reason) for r in scanned.rejected]
    assert found == [(number, reason) for number, _, reason in expected]
    assert scanned.line_count == damage.LINES


def test_every_good_line_has_its_row(scanned: Scanned) -> None:
    _, expected = damage.make_damaged_file(SEED)
    bad = {number for number, _, _ in expected}
    numbers = scanned.columns.rows["line_number"].tolist()
    assert numbers == [n for n in range(damage.LINES) if n not in bad]
    good = damage.good_events(SEED)
    for index in range(len(numbers)):
        event = next(good)
        assert scanned.columns.line(index) == damage.spell(event)
        if index % 10 == 0:  # the twin is slow
            _assert_row(scanned, index)


def _assert_row(scanned: Scanned, index: int) -> None:
    line = scanned.columns.line(index)
    known = {f.name for f in wire.FIELDS[json.loads(line)["kind"]]}
    twin = naive_scan.row(line, known, KEY, None)
    row = scanned.columns.rows[index]
    place = {"line_start", "line_length", "line_number", "high_before_ns"}
    assert {n: int(row[n]) for n in twin if n not in place} == {
        n: v for n, v in twin.items() if n not in place
    }


def test_high_before_is_the_twins(scanned: Scanned) -> None:
    rows = scanned.columns.rows
    twin = naive_scan.high_before(rows["event_time_ns"][:600].tolist())
    assert rows["high_before_ns"][:600].tolist() == twin


def test_refused_lines_keep_their_bytes_and_place(scanned: Scanned) -> None:
    data, _ = damage.make_damaged_file(SEED)
    for rejected in scanned.rejected:
        kept = data[rejected.byte_offset : rejected.byte_offset + len(rejected.raw)]
        assert kept == rejected.raw
        assert len(rejected.raw) <= 4_096
        assert rejected.sentence


def test_the_row_layout_is_padded() -> None:
    assert ROW.itemsize % 8 == 0


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema.event_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("kind", IN_SCHEMA, ids=lambda d: d.name)
def test_the_schema_refuses_damage_it_can_express(
    kind: damage.Damage, validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(json.loads(kind.make(damage.sample_order())))


def test_the_schema_takes_good_lines(validator: jsonschema.Draft202012Validator) -> None:
    good = damage.good_events(SEED)
    for _ in range(200):
        event = next(good)
        assert validator.is_valid(event), event
