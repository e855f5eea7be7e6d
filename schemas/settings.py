"""Every bound, limit and path of Tapewatch, in one table.

A new setting is one line in ``SETTINGS``. The table gives the configuration keys, the environment
names, ``tapewatch config show`` and docs/reference/settings.md. Parameters of detectors are not
here: they stand in each detector's ``Params``.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from schemas.events import SECOND_NS

KIB: Final = 1024
MIB: Final = 1024 * KIB
HOUR_NS: Final = 3_600 * SECOND_NS
DAY_NS: Final = 24 * HOUR_NS
ENVIRONMENT_PREFIX: Final = "TAPEWATCH__"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set.

    Attributes
    ----------
    name
        Dotted key, as in ``tapewatch.toml`` and ``--set``.
    default
        Its Python type is the setting's type, unless ``type`` says more.
    unit
        What the number counts; for a text, what it names.
    why
        One sentence: what it bounds, and why the default is what it is.
    minimum, maximum
        Inclusive; None where there is no bound.
    changes_results
        False for paths and speed knobs, which may differ between two runs over the same data
        folder; True for everything that can change which alerts come out.
    type
        Needed for lists and tables only.
    is_secret
        Its values are never shown.
    """

    name: str
    default: Any
    unit: str
    why: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    changes_results: bool = True
    type: Any = None
    is_secret: bool = False

    @property
    def value_type(self) -> Any:
        """Return the type a value must convert to."""
        return type(self.default) if self.type is None else self.type

    @property
    def environment_name(self) -> str:
        """Return the environment variable that sets it."""
        return environment_name(self.name)


def environment_name(key: str) -> str:
    """Return the environment variable for a dotted key.

    Examples
    --------
    >>> environment_name("intake.block_bytes")
    'TAPEWATCH__INTAKE__BLOCK_BYTES'
    """
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__").replace("-", "_")


