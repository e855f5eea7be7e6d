"""The one place that reads the machine's clocks.

Nothing that decides an alert may call this: event time comes from events, and what a clock says
reaches state only after the control log has written it down. ruff bans the clocks elsewhere.
"""

import time


def now_ns() -> int:
    """Return the wall clock, in ns since the Unix epoch, UTC. It may step backwards."""
    return time.time_ns()  # noqa: TID251  this is the clock module


def monotonic_ns() -> int:
    """Return a clock that never steps backwards, in ns since an unstated start."""
    return time.monotonic_ns()  # noqa: TID251  this is the clock module
