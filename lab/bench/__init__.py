"""Benchmarks: each prints machine, commit and seed beside its figures."""

from collections.abc import Callable
from typing import Any, Final

from lab.bench import crash, throughput

Say = Callable[[str], None]
_BENCHES: Final = {
    "throughput": (throughput.run, "events a second: scanner, account stage, whole flow"),
    "crash": (crash.run, "kill runs again and again; nothing may be lost or doubled"),
}


def names() -> list[tuple[str, str]]:
    """Return every bench with what it measures."""
    return [(name, what) for name, (_, what) in _BENCHES.items()]


def run(name: str, *, quick: bool = False, progress: Say | None = None) -> dict[str, Any]:
    """Run a bench.

    Parameters
    ----------
    quick
        A small run, to see that it works; its figures say little.
    progress
        Told in sentences how far it is.

    Returns
    -------
    dict
        ``machine``, ``commit``, ``seed``, ``figures``, ``ratios``.

    Raises
    ------
    ValueError
        If there is no such bench.
    """
    if name not in _BENCHES:
        raise ValueError(f"There is no bench {name!r}; there is {', '.join(_BENCHES)}.")
    return _BENCHES[name][0](quick=quick, say=progress or _silent)


def _silent(_sentence: str) -> None:
    """Tell nobody."""
