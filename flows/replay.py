"""One run over bounded input, from start or from where it stopped, to its summary."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple

from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main, run_main
from msgspec import Struct

from flows import clock
from flows.control_topic import open_control
from flows.datafolder import DataFolder, Run
from flows.disk import is_disk_problem, naming_disk_problems
from flows.guard import Guard, naming_panics
from flows.loop import run_loop
from flows.monitor import Hooks, build_flow
from flows.observe.begin import open_observer
from flows.observe.observer import told_too
from flows.plan import InputSpec, Plan
from flows.processes import (
    Children,
    WorkerOrders,
    free_addresses,
    give_up,
    hold_recovery,
    leave_threads,
    read_orders,
    tell_parent,
    wait_for_recovery,
)
from flows.recovery import open_recovery
from flows.rule_changes import ChangeLog
from flows.shared_scans import ScanBoard, open_memory
from flows.sources import PLAIN_PARTS
from flows.store.reader import StoreReader
from flows.supervision import Limits, Pulse, open_pulse
from flows.writer import Progress, WriterStep

Engine = Literal["bytewax", "loop"]
_CHILDREN_LOCK: Final = "children.lock"


class RunOptions(Struct, frozen=True, kw_only=True):
    """How to run: none of it changes the result.

    ``worker_command`` starts a child process, and is needed from two processes on; ``flags`` and
    ``config_file`` are what the configuration was made of, for the children to make it again.
    """

    engine: Engine = "bytewax"
    processes: int = 1
    worker_command: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    config_file: str | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes
    ----------
    summary
        As ``tapewatch replay --json`` prints it.
    is_complete
        All input was read; False after a stop that was asked for.
    was_complete
        It had been completed before: nothing was done now.
    """

    summary: dict[str, Any]
    is_complete: bool
    was_complete: bool = False


