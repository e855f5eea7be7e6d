"""The reference page of detectors and rules, written from their own words and figures."""

from inspect import cleandoc
from sys import modules

import msgspec

from detectors.core.contract import Detector
from detectors.core.packs import Pack, PackRule, load_pack, load_rules, own_packs
from detectors.core.registry import build_detector, detector_type, own_names

_HEAD = """\
# Detectors and rules

This page is written from the detectors and packs themselves: `python -m console.pages`.

A **detector** is a way of counting; a **rule** of a pack gives it figures and says where it
applies. Rules are policy: nothing suppresses them but registrations on file. A figure is `primary`
(read in the source), `secondary` (read in a secondary copy: check it before relying on it as law)
or `tunable` (not published: ours, change it).

## Detectors
| detector | what it looks at | one for each |
|---|---|---|
"""
_SUBJECTS = {
    "account": "account",
    "contract": "account and instrument",
    "party": "account, owner or control group, and instrument",
    "pair": "two accounts and instrument",
    "trader": "account and instrument",
    "peer": "an account among its peers",
}


def detectors_page() -> str:
    """Return the page as Markdown."""
    kinds = [detector_type(name) for name in own_names()]
    parts = [_HEAD + "".join(_row(kind) for kind in kinds)]
    parts += [_section(kind) for kind in kinds]
    parts.append("## Rules\n")
    parts += [_pack_section(load_pack(name)) for name in own_packs()]
    return "\n".join(parts)


def _words(kind: type[Detector]) -> str:
    return cleandoc(modules[kind.__module__].__doc__ or "")


def _row(kind: type[Detector]) -> str:
    first = _words(kind).splitlines()[0]
    return f"| [{kind.name}](#{kind.name}) | {first} | {_SUBJECTS[kind.subject]} |\n"


def _section(kind: type[Detector]) -> str:
    lines = [f"## {kind.name}", *_words(kind).splitlines()[1:], ""]
    lines += ["| parameter | default | meaning |", "|---|---|---|"]
    said = parameter_words(kind.params_type)
    lines += [
        f"| `{field.name}` | {field.default} | {said[field.name]} |"
        for field in msgspec.structs.fields(kind.params_type)
    ]
    return "\n".join([*lines, ""])


def parameter_words(params: type[msgspec.Struct]) -> dict[str, str]:
    """Return what docstrings of a ``Params`` and what it derives from say of each parameter.

    Names may share a text.
    """
    words: dict[str, str] = {}
    for one in reversed(params.__mro__):
        words |= _listed(one)
    return words


def _listed(params: type) -> dict[str, str]:
    """Return what one class's own docstring lists."""
    words: dict[str, str] = {}
    names: list[str] = []
    section = cleandoc(params.__doc__ or "").partition("----------\n")[2]
    for line in section.replace("``", "").splitlines():
        if line.startswith("    "):
            for name in names:
                words[name] = f"{words.get(name, '')} {line.strip()}".strip()
        elif line.strip():
            names = [name.strip() for name in line.split(",")]
    return words


def _pack_section(pack: Pack) -> str:
    where = ", loaded where `packs.added` names it" if pack.on_request else ""
    lines = [f"### {pack.title}", "", f"Pack `{pack.id}`{where}.", ""]
    for rule in pack.rule:
        lines += _rule_lines(pack, rule)
    return "\n".join(lines)


def _rule_lines(pack: Pack, rule: PackRule) -> list[str]:
    where = ", ".join(rule.venues) or "everywhere"
    if rule.instruments:
        where += f"; only {', '.join(rule.instruments)}"
    if rule.instruments_except:
        where += f"; not {', '.join(rule.instruments_except)}"
    settings = ", ".join(f"{name} = {value}" for name, value in rule.params.items())
    lines = [
        f"#### {rule.id}",
        f"{rule.title} ({rule.title_zh}), version {rule.version}, severity {rule.severity}.",
        "",
        f"- detector: [{rule.detector}](#{rule.detector})" + (f", {settings}" if settings else ""),
        f"- where: {where}",
        f"- exempt when registered: {', '.join(rule.exempt) or 'nobody'}",
        f"- state: {_state_size(pack, rule)} bytes a subject",
        "",
        "| figure | value | article | effective | as of | confidence |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {figure.value} | {figure.article} | {figure.effective} "
        f"| {figure.as_of} | {figure.confidence} |"
        for name, figure in rule.figures.items()
    ]
    sources = dict.fromkeys(figure.source for figure in rule.figures.values())
    return [*lines, "", *(f"Source: {source}." for source in sources), ""]


def _state_size(pack: Pack, rule: PackRule) -> int:
    """Return the bytes that the rule remembers of one subject."""
    spec = next(one for one in load_rules([pack.id]) if one.id == rule.id)
    return build_detector(spec, 0).state_dtype.itemsize
