"""The store's tables. A change here needs a migration; a test compares the two."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

SCHEMA_REVISION: Final = "0001"  # the newest under migrations/versions

metadata: Final = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


alerts: Final = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    _text("tenant"),
    _text("detector"),
    _text("rule_id"),
    _text("account_id"),
    Column("instrument", Text),
    _text("subject"),
    _text("severity"),
    _text("state"),
    _number("onset_ns"),
    _number("event_time_ns"),
    _number("updated_ns"),
    _text("trading_day"),
    _text("why"),
    Column("evidence", JSON, nullable=False),
    Column("counterfactual", JSON, nullable=False),
    Column("rule", JSON, nullable=False),
    Column("positions", JSON, nullable=False),
    _number("update_count"),
    Column("ledger_origin", Text),
    Column("ledger_index", BigInteger),
    Index("alerts_by_time", "event_time_ns", "alert_id"),
    Index("alerts_by_account", "account_id", "event_time_ns"),
    Index("alerts_by_detector", "detector", "event_time_ns"),
)

alert_updates: Final = Table(
    "alert_updates",
    metadata,
    Column("eid", Text, primary_key=True),
    _text("alert_id"),
    _number("ordinal"),
    _text("phase"),
    _text("severity"),
    _number("event_time_ns"),
    _text("why"),
    Column("evidence", JSON, nullable=False),
    Column("counterfactual", JSON, nullable=False),
    Column("positions", JSON, nullable=False),
    Column("ledger_origin", Text),
    Column("ledger_index", BigInteger),
    Index("alert_updates_by_alert", "alert_id", "ordinal"),
)

episodes: Final = Table(
    "episodes",
    metadata,
    Column("episode_id", Text, primary_key=True),
    _text("detector"),
    _text("subject"),
    _text("account_id"),
    _text("alert_id"),
    _number("opened_ns"),
    _number("last_ns"),
    Column("closed_ns", BigInteger),
    Column("close_reason", Text),
    _number("finding_count"),
    Index("episodes_by_account", "account_id", "opened_ns"),
)

notices: Final = Table(
    "notices",
    metadata,
    Column("notice_id", Text, primary_key=True),
    _text("rule_id"),
    _text("account_id"),
    _text("alert_id"),
    _number("sent_ns"),
    _number("expires_ns"),
    _text("state"),
    _number("ordinal"),
    _text("tenant"),
    _text("text"),
    Column("answered_ns", BigInteger),
    Column("outcome", Text),
    Column("ledger_origin", Text),
    Column("ledger_index", BigInteger),
    Index("notices_by_time", "sent_ns", "notice_id"),
    Index("notices_by_account", "account_id", "sent_ns"),
)

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("id", Text, primary_key=True),
    _text("lane"),
    _number("line_number"),
    _number("byte_offset"),
    _text("stage"),
    _text("reason"),
    _text("path"),
    _text("sentence"),
    Column("raw", LargeBinary, nullable=False),
    Index("dead_letters_by_place", "lane", "byte_offset"),
    Index("dead_letters_by_reason", "reason", "lane", "byte_offset"),
)

headroom: Final = Table(
    "headroom",
    metadata,
    Column("rule_id", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    _text("account_id"),
    Column("instrument", Text),
    Column("value", Float, nullable=False),
    Column("figure", Float, nullable=False),
    Column("projected_breach_ns", BigInteger),
    _number("event_time_ns"),
)

lane_counts: Final = Table(
    "lane_counts",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    _number("count"),
)

run_summary: Final = Table(
    "run_summary",
    metadata,
    Column("run_key", Text, primary_key=True),
    Column("completed", Boolean, nullable=False),
    Column("summary", JSON, nullable=False),
)

meta: Final = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    _text("value"),
)
