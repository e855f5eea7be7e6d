"""The page for auditors claims nothing that packs, plants and the law's own list do not bear out.

That the plants are found is `tests/integration/test_plants.py`, which runs all of them through the
whole monitor; here each "detected" is tied to a plant of one of its rules.
"""

from collections import Counter
from string import ascii_lowercase

import pytest
from msgspec.structs import replace

from lab.coverage import STATES, Law, Practice, _row, coverage_page, laws, shipped_rules
from lab.simulator import plant_names
from lab.simulator.plants import FAMILIES, PLANTED_RULES
from lab.simulator.venues import VENUES

LAWS = {law.id: law for law in laws()}
PRACTICES = [
    pytest.param(law, one, id=f"{law.id}: {one.reference}")
    for law in LAWS.values()
    for one in law.practices()
]
RULES = shipped_rules()
PLANTS = {family.name: family for family in FAMILIES}


def points(section: int, *lasts: str) -> set[str]:
    """Return the points of a section of Annex II, given the last letter under each number."""
    return {
        f"Section {section}, {number}({letter})"
        for number, last in enumerate(lasts, 1)
        for letter in ascii_lowercase[: ascii_lowercase.index(last) + 1]
    }


LISTED = {
    "eu-2016-522": points(1, "d", "d", "d", "f", "g", "j", "f") | points(2, "g", "c"),
    "cn-securities-law": {
        "Article 50",
        *(f"Article 53 paragraph 1, {act}" for act in ("trading", "leaking", "advising")),
        *(f"Article 54 paragraph 1, {act}" for act in ("trading", "hinting")),
        *(f"Article 55({number})" for number in range(1, 9)),
        *(f"Article 56 paragraph {number}" for number in (1, 2)),
        *(f"Article 56 paragraph 3, {act}" for act in ("reports", "conflicts")),
        *(f"Article 57({number})" for number in range(1, 6)),
        "Article 58",
        *(f"Article 59 paragraph {number}" for number in (1, 2)),
        "Article 60",
    },
    "cn-futures-law": {f"Article 12({number})" for number in range(1, 11)},
}


def references(law: Law) -> list[str]:
    again = [point for group in law.group for point in group.again]
    return [one.reference for one in law.practices()] + again


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.id)
def test_every_point_of_a_law_is_listed_once(law: Law) -> None:
    assert [point for point, count in Counter(references(law)).items() if count > 1] == []
    assert set(references(law)) == LISTED[law.id]


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.id)
def test_a_point_that_repeats_another_names_a_practice(law: Law) -> None:
    named = {one.reference for one in law.practices()}
    assert {of for group in law.group for of in group.again.values()} <= named


@pytest.mark.parametrize("one", [one for law in LAWS.values() for one in law.practices()])
def test_rules_and_plants_are_there_and_belong_together(one: Practice) -> None:
    assert set(one.rules) <= RULES.keys()
    assert set(one.plants) <= PLANTS.keys()
    assert {PLANTS[plant].rule for plant in one.plants} == set(one.rules), "one proves the other"


@pytest.mark.parametrize(("law", "one"), PRACTICES)
def test_a_practice_says_what_its_state_asks_for(law: Law, one: Practice) -> None:
    assert one.missing.endswith("."), "also what is detected has limits"
    assert bool(one.rules) == (one.state != "not")
    assert bool(one.practice_zh) == bool(law.title_zh)


@pytest.mark.parametrize(
    ("law", "one"), [case for case in PRACTICES if case.values[1].state == "detected"]
)
def test_what_is_detected_is_planted_where_the_law_governs(law: Law, one: Practice) -> None:
    assert all(law.is_watched_by(RULES[rule]) for rule in one.rules)
    proofs = [
        PLANTS[plant] for plant in one.plants if VENUES[PLANTS[plant].venue].mic in law.venues
    ]
    assert {proof.rule for proof in proofs} == set(one.rules)
    assert set(one.rules) <= PLANTED_RULES
    assert {proof.name for proof in proofs} <= set(plant_names()), "what the test of plants runs"


@pytest.mark.parametrize("law", LAWS.values(), ids=lambda law: law.id)
def test_counts_of_a_law_stand_on_the_page(law: Law) -> None:
    counts = [sum(one.state == state for one in law.practices()) for state in STATES]
    row = " | ".join(map(str, [law.title, sum(counts), *counts]))
    assert f"| {row} |\n" in coverage_page()


def test_rules_that_look_elsewhere_are_marked() -> None:
    page = coverage_page()
    practice = next(LAWS["eu-2016-522"].practices())
    elsewhere = replace(practice, rules=("cn.order_rate.second", "eu.otr.number"))
    assert "| `cn.order_rate.second` †, `eu.otr.number` |" in _row(
        LAWS["eu-2016-522"], elsewhere, RULES
    )
    assert page.count("`cn.futures.self_trading`") == 1, "at home under the futures law only"
    assert "`eu.otr.number` †" not in page


def test_every_shipped_rule_stands_on_the_page() -> None:
    page = coverage_page()
    assert [rule for rule in RULES if f"`{rule}`" not in page] == []
