"""Evaluation: what tests with a bound claim, held against worlds in which the truth is known.

It can prove us wrong: the counts of false alarms are printed beside the bound for every world, also
where the test's conditions do not hold, and delays beside those of an oracle that knows the truth.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import to_builtins

from lab.bench import machine
from lab.evaluate import (
    baselines,
    bursts,
    counterfactuals,
    evasion,
    layers,
    nulls,
    planted,
    power,
    real,
    shares,
    streams,
    traps,
)
from lab.evaluate.sizes import FULL, QUICK
from lab.simulator import FilePlant

SEED: Final = 20261123


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Evaluate the tests with a bound, and ``layering`` beside them.

    Parameters
    ----------
    quick
        A small run, to see that it works; its intervals are wide.
    say
        Told in sentences how far it is.

    Returns
    -------
    dict
        ``machine``, ``commit``, ``seed``, ``sizes`` and tables, each a list of rows: ``nulls``
        (false alarms against the bound), ``delays`` (against the oracle), ``power`` (share named
        after so many units), ``traps`` (alarms a day on accounts that did nothing wrong),
        ``baselines`` and ``layers``; of cancel ratios ``share_edges`` (at the null),
        ``share_families`` (innocents), ``share_plants`` and ``share_delays``, and the same of
        bursts; of null families as streams ``stream_tests`` and ``stream_families``;
        ``evasion`` (what it costs to go unnoticed); ``counterfactuals`` (held to what they say by
        replay); and ``charts`` (see
        ``lab.bench.plot``).
    """
    sizes = QUICK if quick else FULL
    say(f"False alarms while the null holds, and where it does not: {sizes.seeds} seeds each.")
    found_nulls = nulls.measure(sizes, SEED)
    say("Delays beside those of an oracle that knows the truth.")
    delays, named = power.measure(sizes, SEED)
    say("Accounts that did nothing wrong, at the budget that is shipped.")
    found_traps = traps.measure(sizes, SEED)
    say("Other ways to watch, on the same outcomes.")
    found_others = baselines.measure(sizes, SEED)
    say(f"Cancel ratios of {sizes.share_accounts:,} accounts over {sizes.share_days} days.")
    found_shares = shares.measure(sizes, SEED)
    say(f"Bursts of {sizes.burst_accounts:,} accounts over {sizes.burst_days} days.")
    found_bursts = bursts.measure(sizes, SEED)
    say(f"Null families as streams, {sizes.stream_days} days each, through all stages.")
    found_streams = streams.measure(sizes, SEED)
    say(f"Layering among makers who quote anew: {sizes.mornings} mornings.")
    found_layers = layers.measure(sizes, SEED)
    say("Adversaries who know the tests, and what it costs them to go unnoticed.")
    found_evasion = evasion.measure(sizes, SEED)
    say("Counterfactuals, replayed: every alert of days with low figures.")
    extent = counterfactuals.QUICK if quick else counterfactuals.FULL
    found_counterfactuals = counterfactuals.measure(extent, SEED)
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "sizes": to_builtins(sizes),
        "nulls": to_builtins(found_nulls),
        "delays": to_builtins(delays),
        "power": to_builtins(named),
        "traps": to_builtins(found_traps),
        "baselines": to_builtins(found_others),
        **{f"share_{name}": to_builtins(rows) for name, rows in found_shares._asdict().items()},
        **{f"burst_{name}": to_builtins(rows) for name, rows in found_bursts._asdict().items()},
        **{f"stream_{name}": to_builtins(rows) for name, rows in found_streams._asdict().items()},
        "layers": to_builtins(found_layers),
        "evasion": to_builtins(found_evasion),
        "counterfactuals": to_builtins(found_counterfactuals),
        "charts": [to_builtins(power.chart(named, sizes))],
    }


def run_plants(
    plants: Sequence[FilePlant], *, quick: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Say which plants from files are named: ``planted`` (see ``lab.evaluate.planted``)."""
    sizes = planted.QUICK if quick else planted.FULL
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "planted": to_builtins(planted.measure(plants, sizes, SEED, say)),
    }


def run_samples(folder: Path, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Look at real market files in a folder (see ``lab.evaluate.real``).

    Raises
    ------
    FileNotFoundError
        If one of them is not there.
    """
    say("A real day of Shanghai with abuse put in, and 81 seconds of real accounts.")
    found = real.measure(folder, SEED)
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        **{f"real_{name}": to_builtins(rows) for name, rows in found._asdict().items()},
    }
