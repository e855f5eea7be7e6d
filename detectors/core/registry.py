"""Detectors by name: every module of ``detectors`` is one, and those that other packages bring."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final

from msgspec import Struct, ValidationError, convert
from numba.core.errors import NumbaError

import detectors
from detectors.core.contract import Detector, RuleSpec
from detectors.core.packs import load_rules, pack_names
from detectors.core.plugins import DETECTORS, PluginError, and_others, plugged_in

# What running somebody's module may raise.
_UNLOADABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NumbaError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def own_names() -> list[str]:
    """List the detectors that ship with the product: the package's own modules, sorted."""
    return sorted(m.name for m in iter_modules(detectors.__path__) if not m.ispkg)


def detector_names() -> list[str]:
    """List the detectors there are, other packages' among them, sorted.

    Raises
    ------
    PluginError
        If another package brings a name that is taken.
    """
    return sorted(and_others(DETECTORS, own_names()))


def detector_type(name: str) -> type[Detector]:
    """Return the one detector that the module of this name defines.

    Raises
    ------
    LookupError
        If there is no such detector.
    PluginError
        If it cannot be loaded, or its module does not define exactly it.
    """
    if name not in detector_names():
        raise LookupError(f"there is no detector {name!r}; there are {', '.join(detector_names())}")
    module = _module(name)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Detector)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1 or found[0].name != name:
        raise PluginError(
            f"{module.__name__} must define one detector, named {name}; it defines "
            f"{', '.join(kind.name for kind in found) or 'none'}. Mend that package, or uninstall "
            "it."
        )
    return found[0]


def _module(name: str) -> ModuleType:
    place = plugged_in(DETECTORS).get(name)
    if place is None:
        return import_module(f"detectors.{name}")
    try:
        return import_module(place)
    except _UNLOADABLE as error:
        raise PluginError(
            f"The detector {name} of another package cannot be loaded from {place}: {error} "
            f"({type(error).__name__}). Mend that package, or uninstall it."
        ) from error


def params_types() -> dict[str, type[Struct]]:
    """Return each detector's parameter struct by detector name."""
    return {name: detector_type(name).params_type for name in detector_names()}


def build_detectors(
    packs: Sequence[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Detector]:
    """Build one detector for each rule of the packs (all packs by default)."""
    rules = load_rules(pack_names() if packs is None else packs, overrides)
    return [build_detector(rule, bit) for bit, rule in enumerate(rules)]


def build_detector(rule: RuleSpec, rule_bit: int) -> Detector:
    """Build one rule's detector.

    Raises
    ------
    ValueError
        If the rule's parameters do not fit the detector's.
    """
    kind = detector_type(rule.detector)
    known = set(kind.params_type.__struct_fields__)
    unknown = sorted(set(rule.parameters) - known)
    if unknown:
        raise ValueError(
            f"rule {rule.id}: detector {rule.detector} has no parameter {unknown[0]!r}; "
            f"it has {', '.join(sorted(known))}"
        )
    try:
        params = convert(rule.parameters, kind.params_type)
    except ValidationError as error:
        raise ValueError(f"rule {rule.id}: {error}") from error
    return kind(rule, params, rule_bit)
