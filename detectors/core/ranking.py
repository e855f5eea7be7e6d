"""The daily review: accounts of a tier ranked by how unusual their day was.

No bound is claimed for a ranking: it says where to look first. Each account's day becomes a
**summary**, a few named numbers, and a score, the higher the more unusual: that of a River model of
the tier, which sees the days in order and learns each after it has scored it; or that of a function
somebody writes. Beside it stands whether the tier's own numbers have drifted, by ADWIN; nothing is
retuned by that.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from math import isfinite, log1p
from typing import Any, Final

from msgspec import Struct, field

from detectors.core.plugins import PluginError

Summary = dict[str, float]
Score = Callable[[Summary], float]
FEATURES: Final = ("orders", "fills", "cancel_share", "quick_share", "fill_share", "win_share")
DRIFTING: Final = ("cancel_share", "quick_share", "win_share")
# As measured: half-space trees of this size take 40 microseconds and 171 kB, larger ones 50 MB.
_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "HalfSpaceTrees": {"n_trees": 10, "height": 8, "window_size": 250, "seed": 1},
}
# What somebody's function may raise.
_FAILURES: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
# Whose memory and time do not grow with what they have seen.
MODELS: Final = ("HalfSpaceTrees", "OneClassSVM")


class ReviewError(PluginError):
    """The review cannot be made as it is configured; the sentence says what to do."""


class ReviewedDay(Struct, frozen=True, kw_only=True):
    """One account's day and its score; a score is a text so that it is the same everywhere."""

    tenant: str
    account_id: str
    score: str
    summary: dict[str, str]


class Review(Struct, frozen=True, kw_only=True):
    """A tier's days that ended before a close, most unusual first.

    Attributes
    ----------
    time_ns
        The close.
    scored_by
        Model or function.
    accounts
        How many days were scored; ``rows`` holds the first of them.
    drifted
        Features whose level has changed, as ADWIN has it, with the level now.
    """

    time_ns: int
    tier: str
    is_simulated: bool
    scored_by: str
    accounts: int
    rows: list[ReviewedDay]
    drifted: dict[str, str] = {}


class RankingSpec(Struct, frozen=True, kw_only=True):
    """What scores days, as settings say.

    Attributes
    ----------
    model
        A River model of ``MODELS``; empty for none.
    parameters
        Given to it beside our defaults.
    score
        ``package.module:function`` instead of a model.
    rows
        Days that a review lists.
    """

    model: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    score: str = ""
    rows: int = 20

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to score days by."""
        return bool(self.model or self.score)


class Ranking:
    """One tier's model, and what drifts.

    Parameters
    ----------
    spec
        What scores days.

    Raises
    ------
    ReviewError
        If there is no such model or function.
    """

    def __init__(self, spec: RankingSpec) -> None:
        self._spec = spec
        self._function = _function_of(spec.score) if spec.score else None
        self._model = _model_of(spec) if self._function is None else None
        self._drift = _drift_of()

    @property
    def scored_by(self) -> str:
        """Model or function, for people."""
        return self._spec.score or self._spec.model

    def rank(
        self, days: Iterable[tuple[str, str, Summary]]
    ) -> tuple[int, list[ReviewedDay], dict[str, str]]:
        """Score days in order; return how many, the most unusual ones, and what drifted.

        Days of one score stand in the order of their accounts.
        """
        scored, drifted = [], {}
        for tenant, account_id, summary in days:
            scored.append((-self._score(summary), tenant, account_id, summary))
            for name in DRIFTING:
                self._drift[name].update(summary[name])
                if self._drift[name].drift_detected:
                    drifted[name] = repr(float(self._drift[name].estimation))
        scored.sort(key=lambda one: one[:3])
        rows = [
            ReviewedDay(
                tenant=tenant,
                account_id=account_id,
                score=repr(-score),
                summary={name: repr(value) for name, value in summary.items()},
            )
            for score, tenant, account_id, summary in scored[: self._spec.rows]
        ]
        return len(scored), rows, drifted

    def _score(self, summary: Summary) -> float:
        if self._model is not None:
            score = float(self._model.score_one(summary))
            self._model.learn_one(summary)
            return score if isfinite(score) else 0.0  # some have no score before they have learnt
        assert self._function is not None, "one of the two is there"
        try:
            score = float(self._function(dict(summary)))
        except _FAILURES as error:
            raise ReviewError(
                f"review.score: {self._spec.score} failed for {summary}: {error} "
                f"({type(error).__name__}). Mend it, then start again."
            ) from error
        if not isfinite(score):
            raise ReviewError(
                f"review.score: {self._spec.score} gave {score} for {summary}; a score must be a "
                "finite number."
            )
        return score

    def dump(self) -> bytes:
        """Return what was learnt."""
        return pickle.dumps((self._model, self._drift))

    def restore(self, dumped: bytes) -> None:
        """Take up a dump of a ranking made by the same spec."""
        self._model, self._drift = pickle.loads(dumped)  # noqa: S301 - from our own data folder


def summary_of(counts: Mapping[str, int]) -> Summary:
    """Return a day's summary.

    Parameters
    ----------
    counts
        ``orders``, ``cancels``, ``quick`` (cancelled within a second), ``fills``, ``closing``
        (fills that closed something) and ``wins`` (of these, with a profit).

    Returns
    -------
    dict
        ``orders`` and ``fills`` as natural logarithms of one more; shares of orders that were
        cancelled, cancelled within a second, and filled (fills an order, at most 1); share of
        closing fills won, 0.5 where there were none.

    Examples
    --------
    >>> day = {"orders": 10, "cancels": 5, "quick": 1, "fills": 4, "closing": 0, "wins": 0}
    >>> [round(value, 2) for value in summary_of(day).values()]
    [2.4, 1.61, 0.5, 0.1, 0.4, 0.5]
    """
    orders, closing = max(counts["orders"], 1), counts["closing"]
    values = (
        log1p(counts["orders"]),
        log1p(counts["fills"]),
        counts["cancels"] / orders,
        counts["quick"] / orders,
        min(counts["fills"] / orders, 1.0),
        counts["wins"] / closing if closing else 0.5,
    )
    return dict(zip(FEATURES, values, strict=True))


def _model_of(spec: RankingSpec) -> Any:
    if spec.model not in MODELS:
        raise ReviewError(
            f"review.model: there is no model {spec.model!r}; there are {', '.join(MODELS)}."
        )
    # Loading River takes a second: only whoever wants it waits.
    anomaly, preprocessing = (
        import_module(f"river.{name}") for name in ("anomaly", "preprocessing")
    )
    parameters = {name: _whole(value) for name, value in spec.parameters.items()}
    try:
        model = getattr(anomaly, spec.model)(**_DEFAULTS.get(spec.model, {}) | parameters)
    except TypeError as error:
        raise ReviewError(f"review.parameters do not fit {spec.model}: {error}.") from error
    return preprocessing.MinMaxScaler() | model  # trees need values from 0 to 1


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _drift_of() -> dict[str, Any]:
    drift = import_module("river.drift")
    return {name: drift.ADWIN() for name in DRIFTING}


def _function_of(place: str) -> Score:
    module, _, name = place.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ReviewError(
            f"review.score: {place!r} cannot be loaded ({error}); expected "
            "package.module:function, with the package installed."
        ) from error
    if not callable(function):
        raise ReviewError(f"review.score: {place!r} is no function.")
    found: Score = function
    return found
