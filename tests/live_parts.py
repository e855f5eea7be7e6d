"""Parts for tests of lanes that meet in shards: one process of a live run, without an engine."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from kafka_parts import ListReader, lanes_reader

from flows.align import Backlog
from flows.arrivals import Arrival
from flows.instruments import InstrumentStep, deal_sent
from flows.kafka_source import SLOTS, KafkaLanesReader, freeze
from flows.lanes import deal
from flows.live_step import LiveStep, resume_live
from flows.plan import Plan
from flows.steps import ShardMessage

LANES = 3
SHARDS = 4
INSTRUMENTS = 2
TURNS_MAX = 500


class Run:
    """One process and its shards, from a start to an end or a crash."""

    def __init__(
        self,
        plan: Plan,
        lists: dict[int, list[tuple[int, bytes]]],
        schedule: list[tuple[int, int]],
        control: Path,
        state: dict[str, Any] | None = None,
        script: list[tuple[int, Arrival]] | None = None,
        backlog: Backlog | None = None,
    ) -> None:
        self.list_reader = ListReader(lists, list(schedule))
        self.reader: KafkaLanesReader = lanes_reader(self.list_reader, control, backlog=backlog)
        self.given = dict(state["given"]) if state else {}
        self.reader.resume(0, self.given)
        stage = plan.stage_factory(plan.source())
        held = (state or {}).get("steps", [None] * SHARDS)

        def written(shard: int, first: int) -> list[Arrival]:
            # As the log gives them: each once, in order.
            return sorted({a for s, a in script or [] if s == shard and a.ordinal >= first})

        self.steps: list[LiveStep] = [
            resume_live(shard, stage, 1_000, held[shard], written) for shard in range(SHARDS)
        ]
        make_instruments = plan.instrument_stage_factory(plan.source())
        aligned = (state or {}).get("instruments", [None] * INSTRUMENTS)
        self.instruments: list[InstrumentStep] = [
            InstrumentStep.resume(SHARDS + k, SHARDS, make_instruments(k), aligned[k], backlog)
            for k in range(INSTRUMENTS)
        ]
        self.messages: list[ShardMessage] = []

    def turn(self) -> bool:
        """Read once; return whether anything may still come."""
        for slot in range(SLOTS):
            for block, _, state in self.reader.take(slot):
                self.given[block.lane] = freeze(state)
                for part in deal(block, SHARDS):
                    self.pass_on(self.steps[part.shard].take(part))
        places = [place for step in self.steps for place in step.places.values()]
        return len(places) < LANES * SHARDS or not all(place.is_ended for place in places)

    def pass_on(self, messages: Sequence[ShardMessage]) -> None:
        self.messages += messages
        for sent in deal_sent(messages, INSTRUMENTS):
            self.messages += self.instruments[sent.shard].take(sent)

    def freeze(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "given": self.given,
            "steps": [step.snapshot() for step in self.steps],
            "instruments": [step.snapshot() for step in self.instruments],
        }
        frozen: dict[str, Any] = pickle.loads(pickle.dumps(state))
        return frozen


def new_control(plan: Plan) -> Path:
    return Path(mkdtemp(dir=plan.data)) / "control.sqlite3"


def finish(run: Run) -> None:
    for _ in range(TURNS_MAX):
        if not run.turn():
            return
    raise AssertionError("the lanes never ended")
