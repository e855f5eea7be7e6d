"""A run under the engine with an observer of one's own: ``flows.replay`` in the small."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from bytewax.testing import run_main

from detectors.core.registry import params_types
from flows.config import load
from flows.datafolder import DataFolder
from flows.monitor import Hooks, build_flow
from flows.observe.observer import Observer
from flows.plan import BlockFactory, InputSpec, Plan
from flows.recovery import open_recovery
from flows.replay import letting_go
from flows.writer import WriterStep


def plan_of(
    data: Path,
    name: str,
    settings: Sequence[str] = (),
    factories: dict[str, BlockFactory] | None = None,
) -> Plan:
    """Make a plan of one input with settings of its own and none from around."""
    config = load(list(settings), {"data": str(data)}, environment={}, detectors=params_types())
    return Plan(data, (InputSpec(name=name),), config, factories=factories or {})


def run_watched(
    plan: Plan, observer: Observer, should_stop: Callable[[], bool] = lambda: False
) -> WriterStep | None:
    """Run in this process, from the start or the last snapshot, until the end or a stop.

    Returns
    -------
    WriterStep or None
        The writer, closed; None where it was stopped before it had begun.
    """
    with DataFolder(plan.data) as folder:
        held = folder.open_run(plan.identities(), plan.config.hash(), plan.shards)
        plan.observer = observer
        hooks = Hooks(should_stop)
        recovery = open_recovery(plan.paths.recovery)
        epoch = timedelta(seconds=float(plan.config.value("epoch_seconds")))
        flow = build_flow(plan, held.key, hooks)
        with letting_go(plan, hooks):
            run_main(flow, epoch_interval=epoch, recovery_config=recovery)  # type: ignore[no-untyped-call]
        if hooks.writer is not None:
            hooks.writer.close()
        return hooks.writer
