"""From configuration and inputs to the parts of a run: source, stages, writer."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec import json as msgspec_json

from detectors.core.blocks import block_of
from detectors.core.contract import Detector
from detectors.core.instrument_stage import InstrumentConfig, InstrumentScratch, InstrumentStage
from detectors.core.memory import Scratch
from detectors.core.peer_stage import PeerConfig, PeerStage
from detectors.core.ranking import RankingSpec
from detectors.core.registry import build_detectors, detector_names, detector_type
from detectors.core.stage import AccountStage
from detectors.core.stage_config import StageConfig
from flows import adapters, clock, topics
from flows.acts import ActMaker
from flows.align import Backlog
from flows.arrivals import Arrival, ArrivalLog
from flows.calendars import TradingDays
from flows.config import Config
from flows.control_topic import ControlPlace, open_control
from flows.crash import CrashPoints
from flows.datafolder import Paths
from flows.edges import kafka_url
from flows.heartbeats import Idle
from flows.instruments import PEER_SHARD, BehindAlign, InstrumentStep, instrument_shards
from flows.kafka_source import KafkaOptions, KafkaSource
from flows.live_outputs import open_live
from flows.live_step import resume_live
from flows.manifest import InputSource, Rules, file_source, read_manifest, url_source
from flows.merged_source import MergedSource
from flows.notices import NoticePolicy
from flows.observe.observer import Observer
from flows.policy import Policy, PolicyState
from flows.rule_changes import ChangeLog
from flows.sources import AdaptedSource, BytesSource, FileSource, ScanOptions, Source
from flows.state_files import Compactor, ShardFiles
from flows.steps import AccountStep
from flows.store.writer import Store
from flows.supervision import Pulse
from flows.topics import open_topics
from flows.writer import WriterOutputs, WriterStep
from ledger.tokens import Pepper
from ledger.writer import LedgerWriter
from schemas import settings
from schemas.caches import cache_folder
from schemas.columns import HashKey
from schemas.events import SECOND_NS
from schemas.hashing import murmur2_bytes
from schemas.ids import digest_parts

ORIGIN: Final = "tapewatch.local/monitor"
LOG_NAME: Final = "monitor"
TENANT: Final = "default"
NDJSON: Final = "ndjson"
_INTAKE_KEY: Final = "config/intake"
_OF_RULES: Final = ("packs.", "detectors.")  # settings

# (URL, first block wanted) -> all blocks: those before the first are only counted, so a paced
# stream need not wait for them.
BlockFactory = Callable[[str, int], Iterable[bytes | Idle]]


class InputSpec(Struct, frozen=True, kw_only=True):
    """One input as people named it: a path, or a URL whose scheme has a factory."""

    name: str
    format: str = adapters.AUTO
    accounts: str = ""

    @property
    def scheme(self) -> str:
        """The URL's scheme; empty for a path."""
        return self.name.partition("://")[0] if "://" in self.name else ""


def open_input(
    spec: InputSpec,
    options: ScanOptions,
    factories: Mapping[str, BlockFactory],
    lane_name: str = "",
    control: Path | ControlPlace | None = None,
) -> FileSource | AdaptedSource | BytesSource:
    """Open one input; ``lane_name`` is what positions call a file, else its own name.

    ``control`` is where the control log is, to which a stream's heartbeats are written.

    Raises
    ------
    ValueError
        If its scheme has no factory, or it does not take the accounts asked for.
    """
    if spec.scheme:
        factory = factories.get(spec.scheme)
        if factory is None:
            known = ", ".join(sorted(factories)) or "none"
            raise ValueError(f"{spec.name}: no input of kind {spec.scheme}://; there is {known}")
        return BytesSource(spec.scheme, lambda first: factory(spec.name, first), options, control)
    path = Path(spec.name)
    adapter = adapters.choose(spec.format, path)
    adapter_options = adapters.AdapterOptions(accounts=spec.accounts)
    if adapter.name == NDJSON:
        adapters.refuse_accounts(adapter.name, adapter_options)
        return FileSource(path, options, lane_name)
    return AdaptedSource(path, adapter, adapter_options, options, lane_name)


