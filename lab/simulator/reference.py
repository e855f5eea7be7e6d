"""What is on file, and what happens beside trading: instruments, accounts, permissions, the app."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from lab.simulator import tape
from lab.simulator.arrivals import Arrivals
from lab.simulator.lines import APP_TEXTS
from lab.simulator.population import Population
from lab.simulator.tape import Table
from lab.simulator.venues import MINUTE_NS, VENUES, Instrument, Ints, Session
from schemas.events import SECOND_NS

FILE_MINUTES: Final = (500, 520)  # local morning minutes in which files on accounts arrive
ON_FILE_SHARE: Final = 0.2  # of accounts, bounded by a share of the events
RECORD_EVENTS_SHARE: Final = 0.02
REGISTERED_SHARE: Final = 0.05  # of ordinary accounts on file
GRANT_SHARE: Final = 0.0005  # of the events
DAYS_30_NS: Final = 30 * 1440 * MINUTE_NS
PERMISSIONS: Final = ("algorithmic_trading", "level_2", "margin", "options", "advisory")
SEGMENTS: Final[tuple[list[str], ...]] = (["retail"], ["retail", "active"], ["professional"], [])
GROUP_EVERY, GROUP_SIZE = 8, 2  # of ordinary accounts; they never trade with each other
APP_GAP_MEAN_S: Final = 15.0
_APP_SESSION_MEAN: Final = 4
_OPEN_CODE, _LOGIN_CODE, _FEATURES_FROM = 0, 1, 2

Records = list[tuple[int, tuple[str, str]]]


def instrument_records(
    instruments: Sequence[Instrument], sessions: Sequence[Session], rng: np.random.Generator
) -> Records:
    """Return (time, texts) of one ``ref.instrument`` each, before anything trades."""
    records: Records = []
    for one in instruments:
        venue, session = VENUES[one.venue], sessions[one.venue]
        body = {
            "instrument": one.name,
            "venue": venue.mic,
            "tick_size": f"{one.tick_cents / 100:.2f}",
            "lot": one.lot,
            "board": one.board,
            "previous_close": f"{one.price_cents / 100:.2f}",
            "calendar": venue.calendar,
            "zone": venue.zone,
        }
        minute = rng.uniform(FILE_MINUTES[0] - 20, FILE_MINUTES[0])
        at = session.day_start_ns + int(minute * MINUTE_NS)
        records.append((at, _template("ref.instrument", "sim-ref", body)))
    return records


def account_records(
    population: Population,
    on_file: Mapping[int, dict[str, Any] | None],
    instruments: Sequence[Instrument],
    sessions: Sequence[Session],
    rng: np.random.Generator,
    events: int,
) -> Records:
    """Return (time, texts) of ``ref.account`` of those concerned and of many ordinary ones.

    ``on_file`` has every planted account: what its file must say, or None where it needs no file
    and must not be registered by chance.
    """
    most = min(ON_FILE_SHARE * population.count, RECORD_EVENTS_SHARE * events)
    concerned = {account for account, said in on_file.items() if said is not None}
    chosen = set(rng.permutation(population.count)[: int(most)].tolist()) | concerned
    day = sessions[0].day_start_ns
    records: Records = []
    for account in sorted(chosen):
        said = on_file.get(account)
        if said is None:
            by_chance = _ordinary_registrations(instruments, day, rng)
            said = {"registrations": [] if account in on_file else by_chance}
            if account % GROUP_EVERY < GROUP_SIZE:
                first = account - account % GROUP_EVERY
                said["control_group"] = f"group-{population.tokens[first]}"
        body: dict[str, Any] = {
            "beneficial_owner": f"owner-{population.tokens[account]}",
            "segments": SEGMENTS[int(rng.integers(len(SEGMENTS)))],
            "tier": f"T{int(rng.integers(1, 5))}",
            "risk_grade": f"C{int(rng.integers(1, 6))}",
            **said,
        }
        at = day + int(rng.uniform(*FILE_MINUTES) * MINUTE_NS)
        account_id = {"account_id": population.ids[account]}
        records.append((at, _template("ref.account", "sim-ref", account_id | body)))
    return records


def _ordinary_registrations(
    instruments: Sequence[Instrument], day: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Now and then an ordinary account is registered as something, and nothing comes of it."""
    if rng.random() >= REGISTERED_SHARE:
        return []
    entry: dict[str, Any] = {"registration": ("market_maker", "hedge")[int(rng.integers(2))]}
    if rng.integers(2):
        entry["instrument"] = instruments[int(rng.integers(len(instruments)))].name
    until = day + int(rng.integers(0, 2)) * DAYS_30_NS
    return [entry | {"valid_from_ns": day - DAYS_30_NS, "valid_until_ns": until}]


def grant_records(population: Population, times: Ints, rng: np.random.Generator) -> Records:
    """Return one ``entitlement.changed`` for each moment, of any accounts."""
    records: Records = []
    for at in times.tolist():
        account = int(rng.integers(population.count))
        body = {
            "account_id": population.ids[account],
            "subject": population.ids[account],
            "permission": PERMISSIONS[int(rng.integers(len(PERMISSIONS)))],
            "action": ("grant", "change", "revoke")[int(rng.integers(3))],
            "valid_from_ns": at,
            "valid_until_ns": at + DAYS_30_NS,
            "operator": f"op-{int(rng.integers(20)):02d}",
        }
        records.append((at, _template("entitlement.changed", "sim-app", body)))
    return records


def record_events(records: Records) -> tuple[Table, list[tuple[str, str]]]:
    """Return records as events, and their texts."""
    times = np.array([at for at, _ in records], np.int64)
    return tape.event_table(tape.RECORD, np.arange(len(records)), times), [t for _, t in records]


def app_events(count: int, population: Population, times: Ints, rng: np.random.Generator) -> Table:
    """Return ``count`` app events in visits: open, log in, look around, press the button.

    ``times`` are the moments visits may begin at, at least ``count`` of them.
    """
    visit = np.cumsum(rng.random(count) < 1.0 / _APP_SESSION_MEAN).astype(np.int64)
    first = np.searchsorted(visit, visit, side="left")
    place = np.arange(count) - first
    gaps = np.cumsum((rng.exponential(APP_GAP_MEAN_S * SECOND_NS, count)).astype(np.int64))
    at = times[visit % len(times)] + gaps - gaps[first]
    code = rng.integers(_FEATURES_FROM, len(APP_TEXTS), count)
    code = np.where(place == 0, _OPEN_CODE, np.where(place == 1, _LOGIN_CODE, code))
    who: Ints = rng.integers(0, population.count, count)[first]
    return tape.event_table(tape.APP, who, at, code=code)


def wall_times(
    sessions: Sequence[Session], arrivals: Sequence[Arrivals], count: int, rng: np.random.Generator
) -> Ints:
    """Return ``count`` wall-clock moments of trading, over all venues by their share."""
    shares = np.array([session.venue.share for session in sessions])
    counts = rng.multinomial(count, shares / shares.sum())
    drawn = zip(sessions, arrivals, counts.tolist(), strict=True)
    return rng.permutation(
        np.concatenate([session.to_wall(one.draw(n, rng)) for session, one, n in drawn])
    )


def _template(kind: str, source: str, body: dict[str, Any]) -> tuple[str, str]:
    """Return what stands before and behind event id and time in a line."""
    text = json.dumps(body, separators=(",", ":"))
    return f'"kind":"{kind}","source":"{source}"', text[1:-1]
