"""Benchmarks: each prints machine, commit and seed beside its figures.

Each is the module of its name, imported when it is run: parts of them are processes of their own,
which need not have the others.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

Say = Callable[[str], None]
_BENCHES: Final = {
    "throughput": "events a second: scanner, account stage, whole flow",
    "kafka": "events a second from a broker, beside a loop that only scans",
    "latency": "from an event's due time to its alert in the ledger, at a pace",
    "scale": "throughput and memory as accounts become many",
    "restart": "how long a run that knows many accounts takes to go on",
    "peers": "the same job by the engine as people use it, and by a plain loop",
    "soak": "half an hour at a pace: slope of memory, size of the recovery store",
    "snapshot": "how long snapshots hold a run up: whole, and as pointers to files",
    "detectors": "nanoseconds an event and bytes a subject of every rule",
    "memory": "bytes an account, by table and as the system sees it",
    "crash": "kill runs again and again; nothing may be lost or doubled",
}
_ON_KAFKA: Final = frozenset({"crash", "kafka"})


def names() -> list[tuple[str, str]]:
    """Return every bench with what it measures."""
    return list(_BENCHES.items())


def run(
    name: str,
    *,
    quick: bool = False,
    progress: Say | None = None,
    kafka: str = "",
    restart_broker: str = "",
    full: bool = False,
) -> dict[str, Any]:
    """Run a bench.

    Parameters
    ----------
    quick
        A small run, to see that it works; its figures say little.
    progress
        Told in sentences how far it is.
    kafka
        HOST:PORT of a broker to read from, for benches that can; they make topics there.
    restart_broker
        Command that kills that broker and brings it back, for bench crash.
    full
        For bench scale: up to 10,000,000 accounts, for machines of 24 GiB or more.

    Returns
    -------
    dict
        ``machine``, ``commit``, ``seed``, ``figures``, ``ratios`` and, of most benches,
        ``charts`` (see ``lab.bench.plot``).

    Raises
    ------
    ValueError
        If there is no such bench, it cannot read Kafka, or can read nothing else.
    """
    if name not in _BENCHES:
        raise ValueError(f"There is no bench {name!r}; there is {', '.join(_BENCHES)}.")
    bench: Any = import_module(f"{__name__}.{name}").run
    if kafka and name not in _ON_KAFKA:
        raise ValueError(f"Bench {name} reads no Kafka; leave out --kafka.")
    if not kafka and name == "kafka":
        raise ValueError("Bench kafka needs a broker: give --kafka HOST:PORT.")
    if restart_broker and not (kafka and name == "crash"):
        raise ValueError("Only bench crash with --kafka restarts a broker.")
    if full and name != "scale":
        raise ValueError("Only bench scale has a --full size.")
    options = {"kafka": kafka, "restart_broker": restart_broker, "full": full}
    more = {option: value for option, value in options.items() if value}
    return dict(bench(quick=quick, say=progress or _silent, **more))


def _silent(_sentence: str) -> None:
    """Tell nobody."""
