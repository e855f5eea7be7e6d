"""Money and JSON read by the referee and by the kernel are what other readers say."""

import json
from decimal import Context, Decimal

import damage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.columns import HashKey
from schemas.events import E8, MONEY_MAX
from schemas.money import MoneyError, format_e8, parse_e8
from schemas.scan import Scanner
from schemas.strict_json import Fault, Number, _Walker, parse_object

EXACT = Context(prec=2_000)
SCANNER = Scanner(HashKey())
spellings = st.from_regex(r"[+-]?[0-9]{1,22}(\.[0-9]{1,14})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,14})?([eE][+-]?[0-9])?", fullmatch=True)


def reference(text: str) -> int | None:
    scaled = EXACT.multiply(Decimal(text), Decimal(E8))
    exact = scaled == scaled.to_integral_value()
    return int(scaled) if exact and abs(scaled) <= MONEY_MAX * E8 else None


@settings(max_examples=500, deadline=None)
@given(spellings)
@example("92233720368")
@example("92233720368.00000001")
@example("-92233720368.000000000")
def test_parsing_equals_decimal_arithmetic(text: str) -> None:
    try:
        value = parse_e8(text.encode())
    except MoneyError:
        value = None
    assert value == reference(text)


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789+-.eE_ x", max_size=12))
def test_what_is_no_decimal_is_refused(text: str) -> None:
    try:
        parse_e8(text.encode())
    except MoneyError:
        return
    Decimal(text)
    assert "_" not in text
    assert text == text.strip()


@settings(max_examples=300, deadline=None)
@given(numbers, st.booleans())
@example("9223372036854775808", False)
@example("92233720368.00000000", True)
@example("0.00000001", False)
def test_the_scanner_equals_decimal_arithmetic(text: str, quoted: bool) -> None:
    event = damage.sample_order() | {"price": "@@"}
    spelled = json.dumps(text) if quoted else text
    scanned = SCANNER.scan(damage.spell(event).replace(b'"@@"', spelled.encode()))
    value = int(scanned.columns.rows["price_e8"][0]) if len(scanned.columns) else None
    assert value == reference(text)


@given(st.integers(-MONEY_MAX * E8, MONEY_MAX * E8))
def test_formatting_is_undone_by_parsing(value: int) -> None:
    assert parse_e8(format_e8(value).encode()) == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _plain(value: object) -> object:
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.booleans())
def test_strict_json_reads_what_json_writes(value: dict[str, object], escaped: bool) -> None:
    line = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace")
    assert _plain(parse_object(line)) == json.loads(line)
    assert _Walker(line.decode()).read_line() == parse_object(line)


@settings(max_examples=300, deadline=None)
@given(st.text('{}[]:,"\\ntrue0123.eE-uN aflsI', max_size=14))
def test_strict_json_takes_nothing_json_refuses(text: str) -> None:
    line = f'{{"a":{text}}}'.encode()
    try:
        parsed = parse_object(line)
    except Fault as fault:
        assert fault.reason  # noqa: PT017 a reason is all that is asked of it
        return
    assert _plain(parsed) == json.loads(line)
