"""Blocks of state: what one rule remembers, and under which version it can be taken up again.

A shard's state is the tables of accounts, orders, contracts and instruments, in one layout, and a
block for each rule. A rule whose block is of another version begins with an empty one: its own
alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import orjson
from msgspec import Struct, to_builtins

from detectors.core.contract import NOT_SHARED
from detectors.core.memory import SubjectState

if TYPE_CHECKING:
    from detectors.core.contract import Detector

# Of the tables and of how snapshots hold them. A change of either raises it; a test pins both.
LAYOUT: Final = 8
_SHOWN: Final = 16

Change = Literal["added", "changed", "removed"]


class Block(Struct, frozen=True, kw_only=True):
    """What a rule's memory was made by.

    Attributes
    ----------
    rule
        Id of the rule.
    detector, version
        Its detector, and the version of what that remembers.
    dtype
        Bytes of a subject's memory, and a fingerprint of its fields.
    parameters
        Fingerprint of the figures, and of where and for whom the rule applies.
    """

    rule: str
    detector: str
    version: int
    dtype: str
    parameters: str

    @property
    def key(self) -> str:
        """All of it as one text."""
        return "/".join((self.rule, self.detector, str(self.version), self.dtype, self.parameters))


class BlockChange(Struct, frozen=True, kw_only=True):
    """One rule whose memory begins anew, or is let go."""

    rule: str
    change: Change

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        if self.change == "removed":
            return f"Rule {self.rule} is no longer there: what it remembered was let go."
        why = "it is new" if self.change == "added" else "its figures or its version changed"
        return (
            f"Rule {self.rule} began with an empty memory in the middle of this run, since {why}: "
            "what it counts, it counts from there on. All other rules went on."
        )


@cache
def fingerprint(*dtypes: np.dtype[Any]) -> str:
    """Return a short hash of record layouts: names, types and places of all fields."""
    return sha256(repr([d.descr for d in dtypes]).encode()).hexdigest()[:_SHOWN]


def block_of(detector: "Detector") -> Block:
    """Return what makes the memory of this rule its own."""
    dtype, shared, rule = detector.state_dtype, detector.shared_dtype, detector.rule
    dtypes = (dtype,) if shared == NOT_SHARED else (dtype, shared)
    # All parameters, not those the pack names only: a default of the code's may change too.
    facts = [rule.parameters_hash, to_builtins(detector.params)]
    return Block(
        rule=rule.id,
        detector=detector.name,
        version=detector.state_version,
        dtype=f"{dtype.itemsize}:{fingerprint(*dtypes)}",
        parameters=sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_SHOWN],
    )


def dump_blocks(
    detectors: Sequence["Detector"], subjects: Sequence[SubjectState]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return what each rule remembers, by its id, with the key of its block."""
    return {
        detector.rule.id: (block_of(detector).key, subject.dump())
        for detector, subject in zip(detectors, subjects, strict=True)
    }


def take_up(detector: "Detector", blocks: Mapping[str, tuple[str, dict[str, Any]]]) -> SubjectState:
    """Return what a rule remembered, or nothing where it was remembered by other rules."""
    key, parts = blocks.get(detector.rule.id, ("", {}))
    if key != block_of(detector).key:
        return SubjectState.of(detector.state_dtype, detector.recent, detector.shared_dtype)
    return SubjectState.load(detector.state_dtype, detector.recent, parts, detector.shared_dtype)


def changes_between(before: Iterable[Block], now: Iterable[Block]) -> tuple[BlockChange, ...]:
    """Return what becomes of the memories, by rule id.

    Examples
    --------
    >>> old = Block(rule="r", detector="d", version=1, dtype="8:x", parameters="p")
    >>> new = Block(rule="r", detector="d", version=2, dtype="8:x", parameters="p")
    >>> [one.change for one in changes_between([old], [new])], changes_between([old], [old])
    (['changed'], ())
    """
    old, new = ({block.rule: block for block in blocks} for blocks in (before, now))
    found: list[BlockChange] = []
    for rule in sorted(old.keys() | new.keys()):
        change: Change = "changed"
        if rule not in old:
            change = "added"
        elif rule not in new:
            change = "removed"
        elif old[rule] == new[rule]:
            continue
        found.append(BlockChange(rule=rule, change=change))
    return tuple(found)
