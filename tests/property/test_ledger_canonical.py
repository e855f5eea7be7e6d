"""Canonical bytes are those of RFC 8785, and writer and verifier agree on what they are."""

import json
import unicodedata
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.entry import EntryError, canonical
from ledger.verify.entries import are_canonical, is_nfc, parse_canonical

SAFE = 2**53 - 1
texts = st.text().map(lambda text: unicodedata.normalize("NFC", text))
keys = st.text(st.characters(max_codepoint=127), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(keys, values, max_size=5)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_canonical_is_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_the_verifier_reads_back_what_was_written(value: Any) -> None:
    assert parse_canonical(canonical(value)) == value


@given(anything)
def test_what_is_refused_is_refused_with_a_sentence_and_what_is_taken_is_rfc_8785(
    value: Any,
) -> None:
    sentence = ""
    data = b""
    try:
        data = canonical(value)
    except EntryError as error:
        sentence = str(error)
    assert sentence.endswith(".") if sentence else data == rfc8785.dumps(value)


@given(st.lists(objects, min_size=1, max_size=5))
def test_the_quick_check_takes_most_canonical_objects(held: list[dict[str, Any]]) -> None:
    bodies = [canonical(value).decode() for value in held]
    plain = "".join(bodies)
    if plain.isascii() or ("\\" not in plain and is_nfc(plain)):
        assert are_canonical(bodies)


@given(st.lists(objects, min_size=1, max_size=3), st.data())
def test_the_quick_check_takes_nothing_the_close_look_refuses(
    held: list[dict[str, Any]], data: st.DataObject
) -> None:
    bodies = [canonical(value).decode() for value in held]
    which = data.draw(st.integers(0, len(bodies) - 1))
    at = data.draw(st.integers(0, len(bodies[which])))
    put = data.draw(st.sampled_from([*' ,:{}[]"\\0-.ue1', "é", "\u0301", '"a":', ""]))
    cut = data.draw(st.integers(0, 2))
    bodies[which] = bodies[which][:at] + put + bodies[which][at + cut :]
    moved = data.draw(st.integers(0, 2))
    if len(bodies) > 1 and moved:  # shift a boundary between two
        bodies[:2] = [bodies[0] + bodies[1][:moved], bodies[1][moved:]]
    try:
        quick = is_nfc("\n".join(bodies)) and are_canonical(bodies)
    except (ValueError, StopIteration):
        quick = False
    if quick:
        for body in bodies:
            parse_canonical(body.encode())


@pytest.mark.parametrize("text", ['{"a": 1}', '{"b":1,"a":2}', "[1.0]", '{"a":1,"a":1}', "1e3"])
def test_the_verifier_refuses_other_spellings(text: str) -> None:
    json.loads(text)
    with pytest.raises(ValueError, match=r"canonical|number"):
        parse_canonical(text.encode())
