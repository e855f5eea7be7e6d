"""Detectors and rule packs of other packages: installed is known, nobody registers anything.

A package names them in its metadata. ``[project.entry-points."tapewatch.detectors"]`` gives each
detector's name and the module that defines it; ``"tapewatch.packs"`` gives each pack's name and the
package in whose folder its ``NAME.toml`` lies.
"""

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

DETECTORS: Final = "tapewatch.detectors"
PACKS: Final = "tapewatch.packs"


class PluginError(Exception):
    """Another package's detector or pack cannot be used; the sentence says why, and what to do."""


def plugged_in(group: str) -> dict[str, str]:
    """Return what other packages bring, as {name: module or package}.

    Parameters
    ----------
    group
        ``DETECTORS`` or ``PACKS``.

    Raises
    ------
    PluginError
        If two packages bring the same name.
    """
    return dict(_plugged_in(group, tuple(sys.path)))


@lru_cache(maxsize=8)
def _plugged_in(group: str, path: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Look on the path, which is given so that what was found is forgotten with it."""
    del path
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"{_package(other)} and {_package(point)} both bring {point.name} for {group}; "
                "uninstall one of them."
            )
    return tuple(sorted((name, point.value) for name, point in found.items()))


def _package(point: EntryPoint) -> str:
    return "A package" if point.dist is None else f"Package {point.dist.name}"


def and_others(group: str, own: list[str]) -> list[str]:
    """Return our own names and those that other packages bring.

    Raises
    ------
    PluginError
        If one of theirs is one of ours: which of the two is meant would be anyone's guess.
    """
    others = plugged_in(group)
    taken = sorted(set(own) & set(others))
    if taken:
        raise PluginError(
            f"Another package brings {taken[0]} for {group}, which Tapewatch has itself; give it "
            "another name there, or uninstall that package."
        )
    return [*own, *others]
