"""Rules that change between two starts of a run: written down before they are used.

Their memories begin anew or are let go, those of all other rules go on. The control log has it
first, then the manifest, and the ledger before anything that rests on it.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from msgspec import convert, to_builtins

from detectors.core.blocks import BlockChange
from flows.control import ControlLog
from flows.datafolder import Run
from schemas.ids import digest_parts

_PREFIX: Final = "rules/"


class RuleChange(NamedTuple):
    """Some rules that changed at once.

    Attributes
    ----------
    body
        For the ledger.
    sentences
        For people.
    """

    body: dict[str, Any]
    sentences: list[str]


class ChangeLog:
    """The changes of a run's rules, as the control log holds them."""

    def __init__(self, control: ControlLog) -> None:
        self._control = control

    def write(self, run: Run, config_hash: str) -> None:
        """Write down what changes with this start, if anything does; durable on return."""
        if not run.changes:
            return
        number = run.manifest.state.changes + 1
        body = {
            "changes": to_builtins(run.changes),
            "config_hash": config_hash,
            "number": number,
        }
        # Not the number alone: a start that died here may be followed by one with other rules.
        digest = digest_parts([*(one.sentence for one in run.changes), config_hash])
        self._control.append("config", 0, body, f"{_PREFIX}{number}/{digest.hex()}")

    def read(self) -> Iterator[RuleChange]:
        """Return all changes, oldest first."""
        for record in self._control.read():
            if record.kind == "config" and record.key.startswith(_PREFIX):
                changes = convert(record.body["changes"], list[BlockChange])
                yield RuleChange(record.body, [change.sentence for change in changes])
