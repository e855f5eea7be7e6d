"""What a rule remembers in one shard: a row for each subject it has looked at, no others.

``slots`` has one number for each row of the account (or contract) table: index + 1 of the
subject's row of state, or 0. Only Python grows arrays, before a batch, so no kernel runs out.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import FINDING, STEP, Findings, Steps
from detectors.core.tables import fetch
from schemas.jit import Int, inlined, kernel

# ``counters``: rows ever handed out; the time before which closing has nothing to do; index + 1 of
# the first free row; how many rows are free.
ROWS, DUE_NS, FREE_ROW, FREE_ROWS = range(4)
# ``node_counters``: nodes ever handed out; index + 1 of the first free one.
NODES, FREE_NODE = range(2)
CAPACITY_MIN: Final = 64
STEPS_AHEAD: Final = 4_096  # what is short grows for so many steps, so that it is seldom short
_AHEAD: Final = 8  # steps ahead of the one in hand, when its subject is asked for
NEVER_DUE: Final = 2**63 - 1

_NO_END: Final = 2**62
_NO_FINDINGS: Final = np.zeros(0, FINDING)
NODE: Final = np.dtype([("time_ns", "<i8"), ("next", "<i4"), ("padding", "u1", (4,))])


class Memory(NamedTuple):
    """A ``SubjectState`` as kernels take it."""

    slots: NDArray[np.int32]
    rows: NDArray[np.void]
    counters: NDArray[np.int64]
    nodes: NDArray[np.void]
    node_counters: NDArray[np.int64]


@inlined
def _subject_of(step: Any, selection: Any) -> Any:
    """Return the step's account or contract; -1 where the rule does not look at the step."""
    if step["rules"] & selection.rule_bit == 0 or step["what"] & selection.wanted == 0:
        return np.int64(-1)
    if step["registered"] & selection.exempt != 0:
        return np.int64(-1)
    return np.int64(step["account"] if selection.by_account == 1 else step["contract"])


@inlined
def fetch_ahead(steps: Any, i: Int, selection: Any, memory: Any) -> None:
    """Ask for the state row that a step a little after ``i`` will change."""
    if i + _AHEAD < len(steps):
        index = _subject_of(steps[i + _AHEAD], selection)
        if index >= 0 and memory.slots[index] > 0:
            fetch(memory.rows, memory.slots[index] - 1)


@inlined
def admit(step: Any, selection: Any, memory: Any) -> Any:
    """Return the state row of the step's subject; -1 where the rule does not look at the step."""
    index = _subject_of(step, selection)
    if index < 0:
        return np.int64(-1)
    held = np.int64(memory.slots[index])
    if held > 0:
        return held - 1
    if memory.counters[FREE_ROW] > 0:
        row = memory.counters[FREE_ROW] - 1
        memory.counters[FREE_ROW] = -1 - np.int64(memory.rows[row]["subject"])
        memory.counters[FREE_ROWS] -= 1
    else:
        row = memory.counters[ROWS]
        memory.counters[ROWS] = row + 1
    memory.slots[index] = row + 1
    memory.rows[row]["subject"] = index
    return row


@kernel
def take_node(memory: Any) -> Any:
    """Return the index of a node nobody uses."""
    if memory.node_counters[FREE_NODE] > 0:
        index = memory.node_counters[FREE_NODE] - 1
        memory.node_counters[FREE_NODE] = memory.nodes[index]["next"]
        return index
    index = memory.node_counters[NODES]
    memory.node_counters[NODES] = index + 1
    return index


@kernel
def give_node(memory: Any, index: Int) -> None:
    """Take a node back."""
    memory.nodes[index]["next"] = memory.node_counters[FREE_NODE]
    memory.node_counters[FREE_NODE] = index + 1


def _grown(array: NDArray[Any], used: int, need: int) -> NDArray[Any]:
    """Return the array with room for ``need``, at least doubled, its first ``used`` kept."""
    if need <= len(array):
        return array
    grown = np.zeros(1 << (need - 1).bit_length(), array.dtype)
    grown[:used] = array[:used]
    return grown


