"""Plants from files through the scanner and both stages: who is named, and who in vain."""

import json
from pathlib import Path
from typing import Any

import pytest
from command import caller
from msgspec import structs

from lab.evaluate import planted, tables
from lab.evaluate.intervals import of_share
from lab.simulator import FilePlant, load_plants

SHIPPED = Path(__file__).parents[2] / "docs" / "how-to" / "plants"
FEW = planted.Days(2, 3_000, 300)


def changed(name: str, called: str, **keys: Any) -> FilePlant:
    (plant,) = (one for one in load_plants(SHIPPED) if one.name == name)
    return FilePlant(structs.replace(plant.says, name=called, **keys), plant.place)


def rows_of(*plants: FilePlant) -> dict[tuple[str, float], planted.PlantedRow]:
    found = planted.measure(plants, FEW, seed=5, say=lambda _sentence: None)
    return {(row.plant, row.strength): row for row in found.rows}


def test_shipped_plants_are_named_from_their_figure_on_and_the_innocent_is_not() -> None:
    rows = rows_of(*load_plants(SHIPPED))
    for (_, strength), row in rows.items():
        must = row.sort == planted.ABUSIVE
        assert must == (row.plant != "follower" and strength >= 1)
        assert row.planted == FEW.days
        assert (row.by_expected, row.by_another, row.missed) == (
            (FEW.days, 0, 0) if must else (0, 0, FEW.days)
        )
        assert row.named == of_share(FEW.days if must else 0, FEW.days)
        assert row.others == {}


def test_another_rule_is_not_the_expected_one_and_a_named_innocent_is_seen() -> None:
    rows = rows_of(
        changed("flicker", "other", rules=("surveillance.layering",)),
        changed("flicker", "kind", innocent=True, rules=()),
        changed("flicker", "early", strength=None),
    )
    other, kind = rows["other", 1.5], rows["kind", 1.5]
    assert (other.by_expected, other.by_another, other.missed) == (0, FEW.days, 0)
    assert other.others == {"cn.instant_cancels": FEW.days}
    assert (kind.sort, kind.missed) == (planted.INNOCENT, 0)
    assert rows["kind", 0.9].missed == FEW.days
    assert rows["early", 1.0].by_expected == FEW.days


def test_both_accounts_of_a_plant_are_one(tmp_path: Path) -> None:
    (tmp_path / "pair.toml").write_text("""\
name = "pair"
venue = "XSGE"
innocent = false
partner = "group"
rules = ["cn.futures.self_trading"]
strength = { scales = "trades", at = [0.8, 1] }
[[steps]]
do = "repeat"
name = "trades"
times = 5
steps = [
    { do = "enter", order = "a", side = "sell", lots = 3, ticks = 0 },
    { do = "enter", order = "b", side = "buy", lots = 3, ticks = 0, beside = "a", who = "partner" },
    { do = "fill", order = "b", against = "a" },
    { do = "wait", s = 60 },
]
""")
    rows = rows_of(*load_plants(tmp_path))
    assert [rows["pair", one].by_expected for one in (0.8, 1.0)] == [0, FEW.days]
    assert rows["pair", 1.0].planted == FEW.days


def test_the_command_tells_and_writes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(planted, "QUICK", FEW)
    call = caller(monkeypatch, capsys)
    page = tmp_path / "page.md"
    said = call("evaluate", "--plants", SHIPPED, "--quick", "--report", page)
    assert said.code == 0
    found = json.loads(call("evaluate", "--plants", SHIPPED, "--quick", "--json").out)
    for table in tables.tables(found):
        assert table.title in said.out
        assert f"## {table.title}" in page.read_text()
    assert f"--plants {SHIPPED.as_posix()} --quick --report" in page.read_text()
    assert "2 of 2 [34%, 100%]" in page.read_text()


def test_what_cannot_be_planted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    refused = call("evaluate", "--plants", tmp_path)
    assert refused.code == 2
    assert "expected a plant file" in refused.err
    text = (SHIPPED / "flicker.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace("cn.instant", "cn.instand"))
    assert "rules: expected some of" in call("evaluate", "--plants", tmp_path).err
    drawn = call("evaluate", "--plants", SHIPPED, "--plot", tmp_path / "a.svg")
    assert drawn.code == 2
