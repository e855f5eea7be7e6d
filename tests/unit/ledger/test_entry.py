from enum import Enum
from hashlib import sha256
from uuid import UUID

import pytest
from ledger_logs import draft

from ledger.entry import (
    KINDS,
    EntryError,
    Place,
    assemble,
    canonical,
    content_hash,
    content_of_entry,
    leaf_hash,
    prepare,
)


class Colour(Enum):
    RED = "red"


class Name(str):
    __slots__ = ()


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (1.0, "is a float"),
        (float("nan"), "is a float"),
        (2**53, "beyond 2^53"),
        (-(2**53), "beyond 2^53"),
        (2**70, "beyond 2^53"),
        ("\ud800", "lone surrogate"),
        ("e\u0301", "normal form C"),
        (b"bytes", "is a bytes"),
        (Colour.RED, "is a Colour"),
        (UUID(int=1), "is a UUID"),
        (Name("x"), "is a Name"),
        ({"é": 1}, "keys must be ASCII"),
        ({1: 1}, "keys must be ASCII"),
        ({Name("x"): 1}, "keys must be ASCII"),
        (nested(65), "deeper than 64"),
        (nested(5000), "deeper than 64"),
    ],
)
def test_canonical_refuses_what_is_outside_the_subset(value: object, sentence: str) -> None:
    with pytest.raises(EntryError, match=sentence.replace("^", r"\^")):
        canonical({"body": [value]} if not isinstance(value, dict) else value)


def test_canonical_takes_64_levels_and_the_largest_integers() -> None:
    assert canonical(nested(64)).count(b"[") == 32
    assert canonical([2**53 - 1, 1 - 2**53]) == b"[9007199254740991,-9007199254740991]"


def test_canonical_names_the_place() -> None:
    with pytest.raises(EntryError, match=r"\$\.evidence\.ratio\[1\] is a float"):
        canonical({"evidence": {"ratio": [1, 0.5]}})


def test_canonical_takes_normal_text_in_any_script() -> None:
    assert (
        canonical({"why": "撤单过多", "n": ("é", True)})
        == '{"n":["é",true],"why":"撤单过多"}'.encode()
    )


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("eid", b"short", "eid must be 16 bytes"),
        ("eid", "0123456789abcdef", "eid must be 16 bytes"),
        ("kind", "alarm", "no entry kind 'alarm'"),
        ("event_time_ns", -1, "event_time_ns must be"),
        ("event_time_ns", 2**63, "event_time_ns must be"),
        ("event_time_ns", True, "event_time_ns must be"),
        ("actor", "", "actor must be 1 to 256"),
        ("actor", "x" * 257, "actor must be 1 to 256"),
        ("actor", "\ud800", "lone surrogate"),
        ("body", [], "body must be a dict"),
        ("body", {"ratio": 0.5}, r"\$\.ratio is a float"),
        ("rule", "order_rate", "rule a dict or None"),
        ("src", (), "src must be a list"),
        ("src", [{"source": "orders"}], "give source, partition and offset"),
        ("src", ["orders"], "give source, partition and offset"),
        ("src", [{"source": "", "partition": 0, "offset": 0}], "source must be a name"),
        ("src", [{"source": "orders", "partition": -1, "offset": 0}], "count from 0"),
        ("src", [{"source": "orders", "partition": 0, "offset": 2**53}], "count from 0"),
    ],
)
def test_an_unfit_draft_is_refused_with_a_sentence(
    field: str, value: object, sentence: str
) -> None:
    with pytest.raises(EntryError, match=sentence):
        prepare(draft(1, **{field: value}))


@pytest.mark.parametrize("rule", [None, {"id": "é", "version": 2}])
def test_the_assembled_entry_is_the_canonical_form_of_the_whole(
    rule: dict[str, object] | None,
) -> None:
    given = draft(7, rule=rule, actor='a "quoted" actor')
    entry = assemble(prepare(given), Place(b'"log"', 5, "ab" * 32, 99))
    assert entry == canonical(
        {
            "v": 1,
            "log": "log",
            "i": 5,
            "prev": "ab" * 32,
            "eid": given.eid.hex(),
            "kind": given.kind,
            "event_time_ns": str(given.event_time_ns),
            "log_time_ns": "99",
            "actor": given.actor,
            "src": given.src,
            "rule": rule,
            "body": given.body,
        }
    )


def test_content_is_kind_time_actor_rule_and_body_and_nothing_else() -> None:
    given = draft(7)
    content = content_hash(given.kind, given.event_time_ns, given.actor, given.rule, given.body)
    document = {
        "actor": given.actor,
        "body": given.body,
        "event_time_ns": str(given.event_time_ns),
        "kind": given.kind,
        "rule": given.rule,
    }
    assert content == sha256(canonical(document)).digest() == prepare(given).content
    for place in (Place(b'"a"', 5, "ab" * 32, 99), Place(b'"b"', 6, "cd" * 32, 100)):
        assert content_of_entry(assemble(prepare(draft(7, src=[])), place)) == content


def test_an_entry_of_65535_bytes_is_taken_and_one_more_is_refused() -> None:
    place = Place(b'"log"', 5, "ab" * 32, 99)
    room = 65_535 - len(assemble(prepare(draft(1, body={"a": ""})), place))
    assert len(assemble(prepare(draft(1, body={"a": "x" * room})), place)) == 65_535
    with pytest.raises(EntryError, match="would be 65536 bytes"):
        assemble(prepare(draft(1, body={"a": "x" * (room + 1)})), place)


def test_a_leaf_is_hashed_with_a_zero_before_it() -> None:
    # RFC 6962: the hash of the empty leaf, known from every implementation
    assert (
        leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )


def test_the_verifier_knows_the_same_kinds() -> None:
    from ledger.verify.entries import KINDS as VERIFIED  # noqa: PLC0415 - two truths, compared

    assert VERIFIED == KINDS


def test_bodies_that_are_canonical_only_together_are_not_canonical() -> None:
    from ledger.verify.entries import are_canonical  # noqa: PLC0415 - the verifier's twin

    assert are_canonical(['{"a":[{},{}]}', "{}"])
    assert not are_canonical(['{"a":[{}', "{}]},{}"])
