"""Tapes: small days written as text, with the alerts they must raise.

One line an act::

    # seconds  act      account  order   fields
    @rule order_rate measure=second actions_min=3
    0.0        new      A        1..3
    0.4        !alert   A        order_rate  actions=3
    end        !confirmed A      instant_cancels

``1..3`` stands for three orders at the same time. ``new``, ``cancel``, ``replace``, ``fill``,
``expire``, ``reject``, ``closed``, ``file``, ``owner`` become
events; ``again`` sends the last line's events
once more. A line with ``!`` names what must be found at its time (``end``: when the day is over):
``!alert`` an opening or provisional finding, or a phase by name; and fields of its evidence.
Whatever else is found is a fault.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detector_kit import Tape, at, columns_of, feed, rule_of, stage_of

from detectors.core.contract import RuleSpec
from schemas.alerts import Finding

FOLDER = Path(__file__).parent / "tapes"
_RAISES = {"opening", "provisional"}
_KINDS = {"expire": "order.expire", "reject": "order.reject"}


@dataclass
class Recording:
    """A tape read: its rules, its events, and what it expects."""

    rules: list[RuleSpec] = field(default_factory=list)
    tape: Tape = field(default_factory=Tape)
    expected: list[tuple[str, str, str, str, dict[str, str]]] = field(default_factory=list)


def read(path: Path) -> Recording:
    recording = Recording()
    last: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "@rule":
            recording.rules.append(rule_of(words[1], fields_of(words[2:])))
        elif words[1].startswith("!"):
            when, mark, account, detector = words[:4]
            found = {k: str(v) for k, v in fields_of(words[4:]).items()}
            recording.expected.append((when, mark[1:], account, detector, found))
        else:
            last = act(recording.tape, words, last)
    return recording


def act(tape: Tape, words: list[str], last: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the events of one line; return them."""
    seconds, name, account, *rest = words
    if name == "again":
        tape.events += [dict(event) for event in last]
        return last
    orders = [word for word in rest if "=" not in word]
    more = {"account_id": account} | fields_of([word for word in rest if "=" in word])
    start = len(tape.events)
    for order in orders_of(orders[0]) if orders else [""]:
        write(tape, name, float(seconds), order, more)
    return tape.events[start:]


def write(tape: Tape, name: str, seconds: float, order: str, more: dict[str, Any]) -> None:
    if name in {"new", "cancel", "replace", "fill"}:
        getattr(tape, name)(seconds, order, **more)
    elif name in _KINDS:
        tape.add(_KINDS[name], seconds, order_id=order, **more)
    elif name == "closed":
        base = {"instrument": "I", "opened_ns": at(0), "quantity": 1}
        tape.add("position.closed", seconds, **base | more)
    elif name == "file":
        kind, valid_s = more.pop("kind"), more.pop("valid_s", 86_400)
        entry = {"registration": kind, "valid_from_ns": at(0), "valid_until_ns": at(valid_s)}
        if "instrument" in more:
            entry["instrument"] = more.pop("instrument")
        tape.add("ref.account", seconds, registrations=[entry], **on_file(more))
    elif name == "owner":
        tape.add("ref.account", seconds, **on_file(more))
    else:
        raise ValueError(f"no act is called {name!r}")


def on_file(more: dict[str, Any]) -> dict[str, Any]:
    """Spell who is behind an account as an event does."""
    names = {"owner": "beneficial_owner", "group": "control_group"}
    return {names.get(name, name): value for name, value in more.items()}


def orders_of(text: str) -> list[str]:
    first, dots, last = text.partition("..")
    return [str(n) for n in range(int(first), int(last) + 1)] if dots else [text]


def fields_of(words: list[str]) -> dict[str, Any]:
    return {name: value_of(text) for name, _, text in (word.partition("=") for word in words)}


def value_of(text: str) -> Any:
    """Return a number where it looks like one; order ids are written with a letter in front."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def play(recording: Recording) -> list[Finding]:
    stage = stage_of(recording.rules)
    return feed(stage, columns_of(recording.tape.events)).findings


def difference(recording: Recording) -> list[str]:
    """Return what was found and not expected, and the other way round."""
    left = list(recording.expected)
    faults = []
    for finding in play(recording):
        match = next((one for one in left if is_match(one, finding)), None)
        if match is None:
            faults.append(f"found: {finding.phase} {finding.account_id} {finding.why}")
        else:
            left.remove(match)
    return faults + [f"not found: {one}" for one in left]


def is_match(expected: tuple[str, str, str, str, dict[str, str]], finding: Finding) -> bool:
    when, mark, account, detector, evidence = expected
    phases = _RAISES if mark == "alert" else {mark}
    is_then = finding.trigger[0] == "trading_day" if when == "end" else (
        finding.event_time_ns == at(float(when))
    )  # fmt: skip
    shown = {name: str(finding.evidence.get(name)) for name in evidence}
    is_it = finding.phase in phases and finding.account_id == account
    return is_then and is_it and finding.detector == detector and shown == evidence