@dataclass(slots=True)
class Plan:
    """A run, ready to be assembled in any process that takes part in it.

    Attributes
    ----------
    data
        The data folder.
    inputs
        What is read.
    config
        All settings.
    factories
        Makers of byte blocks by URL scheme, such as the simulator for ``sim``.
    notes
        What people should know about the inputs, once they were opened.
    observer
        Who watches this process; nobody, unless a run puts somebody there.
    pulse
        How this process tells a supervisor, if there is one, that it moves.
    """

    data: Path
    inputs: tuple[InputSpec, ...]
    config: Config
    factories: Mapping[str, BlockFactory] = field(default_factory=dict)
    crash: CrashPoints = field(default_factory=CrashPoints)
    notes: tuple[str, ...] = ()
    observer: Observer = field(default_factory=Observer)
    pulse: Pulse = field(default_factory=Pulse)
    compactor: Compactor = field(default_factory=Compactor)
    _identities: tuple[InputSource, ...] = ()
    _shared_backlog: Backlog | None = None

    @property
    def paths(self) -> Paths:
        """Where everything lies."""
        return Paths(self.data)

    @property
    def control(self) -> ControlPlace:
        """Where the control log is."""
        return ControlPlace(
            self.paths.control,
            str(self.config.value("control.log")),
            self.config.value("kafka.properties"),
        )

    @property
    def shards(self) -> int:
        """How many shards accounts are dealt to."""
        return int(self.config.value("shards"))

    @property
    def instrument_shards(self) -> int:
        """How many shards instruments are dealt to; 0 where no rule in use needs any."""
        is_needed = any(detector.is_aligned for detector in self.detectors())
        is_needed = is_needed or self._ranking().is_wanted
        return instrument_shards(self.shards) if is_needed else 0

    def _ranking(self) -> RankingSpec:
        """Return what the daily review is made by."""
        return RankingSpec(
            model=str(self.config.value("review.model")),
            parameters=dict(self.config.value("review.parameters")),
            score=str(self.config.value("review.score")),
            rows=int(self.config.value("review.rows")),
        )

    def identities(self) -> tuple[InputSource, ...]:
        """Return what the inputs are, whatever they are called; reads every file once."""
        if not self._identities:
            self._identities = tuple(self._identity(spec) for spec in self.inputs)
        return self._identities

    def _identity(self, spec: InputSpec) -> InputSource:
        if spec.scheme == kafka_url.SCHEME:
            return url_source(spec.name, NDJSON, identity=kafka_url.parse(spec.name).identity)
        if spec.scheme:
            return url_source(spec.name, NDJSON)
        path = Path(spec.name)
        adapter = adapters.choose(spec.format, path)
        return file_source(path, adapter.name, spec.accounts)

    def key(self) -> HashKey:
        """Return the key of the identifier hashes, which lives with the data folder."""
        return HashKey(*Pepper.of(self.data).hash_key())

    def source(self) -> Source | KafkaSource:
        """Open the inputs: one by itself, several merged by event time."""
        source = self._open()
        self.notes = source.notes
        return source

    def _open(self) -> Source | KafkaSource:
        options = ScanOptions(
            key=self.key(),
            tenant=TENANT,
            block_bytes=self.block_bytes(),
            shards=self.shards,
        )
        if self.is_live:
            url = kafka_url.parse(self.inputs[0].name)
            return KafkaSource(url, options, self._kafka_options(), self.control)
        sources = [
            open_input(spec, options, self.factories, lane_name, self.control)
            for spec, lane_name in self._lanes()
        ]
        if len(sources) == 1:
            return sources[0]
        files = [s for s in sources if not isinstance(s, BytesSource)]
        if len(files) != len(sources):
            raise ValueError("a stream such as sim:// is read alone; name no other input beside it")
        return MergedSource(files, options)

    @property
    def is_live(self) -> bool:
        """Say whether several lanes come in as they please, and meet in the shards."""
        return len(self.inputs) == 1 and self.inputs[0].scheme == kafka_url.SCHEME

    def _kafka_options(self) -> KafkaOptions:
        return KafkaOptions(
            properties=self.config.value("kafka.properties"),
            messages_at_once=int(self.config.value("kafka.messages_at_once")),
            idle_ns=int(float(self.config.value("intake.idle_seconds")) * SECOND_NS),
            backlog=self._backlog() if self.instrument_shards else None,
        )

    def _lanes(self) -> list[tuple[InputSpec, str]]:
        """Return the inputs in the order of their lanes, with the names of the first start.

        Files may be renamed, and named in another order, between start and resume: their contents
        say which is which.
        """
        manifest = read_manifest(self.data)
        if len(self.inputs) == 1:
            first = self.inputs[0].name if manifest is None else manifest.inputs[0].name
            return [(self.inputs[0], Path(first).name)]
        pairs = sorted(
            zip(self.identities(), self.inputs, strict=True), key=lambda pair: pair[0].identity
        )
        named = [source for source, _ in pairs]
        if manifest is not None and len(manifest.inputs) == len(named):
            named = sorted(manifest.inputs, key=lambda source: source.identity)
        return [(spec, Path(n.name).name) for (_, spec), n in zip(pairs, named, strict=True)]

    def block_bytes(self) -> int:
        """Return the size of blocks that the run began with: its positions count in them."""
        wanted = {"block_bytes": int(self.config.value("intake.block_bytes"))}
        with open_control(self.control) as control:
            for record in control.read():
                if record.key == _INTAKE_KEY:
                    return int(record.body["block_bytes"])
            control.append("config", 0, wanted, _INTAKE_KEY)
        return wanted["block_bytes"]

    def default_calendar(self) -> str:
        """Return the calendar of venues without one: the setting's, or what the format says."""
        if self.config.origin("calendar.default") != "default":
            return str(self.config.value("calendar.default"))
        wanted = {
            adapters.choose(spec.format, Path(spec.name)).default_calendar
            for spec in self.inputs
            if not spec.scheme
        }
        wanted.discard("")
        own = str(self.config.value("calendar.default"))
        return wanted.pop() if len(wanted) == 1 else own

    def detectors(self) -> list[Detector]:
        """Build the detectors of the packs that are switched on, with overrides applied."""
        overrides = {name: self.config.detector_overrides(name) for name in detector_names()}
        packs = self.config.packs()
        return build_detectors(packs, overrides)

    def rules(self) -> Rules:
        """Return what the rules remember, and whether others may take their place."""
        return Rules(
            blocks=tuple(block_of(detector) for detector in self.detectors()),
            other_settings=self.config.hash(leave_out=_OF_RULES),
            may_change=self.is_live,
        )

    def stage_factory(self, source: Source | KafkaSource) -> Callable[[], AccountStage]:
        """Return a function that makes a shard's stage; calendars are shared between shards."""
        config = self.config
        stage_config = StageConfig(
            calendars=TradingDays(self.default_calendar(), cache_folder()),
            key=self.key(),
            lane_names=source.lane_names,
            tenant=TENANT,
            lateness_ns=int(config.value("lateness_ns")),
            lateness_sources=config.value("lateness_sources"),
            duplicate_window_ns=int(config.value("duplicates.window_ns")),
            duplicates_max=int(config.value("duplicates.entries_max")),
            order_age_ns=int(config.value("order_table.age_max_ns")),
            features_every_ns=(
                int(config.value("features.every_ns")) if config.value("outputs.features") else None
            ),
            keeps_peers=bool(config.value("peers.count")),
            keeps_units=self._ranking().is_wanted,
            idle_ns=int(config.value("accounts.idle_ns")),
            silent_ns=int(config.value("accounts.silent_ns")),
            rows_bring_clock=not self.is_live,
        )
        detectors = self.detectors()  # they hold parameters only: what is remembered is the stage's
        scratch = Scratch()  # shards of one process take turns
        return lambda: AccountStage(detectors, stage_config, scratch)

    def account_step(
        self, shard: int, make_stage: Callable[[], AccountStage], state: dict[str, Any] | None
    ) -> AccountStep:
        """Start one shard."""
        batch_rows = int(self.config.value("intake.batch_rows"))
        files = ShardFiles(
            self.paths.state / f"shard-{shard:04}",
            int(self.config.value("state.pointer_from_bytes")),
            self.compactor,
            self.crash,
        )
        if self.is_live:
            return resume_live(shard, make_stage, batch_rows, state, self._script, files)
        return AccountStep.resume(shard, make_stage, batch_rows, state, files)

    def instrument_stage_factory(
        self, source: Source | KafkaSource
    ) -> Callable[[int], BehindAlign]:
        """Return a function that makes an instrument shard's stages, by the shard's index."""
        config = InstrumentConfig(
            key=self.key(),
            lane_names=source.lane_names,
            tenant=TENANT,
            side_window_ns=int(self.config.value("trades.pair_window_ns")),
            sides_max=int(self.config.value("trades.pairs_max")),
            traders_max=int(self.config.value("trades.traders_max")),
            idle_ns=int(self.config.value("accounts.idle_ns")),
        )
        detectors, scratch = self.detectors(), InstrumentScratch()  # as for accounts
        peers = PeerConfig(source.lane_names, self._ranking())
        has_peers = peers.ranking.is_wanted or any(d.subject == "peer" for d in detectors)

        def make(index: int) -> BehindAlign:
            is_here = has_peers and index == PEER_SHARD
            compared = PeerStage(detectors, peers) if is_here else None
            return BehindAlign(InstrumentStage(detectors, config, scratch), compared)

        return make

    def instrument_step(
        self,
        index: int,
        make_stages: Callable[[int], BehindAlign],
        state: dict[str, Any] | None,
    ) -> InstrumentStep:
        """Start one shard of instruments; to the writer they come after those of accounts."""
        return InstrumentStep.resume(
            self.shards + index, self.shards, make_stages(index), state, self._backlog()
        )

    def _backlog(self) -> Backlog:
        """Return what the process's sources and instrument shards share."""
        if self._shared_backlog is None:
            lateness = (self.config.value("lateness_ns"), *self._late_sources().values())
            self._shared_backlog = Backlog(
                int(self.config.value("align.rows_max")), int(max(lateness)) + SECOND_NS
            )
        return self._shared_backlog

    def _late_sources(self) -> Mapping[str, int]:
        sources: Mapping[str, int] = self.config.value("lateness_sources")
        return sources

    def _script(self, shard: int, ordinal: int) -> list[Arrival]:
        """Return the order of arrivals that an earlier run wrote down."""
        with closing(ArrivalLog(self.paths.arrivals)) as log:
            return log.read(shard, ordinal)

    def shard_of(self, account_id: str) -> int:
        """Return the shard of an account, as the rows' own hash gives it."""
        return murmur2_bytes(account_id.encode()) & (self.shards - 1)

    def writer_step(self, run_key: str, state: dict[str, Any] | None) -> WriterStep:
        """Open the outputs and start the writer."""
        config, paths = self.config, self.paths
        detectors = self.detectors()
        versions = {name: detector_type(name).version for name in detector_names()}
        maker = ActMaker(Pepper.of(self.data), versions)
        policy_state = (
            PolicyState()
            if state is None
            else msgspec_json.decode(state["policy"], type=PolicyState)
        )
        notices = NoticePolicy(
            policy_state.notices,
            maker,
            expiry_ns=int(config.value("notices.expiry_ns")),
            simulated_only=bool(config.value("notices.simulated_only")),
            shard_of=self.shard_of,
            tenant=TENANT,
        )
        # A party is no person to be told, and its findings come at no fixed point among a person's.
        may_notify = frozenset(
            d.rule.id for d in detectors if d.rule.may_notify and not d.is_aligned
        )
        outputs = WriterOutputs(
            ledger=LedgerWriter(paths.ledger / LOG_NAME, ORIGIN, clock.now_ns, on_point=self.crash),
            store=Store(
                paths.store, int(config.value("dead_letters.kept_max")), on_point=self.crash
            ),
            control=open_control(self.control),
            outbox=self.data / "outbox" / "notices",
            arrivals=ArrivalLog(paths.arrivals) if self.is_live else None,
            topics=open_topics(
                {name: config.value(name) for name in topics.SETTINGS},
                config.value("kafka.properties"),
                self.pulse.beat,
            ),
            live=open_live(
                (config.value("outputs.features"), config.value("outputs.alert_stream")),
                int(config.value("outputs.features_ttl_seconds")),
                run_key,
                self.crash,
            ),
        )
        instruments = self.instrument_shards
        shards = self.shards + instruments
        step = WriterStep(
            Policy(policy_state, maker, notices, may_notify, shards if instruments else 0),
            outputs,
            run_key,
            shards,
            instruments,
        )
        if state is not None:
            step.restore(state)
        step.notes.update(self.notes)
        step.observer = self.observer
        self._write_down_config(step, maker, run_key)
        for change in ChangeLog(step.outputs.control).read():
            step.begin(maker.config(change.body))  # again at each start: the ledger knows it by id
            step.notes.update(change.sentences)
        self.observer.writer_started(step)
        return step

    def _write_down_config(self, step: WriterStep, maker: ActMaker, run_key: str) -> None:
        """Record what the run was configured with, before it is used."""
        body = {
            "config_hash": self.config.hash(),
            "values": self._values_set(),
            "rules": [d.rule.id for d in self.detectors()],
        }
        digest = digest_parts((run_key, json.dumps(body, sort_keys=True))).hex()
        step.outputs.control.append("config", 0, body, f"config/{digest}")
        if step.outputs.ledger.head[0] <= 1:
            step.begin(maker.config(body))

    def _values_set(self) -> dict[str, str]:
        """Return what was set and can change results."""
        values = {
            setting.name: str(self.config.value(setting.name))
            for setting in settings.SETTINGS
            if setting.changes_results and self.config.value(setting.name) != setting.default
        }
        for name in detector_names():
            overrides = self.config.detector_overrides(name)
            values |= {f"detectors.{name}.{key}": str(value) for key, value in overrides.items()}
        return values
