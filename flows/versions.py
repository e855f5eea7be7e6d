"""Which versions are at work: for the manifest, bench figures and `tapewatch version`."""

import platform
from functools import cache
from importlib.metadata import version
from typing import Final

_DISTRIBUTIONS: Final = ("tapewatch", "bytewax", "msgspec", "numba", "numpy", "sqlalchemy")


@cache
def _installed() -> tuple[tuple[str, str], ...]:
    return (
        ("python", platform.python_version()),
        *((name, version(name)) for name in _DISTRIBUTIONS),
    )


def installed() -> dict[str, str]:
    """Return {name: version} of Python, Tapewatch and what its results rest on."""
    return dict(_installed())
