"""Rule packs: figures with their sources, as TOML beside this package, or another's.

Every figure names source, article, effective date, as-of date and confidence; a figure that the
regulator has not published is marked ``tunable``.
"""

import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal

import orjson
from msgspec import MsgspecError, Struct, convert

from detectors.core.contract import RuleSpec
from detectors.core.plugins import PACKS, PluginError, and_others, plugged_in
from schemas.alerts import Severity

RULES_MAX: Final = 64  # a step carries one bit a rule
Confidence = Literal["primary", "secondary", "tunable"]


class Figure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of a rule and where it comes from."""

    value: int | float | str | bool
    source: str
    article: str
    effective: str
    as_of: str
    confidence: Confidence


class PackRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule as the pack's file states it."""

    id: str
    version: int
    detector: str
    title: str
    title_zh: str
    severity: Severity
    figures: dict[str, Figure]
    params: dict[str, int | float | str | bool] = {}
    venues: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    instruments_except: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    may_notify: bool = False


class Pack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pack file.

    ``on_request``: loaded only where a setting names it, since it costs more than most want.
    """

    id: str
    title: str
    rule: tuple[PackRule, ...]
    on_request: bool = False


def own_packs() -> list[str]:
    """List the packs that ship with the product."""
    folder = files("detectors") / "packs"
    return sorted(p.name[: -len(".toml")] for p in folder.iterdir() if p.name.endswith(".toml"))


def pack_names() -> list[str]:
    """List the packs there are, the product's own first.

    Raises
    ------
    PluginError
        If another package brings a name that is taken.
    """
    return and_others(PACKS, own_packs())


def chosen_packs(enabled: Sequence[str], added: Sequence[str]) -> list[str]:
    """Return the packs to load: those enabled, or all that need no request; and those added."""
    chosen = list(enabled) or [name for name in pack_names() if not load_pack(name).on_request]
    return list(dict.fromkeys([*chosen, *added]))


def load_pack(name: str) -> Pack:
    """Read one pack.

    Raises
    ------
    FileNotFoundError
        If there is no pack of that name.
    PluginError
        If another package's cannot be read.
    """
    package = plugged_in(PACKS).get(name)
    if package is None:
        return _read_pack(files("detectors") / "packs", name)
    try:
        pack = _read_pack(files(package), name)
    except (ImportError, OSError, ValueError, TypeError, MsgspecError) as error:
        raise PluginError(
            f"The rule pack {name} of the package {package} cannot be read: {error}. Mend that "
            "package, or uninstall it."
        ) from error
    if pack.id != name:
        raise PluginError(
            f"The rule pack {name} of the package {package} calls itself {pack.id}; give it one "
            "name."
        )
    return pack


def _read_pack(folder: Traversable, name: str) -> Pack:
    text = (folder / f"{name}.toml").read_text(encoding="utf-8")
    return convert(tomllib.loads(text), Pack)


def parameters_hash(parameters: Mapping[str, Any]) -> str:
    """Hash parameters, the same for the same values in any order."""
    return sha256(orjson.dumps(dict(parameters), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def load_rules(
    packs: Sequence[str], overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> list[RuleSpec]:
    """Return the rules of the packs, in order, with overrides by detector name applied.

    An override reaches every rule of its detector that has the parameter or could have it.
    """
    rules = [
        _rule_spec(pack, rule, (overrides or {}).get(rule.detector, {}))
        for pack in (load_pack(name) for name in packs)
        for rule in pack.rule
    ]
    if len(rules) > RULES_MAX:
        raise ValueError(f"{len(rules)} rules are active; at most {RULES_MAX} can be at once")
    packs_by_id: dict[str, str] = {}
    for rule in rules:
        other = packs_by_id.setdefault(rule.id, rule.pack)
        if other != rule.pack:
            raise PluginError(
                f"The packs {other} and {rule.pack} both have a rule {rule.id}; leave one of them "
                "out of packs.enabled, or give its rule another id."
            )
    return rules


def _rule_spec(pack: Pack, rule: PackRule, overrides: Mapping[str, Any]) -> RuleSpec:
    parameters = {name: figure.value for name, figure in rule.figures.items()}
    parameters |= rule.params
    parameters |= overrides
    first = next(iter(rule.figures.values()))
    scope = {
        "rule": rule.id,
        "venues": rule.venues,
        "instruments": [rule.instruments, rule.instruments_except],
        "exempt": rule.exempt,
    }
    return RuleSpec(
        id=rule.id,
        version=rule.version,
        detector=rule.detector,
        pack=pack.id,
        title=rule.title,
        title_zh=rule.title_zh,
        article=first.article,
        severity=rule.severity,
        parameters=parameters,
        parameters_hash=parameters_hash(parameters | scope),
        venues=rule.venues,
        instruments=rule.instruments,
        instruments_except=rule.instruments_except,
        exempt=rule.exempt,
        may_notify=rule.may_notify,
    )
