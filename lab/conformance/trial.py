"""Holding detectors to the contract, one check after the other, none hiding the next."""

from collections.abc import Callable, Iterator, Sequence
from inspect import cleandoc
from typing import Final

from msgspec import Struct
from numba.core.errors import NumbaError

from detectors.core.plugins import PluginError
from lab.conformance.checks import CHECKS, ConformanceError, Parameters, examples_of

# Whatever somebody's detector raises is what is told.
FAULTS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ConformanceError,
    ImportError,
    LookupError,
    NameError,
    NumbaError,
    PluginError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Trial(Struct, frozen=True, kw_only=True):
    """One check of one example; ``fault`` is empty where it is kept."""

    detector: str
    example: str
    check: str
    fault: str


def try_detectors(names: Sequence[str], update: Callable[[int], None]) -> list[Trial]:
    """Try detectors by name; ``update`` is told how many checks are done."""
    trials: list[Trial] = []
    for name in names:
        for trial in _tried(name):
            trials.append(trial)
            update(len(trials))
    return trials


def _tried(name: str) -> Iterator[Trial]:
    try:
        examples = examples_of(name)
    except FAULTS as error:
        yield Trial(detector=name, example="", check="has examples", fault=_words(error))
        return
    for example, parameters in examples:
        for check in CHECKS:
            fault = _fault_of(check, name, parameters)
            words = cleandoc(check.__doc__ or "").removeprefix("Check that it ")
            words = words.removeprefix("Check that ").rstrip(".")
            yield Trial(detector=name, example=example, check=words, fault=fault)


def _fault_of(check: Callable[[str, Parameters], None], name: str, parameters: Parameters) -> str:
    try:
        check(name, parameters)
    except FAULTS as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, ConformanceError) else f"{type(error).__name__}: {error}"
