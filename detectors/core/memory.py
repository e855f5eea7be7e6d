"""What a rule remembers in one shard: a row for each subject it has looked at, no others.

A subject is a row of the account (or contract) table, and its own row is found by that number:
``heads`` has index + 1 of the latest row whose number ends in the same bits, or 0, and rows are
chained by ``next``. Only Python grows arrays, before a batch, so no kernel runs out.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import FINDING, NOT_SHARED, STEP, Findings, Steps
from detectors.core.tables import fetch, grown
from schemas.jit import Int, inlined, kernel
from schemas.whole_rows import copied

# ``counters``: rows ever handed out; the time before which closing has nothing to do; index + 1 of
# the first free row; how many rows are free; rings ever handed out; index + 1 of the first free
# ring.
ROWS, DUE_NS, FREE_ROW, FREE_ROWS, RINGS, FREE_RING = range(6)
# ``node_counters``: nodes ever handed out; index + 1 of the first free one.
NODES, FREE_NODE = range(2)
CAPACITY_MIN: Final = 64
STEPS_AHEAD: Final = 4_096  # what is short grows for so many steps, so that it is seldom short
_CHAIN_MOST: Final = 4  # rows a chain on average, should all rows there is room for be used
_AHEAD: Final = 8  # steps ahead of the one in hand, when its subject is asked for
NEVER_DUE: Final = 2**63 - 1

_NO_END: Final = 2**62
_NO_FINDINGS: Final = np.zeros(0, FINDING)
NODE: Final = np.dtype([("time_ns", "<i8"), ("next", "<i4"), ("padding", "u1", (4,))])


class Memory(NamedTuple):
    """A ``SubjectState`` as kernels take it."""

    heads: NDArray[np.int32]
    rows: NDArray[np.void]
    counters: NDArray[np.int64]
    nodes: NDArray[np.void]
    node_counters: NDArray[np.int64]
    rings: NDArray[np.int64]
    shared: NDArray[np.void]


@inlined
def looks_at(step: Any, selection: Any) -> Any:
    """Say whether the rule looks at the step."""
    if step["rules"] & selection.rule_bit == 0 or step["what"] & selection.wanted == 0:
        return False
    return step["registered"] & selection.exempt == 0


@inlined
def _subject_of(step: Any, selection: Any) -> Any:
    """Return the step's account or contract; -1 where the rule does not look at the step."""
    if not looks_at(step, selection):
        return np.int64(-1)
    return np.int64(step["account"] if selection.by_account == 1 else step["contract"])


@inlined
def fetch_ahead(steps: Any, i: Int, selection: Any, memory: Any) -> None:
    """Ask for the state row that a step a little after ``i`` will change."""
    if i + _AHEAD < len(steps):
        index = _subject_of(steps[i + _AHEAD], selection)
        if index >= 0:
            row = np.int64(memory.heads[index & (len(memory.heads) - 1)]) - 1
            if row >= 0:  # which mostly is the subject's
                fetch(memory.rows, row)


@inlined
def admit(step: Any, selection: Any, memory: Any) -> Any:
    """Return the state row of the step's subject; -1 where the rule does not look at the step."""
    index = _subject_of(step, selection)
    return row_of(index, memory) if index >= 0 else np.int64(-1)


@inlined
def row_of(index: Int, memory: Any) -> Any:
    """Return the state row of a subject, a new one where it has none."""
    row = np.int64(memory.heads[index & (len(memory.heads) - 1)]) - 1
    while row >= 0:
        if memory.rows[row]["subject"] == index:
            return row
        row = np.int64(memory.rows[row]["next"]) - 1
    return _add(memory, index)


@kernel
def _add(memory: Any, index: Int) -> Any:
    """Give a subject a row, all zeros but for what finds it."""
    if memory.counters[FREE_ROW] > 0:
        row = memory.counters[FREE_ROW] - 1
        memory.counters[FREE_ROW] = -1 - np.int64(memory.rows[row]["subject"])
        memory.counters[FREE_ROWS] -= 1
    else:
        row = memory.counters[ROWS]
        memory.counters[ROWS] = row + 1
    memory.rows[row]["subject"] = index
    _chain(memory.heads, memory.rows, np.int64(row))
    return row


