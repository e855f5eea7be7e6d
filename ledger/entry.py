"""One entry as bytes: a canonical JSON object; the stored bytes are what is hashed."""

import unicodedata
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson
from msgspec import Struct

from ledger.errors import LedgerError

VERSION: Final = 1
ENTRY_SIZE_MAX: Final = 65_535  # what the two length bytes of an entry bundle can say
INTEGER_BOUND: Final = 2**53  # RFC 8785 numbers are IEEE doubles; beyond this they blur
TIME_NS_BOUND: Final = 2**63
DEPTH_MAX: Final = 64  # readers recurse; a bound all of them survive
ACTOR_SIZE_MAX: Final = 256
LEAF: Final = b"\x00"  # RFC 6962 2.1: a leaf must never be replayable as an inner node
NO_PREVIOUS: Final = "0" * 64

OPENED: Final = "log.opened"
CLOSED: Final = "log.closed"
DIVERGENCE: Final = "divergence"
WRITERS_OWN: Final = frozenset({OPENED, CLOSED, DIVERGENCE})
KINDS: Final = WRITERS_OWN | {
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
}
_EID_SIZE: Final = 16
_NAMES_KEPT: Final = 1024
_STRICT: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_SCALARS: Final = frozenset({str, int, bool, type(None)})
_SOURCE_KEYS: Final = frozenset({"source", "partition", "offset"})


class EntryError(LedgerError):
    """A draft that cannot become an entry; nothing was written."""


class EntryDraft(Struct, frozen=True, kw_only=True):
    """What a caller wants recorded; the writer adds index, previous hash and its own time.

    Parameters
    ----------
    eid
        16 bytes; deterministic, so that a replay gives it again.
    kind
        One of `KINDS` that is not the writer's own.
    event_time_ns
        Time of the event on its venue's clock, 0 <= ns < 2^63.
    src
        Where it came from: dicts of ``source`` (str), ``partition`` and ``offset`` (int >= 0).
        Not part of the content: the same event may arrive another way.
    rule
        Id, version and config hash of the rule applied, or None.
    body
        The record itself, in the canonical subset (see `canonical`).
    """

    eid: bytes
    kind: str
    event_time_ns: int
    actor: str
    src: list[dict[str, Any]]
    rule: dict[str, Any] | None
    body: dict[str, Any]


class Prepared(Struct, frozen=True):
    """A draft found fit, its parts already canonical, waiting for its place in the log."""

    draft: EntryDraft
    actor: bytes
    body: bytes
    rule: bytes
    src: bytes
    content: bytes


def canonical(obj: object) -> bytes:
    """Return the RFC 8785 bytes of `obj`.

    Parameters
    ----------
    obj
        Built of dicts with ASCII keys, lists, tuples, NFC strings without lone surrogates,
        booleans, None and integers with |n| < 2^53, at most 64 levels deep. No floats: money,
        quantities and nanoseconds are decimal strings.

    Raises
    ------
    EntryError
        With the path to the first value outside the subset, and what to write instead.

    Examples
    --------
    >>> canonical({"b": [1, None], "a": "x"})
    b'{"a":"x","b":[1,null]}'
    """
    try:
        data = orjson.dumps(obj, option=_STRICT)
    except (TypeError, RecursionError):
        data = b""
    is_shallow = data.count(b"{") + data.count(b"[") <= DEPTH_MAX
    if not (data and data.isascii() and is_shallow and _is_plain(obj)):
        _require_subset(obj, "$", DEPTH_MAX)
        assert data, "orjson takes whatever is in the subset"
    return data


def _is_plain(obj: object) -> bool:
    """Tell quickly whether only exact types of the subset occur.

    orjson refused large integers, lone surrogates and keys that are not strings already; it
    would have written a float, an enum or a UUID without a word.
    """
    held = [obj]
    for value in held:  # grows while it is walked
        of = type(value)
        if of is dict:
            held.extend(value.values())  # type: ignore[attr-defined]
        elif of is list or of is tuple:
            held.extend(value)  # type: ignore[arg-type]
        elif of not in _SCALARS:
            return False
    return True


def _require_subset(value: object, where: str, depth_left: int) -> None:
    """Exact types on purpose: a subclass may serialise as something it does not look like."""
    of = type(value)
    if of is str:
        _require_text(value, where)  # type: ignore[arg-type]
    elif of is int:
        if not -INTEGER_BOUND < value < INTEGER_BOUND:  # type: ignore[operator]
            raise EntryError(f"{where} is an integer beyond 2^53: write it as a decimal string.")
    elif of is dict:
        _require_object(value, where, depth_left)  # type: ignore[arg-type]
    elif of is list or of is tuple:
        _require_depth(where, depth_left)
        for index, item in enumerate(value):  # type: ignore[arg-type,var-annotated]
            _require_subset(item, f"{where}[{index}]", depth_left - 1)
    elif of is float:
        raise EntryError(f"{where} is a float: write an integer or a decimal string instead.")
    elif of is not bool and value is not None:
        raise EntryError(f"{where} is a {of.__name__}: use str, int, bool, None, list or dict.")


def _require_object(value: dict[object, object], where: str, depth_left: int) -> None:
    _require_depth(where, depth_left)
    for key, item in value.items():
        if type(key) is not str or not key.isascii():
            raise EntryError(f"{where} has the key {key!r}: keys must be ASCII strings.")
        _require_subset(item, f"{where}.{key}", depth_left - 1)


