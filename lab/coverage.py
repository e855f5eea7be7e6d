"""Which practices that laws list are found by shipped rules, in part or not: ``laws/*.toml``.

The page for auditors is written from these files; tests hold them to packs and to what the
simulator plants.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from textwrap import fill
from typing import Final, Literal

from msgspec import Struct, convert

from detectors.core.packs import PackRule, load_pack, own_packs

State = Literal["detected", "partial", "not"]
STATES: Final[tuple[State, ...]] = ("detected", "partial", "not")
LAW_IDS: Final = ("eu-2016-522", "cn-securities-law", "cn-futures-law")
ELSEWHERE: Final = "†"
_WIDTH: Final = 100  # of lines of prose, as on pages written by hand

_HEAD: Final = """\
# What is found, and what is not

For compliance officers and auditors: every practice that the laws below list, and whether a rule
that ships with Tapewatch finds it. The page is written from `lab/laws`: `python -m console.pages`.

{summary}

The numbers count kinds of behaviour. They say nothing of the share of cases that would be found.

- **detected**: a shipped rule counts what the point describes, at venues that the law governs. The
  simulator plants that behaviour there, below, at and above the rule's figure, and
  `tests/integration/test_plants.py::test_every_plant_and_look_alike_gets_its_alerts_and_no_others`
  holds the alerts against what was planted.
- **partial**: a shipped rule counts a part of it, or a sign that the law names, or counts it at
  other venues only: such rules are marked {elsewhere}. The last column says what is missing.
- **not**: no shipped rule looks for it.

No rule sees intent, and prices are those of the fills that come in: an alert is a reason to look,
never a finding that a law was broken. A rule alerts from its figure on, and not on accounts with a
registration that exempts them; some figures are ours, since nobody publishes them. Figures, venues
and exemptions are under [detectors and rules](reference/detectors.md), the planted behaviours
under [the simulator](reference/simulator.md). Rules that begin with `surveillance.` run where
`packs.added` names their pack. Market trades, quotes and announcements can be among the events
already, but no shipped rule reads them. Rules of your own, or of other packages, may find more;
they are not counted here. Practices are told in our words, and none of this is legal advice.
"""
_TABLE: Final = "| point | practice | state | rules | planted as | what is missing |\n" + "|---" * 6
_REST: Final = """\
## Rules that no point names

These rules ship too; what they answer is said with their sources under
[detectors and rules](reference/detectors.md): {rules}.
"""


class Practice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One practice that a law lists, and what is found of it.

    Attributes
    ----------
    reference
        The point that describes it, unique within its law.
    name, practice
        What it is called, and what is done, in our words.
    practice_zh
        Its customary Chinese name, where the law is Chinese.
    rules, plants
        Ids of shipped rules that count it or a part of it; families of the simulator that show so.
    missing
        What is not seen, in a sentence or two.
    """

    reference: str
    name: str
    practice: str
    state: State
    missing: str
    practice_zh: str = ""
    rules: tuple[str, ...] = ()
    plants: tuple[str, ...] = ()


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Points that a law lists together; ``again`` maps points to the practice they only repeat."""

    title: str
    practice: tuple[Practice, ...] = ()
    again: dict[str, str] = {}


class Law(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One law, or the part of it that is listed.

    Attributes
    ----------
    venues
        The venues (MIC) it governs, of those that shipped rules can name.
    scope, read, unverified
        What of it is listed, which copy of the text was read, and what could not be verified.
    """

    id: str
    title: str
    title_zh: str = ""
    venues: tuple[str, ...]
    scope: str
    read: str
    unverified: tuple[str, ...]
    group: tuple[Group, ...]

    def practices(self) -> Iterator[Practice]:
        """Yield the practices in the law's order, each once."""
        for group in self.group:
            yield from group.practice

    def counts(self) -> dict[State, int]:
        """Count practices by state."""
        found = Counter(one.state for one in self.practices())
        return {state: found[state] for state in STATES}

    def is_watched_by(self, rule: PackRule) -> bool:
        """Say whether the rule looks at any venue that this law governs."""
        return not rule.venues or not set(rule.venues).isdisjoint(self.venues)


def laws() -> tuple[Law, ...]:
    """Read the laws, in the order of the page."""
    folder = files("lab") / "laws"
    texts = [(folder / f"{name}.toml").read_text(encoding="utf-8") for name in LAW_IDS]
    return tuple(convert(tomllib.loads(text), Law) for text in texts)


def shipped_rules() -> dict[str, PackRule]:
    """Return the rules of the product's own packs by id."""
    return {rule.id: rule for name in own_packs() for rule in load_pack(name).rule}


def coverage_page() -> str:
    """Return the page as Markdown."""
    listed, rules = laws(), shipped_rules()
    named = {rule for law in listed for one in law.practices() for rule in one.rules}
    rest = ", ".join(f"`{rule}`" for rule in rules if rule not in named)
    parts = [_HEAD.format(summary=_summary(listed), elsewhere=ELSEWHERE)]
    parts += [_law_section(law, rules) for law in listed]
    parts += [_REST.format(rules=rest)] if rest else []
    return "\n".join(parts)


def _summary(listed: Sequence[Law]) -> str:
    lines = ["| law | practices | detected | partial | not |", "|---|---|---|---|---|"]
    for law in listed:
        counts = law.counts()
        cells = [law.title, sum(counts.values()), *counts.values()]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _law_section(law: Law, rules: dict[str, PackRule]) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in law.counts().items())
    lines = [f"## {law.title}", ""]
    lines += [law.title_zh, ""] if law.title_zh else []
    lines += [
        f"{sum(law.counts().values())} practices: {counts}.",
        "",
        _prose(law.scope),
        "",
        _prose(law.read),
        "",
    ]
    lines += ["What could not be verified:", "", *(_prose(one, "- ") for one in law.unverified), ""]
    named = {one.reference: one for one in law.practices()}
    for group in law.group:
        lines += [f"### {group.title}", ""]
        if group.practice:
            lines += [_TABLE + "|", *(_row(law, one, rules) for one in group.practice), ""]
        if group.again:
            lines += ["Listed here again:", ""]
            lines += [_again(point, named[as_point]) for point, as_point in group.again.items()]
            lines.append("")
    return "\n".join(lines)


def _prose(text: str, mark: str = "") -> str:
    return fill(text, _WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))


def _row(law: Law, one: Practice, rules: dict[str, PackRule]) -> str:
    name = f"{one.name} ({one.practice_zh})" if one.practice_zh else one.name
    marks = {rule: "" if law.is_watched_by(rules[rule]) else f" {ELSEWHERE}" for rule in one.rules}
    counted_by = ", ".join(f"`{rule}`{mark}" for rule, mark in marks.items())
    planted = ", ".join(f"`{plant}`" for plant in one.plants)
    cells = (
        one.reference,
        f"{name}: {one.practice}",
        f"**{one.state}**",
        counted_by,
        planted,
        one.missing,
    )
    return f"| {' | '.join(cells)} |"


def _again(point: str, one: Practice) -> str:
    return f"- {point} is {one.reference}, {one.name[0].lower()}{one.name[1:]}: **{one.state}**"
