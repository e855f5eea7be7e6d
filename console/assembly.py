"""From a command line to a plan that can be run."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from console import sim_stream
from console.exits import UsageProblem
from console.reading import read_config
from flows import adapters, live_outputs, topics
from flows.config import Config, ConfigError
from flows.edges import kafka_sink, kafka_url
from flows.edges.files import FileBlocks
from flows.edges.redis_features import check_features
from flows.edges.redis_stream import check_stream
from flows.plan import InputSpec, Plan
from flows.processes import WorkerOrders
from flows.replay import RunOptions, specs_of

FACTORIES: Final = {"sim": sim_stream.blocks}
PROCESSES_MAX: Final = 64


def make_plan(config: Config, inputs: Sequence[InputSpec]) -> Plan:
    """Put a plan together and check what can be checked before anything is written.

    Raises
    ------
    UsageProblem
        If the inputs do not go together, or are of no kind there is.
    ConfigError
        If a rule does not take its parameters.
    """
    plan = Plan(Path(config.value("data")), tuple(inputs), config, factories=FACTORIES)
    try:
        plan.detectors()
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("rule packs and settings", "", str(error), "rules that agree") from error
    for spec in inputs:
        check_input(spec)
    _check_outputs(config)
    if len(inputs) > 1 and any(spec.scheme for spec in inputs):
        raise UsageProblem("A stream such as sim:// is read alone: name no other input beside it.")
    return plan


def _check_outputs(config: Config) -> None:
    for name in (*topics.SETTINGS, "control.log"):
        if url := str(config.value(name)):
            try:
                kafka_sink.parse_sink(url)
            except ValueError as error:
                raise ConfigError(
                    "settings", name, str(error), "kafka://HOST:PORT/TOPIC"
                ) from error
    checks = zip(live_outputs.SETTINGS, (check_features, check_stream), strict=True)
    for name, check in checks:
        try:
            check(str(config.value(name)))
        except ValueError as error:
            problem = str(error).removesuffix(".")
            raise ConfigError("settings", name, problem, "the URL of a Redis") from error


def check_input(spec: InputSpec) -> None:
    """Refuse an input of no kind or format there is, with ``UsageProblem`` or ``FileProblem``."""
    try:
        if spec.scheme == "sim":
            sim_stream.parse_url(spec.name)
        elif spec.scheme == kafka_url.SCHEME:
            kafka_url.parse(spec.name)
        elif spec.scheme:
            known = ", ".join(f"{name}://" for name in (*FACTORIES, kafka_url.SCHEME))
            raise UsageProblem(f"{spec.name}: there is no such kind of input; there is {known}.")
        else:
            _check_file(spec)
    except ValueError as error:
        raise UsageProblem(str(error)) from error


def _check_file(spec: InputSpec) -> None:
    adapters.check_accounts(adapters.choose(spec.format, Path(spec.name)), spec.accounts)


def run_options(
    flags: Sequence[str] | None, config_file: Path | None, engine: str, processes: int
) -> RunOptions:
    """Return how to run."""
    if engine not in {"bytewax", "loop"}:
        raise UsageProblem(f"--engine {engine}: there is no such engine; choose bytewax or loop.")
    if not 1 <= processes <= PROCESSES_MAX:
        raise UsageProblem(f"--processes {processes}: give a number from 1 to {PROCESSES_MAX}.")
    if engine == "loop" and processes > 1:
        raise UsageProblem("The plain loop runs in one process; leave out --processes.")
    return RunOptions(
        engine="loop" if engine == "loop" else "bytewax",
        processes=processes,
        worker_command=(sys.executable, "-m", "console.cli", "worker"),
        flags=tuple(flags or ()),
        config_file=None if config_file is None else str(config_file),
    )


def plan_of_worker(orders: WorkerOrders) -> Plan:
    """Make the plan again in another process of the same run."""
    file = None if orders.config_file is None else Path(orders.config_file)
    config = read_config(Path(orders.data), orders.flags, file)
    return Plan(Path(orders.data), specs_of(orders), config, factories=FACTORIES)


def block_count(plan: Plan) -> int | None:
    """Return how many blocks a run will read; None where only reading tells."""
    if len(plan.inputs) != 1 or plan.inputs[0].scheme:
        return None
    spec = plan.inputs[0]
    path = Path(spec.name)
    if adapters.choose(spec.format, path).name != "ndjson":
        return None
    with FileBlocks(path, int(plan.config.value("intake.block_bytes"))) as blocks:
        return blocks.count()
