"""One entry by itself: canonical JSON of the subset, with the fields an entry has."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn, cast

KINDS: Final = frozenset(
    {
        "alert",
        "alert.updated",
        "alert.closed",
        "alert.amended",
        "notice",
        "notice.updated",
        "notice.withheld",
        "disposition",
        "config.changed",
        "detector.deployed",
        "entitlement.changed",
        "silence",
        "export",
        "access",
        "redrive",
        "coverage",
        "key.rotated",
        "hold.set",
        "hold.released",
        "erasure",
        "divergence",
        "log.opened",
        "log.closed",
    }
)
TEXTS: Final = ("actor", "eid", "event_time_ns", "kind", "log", "log_time_ns", "prev")
KEYS: Final = frozenset({*TEXTS, "body", "i", "rule", "src", "v"})
SOURCE_KEYS: Final = frozenset({"offset", "partition", "source"})
INTEGER_BOUND: Final = 2**53
TIME_NS_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 64
ENTRY_SIZE_MAX: Final = 65_535
ACTOR_SIZE_MAX: Final = 256

_TIME: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_EID: Final = re.compile(r"[0-9a-f]{32}")
_ODD_KEY: Final = re.compile(r'[^\x00-\x7f][^"]*":')


def _integer(digits: str) -> int:
    number = int(digits)
    if -INTEGER_BOUND < number < INTEGER_BOUND:
        return number
    raise ValueError("an integer beyond 2^53")


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:20]}, which is not an integer")


_DECODER: Final = json.JSONDecoder(
    parse_float=_refuse_number, parse_int=_integer, parse_constant=_refuse_number
)
_SCAN: Final = cast("Any", _DECODER).scan_once  # raw_decode without its wrapper
# of an already canonical subset this gives RFC 8785: keys are ASCII, numbers small integers
_ENCODE: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


def parse_canonical(data: bytes) -> Any:
    """Return the value of canonical bytes.

    Raises
    ------
    ValueError
        If they are not; the message says why.
    """
    text = data.decode()
    value = _DECODER.decode(text)
    if _ENCODE(value) != text:
        raise ValueError("it is not written in canonical form")
    _require_subset(value, DEPTH_MAX)
    return value


def _require_subset(value: Any, depth_left: int) -> None:
    if type(value) is str:
        if not is_nfc(value):
            raise ValueError("a text is not in Unicode normal form C")
    elif type(value) in {dict, list}:
        if not depth_left:
            raise ValueError(f"it is nested deeper than {DEPTH_MAX} levels")
        if type(value) is dict and not all(key.isascii() for key in value):
            raise ValueError("a key is not ASCII")
        for item in value.values() if type(value) is dict else value:
            _require_subset(item, depth_left - 1)


def are_canonical(bodies: Sequence[str]) -> bool:
    """Tell quickly that objects in normal form C are canonical; False: look at each closely.

    Each is parsed by itself and must end where it ends; then all are written at once. Complete
    values that together equal the canonical text are each canonical, since in JSON an object
    cannot be the beginning of another.
    """
    text = ",".join(bodies)
    if not text.isascii() and ("\\" in text or _ODD_KEY.search(text)):
        return False
    values = []
    position = 0
    for body in bodies:
        value, end = _SCAN(text, position)
        if end - position != len(body) or body.count("{") + body.count("[") >= DEPTH_MAX:
            return False
        values.append(value)
        position = end + 1
    return _ENCODE(values) == f"[{text}]"


def is_nfc(text: str) -> bool:
    """Tell whether a text is in Unicode normal form C."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def fault_of_form(held: Any) -> str:
    """Return what is wrong with an entry by itself, or nothing."""
    return next(_faults_of_form(held), "")


def _faults_of_form(held: Any) -> Iterator[str]:
    """Yield what is wrong; only the first is to be asked for, the rest relies on its absence."""
    if type(held) is not dict or held.keys() != KEYS:
        yield "has not exactly the fields of an entry."
    if type(held["v"]) is not int or held["v"] != 1:
        yield "has a format version this verifier does not know."
    if any(type(held[key]) is not str for key in TEXTS):
        yield "has a field that should be text and is not."
    if not 0 < len(held["actor"]) <= ACTOR_SIZE_MAX:
        yield "has no actor, or one with too long a name."
    if not _EID.fullmatch(held["eid"]) or not _HASH.fullmatch(held["prev"]):
        yield "has an eid or a previous hash that is not lower-case hex of its length."
    times = held["event_time_ns"], held["log_time_ns"]
    if any(not _TIME.fullmatch(time) or int(time) > TIME_NS_MAX for time in times):
        yield "has a time that is not nanoseconds since 1970."
    if type(held["i"]) is not int or held["kind"] not in KINDS:
        yield "has no index, or a kind that does not exist."
    if type(held["body"]) is not dict or type(held["rule"]) not in {dict, type(None)}:
        yield "has a body or a rule that is not an object."
    if type(held["src"]) is not list or not all(map(_is_source, held["src"])):
        yield "has a source that is not name, partition and offset."


def _is_source(source: Any) -> bool:
    return (
        type(source) is dict
        and source.keys() == SOURCE_KEYS
        and type(source["source"]) is str
        and source["source"] != ""
        and all(type(source[key]) is int and source[key] >= 0 for key in ("offset", "partition"))
    )
