"""Rules tried on planted behaviour: below, at and above their figures, and on look-alikes."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from msgspec import Struct

from console.reading import read_config
from flows.loop import run_loop
from flows.plan import InputSpec, Plan
from flows.store import StoreReader
from lab.plants_table import accounts_of
from lab.simulator import Market, SimulatorConfig, Truth
from lab.simulator.lookalikes import LOOK_ALIKES
from lab.simulator.plants import FAMILIES, PLANTED_RULES

STRENGTHS: Final = (0.8, 1.0, 3.0)
SEED: Final = 7
EVENTS: Final = 60_000
EVENTS_HEAVY: Final = 300_000


class Trial(Struct, frozen=True, kw_only=True):
    """One account: what it did, what had to alert, what did.

    ``expected`` and ``alerted`` hold ids of the rules tried; others are left out.
    """

    behaviour: str
    strength: float
    variant: str
    expected: tuple[str, ...]
    alerted: tuple[str, ...]

    @property
    def is_as_expected(self) -> bool:
        """Whether exactly those alerted that had to."""
        return self.expected == self.alerted


def try_rules(
    rules: Sequence[str],
    flags: Sequence[str],
    on_events: Callable[[int], None],
    *,
    heavy: bool = False,
) -> list[Trial]:
    """Run a small market that is about these rules, and hold alerts against the truth."""
    market = Market(
        SimulatorConfig(
            events=EVENTS_HEAVY if heavy else EVENTS,
            accounts=1_000,
            seed=SEED,
            plants=_plants(rules, heavy=heavy),
            strengths=STRENGTHS,
        )
    )
    with tempfile.TemporaryDirectory(prefix="tapewatch-test-") as folder:
        data = Path(folder, "data")
        config = read_config(data, flags, None)
        plan = Plan(
            data,
            (InputSpec(name="sim://trial"),),
            config,
            factories={"sim": lambda _url, _first: market.blocks()},
        )
        data.mkdir(mode=0o700)
        run_loop(plan, "trial", lambda state: on_events(state.events)).close()
        with StoreReader(plan.paths.store) as store:
            alerted = defaultdict(set)
            for alert in store.every_alert():
                if alert.state != "withdrawn":
                    for account_id in accounts_of(alert.account_id, alert.evidence):
                        alerted[account_id].add(alert.rule_id)
    wanted = PLANTED_RULES.intersection(rules)
    return [_trial(one, wanted, alerted[one.account_id]) for one in _in_order(market.truth())]


def _plants(rules: Sequence[str], *, heavy: bool) -> tuple[str, ...]:
    wanted = set(rules)
    families = [f.name for f in FAMILIES if f.rule in wanted and (heavy or not f.heavy)]
    # Look-alikes that no rule should ever take for abuse are tried for every rule.
    innocent = [one.name for one in LOOK_ALIKES if not one.rules or wanted & set(one.rules)]
    return (*families, *innocent)


def _in_order(truth: Sequence[Truth]) -> list[Truth]:
    return sorted(truth, key=lambda one: (one.innocent, one.behaviour, one.strength, one.variant))


def _trial(one: Truth, wanted: AbstractSet[str], alerted: set[str]) -> Trial:
    return Trial(
        behaviour=one.behaviour,
        strength=0.0 if one.innocent else one.strength,
        variant=one.variant,
        expected=tuple(sorted(wanted & set(one.expected_rules))),
        alerted=tuple(sorted(wanted & alerted)),
    )