@kernel
def _chain(heads: Any, rows: Any, row: Int) -> None:
    slot = np.int64(rows[row]["subject"]) & (len(heads) - 1)
    rows[row]["next"] = heads[slot]
    heads[slot] = row + 1


@kernel
def _chain_all(heads: Any, rows: Any, used: Int) -> None:
    """Chain every row in use into fresh heads."""
    for row in range(used):
        if rows[row]["subject"] >= 0:
            _chain(heads, rows, np.int64(row))


@kernel
def _unchain(heads: Any, rows: Any, row: Int) -> None:
    slot = np.int64(rows[row]["subject"]) & (len(heads) - 1)
    if heads[slot] == row + 1:
        heads[slot] = rows[row]["next"]
        return
    before = np.int64(heads[slot]) - 1
    while rows[before]["next"] != row + 1:
        before = np.int64(rows[before]["next"]) - 1
    rows[before]["next"] = rows[row]["next"]


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


@kernel
def take_ring(memory: Any) -> Any:
    """Return the index of a ring nobody uses."""
    if memory.counters[FREE_RING] > 0:
        index = memory.counters[FREE_RING] - 1
        memory.counters[FREE_RING] = memory.rings[index, 0]
        return index
    index = memory.counters[RINGS]
    memory.counters[RINGS] = index + 1
    return index


@kernel
def give_ring(subject: Any, memory: Any) -> None:
    """Take a subject's ring back, if it has one."""
    if subject["ring"] > 0:
        memory.rings[subject["ring"] - 1, 0] = memory.counters[FREE_RING]
        memory.counters[FREE_RING] = np.int64(subject["ring"])
        subject["ring"] = 0


@kernel
def _forget(memory: Any, rows: Any) -> None:
    """Take rings back, and rows out of their chains."""
    for row in rows:
        give_ring(memory.rows[row], memory)
        _unchain(memory.heads, memory.rows, np.int64(row))


