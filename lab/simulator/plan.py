"""Which accounts carry which plant, and what is expected of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np

from lab.simulator import tape
from lab.simulator.config import SimulatorConfig, Truth
from lab.simulator.lookalikes import LOOK_ALIKES, VARIANTS, LookAlike
from lab.simulator.plant_files import FilePlant
from lab.simulator.plant_steps import perform, rehearse
from lab.simulator.plants import FAMILIES, REPORTING, Family
from lab.simulator.prices import Prices
from lab.simulator.script import Script
from lab.simulator.tape import Table
from lab.simulator.venues import GROUPS, VENUES, XSGE, Instrument, Session
from schemas.events import SECOND_NS

HEAVY_EVENTS_MIN: Final = 1_000_000
DAY_NS: Final = 86_400 * SECOND_NS
_REPORTED_TIMES: Final = 10  # seconds of a day with so many actions make a programme of it
_REPORTED_ACTIONS: Final = 10
_CLAIMS: Final = {"market_maker": tape.CLAIM_MARKET_MAKER, "hedge": tape.CLAIM_HEDGE}
_CLAIMING: Final = frozenset({"registered", "registered_instrument", "claimed"})
_OTHER_KIND: Final = {"market_maker": "hedge", "hedge": "market_maker"}


@dataclass(frozen=True, slots=True)
class Task:
    """One plant to be made."""

    what: Family | LookAlike | FilePlant
    strength: float
    variant: str = ""

    @property
    def is_innocent(self) -> bool:
        """Whether it only looks abusive."""
        if isinstance(self.what, FilePlant):
            return self.what.says.innocent
        return isinstance(self.what, LookAlike)

    @property
    def name(self) -> str:
        """The behaviour."""
        return self.what.name


@dataclass(frozen=True, slots=True)
class Planted:
    """One plant made.

    Attributes
    ----------
    accounts
        One, or two that trade with each other; ``truth`` has an entry for each.
    groups_closed
        Venue groups in which they do nothing else, lest the figures move.
    on_file
        By account, what its ``ref.account`` must say; accounts without need none.
    """

    accounts: tuple[int, ...]
    simulated: bool
    groups_closed: tuple[int, ...]
    tables: tuple[Table, Table]
    truth: tuple[Truth, ...]
    on_file: dict[int, dict[str, Any]] = field(default_factory=dict)


def plant_names() -> tuple[str, ...]:
    """Return every name that ``SimulatorConfig.plants`` takes."""
    return (*(family.name for family in FAMILIES), *(one.name for one in LOOK_ALIKES))


class Plan:
    """Make the plants of one day.

    Accounts are taken from ``order``, a random order of all of them, from its beginning.
    """

    def __init__(
        self,
        config: SimulatorConfig,
        sessions: Sequence[Session],
        instruments: tuple[Instrument, ...],
        prices: Prices,
        ids: tuple[Sequence[str], Sequence[str], Sequence[int]],
    ) -> None:
        self._config, self._sessions = config, sessions
        self._instruments, self._prices = instruments, prices
        self._ids, self._tokens, self._order = ids
        self._quiet = {
            venue: [i for i, one in enumerate(instruments) if one.is_quiet and one.venue == venue]
            for venue in range(len(VENUES))
        }

    def make(self) -> list[Planted]:
        """Return the plants.

        Raises
        ------
        ValueError
            The plants asked for do not fit into the events or accounts asked for.
        """
        accounts = iter(self._order)
        if self._config.plants is None and not self._config.plant_files:
            return self._make_what_fits(accounts)
        tasks = named_tasks(self._config.plants or (), self._config.strengths)
        tasks = self._thin(tasks + file_tasks(self._config.plant_files))
        self._refuse_without_close(tasks)
        made = self._make_all(tasks, accounts)
        if len(made) < len(tasks):
            needed = sum(_account_count(task) for task in tasks)
            raise ValueError(
                f"{len(tasks)} plants need {needed} accounts, and there are {len(self._order)}; "
                "ask for more accounts or fewer plants"
            )
        return made

    def _refuse_without_close(self, tasks: Sequence[Task]) -> None:
        names = [task.name for task in tasks if task.what.closing]
        if names and self._config.minutes is not None:
            raise ValueError(f"{names[0]!r} is planted before the close; leave minutes out")

    def _make_what_fits(self, accounts: Iterator[int]) -> list[Planted]:
        """Take whole families, the smallest first, up to half of the events and accounts."""
        takes_heavy = self._config.events >= HEAVY_EVENTS_MIN
        is_whole = self._config.minutes is None
        names = [
            one.name
            for one in (*FAMILIES, *LOOK_ALIKES)
            if not one.early
            and (takes_heavy or not _is_heavy(one))
            and (is_whole or not one.closing)
        ]
        groups: list[list[Planted]] = []
        tasks = self._thin(named_tasks(names, self._config.strengths))
        for name in names:
            of_name = [task for task in tasks if task.name == name]
            groups.append(self._make_all(of_name, accounts))
        made: list[Planted] = []
        events = 0
        for group in sorted(groups, key=_event_count):
            events += _event_count(group)
            used = sum(len(planted.accounts) for planted in made)
            if 2 * events > self._config.events or 2 * used > self._config.accounts:
                break
            made.extend(group)
        return made

    def _make_all(self, tasks: Sequence[Task], accounts: Iterator[int]) -> list[Planted]:
        """Make plants one after the other, as far as there are accounts."""
        made = []
        for task in tasks:
            own = tuple(islice(accounts, _account_count(task)))
            if len(own) < _account_count(task):
                break
            made.append(self._make(task, own))
        return made

    def _thin(self, tasks: list[Task]) -> list[Task]:
        """Repeat or leave out abusive plants until their share of accounts is the prevalence."""
        if self._config.prevalence is None:
            return tasks
        abusive = [task for task in tasks if not task.is_innocent]
        wanted = round(self._config.prevalence * self._config.accounts) if abusive else 0
        rng = np.random.default_rng([self._config.seed, 31])
        shuffled = [abusive[i] for i in rng.permutation(len(abusive)).tolist()]
        repeated = [shuffled[i % len(shuffled)] for i in range(wanted)]
        return repeated + [task for task in tasks if task.is_innocent]

    def _make(self, task: Task, accounts: tuple[int, ...]) -> Planted:
        what = task.what
        floor = (self._sessions[what.venue], self._instruments, self._prices)
        rng = np.random.default_rng([self._config.seed, 32, accounts[0]])
        script = Script(accounts, floor, what.venue, rng, self._quiet_one(what))
        if isinstance(what, LookAlike) and task.variant in _CLAIMING:
            script.claim = _CLAIMS[what.registration]
        rules, reached = _build(task, script)
        tables = script.finish()
        # What alone would be too slow is not, where it must fit into a few minutes.
        reports = VENUES[what.venue].group == XSGE.group and REPORTING not in rules
        reports = reports and not isinstance(what, FilePlant)  # whose author says what is expected
        truth = tuple(
            Truth(
                account_id=self._ids[account],
                behaviour=task.name,
                strength=task.strength,
                innocent=task.is_innocent,
                registered=VARIANTS.get(task.variant, False),
                start_ns=start_ns,
                end_ns=end_ns,
                expected_rules=(*rules, REPORTING)
                if reports and _is_programme(tables, account)
                else rules,
                reached=reached,
                variant=task.variant,
            )
            for account, (start_ns, end_ns) in zip(accounts, script.spans, strict=True)
        )
        return Planted(
            accounts=accounts,
            simulated=what.simulated,
            groups_closed=tuple(range(GROUPS))
            if what.simulated or what.early
            else (VENUES[what.venue].group,),
            tables=tables,
            truth=truth,
            on_file=self._on_file(task, script),
        )

    def _quiet_one(self, what: Family | LookAlike | FilePlant) -> int | None:
        """Return an instrument that nobody else trades, where the behaviour needs one."""
        if not what.alone:
            return None
        if not self._quiet[what.venue]:
            raise ValueError(
                f"there is no quiet stock left on {VENUES[what.venue].mic} for {what.name!r}; ask "
                "for fewer plants"
            )
        return self._quiet[what.venue].pop()

    def _on_file(self, task: Task, script: Script) -> dict[int, dict[str, Any]]:
        """Return what is on file about whom, beside what is about everybody."""
        first, *others = script.accounts
        registrations = _registrations(task, script)
        on_file: dict[int, dict[str, Any]] = {}
        if registrations or others:
            on_file[first] = {"registrations": registrations}
        for account in others:
            on_file[account] = {}
            if task.what.linked == "owner":
                on_file[account] = {"beneficial_owner": f"owner-{self._tokens[first]}"}
        if task.what.linked == "group":
            for account in script.accounts:
                on_file[account] |= {"control_group": f"group-{self._tokens[first]}"}
        return on_file


def _build(task: Task, script: Script) -> tuple[tuple[str, ...], float]:
    """Write the script; return the rules that will alert and the value over the figure."""
    what = task.what
    if isinstance(what, Family):
        value = what.value(task.strength)
        what.build(script, value)
        return ((what.rule,) if what.alerts(value) else ()), value / what.figure
    if isinstance(what, FilePlant):
        perform(what, task.strength, script)
        rules = what.says.rules if task.strength >= what.expects_from else ()
        return rules, what.value(task.strength) / what.base
    what.build(script)
    return (() if VARIANTS.get(task.variant, False) else what.rules), what.reached


def _is_programme(tables: tuple[Table, Table], account: int) -> bool:
    """Say whether an account enters and withdraws orders as fast as programmes do."""
    orders, events = tables
    is_own = orders["account"][events["subject"]] == account
    is_action = (events["kind"] == tape.NEW) | (events["kind"] == tape.REPLACE)
    is_action |= (events["kind"] == tape.CANCEL) & (
        events["code"] & ~np.uint8(tape.QUANTITY_SHOWN) == tape.USER
    )
    times = np.sort(events["time_ns"][is_own & is_action])
    busy = begin = 0
    while begin < len(times):
        end = int(np.searchsorted(times, times[begin] + SECOND_NS))
        busy += end - begin >= _REPORTED_ACTIONS
        begin = end
    return busy >= _REPORTED_TIMES


def named_tasks(names: Sequence[str], strengths: Sequence[float]) -> list[Task]:
    """Return the tasks behind names with or without ``@strength``.

    Raises
    ------
    ValueError
        A name is unknown or its strength is no number above 0.
    """
    known: dict[str, Family | LookAlike] = {one.name: one for one in (*FAMILIES, *LOOK_ALIKES)}
    tasks: list[Task] = []
    for text in names:
        name, _, strength = text.partition("@")
        if name not in known:
            raise ValueError(f"no plant is called {name!r}; choose from {', '.join(known)}")
        what = known[name]
        if isinstance(what, LookAlike):
            tasks += [Task(what, what.reached, variant) for variant in what.variants]
        elif strength:
            tasks.append(Task(what, _strength(text, strength)))
        else:
            tasks += [Task(what, one) for one in strengths]
    return tasks


def file_tasks(plants: Sequence[FilePlant]) -> list[Task]:
    """Return the tasks of plants from files, each at its own strengths.

    Raises
    ------
    PlantFileError
        A plant has the name of a built-in one or of another file's, or cannot be carried out.
    """
    rehearse(plants)
    taken = set(plant_names())
    for plant in plants:
        if plant.name in taken:
            plant.refuse("name", "a name of its own", f"{plant.name!r}, which is taken")
        taken.add(plant.name)
    return [Task(plant, strength) for plant in plants for strength in plant.strengths]


def _strength(text: str, strength: str) -> float:
    try:
        value = float(strength)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ValueError(f"{text!r} has no strength above 0 after the @; write 1.2, for example")
    return value


def _account_count(task: Task) -> int:
    return 2 if task.what.linked else 1


def _is_heavy(what: Family | LookAlike) -> bool:
    return isinstance(what, Family) and what.heavy


def _event_count(group: Sequence[Planted]) -> int:
    return sum(len(planted.tables[1]) for planted in group)


def _registrations(task: Task, script: Script) -> list[dict[str, Any]]:
    """Return what is on file for a look-alike's variant."""
    kind = task.what.registration if isinstance(task.what, LookAlike) else ""
    if not kind or task.variant in {"unregistered", "claimed"}:
        return []
    day = script.session.day_start_ns
    valid = {"valid_from_ns": day - 30 * DAY_NS, "valid_until_ns": day + 30 * DAY_NS}
    if task.variant == "expired":
        valid["valid_until_ns"] = day
    entry: dict[str, Any] = {"registration": kind}
    if task.variant == "wrong_kind":
        entry["registration"] = _OTHER_KIND[kind]
    if task.variant == "registered_instrument":
        entry["instrument"] = script.instruments[script.main].name
    if task.variant == "other_instrument":
        entry["instrument"] = script.instruments[script.listed[-1]].name
    return [entry | valid]