@dataclass(slots=True)
class SubjectState:
    """A rule's memory in one shard; see the module's words."""

    slots: NDArray[np.int32]
    rows: NDArray[np.void]
    counters: NDArray[np.int64]
    nodes: NDArray[np.void]
    node_counters: NDArray[np.int64]

    @classmethod
    def of(cls, dtype: np.dtype[np.void]) -> "SubjectState":
        """Make a state without subjects."""
        return cls(
            np.zeros(CAPACITY_MIN, np.int32),
            np.zeros(CAPACITY_MIN, dtype),
            np.array([0, NEVER_DUE, 0, 0], np.int64),
            np.zeros(0, NODE),
            np.zeros(2, np.int64),
        )

    def __len__(self) -> int:
        """Count the subjects."""
        return self.used - int(self.counters[FREE_ROWS])

    @property
    def used(self) -> int:
        """Rows ever handed out; every subject's is below it."""
        return int(self.counters[ROWS])

    def let_go(self, rows: NDArray[np.int64]) -> None:
        """Forget the subjects of some rows, which others may have then: all zeros, but for a link.

        A free row's ``subject`` is -1 less the index + 1 of the next free one, or -1.
        """
        if len(rows) == 0:
            return
        self.slots[self.rows["subject"][rows]] = 0
        self.rows[rows] = np.zeros((), self.rows.dtype)
        links = np.concatenate([[self.counters[FREE_ROW]], rows[:-1] + 1])
        self.rows["subject"][rows] = -1 - links
        self.counters[FREE_ROW] = rows[-1] + 1
        self.counters[FREE_ROWS] += len(rows)

    @property
    def due_ns(self) -> int:
        """The time before which closing has nothing to do."""
        return int(self.counters[DUE_NS])

    @property
    def nodes_held(self) -> int:
        """Nodes in use: those handed out and not given back."""
        free, index = 0, int(self.node_counters[FREE_NODE])
        while index:
            free, index = free + 1, int(self.nodes["next"][index - 1])
        return int(self.node_counters[NODES]) - free

    def reserve(self, subjects: int, steps: int, *, uses_pool: bool) -> None:
        """Have a slot for every subject, and rows and nodes for ``steps`` steps.

        ``subjects`` are all there can be; more rows than that are never needed.
        """
        self.slots = _grown(self.slots, len(self.slots), subjects)
        if steps <= self.spare(uses_pool=uses_pool):
            return
        steps = max(steps, STEPS_AHEAD)
        self.rows = _grown(self.rows, self.used, min(self.used + steps, subjects))
        if uses_pool:
            used = int(self.node_counters[NODES])
            self.nodes = _grown(self.nodes, used, used + steps)

    def spare(self, *, uses_pool: bool) -> int:
        """Return how many more steps there are rows and nodes for."""
        all_fit = len(self.rows) >= len(self.slots)
        rows = _NO_END if all_fit else len(self.rows) - len(self)  # free ones are had again
        return min(rows, len(self.nodes) - int(self.node_counters[NODES])) if uses_pool else rows

    def memory(self) -> Memory:
        """Bundle the arrays for a kernel."""
        return Memory(self.slots, self.rows, self.counters, self.nodes, self.node_counters)

    def dump(self) -> dict[str, Any]:
        """Return what has been used, for a snapshot to copy."""
        return {
            "slots": self.slots.view(np.uint8),
            "rows": self.rows[: self.used].view(np.uint8),
            "counters": self.counters.tolist(),
            "nodes": self.nodes[: int(self.node_counters[NODES])].view(np.uint8),
            "node_counters": self.node_counters.tolist(),
        }

    @classmethod
    def load(cls, dtype: np.dtype[np.void], dumped: dict[str, Any]) -> "SubjectState":
        """Rebuild from a dump."""
        return cls(
            np.frombuffer(dumped["slots"], np.int32).copy(),
            np.frombuffer(dumped["rows"], dtype).copy(),
            np.array(dumped["counters"], np.int64),
            np.frombuffer(dumped["nodes"], NODE).copy(),
            np.array(dumped["node_counters"], np.int64),
        )


@dataclass(slots=True)
class FindingBuffer:
    """Caller-owned room for findings; ``count`` of them are written."""

    records: Findings
    count: NDArray[np.int64]

    @classmethod
    def of(cls, capacity: int) -> "FindingBuffer":
        """Make room for ``capacity`` findings."""
        return cls(np.zeros(capacity, FINDING), np.zeros(1, np.int64))

    def take(self) -> Findings:
        """Return a copy of what was written and start again."""
        count = int(self.count[0])
        if count == 0:
            return _NO_FINDINGS
        self.count[0] = 0
        return self.records[:count].copy()


class Scratch:
    """Room that one batch at a time needs; stages that take turns may share it.

    Attributes
    ----------
    steps
        Shape (n,), dtype ``STEP``.
    office
        Shape (n,), int64: rows that policy must hear of.
    progress
        Shape (2,), int64: rows taken, and how many of them stand in ``office``.
    chosen
        Shape (n,), int64: rows that are sent on.
    buffer
        Room for two findings a step.
    """

    def __init__(self) -> None:
        self.steps: Steps = np.zeros(0, STEP)
        self.office = np.zeros(0, np.int64)
        self.progress = np.zeros(2, np.int64)
        self.chosen = np.zeros(0, np.int64)
        self.buffer = FindingBuffer.of(2)

    def reserve(self, count: int) -> None:
        """Have room for ``count`` steps."""
        if len(self.steps) < count:
            self.steps = np.zeros(count, STEP)
            self.office = np.zeros(count, np.int64)
            self.chosen = np.zeros(count, np.int64)
            self.buffer = FindingBuffer.of(2 * count)