def _heads_of(rows: NDArray[np.void], used: int) -> NDArray[np.int32]:
    """Return heads for the first ``used`` rows, which are chained; for others there is time."""
    need = max(used, len(rows) // _CHAIN_MOST, CAPACITY_MIN)
    heads = np.zeros(1 << (need - 1).bit_length(), np.int32)
    _chain_all(heads, rows, used)
    return heads


@dataclass(slots=True)
class SubjectState:
    """A rule's memory in one shard; see the module's words.

    ``rings`` have shape (n, k): each holds the positions of k rows, for the few subjects of which a
    finding may soon be due. ``most`` is how many subjects there can be before the next ``reserve``.
    ``shared`` has a row an instrument, or a group of peers, for rules whose subjects there have
    something in common.
    """

    heads: NDArray[np.int32]
    rows: NDArray[np.void]
    counters: NDArray[np.int64]
    nodes: NDArray[np.void]
    node_counters: NDArray[np.int64]
    rings: NDArray[np.int64]
    shared: NDArray[np.void]
    most: int = 0

    @classmethod
    def of(
        cls, dtype: np.dtype[np.void], recent: int, shared: np.dtype[np.void] = NOT_SHARED
    ) -> "SubjectState":
        """Make a state without subjects, whose findings name ``recent`` rows."""
        return cls(
            np.zeros(CAPACITY_MIN, np.int32),
            np.zeros(CAPACITY_MIN, dtype),
            np.array([0, NEVER_DUE, 0, 0, 0, 0], np.int64),
            np.zeros(0, NODE),
            np.zeros(2, np.int64),
            np.zeros((0, recent), np.int64),
            np.zeros(0, shared),
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
        _forget(self.memory(), rows)
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
        """Have rows, rings and nodes for ``steps`` steps.

        ``subjects`` are all there can be; more rows than that are never needed.
        """
        self.most = subjects
        if steps <= self.spare(uses_pool=uses_pool):
            return
        steps = max(steps, STEPS_AHEAD)
        self.rows = grown(self.rows, self.used, min(self.used + steps, subjects))
        if max(self.used, len(self.rows) // _CHAIN_MOST) > len(self.heads):
            self.heads = _heads_of(self.rows, self.used)
        rings = int(self.counters[RINGS])
        self.rings = grown(self.rings, rings, min(rings + steps, len(self.rows)))
        if uses_pool:
            used = int(self.node_counters[NODES])
            self.nodes = grown(self.nodes, used, used + steps)

    def spare(self, *, uses_pool: bool) -> int:
        """Return how many more steps there are rows and nodes for."""
        all_fit = len(self.rows) >= self.most
        rows = _NO_END if all_fit else len(self.rows) - len(self)  # free ones are had again
        if len(self.rings) < len(self.rows):  # else there is one for each row
            rows = min(rows, len(self.rings) - int(self.counters[RINGS]))
        return min(rows, len(self.nodes) - int(self.node_counters[NODES])) if uses_pool else rows

    def memory(self) -> Memory:
        """Bundle the arrays for a kernel."""
        return Memory(
            self.heads,
            self.rows,
            self.counters,
            self.nodes,
            self.node_counters,
            self.rings,
            self.shared,
        )

    def share(self, instruments: int) -> None:
        """Have a shared row for so many instruments."""
        if self.shared.dtype != NOT_SHARED:
            self.shared = grown(self.shared, len(self.shared), instruments)

    def forget_instruments(self, gone: NDArray[np.int64]) -> None:
        """Forget what subjects in some instruments had in common; others may have their rows."""
        self.shared[gone[gone < len(self.shared)]] = np.zeros((), self.shared.dtype)

    def dump(self) -> dict[str, Any]:
        """Return what has been used, for a snapshot to copy."""
        return {
            "rows": self.rows[: self.used].view(np.uint8),
            "counters": self.counters.tolist(),
            "nodes": self.nodes[: int(self.node_counters[NODES])].view(np.uint8),
            "node_counters": self.node_counters.tolist(),
            "rings": self.rings[: int(self.counters[RINGS])].reshape(-1).view(np.uint8),
            "shared": self.shared.view(np.uint8),
        }

    @classmethod
    def load(
        cls,
        dtype: np.dtype[np.void],
        recent: int,
        dumped: dict[str, Any],
        shared: np.dtype[np.void] = NOT_SHARED,
    ) -> "SubjectState":
        """Rebuild from a dump."""
        rows = copied(np.frombuffer(dumped["rows"], dtype))
        return cls(
            _heads_of(rows, len(rows)),
            rows,
            np.array(dumped["counters"], np.int64),
            copied(np.frombuffer(dumped["nodes"], NODE)),
            np.array(dumped["node_counters"], np.int64),
            np.frombuffer(dumped["rings"], np.int64).reshape(-1, recent).copy(),
            copied(np.frombuffer(dumped["shared"], shared)),
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
        Shape (3,), int64: rows taken, how many of them stand in ``office``, and the account that
        must be forgotten before the next.
    chosen
        Shape (n,), int64: rows that are sent on.
    buffer
        Room for two findings a step.
    """

    def __init__(self) -> None:
        self.steps: Steps = np.zeros(0, STEP)
        self.office = np.zeros(0, np.int64)
        self.progress = np.zeros(3, np.int64)
        self.chosen = np.zeros(0, np.int64)
        self.buffer = FindingBuffer.of(2)

    def reserve(self, count: int) -> None:
        """Have room for ``count`` steps."""
        if len(self.steps) < count:
            self.steps = np.zeros(count, STEP)
            self.office = np.zeros(count, np.int64)
            self.chosen = np.zeros(count, np.int64)
            self.buffer = FindingBuffer.of(2 * count)
