"""Sliding windows that are exact: times in queues of nodes, which all subjects of a rule share."""

from typing import Any, Final

import numpy as np

from detectors.core.memory import DUE_NS, give_node, take_node
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

# The fields of a queue; a state row with one queue may have them as its own.
QUEUE: Final[list[Any]] = [
    ("first", "<i4"),  # index + 1 of the oldest time's node; 0 for none
    ("last", "<i4"),  # index + 1 of the newest time's node
    ("in_window", "<i4"),  # each has a node, whose index is no wider
]
_GIVE_BACK_NS: Final = 900 * SECOND_NS  # an idle subject's last few times may wait so long


@kernel
def push(queue: Any, memory: Any, time_ns: Int) -> None:
    """Append a time."""
    index = take_node(memory)
    node = memory.nodes[index]
    node["time_ns"] = time_ns
    node["next"] = 0
    if queue["first"] == 0:
        queue["first"] = index + 1
    else:
        memory.nodes[queue["last"] - 1]["next"] = index + 1
    queue["last"] = index + 1
    queue["in_window"] += 1
    memory.counters[DUE_NS] = min(memory.counters[DUE_NS], give_back_ns(time_ns))


@inlined
def oldest_ns(queue: Any, memory: Any) -> Any:
    """Return the time at the head of a queue that has one."""
    return np.int64(memory.nodes[queue["first"] - 1]["time_ns"])


@kernel
def pop(queue: Any, memory: Any) -> Any:
    """Give back the node at the head of a queue that has one; return its time."""
    index = np.int64(queue["first"] - 1)
    queue["first"] = memory.nodes[index]["next"]
    give_node(memory, index)
    queue["in_window"] -= 1
    return np.int64(memory.nodes[index]["time_ns"])


@kernel
def drop_until(queue: Any, memory: Any, horizon_ns: Int) -> None:
    """Give back times from the head on, as long as they are at or before the horizon."""
    while queue["first"] > 0 and oldest_ns(queue, memory) <= horizon_ns:
        pop(queue, memory)


@kernel
def empty(queue: Any, memory: Any) -> None:
    """Give all of a queue's times back."""
    while queue["first"] > 0:
        pop(queue, memory)


@inlined
def give_back_ns(time_ns: Int) -> Any:
    """Return when a subject whose newest time this is may give all back at the latest."""
    return time_ns + _GIVE_BACK_NS
