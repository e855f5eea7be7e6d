"""Mistakes in rule packs are found without running them."""

from typing import Any

import msgspec
import pytest

from console.pack_lint import _lint_pack, lint_packs
from detectors.core.packs import Pack, load_pack, pack_names
from detectors.core.reference import parameter_words
from detectors.core.registry import detector_names, detector_type


def changed(**changes: Any) -> Pack:
    pack = msgspec.to_builtins(load_pack("source"))
    return msgspec.convert(pack | {"rule": [pack["rule"][0] | changes]}, Pack)


def figure(**changes: Any) -> dict[str, Any]:
    figures = msgspec.to_builtins(load_pack("source").rule[0].figures)
    return {name: one | changes for name, one in figures.items()}


def test_the_packs_that_ship_have_no_mistake() -> None:
    assert lint_packs(pack_names(), {}) == []


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"detector": "nobody"}, "no detector nobody"),
        ({"detector": "layering"}, "set on_request"),
        ({"detector": "self_trading", "may_notify": True}, "rules on one account"),
        ({"exempt": ["friend"]}, "no registration"),
        ({"venues": ["Shanghai"]}, "no market identifier"),
        ({"figures": {}}, "no figure"),
        ({"figures": figure(source=" ")}, "source is empty"),
        ({"figures": figure(article="")}, "article is empty"),
        ({"figures": figure(effective="soon")}, "no date"),
    ],
)
def test_a_mistake_in_a_pack_is_named(changes: dict[str, Any], part: str) -> None:
    problems = list(_lint_pack(changed(**changes), {}))
    assert any(part in problem for problem in problems)


def test_an_id_may_stand_once() -> None:
    seen: dict[str, str] = {}
    assert list(_lint_pack(changed(), seen)) == []
    assert any("this id too" in problem for problem in _lint_pack(changed(), seen))


def test_values_are_held_against_the_words_of_their_parameter() -> None:
    problems = lint_packs(["source"], {"win_rate": {"threshold": 1.5, "min_units": -1}})
    assert {problem.split(": ")[1] for problem in problems} == {
        "threshold is 1.5; it must be from 0 to 1.",
        "min_units is -1; it must be 0 or more.",
    }


def test_a_parameter_there_is_not_is_named() -> None:
    assert "no parameter 'colour'" in lint_packs(["source"], {"win_rate": {"colour": 1}})[0]


@pytest.mark.parametrize("name", detector_names())
def test_every_parameter_has_words(name: str) -> None:
    kind = detector_type(name).params_type
    assert set(parameter_words(kind)) == set(kind.__struct_fields__)