def _require_depth(where: str, depth_left: int) -> None:
    if not depth_left:
        raise EntryError(f"{where} is nested deeper than {DEPTH_MAX} levels: flatten it.")


def _require_text(text: str, where: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EntryError(f"{where} holds a lone surrogate: it is not text.") from error
    if not unicodedata.is_normalized("NFC", text):
        raise EntryError(f"{where} is not in Unicode normal form C: normalise it first.")


def content_hash(
    kind: str, event_time_ns: int, actor: str, rule: dict[str, Any] | None, body: dict[str, Any]
) -> bytes:
    """Hash what makes two records the same: 32 bytes over canonical kind, time, actor, rule, body.

    Index, previous hash, writer's time and sources are left out, so that a replay through
    another input is still the same content.
    """
    return _content_of_parts(
        kind, event_time_ns, (canonical(actor), canonical(body), canonical(rule))
    )


def _content_of_parts(kind: str, event_time_ns: int, parts: tuple[bytes, bytes, bytes]) -> bytes:
    return sha256(
        b'{"actor":%b,"body":%b,"event_time_ns":"%d","kind":"%b","rule":%b}'
        % (*parts[:2], event_time_ns, kind.encode(), parts[2])
    ).digest()


def content_of_entry(entry: bytes) -> bytes:
    """Return the content hash of an entry that is in the log already."""
    held = orjson.loads(entry)
    return content_hash(
        held["kind"], int(held["event_time_ns"]), held["actor"], held["rule"], held["body"]
    )


def leaf_hash(entry_bytes: bytes) -> bytes:
    """Hash the exact bytes on disk; re-encoding would make two truths."""
    return sha256(LEAF + entry_bytes).digest()


def prepare(draft: EntryDraft) -> Prepared:
    """Check a draft and serialise its parts once.

    Raises
    ------
    EntryError
        With the first thing wrong with it.
    """
    if type(draft.eid) is not bytes or len(draft.eid) != _EID_SIZE:
        raise EntryError(f"eid must be {_EID_SIZE} bytes, not {draft.eid!r}.")
    if draft.kind not in KINDS:
        raise EntryError(f"There is no entry kind {draft.kind!r}: use one of ledger.entry.KINDS.")
    time_ns = draft.event_time_ns
    if type(time_ns) is not int or not 0 <= time_ns < TIME_NS_BOUND:
        raise EntryError(f"event_time_ns must be whole nanoseconds since 1970, not {time_ns!r}.")
    if type(draft.actor) is not str or not 0 < len(draft.actor) <= ACTOR_SIZE_MAX:
        raise EntryError(f"actor must be 1 to {ACTOR_SIZE_MAX} characters, not {draft.actor!r}.")
    if type(draft.body) is not dict or type(draft.rule) not in {dict, type(None)}:
        raise EntryError("body must be a dict, and rule a dict or None.")
    actor, body = _canonical_name(draft.actor), canonical(draft.body)
    rule = b"null" if draft.rule is None else canonical(draft.rule)
    content = _content_of_parts(draft.kind, time_ns, (actor, body, rule))
    return Prepared(draft, actor, body, rule, _canonical_sources(draft.src), content)


@lru_cache(_NAMES_KEPT)
def _canonical_name(name: str) -> bytes:
    """Actors and sources are few and come again with every entry."""
    return canonical(name)


def _canonical_sources(src: list[dict[str, Any]]) -> bytes:
    if type(src) is not list:
        raise EntryError("src must be a list of {source, partition, offset}.")
    for place in src:
        if type(place) is not dict or place.keys() != _SOURCE_KEYS:
            raise EntryError(f"src holds {place!r}: give source, partition and offset, no more.")
        if type(place["source"]) is not str or not place["source"]:
            raise EntryError(f"src holds {place!r}: source must be a name.")
        for number in (place["partition"], place["offset"]):
            if type(number) is not int or not 0 <= number < INTEGER_BOUND:
                raise EntryError(f"src holds {place!r}: partition and offset count from 0.")
    return b"[%b]" % b",".join(
        b'{"offset":%d,"partition":%d,"source":%b}'
        % (place["offset"], place["partition"], _canonical_name(place["source"]))
        for place in src
    )


class Place(Struct, frozen=True):
    """Where an entry will stand: its log, index, the hash before it and the writer's time."""

    log: bytes
    index: int
    prev: str
    log_time_ns: int


def assemble(prepared: Prepared, place: Place) -> bytes:
    """Return the entry's bytes: equal to `canonical` of the whole, keys in their fixed order.

    Raises
    ------
    EntryError
        If it is longer than 65,535 bytes.
    """
    draft = prepared.draft
    entry = (
        b'{"actor":%b,"body":%b,"eid":"%b","event_time_ns":"%d","i":%d,"kind":"%b","log":%b,'
        b'"log_time_ns":"%d","prev":"%b","rule":%b,"src":%b,"v":%d}'
    ) % (
        prepared.actor,
        prepared.body,
        draft.eid.hex().encode(),
        draft.event_time_ns,
        place.index,
        draft.kind.encode(),
        place.log,
        place.log_time_ns,
        place.prev.encode(),
        prepared.rule,
        prepared.src,
        VERSION,
    )
    if len(entry) > ENTRY_SIZE_MAX:
        raise EntryError(
            f"The {draft.kind} entry {draft.eid.hex()} would be {len(entry)} bytes and an entry"
            f" holds {ENTRY_SIZE_MAX}: put less into its body."
        )
    return entry