# fmt: off
SETTINGS: Final = (
    Setting("data", "tapewatch-data", "folder", "Holds store, ledger, recovery, spool and keys; one run writes it at a time.", changes_results=False),
    Setting("shards", 32, "shards", "Accounts are dealt to this many shards, a power of two, fixed when the data folder is created.", 1, 1024, changes_results=False),
    Setting("epoch_seconds", 2.0, "seconds", "State is snapshotted this often: shorter restarts sooner, longer spends less on snapshots.", 0.0, 3600.0, changes_results=False),

    Setting("state.pointer_from_bytes", 2 * MIB, "bytes", "State of a shard from this size on goes to files of its own and the snapshot points there; smaller state is quicker to store whole.", 0, 1024 * 1024 * MIB, changes_results=False),

    Setting("packs.enabled", [], "pack names", "Rule packs to load; none named loads every pack that is not loaded on request only.", type=list[str]),
    Setting("packs.added", [], "pack names", "Rule packs to load beside them, such as those that cost more than most want: surveillance.", type=list[str]),

    Setting("calendar.default", "XSHG", "calendar", "Trading calendar of a source that no other setting names: an exchange_calendars name, or 24/7."),

    Setting("intake.block_bytes", 8 * MIB, "bytes", "A lane is read in blocks of this size: large enough to keep the scanner busy, small enough for the cache.", 4 * KIB, 256 * MIB, changes_results=False),
    Setting("intake.batch_rows", 64_000, "events", "An item in the dataflow holds at most this many events; small items lose most of the speed.", 1, 4_000_000, changes_results=False),
    Setting("intake.unacknowledged_bytes_max", 32 * MIB, "bytes", "A source stops reading this far ahead of what the shards have taken, as nothing in the engine holds it back.", 4 * KIB, 4096 * MIB, changes_results=False),

    Setting("intake.idle_seconds", 5.0, "seconds", "A Kafka partition that was read to its end and stays quiet so long, by the clock, gets a heartbeat as far as the others have come, so that days can end.", 0.1, 86_400.0),
    Setting("kafka.messages_at_once", 10_000, "messages", "Taken from the Kafka client by one call: more is faster, fewer is sooner.", 1, 1_000_000, changes_results=False),
    Setting("kafka.properties", {}, "property = value", "Given to the Kafka client beside our own: TLS and SASL, say. May hold secrets: set it in the environment.", changes_results=False, type=dict[str, str], is_secret=True),

    Setting("control.log", "", "kafka://HOST:PORT/TOPIC", "The control log is this topic with one partition; empty keeps it in the data folder, where one machine can reach it.", changes_results=False),

    Setting("lateness_ns", 5 * SECOND_NS, "ns of event time", "An event older than its lane's time by more than this is late; exchange gateways reorder by milliseconds, gateways of apps by seconds.", 0, 7 * DAY_NS),
    Setting("lateness_sources", {}, "source = ns", "Allowed lateness by source, where it is not the default.", type=dict[str, Annotated[int, Meta(ge=0)]]),
    Setting("duplicates.window_ns", 60 * SECOND_NS, "ns of event time", "A repeated (source, event_id) inside one to two windows is dropped; senders retry within seconds.", SECOND_NS, 7 * DAY_NS),
    Setting("duplicates.entries_max", 4_194_304, "ids per shard", "Caps the memory of the duplicate check (16 bytes an id); reaching it rotates early, which is counted.", 1_024, 268_435_456),

    Setting("accounts.idle_ns", 7 * DAY_NS, "ns of event time", "An account without events for so long gives its memory back where no rule could still use it; no alert changes. 0 keeps all.", 0, 3_650 * DAY_NS, changes_results=False),
    Setting("accounts.silent_ns", 400 * DAY_NS, "ns of event time", "An account without events for so long is forgotten with its win rates, positions and files, and counted; of others, positions that no fill has moved.", 30 * DAY_NS, 36_500 * DAY_NS),

    Setting("order_table.age_max_ns", 90 * DAY_NS, "ns of event time", "Orders good till cancelled, and orders on venues without a close, are let go at this age.", SECOND_NS, 3_650 * DAY_NS),

    Setting("align.rows_max", 1_000_000, "rows a process", "So many rows may wait for the Kafka partition furthest behind (about 400 bytes a row) before those ahead of it stop being read; a file's lanes never part so far.", 1, 1_000_000_000, changes_results=False),
    Setting("trades.pair_window_ns", 10 * SECOND_NS, "ns of event time", "The first report of a trade waits so long for the other side's; two gateways report one trade within seconds.", 0, 7 * DAY_NS),
    Setting("trades.pairs_max", 1_048_576, "trades per instrument shard", "Caps the memory of trades that wait for their other side (80 bytes a trade); reaching it lets the oldest go, which is counted.", 1, 268_435_456),
    Setting("trades.traders_max", 1_048_576, "accounts per instrument shard", "Caps the memory of rules on pairs: accounts that traded an instrument today (about 170 bytes each), and as many pairs (76 bytes); those beyond it are left out for the day, which is counted.", 1, 268_435_456),

    Setting("notices.expiry_ns", 72 * HOUR_NS, "ns of event time", "A customer notice that nobody answers ends after this, and the account is looked at again.", SECOND_NS, 3_650 * DAY_NS),
    Setting("notices.simulated_only", True, "true or false", "Verification notices go to simulated-trading accounts only, as the source rule says."),

    Setting("outputs.alerts", "", "kafka://HOST:PORT/TOPIC", "Alerts are published here by id, whenever one changes, after they were committed.", changes_results=False),
    Setting("outputs.notices", "", "kafka://HOST:PORT/TOPIC", "Notices for the broker's own sender, by id, beside the files in DATA/outbox.", changes_results=False),
    Setting("outputs.dead_letters", "", "kafka://HOST:PORT/TOPIC", "Refused lines with their reason, by place.", changes_results=False),

    Setting("outputs.features", "", "redis://HOST:PORT/DB", "Each account's live features are held here as a hash, after they were committed; memory: keeps them in the process, for tests.", changes_results=False),
    Setting("outputs.features_ttl_seconds", 7 * 86_400, "seconds", "An account whose features are not written for so long is forgotten by Redis; 0 keeps it for ever.", 0, 3_650 * 86_400, changes_results=False),
    Setting("peers.count", True, "true or false", "Count what accounts do in a day, by tier, and fix the quantiles in the control log when the day is over."),
    Setting("review.model", "", "River model", "Rank each tier's accounts by how unusual their day was, by this model: HalfSpaceTrees or OneClassSVM; empty ranks nobody."),
    Setting("review.parameters", {}, "parameter = number", "Given to the model beside our defaults, such as n_trees, height and window_size.", type=dict[str, float]),
    Setting("review.score", "", "package.module:function", "Rank by this function of a day's summary instead of a model: score(summary) gives a number, the higher the more unusual."),
    Setting("review.rows", 20, "accounts", "So many accounts of a tier and day are listed.", 1, 10_000),
    Setting("features.every_ns", SECOND_NS, "ns of event time", "An account's live features are handed out at most about once in so much event time of its shard; 0 hands them out with every block.", 0, 24 * HOUR_NS, changes_results=False),
    Setting("outputs.alert_stream", "", "redis://HOST:PORT/DB?stream=NAME&maxlen=COUNT", "Alerts are added to this Redis stream whenever one changes, after they were committed; by default to tapewatch.alerts, which holds about 100000.", changes_results=False),

    Setting("dead_letters.kept_max", 100_000, "lines", "Refused lines kept whole in the store; further ones are only counted, so that a broken feed cannot fill the disk.", 0, 100_000_000, changes_results=False),

    Setting("metrics.listen", "", "HOST:PORT", "Where Prometheus metrics and health are served, off by default; process k of a run listens on PORT + k, and nobody is asked for a password.", changes_results=False),
    Setting("health.stall_seconds", 60.0, "seconds", "/livez says no once the main loop has stood still for so long; far above the longest snapshot.", 0.1, 86_400.0, changes_results=False),
    Setting("health.lane_idle_seconds", 30.0, "seconds", "Input that gives nothing for so long is logged as idle, once.", 0.1, 86_400.0, changes_results=False),
    Setting("supervisor.stall_seconds", 120.0, "seconds", "A supervised run that has finished no epoch for so long, beyond epoch_seconds, is ended and started again; far above the longest snapshot.", 0.1, 86_400.0, changes_results=False),
    Setting("supervisor.start_seconds", 60.0, "seconds", "So much longer it may take until the first epoch is finished: processes start, and take up their state.", 0.0, 86_400.0, changes_results=False),
    Setting("supervisor.window_seconds", 600.0, "seconds", "A run is started again as often as --restarts says within so long, and then no more: what does not mend itself is left to people.", 1.0, 86_400.0, changes_results=False),
    Setting("supervisor.pause_seconds", 1.0, "seconds", "Before a run is started again; twice as long each time within the window.", 0.0, 3_600.0, changes_results=False),
    Setting("supervisor.pause_seconds_max", 30.0, "seconds", "No pause between two starts is longer.", 0.0, 3_600.0, changes_results=False),
    Setting("log.format", "text", "text or json", "How events of a run are written to standard error: for people, or one JSON object a line.", changes_results=False, type=Literal["text", "json"]),
    Setting("log.level", "auto", "level", "The least event that is written; auto writes none as text, and from info on as JSON.", changes_results=False, type=Literal["auto", "debug", "info", "warning", "error", "none"]),
)
# fmt: on

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    return _PAGE_HEAD + "".join(_page_entry(setting) for setting in SETTINGS)


_PAGE_HEAD: Final = """\
# Settings

This page is made from `schemas/settings.py` by `make docs`.

A setting can stand in four places; the first that has it wins:

1. a flag: `--set intake.batch_rows=8000`, or an option of its own such as `--data DIR`;
2. the environment: `TAPEWATCH__INTAKE__BATCH_ROWS=8000`;
3. the file `tapewatch.toml` in the working directory, or the one given with `--config FILE`;
4. the default below.

In flags and environment a list is written `a,b` or as JSON, a table as JSON. Parameters of a
detector are set as `detectors.NAME.PARAMETER`, figures of a rule pack as `packs.PACK.FIGURE`.
`tapewatch config show --origin` shows every value and where it came from.
"""


def _page_entry(setting: Setting) -> str:
    lines = [
        f"\n## `{setting.name}`\n\n{setting.why}\n\n",
        f"- default: `{setting.default!r}` ({setting.unit})\n",
        f"- environment: `{setting.environment_name}`\n",
    ]
    if setting.minimum is not None and setting.maximum is not None:
        lines.append(f"- from `{setting.minimum}` to `{setting.maximum}`\n")
    if setting.changes_results:
        lines.append("- can change results: one data folder keeps one value\n")
    return "".join(lines)
