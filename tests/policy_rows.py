"""Parts for tests of policy over days of rows: what lanes and account steps would make of them."""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from msgspec import structs
from policy_parts import OTHER, alert_of, answer, at, control, finding, notice_of

from detectors.core.stage import OfficeEvent
from flows.control import ControlRecord
from flows.steps import END_OF_TIME_NS, ShardMessage
from schemas.alerts import Finding
from schemas.events import SECOND_NS

LATENESS_NS = 5 * SECOND_NS
ACCOUNTS = ("account-A", "account-B", "account-C")
ACTIONS = ("opening", "growth", "receded", "provisional", "other", "answer", "none")


@dataclass
class Row:
    seconds: float
    account_id: str
    action: str
    number: int


@dataclass
class Stage:
    """What the account stage does to days: judge a provisional one once it is over."""

    closed_until_ns: int = -(2**62)
    provisional: dict[str, Finding] = field(default_factory=dict)
    openings: dict[str, str] = field(default_factory=dict)  # account -> last notice's id

    def take(self, row: Row) -> list[Finding | OfficeEvent]:
        found: list[Finding | OfficeEvent] = []
        held = self.provisional.get(row.account_id)
        if held is not None and held.day_end_ns <= at(row.seconds):
            found.append(self.judge(row.account_id))
        given = {"account_id": row.account_id, "trigger": ("broker-1", str(row.number))}
        if row.action in {"opening", "growth", "receded"}:
            found.append(finding(row.action, row.seconds, **given))
            if row.action != "receded":
                self.openings[row.account_id] = notice_of(alert_of(found[-1]))
        elif row.action == "other":
            found.append(finding("opening", row.seconds, rule_id=OTHER, **given))
        elif row.action == "provisional" and row.account_id not in self.provisional:
            rule_id = "pack.provisional"
            one = finding("provisional", row.seconds, rule_id=rule_id, detector="other", **given)
            self.provisional[row.account_id] = one
            found.append(one)
        elif row.action == "answer" and row.account_id in self.openings:
            found.append(answer(self.openings[row.account_id], row.seconds, row.account_id))
        return found

    def judge(self, account_id: str) -> Finding:
        held = self.provisional.pop(account_id)
        return structs.replace(
            held,
            phase="confirmed",
            event_time_ns=held.day_end_ns,
            trigger=("trading_day", held.trading_day),
        )

    def close(self, watermark_ns: int) -> list[Finding]:
        """Look once a minute only, as the account step does."""
        if watermark_ns < self.closed_until_ns + 60 * SECOND_NS:
            return []
        self.closed_until_ns = watermark_ns
        over = [a for a, held in self.provisional.items() if held.day_end_ns <= watermark_ns]
        return [self.judge(account_id) for account_id in over]


def messages_of(rows: list[Row], cuts: set[int], shards: int) -> list[ShardMessage]:
    """Turn rows into messages as lanes and account steps would, blocks ending at ``cuts``."""
    stages = [Stage() for _ in range(shards)]
    messages, numbers = [], [0] * shards
    high_ns = last_ns = -(2**62)
    block: list[list[Finding | OfficeEvent]] = [[] for _ in range(shards)]
    for index, row in enumerate(rows, 1):
        time_ns = at(row.seconds)
        high_ns = max(high_ns, min(last_ns, time_ns))
        last_ns = time_ns
        shard = ord(row.account_id[-1]) % shards
        if time_ns >= high_ns - LATENESS_NS:
            block[shard] += stages[shard].take(row)
        is_last = index == len(rows)
        if index in cuts or is_last:
            for s, stage in enumerate(stages):
                watermark_ns = high_ns - LATENESS_NS
                block[s] += stage.close(END_OF_TIME_NS if is_last else watermark_ns)
                messages.append(_message(s, numbers[s], block[s], watermark_ns, stage, is_last))
                numbers[s] += 1
            block = [[] for _ in range(shards)]
    return messages


def _message(
    shard: int,
    number: int,
    found: list[Finding | OfficeEvent],
    watermark_ns: int,
    stage: Stage,
    is_last: bool,
) -> ShardMessage:
    findings: list[Finding] = []
    office: list[OfficeEvent] = []
    for one in found:
        if isinstance(one, Finding):
            findings.append(one)
        else:
            office.append(structs.replace(one, findings_before=len(findings)))
    return ShardMessage(
        shard=shard,
        number=number,
        watermark_ns=watermark_ns,
        closed_until_ns=stage.closed_until_ns,
        findings=findings,
        office=office,
        is_last=is_last,
    )


@st.composite
def rows_of_days(draw: st.DrawFn) -> list[Row]:
    """Give rows over some days, mostly ascending, with jumps near and beyond ends and expiries."""
    steps = st.sampled_from((0.0, 0.5, -3.0, 2.0, 50.0, 90.0, 1_800.0, 3_599.0, 40_000.0))
    seconds, rows = 0.0, []
    for _ in range(draw(st.integers(1, 25))):
        seconds = max(0.0, seconds + draw(steps))
        account_id, action = draw(st.sampled_from(ACCOUNTS)), draw(st.sampled_from(ACTIONS))
        rows.append(Row(seconds, account_id, action, len(rows)))
    return rows


def records_for(times: list[float]) -> list[ControlRecord]:
    """Set and release holds in turn."""
    return [
        control("hold", seconds, index + 1, account_id=ACCOUNTS[0], is_set=index % 2 == 0)
        for index, seconds in enumerate(times)
    ]
