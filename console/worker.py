"""``tapewatch worker``: one of the other processes of a run, started by the first."""

import sys

from console.assembly import plan_of_worker
from console.commands import single
from flows.replay import run_worker


def worker() -> None:
    """Be one of several processes of a run; orders come through standard input."""
    run_worker(sys.stdin.fileno(), plan_of_worker)


app = single(worker)
