"""What a second run of a day says differently: alerts added, gone, amended."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from flows.datafolder import Paths
from flows.manifest import read_manifest
from flows.store.reader import StoreReader
from flows.store.rows import AlertRow

Change: TypeAlias = Literal["same", "amended", "added", "gone"]


class OtherFigures(ValueError):  # noqa: N818 - nothing failed: two things cannot be compared
    """Two runs had other figures, so that their alerts say nothing about each other."""


class AlertChange(Struct, frozen=True, kw_only=True):
    """One alert in two runs.

    Attributes
    ----------
    change
        ``amended``: both have it, with another state, other evidence, or set off by another event
        (its id is then another one too). ``added`` and ``gone``: only the second, or first, has it.
    """

    change: Change
    first: AlertRow | None
    second: AlertRow | None

    @property
    def alert(self) -> AlertRow:
        """The alert, as the second run has it where it does."""
        row = self.second or self.first
        assert row is not None
        return row


def compare(first: Iterable[AlertRow], second: Iterable[AlertRow]) -> list[AlertChange]:
    """Hold the alerts of two runs against each other, in order of event time.

    Alerts of one id are one. Of the others, those of one rule on one subject and trading day are
    matched in order of time: a late event can only have set them off at another moment.

    Raises
    ------
    OtherFigures
        A rule had other parameters in the second run.
    """
    ones, twos = list(first), list(second)
    _check_figures(ones, twos)
    by_id = {row.alert_id: row for row in twos}
    found = [_of_both(row, by_id.pop(row.alert_id)) for row in ones if row.alert_id in by_id]
    matched = {change.alert.alert_id for change in found}
    left = [row for row in ones if row.alert_id not in matched]
    found += _match(left, list(by_id.values()))
    return sorted(found, key=lambda one: (one.alert.event_time_ns, one.alert.alert_id))


def _check_figures(ones: Sequence[AlertRow], twos: Sequence[AlertRow]) -> None:
    hashes = {row.rule.id: row.rule.parameters_hash for row in ones}
    for row in twos:
        if hashes.get(row.rule.id, row.rule.parameters_hash) != row.rule.parameters_hash:
            raise OtherFigures(
                f"The second run has other figures for {row.rule.id}, so its alerts are not those "
                "of the same day looked at again; run it with the first one's configuration."
            )


def _of_both(one: AlertRow, two: AlertRow) -> AlertChange:
    same = (one.state, one.why, one.evidence) == (two.state, two.why, two.evidence)
    return AlertChange(change="same" if same else "amended", first=one, second=two)


def _match(ones: Sequence[AlertRow], twos: Sequence[AlertRow]) -> list[AlertChange]:
    waiting: dict[tuple[str, str, str, str], list[AlertRow]] = defaultdict(list)
    for row in sorted(ones, key=lambda row: row.event_time_ns, reverse=True):
        waiting[_kind(row)].append(row)
    found = []
    for row in sorted(twos, key=lambda row: row.event_time_ns):
        same_kind = waiting[_kind(row)]
        one = same_kind.pop() if same_kind else None
        change: Change = "amended" if one else "added"
        found.append(AlertChange(change=change, first=one, second=row))
    gone = [row for rows in waiting.values() for row in rows]
    return found + [AlertChange(change="gone", first=row, second=None) for row in gone]


def _kind(row: AlertRow) -> tuple[str, str, str, str]:
    return row.tenant, row.rule.id, row.subject, row.trading_day


def check_runs(first: Path, second: Path) -> None:
    """Refuse two data folders whose runs say nothing about each other.

    Raises
    ------
    OtherFigures
        Other settings, a second run that is not at its end, or one of fewer events.
    """
    one, two = (read_manifest(folder) for folder in (first, second))
    if one is None or two is None:
        folder = first if one is None else second
        raise OtherFigures(f"{folder} has no manifest.json, so it holds no run; name its folder.")
    if one.config_hash != two.config_hash:
        raise OtherFigures(
            f"The run in {second} has other settings than that in {first}, so what is gone there "
            "may be gone for these; run the day again with the first one's configuration."
        )
    if not two.completed:
        raise OtherFigures(
            f"The run in {second} is not at its end; give its command again and let it finish."
        )
    counts = [_events(first, one.run_key), _events(second, two.run_key)]
    if counts[1] < counts[0]:
        raise OtherFigures(
            f"The run in {second} read {counts[1]:,} events and that in {first} {counts[0]:,}: it "
            "is not the whole day; run it again with all of it."
        )


def _events(folder: Path, run_key: str) -> int:
    with StoreReader(Paths(folder).store) as store:
        found = store.summary(run_key)
    return 0 if found is None else int(found.summary["events"])
