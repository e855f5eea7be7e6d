"""The plain loop: the whole monitor in one thread, without an engine.

It is the referee: every other way of running must give the same alerts. It keeps no snapshots; a
second start reads everything again, and since all outputs go by key, adds nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from flows.instruments import InstrumentStep, deal_sent
from flows.kafka_source import KafkaSource
from flows.lanes import deal
from flows.plan import Plan
from flows.sources import Source, in_order
from flows.steps import AccountStep
from flows.writer import Progress, WriterStep


def run_loop(
    plan: Plan, run_key: str, on_progress: Callable[[Progress], None] = lambda _progress: None
) -> WriterStep:
    """Run to the end of the input and return the writer, still open."""
    source = plan.source()
    assert not isinstance(source, KafkaSource), "the plain loop reads bounded input only"
    steps = _Steps.of(plan, source)
    writer = plan.writer_step(run_key, None)
    writer.on_progress = on_progress
    try:
        _run(plan, source, steps, writer)
    except BaseException:
        writer.abandon()
        raise
    return writer


class _Steps(NamedTuple):
    """A step for each shard of accounts, and for each of instruments."""

    accounts: list[AccountStep]
    instruments: list[InstrumentStep]

    @classmethod
    def of(cls, plan: Plan, source: Source) -> "_Steps":
        make_stage = plan.stage_factory(source)
        make_instruments = plan.instrument_stage_factory(source)
        return cls(
            [plan.account_step(shard, make_stage, None) for shard in range(plan.shards)],
            [
                plan.instrument_step(index, make_instruments, None)
                for index in range(plan.instrument_shards)
            ],
        )


def _run(plan: Plan, source: Source, steps: _Steps, writer: WriterStep) -> None:
    observer = plan.observer
    observer.source_opened(source)
    for item in observer.items(in_order(source)):
        messages = []
        for part in deal(observer.scan(item), plan.shards):
            step = steps.accounts[part.shard]
            done = step.take(part)
            observer.applied(step, done)
            messages += done
        for sent in deal_sent(messages, len(steps.instruments)):
            messages += steps.instruments[sent.shard].take(sent)
        writer.take(messages)
