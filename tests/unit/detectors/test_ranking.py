"""The daily review's scores: unusual days first, the same after a dump, drift shown."""

import pickle
from typing import Any

import numpy as np
import pytest

from detectors.core.ranking import MODELS, Ranking, RankingSpec, ReviewError, Summary, summary_of

USUAL = {"orders": 100, "cancels": 30, "quick": 5, "fills": 60, "closing": 30, "wins": 15}


def days(rng: np.random.Generator, count: int, **unusual: int) -> list[tuple[str, str, Summary]]:
    made = []
    for number in range(count):
        counts = {name: int(rng.poisson(value)) for name, value in USUAL.items()}
        if number == count - 1:
            counts |= unusual
        made.append(("t", f"A{number:03}", summary_of(counts)))
    return made


@pytest.mark.parametrize("model", MODELS)
def test_an_unusual_day_stands_near_the_top(model: str) -> None:
    rng = np.random.default_rng(4)
    ranking = Ranking(RankingSpec(model=model, rows=5))
    for _ in range(5):
        ranking.rank(days(rng, 100))
    count, rows, _ = ranking.rank(days(rng, 100, cancels=100, quick=95, fills=0, closing=0))
    assert (count, len(rows)) == (100, 5)
    assert "A099" in {row.account_id for row in rows}


def test_a_dump_goes_on_as_if_nothing_had_happened() -> None:
    rng = np.random.default_rng(4)
    spec = RankingSpec(model="HalfSpaceTrees")
    one, other = Ranking(spec), Ranking(spec)
    one.rank(days(rng, 300))
    other.restore(pickle.loads(pickle.dumps(one.dump())))
    more = days(rng, 300)
    assert one.rank(more) == other.rank(more)


def test_drift_is_shown_with_the_level_now() -> None:
    rng = np.random.default_rng(4)
    ranking = Ranking(RankingSpec(score="builtins:len"))
    assert ranking.rank(days(rng, 300))[2] == {}
    now = [(t, a, s | {"cancel_share": 0.9}) for t, a, s in days(rng, 300)]
    drifted = ranking.rank(now)[2]
    assert list(drifted) == ["cancel_share"]
    assert float(drifted["cancel_share"]) > 0.32, "the window still holds some of the old"


def test_days_of_one_score_stand_in_the_order_of_accounts() -> None:
    ranking = Ranking(RankingSpec(score="builtins:len"))
    listed = [("t", name, summary_of(USUAL)) for name in ("C", "A", "B")]
    assert [row.account_id for row in ranking.rank(listed)[1]] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"model": "LODA"}, "there is no model"),
        ({"model": "HalfSpaceTrees", "parameters": {"colour": 1.0}}, "do not fit HalfSpaceTrees"),
        ({"score": "math"}, "cannot be loaded"),
        ({"score": "math:pi"}, "is no function"),
    ],
)
def test_what_cannot_be_had_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ReviewError, match=said):
        Ranking(RankingSpec(**spec))


def test_a_function_that_fails_is_told_with_the_summary() -> None:
    with pytest.raises(ReviewError, match=r"math:sqrt failed for .*TypeError"):
        Ranking(RankingSpec(score="math:sqrt")).rank([("t", "A", summary_of(USUAL))])


def test_parameters_reach_the_model() -> None:
    rng = np.random.default_rng(4)
    small = Ranking(RankingSpec(model="HalfSpaceTrees", parameters={"n_trees": 2, "height": 2}))
    large = Ranking(RankingSpec(model="HalfSpaceTrees"))
    for ranking in (small, large):
        ranking.rank(days(rng, 3))
    assert 4 * len(small.dump()) < len(large.dump())