def run(
    plan: Plan,
    options: RunOptions,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Run a plan under its data folder's lock.

    Raises
    ------
    ConfigError, DataFolderError, DiskProblem, FileProblem, LedgerError, StoreError
        With a sentence that says what to do.
    """
    began_ns = clock.monotonic_ns()
    plan.pulse = open_pulse()
    with (
        open_observer(plan.config, 0, options.processes) as plan.observer,
        naming_disk_problems(plan.data),
        _crew(plan, options) as crew,
    ):
        outcome = _run(plan, options, on_progress, crew, began_ns)
        plan.observer.run_ended(is_complete=outcome.is_complete)
    return outcome


class Crew(NamedTuple):
    """The other processes of a run that has any, and the memory in which they scan a file."""

    children: Children
    memory: int | None


@contextmanager
def _crew(plan: Plan, options: RunOptions) -> Iterator[Crew | None]:
    """Start the other processes, which load while this one looks at its input."""
    if options.processes == 1 or options.engine == "loop":
        yield None
        return
    with open_memory(_board_block_bytes(plan)) as memory:
        handles = [handle for handle in (memory, plan.pulse.handle) if handle is not None]
        children = Children(options.worker_command, options.processes - 1, handles)
        try:
            yield Crew(children, memory)
        finally:
            children.dismiss()


def _board(plan: Plan, memory: int | None, process: int, processes: int) -> ScanBoard | None:
    """Return the memory in which a file is scanned, as one of the processes sees it."""
    if plan.is_live or memory is None:
        return None
    readers = min(processes, PLAIN_PARTS, plan.shards)
    return ScanBoard(memory, readers, process, _board_block_bytes(plan))


def _board_block_bytes(plan: Plan) -> int:
    # A run that began with larger blocks keeps to them, and scans those that do not fit everywhere.
    return int(plan.config.value("intake.block_bytes"))


def _run(
    plan: Plan,
    options: RunOptions,
    on_progress: Callable[[Progress], None],
    crew: Crew | None,
    began_ns: int,
) -> Outcome:
    identities = plan.identities()
    with DataFolder(plan.data) as folder:
        held = folder.open_run(identities, plan.config.hash(), plan.shards, plan.rules())
        if held.state == "completed":
            return _as_stored(plan, held, began_ns)
        if options.engine == "bytewax":
            with open_control(plan.control) as control:
                ChangeLog(control).write(held, plan.config.hash())
        held.settle_rules()  # the plain loop reads everything again, so nothing began in the middle
        plan.observer.run_began(held.key, is_resumed=held.state == "resume")
        plan.observer.run_restarted(plan.pulse.restarts)
        if options.engine == "loop":
            # Nothing to drain and no snapshot: a signal may end it anywhere, as a crash would.
            writer: WriterStep | None = run_loop(plan, held.key, on_progress)
        else:
            stop = StopFlag(plan.observer.stopping)
            with stop.on_signals():
                hooks = Hooks(stop.is_set, on_progress, processes=options.processes)
                with _abandoning(hooks), letting_go(plan, hooks), naming_panics():
                    writer = _run_engine(plan, held, options, hooks, crew)
        return _end(plan, held, writer, began_ns)


@contextmanager
def _abandoning(hooks: Hooks) -> Iterator[None]:
    """Let go of the writer's files when something fails inside."""
    try:
        yield
    except BaseException:
        if hooks.writer is not None:
            hooks.writer.abandon()
        raise


@contextmanager
def letting_go(plan: Plan, hooks: Hooks) -> Iterator[None]:
    """Have no thread write state any more when the folder is let go, whatever ended the run."""
    try:
        yield
    finally:
        hooks.snapshots.close()  # which may still hand jobs to the other
        plan.compactor.close()


class StopFlag:
    """Set by SIGTERM or Ctrl-C: sources stop, everything under way is finished, then we end.

    Parameters
    ----------
    on_set
        Called when it is set for the first time.
    """

    def __init__(self, on_set: Callable[[], None] = lambda: None) -> None:
        self._is_set = False
        self._on_set = on_set

    def is_set(self) -> bool:
        """Say whether to stop."""
        return self._is_set

    def set(self, *_: object) -> None:
        """Ask for a stop."""
        if not self._is_set:
            self._is_set = True
            self._on_set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Set the flag on SIGTERM and SIGINT while the block runs."""
        old = {s: signal.signal(s, self.set) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _run_engine(
    plan: Plan, held: Run, options: RunOptions, hooks: Hooks, crew: Crew | None
) -> WriterStep | None:
    wait_for_recovery(plan.paths.recovery / _CHILDREN_LOCK)
    recovery = open_recovery(plan.paths.recovery)
    epoch = timedelta(seconds=float(plan.config.value("epoch_seconds")))
    if crew is not None:
        hooks.should_stop = _stopping_all(hooks.should_stop, crew.children)
        hooks.board = _board(plan, crew.memory, 0, options.processes)
        if hooks.board is not None:
            hooks.board.clear()
    flow = build_flow(plan, held.key, hooks)
    plan.pulse.begin(_limits(plan))
    if crew is None:
        run_main(flow, epoch_interval=epoch, recovery_config=recovery)  # type: ignore[no-untyped-call]
        plan.pulse.done()
        return hooks.writer
    addresses = free_addresses(options.processes)
    crew.children.send(_orders(plan, held.key, options, addresses, crew.memory))
    guard = _guard_of(hooks)
    guard.on_error = crew.children.leave_alone  # what they say of it is an echo
    with _raising_the_first(guard, plan, crew.children.await_news):
        cluster_main(flow, addresses, 0, epoch_interval=epoch, recovery_config=recovery)  # type: ignore[no-untyped-call]
    crew.children.join()
    plan.pulse.done()
    return hooks.writer


def _stopping_all(asked: Callable[[], bool], children: Children) -> Callable[[], bool]:
    """Return a look at whether to stop that passes the request on."""

    def stop_together() -> bool:
        is_asked = asked()
        if is_asked:
            children.stop()
        return is_asked

    return stop_together


def _limits(plan: Plan) -> Limits:
    values = {
        name: float(plan.config.value(f"supervisor.{name}")) for name in Limits.__struct_fields__
    }
    # An epoch is over when its time is, and no sooner.
    values["stall_seconds"] += float(plan.config.value("epoch_seconds"))
    return Limits(**values)


def _guard_of(hooks: Hooks) -> Guard:
    assert hooks.guard is not None
    return hooks.guard


@contextmanager
def _raising_the_first(
    guard: Guard, plan: Plan, await_news: Callable[[BaseException], None]
) -> Iterator[None]:
    """Raise what failed in this process, where the engine raises what came of it.

    Where nothing of ours failed here, it is the disk that the engine writes to, or another process
    is lost; who noticed that gets the time to say so.
    """
    try:
        yield
    except BaseException as error:
        leave_threads()
        if guard.error is not None:
            raise guard.error from guard.error.__cause__
        if is_disk_problem(error, plan.data):
            guard.on_error()
            raise
        await_news(error)
        raise


def _orders(
    plan: Plan,
    run_key: str,
    options: RunOptions,
    addresses: Sequence[str],
    memory: int | None,
) -> list[WorkerOrders]:
    return [
        WorkerOrders(
            data=str(plan.data),
            inputs=[
                {"name": s.name, "format": s.format, "accounts": s.accounts} for s in plan.inputs
            ],
            flags=list(options.flags),
            config_file=options.config_file,
            run_key=run_key,
            process=process,
            addresses=list(addresses),
            pulse=plan.pulse.handle,
            memory=memory,
        )
        for process in range(1, len(addresses))
    ]


def run_worker(handle: int, make_plan: Callable[[WorkerOrders], Plan]) -> None:
    """Be one of the other processes of a run, to its end; ``handle`` gives our orders."""
    orders = read_orders(handle)
    # The engine says on standard output that it waits for its peer; programs read ours there.
    os.dup2(2, 1)
    plan = make_plan(orders)
    plan.pulse = Pulse(orders.pulse)
    with (
        open_observer(plan.config, orders.process, len(orders.addresses)) as plan.observer,
        naming_disk_problems(plan.data),
    ):
        _work(plan, orders)


def _work(plan: Plan, orders: WorkerOrders) -> None:
    plan.observer.run_joined(orders.run_key)
    stop = StopFlag(told_too(tell_parent, plan.observer.stopping))
    held = hold_recovery(plan.paths.recovery / _CHILDREN_LOCK)
    hooks = _worker_hooks(plan, orders, stop)
    flow = build_flow(plan, orders.run_key, hooks)
    guard = _guard_of(hooks)
    with (
        held,
        letting_go(plan, hooks),
        stop.on_signals(),
        _raising_the_first(guard, plan, give_up),
    ):
        cluster_main(  # type: ignore[no-untyped-call]
            flow,
            orders.addresses,
            orders.process,
            epoch_interval=timedelta(seconds=float(plan.config.value("epoch_seconds"))),
            recovery_config=RecoveryConfig(plan.paths.recovery),  # type: ignore[no-untyped-call]
        )


def _worker_hooks(plan: Plan, orders: WorkerOrders, stop: StopFlag) -> Hooks:
    hooks = Hooks(stop.is_set, process=orders.process, processes=len(orders.addresses))
    hooks.board = _board(plan, orders.memory, orders.process, hooks.processes)
    return hooks


def specs_of(orders: WorkerOrders) -> tuple[InputSpec, ...]:
    """Return a worker's inputs."""
    return tuple(InputSpec(**spec) for spec in orders.inputs)


def _end(plan: Plan, held: Run, writer: WriterStep | None, began_ns: int) -> Outcome:
    """Close the outputs and say how it ended."""
    if writer is None:  # stopped before the first block came so far
        return _as_stored(plan, held, began_ns)
    summary, is_complete = writer.summary(), writer.is_complete()
    writer.close()
    if is_complete:
        held.complete()
    return Outcome(summary=_with_seconds(summary, began_ns), is_complete=is_complete)


def _as_stored(plan: Plan, held: Run, began_ns: int) -> Outcome:
    """Say how a run stands that did nothing now."""
    row = None
    if plan.paths.store.is_file():
        with StoreReader(plan.paths.store) as store:
            row = store.summary(held.key)
    return Outcome(
        summary=_with_seconds({} if row is None else row.summary, began_ns),
        is_complete=row is not None and row.completed,
        was_complete=held.state == "completed",
    )


def _with_seconds(summary: dict[str, Any], began_ns: int) -> dict[str, Any]:
    seconds = round((clock.monotonic_ns() - began_ns) / 1e9, 3)
    return {**summary, "seconds": seconds}
