"""Several processes as one run: nobody is left behind, nobody goes on alone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import json as msgspec_json

from flows import processes
from flows.processes import (
    EXIT_PEER_LOST,
    Children,
    WorkerOrders,
    free_addresses,
    hold_recovery,
    read_orders,
    wait_for_recovery,
)

ORDERS = WorkerOrders(
    data="data",
    inputs=[{"name": "a.ndjson", "format": "auto", "accounts": ""}],
    flags=["shards=4"],
    config_file=None,
    run_key="key",
    process=1,
    addresses=["127.0.0.1:1", "127.0.0.1:2"],
)
# A child that reads its orders, says so, and then waits for its end.
CHILD = """
import sys, threading
from flows.processes import read_orders
orders = read_orders(sys.stdin.fileno())
print(orders.run_key, flush=True)
threading.Event().wait()
"""
# A parent of one child; the child's command comes as its arguments.
PARENT = """
import sys, threading
from msgspec import json
from flows.processes import Children, WorkerOrders
order = json.decode(sys.stdin.readline(), type=WorkerOrders)
children = Children(sys.argv[1:], 1)
children.send([order])
print(children._processes[0].pid, flush=True)
threading.Event().wait()
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with start(CHILD) as process:
        yield process
        process.kill()


def tell(process: "subprocess.Popen[bytes]", order: WorkerOrders = ORDERS) -> bytes:
    """Give a process its orders and return the line it answers with."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec_json.encode(order) + b"\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_addresses_are_free_and_differ() -> None:
    addresses = free_addresses(3)
    assert len(set(addresses)) == 3
    for address in addresses:
        host, _, port = address.partition(":")
        with socket.socket() as one:
            one.bind((host, int(port)))


def test_orders_arrive_in_pieces_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_die_with_parent", lambda: None)  # it would outlive this test
    ended: list[int] = []
    monkeypatch.setattr(processes, "_end_when_closed", ended.append)
    reading, writing = os.pipe()
    line = msgspec_json.encode(ORDERS) + b"\n"
    os.write(writing, line[:10])
    os.write(writing, line[10:])
    assert read_orders(reading) == ORDERS
    os.close(writing)
    os.close(reading)


def test_a_child_ends_when_its_orders_pipe_closes(child: "subprocess.Popen[bytes]") -> None:
    assert tell(child) == b"key"
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait() == EXIT_PEER_LOST


def test_a_child_without_orders_ends(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait() == EXIT_PEER_LOST


def test_children_without_orders_are_dismissed_at_once() -> None:
    children = Children([sys.executable, "-c", CHILD], 2)
    children.dismiss()
    assert [process.returncode for process in children._processes] == [-signal.SIGKILL] * 2


def test_a_killed_parent_leaves_no_child() -> None:
    with start(PARENT, sys.executable, "-c", CHILD) as parent:
        tell(parent)
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == b"key"  # the child's own line: it has begun
        parent.kill()
        # The child holds this pipe too: it has an end only when the child has ended.
        assert parent.stdout.read() == b""


def test_a_killed_child_ends_its_parent_with_a_sentence() -> None:
    with start(PARENT, sys.executable, "-c", CHILD) as parent:
        os.kill(int(tell(parent)), signal.SIGKILL)
        assert parent.stderr is not None
        said = parent.stderr.read().decode()
    assert parent.returncode == EXIT_PEER_LOST
    assert "The same command goes on from the last snapshot." in said


# Children that end as their orders say: with a code, or killed, and not all at once.
ENDING = """
import os, sys, threading
from flows.processes import read_orders
orders = read_orders(sys.stdin.fileno())
if orders.flags[0] == "killed":
    os.kill(os.getpid(), 9)
sys.exit(int(orders.flags[0]))
"""
PARENT_OF_MANY = """
import sys, threading
from msgspec import json
from flows.processes import Children, WorkerOrders
orders = json.decode(sys.stdin.readline(), type=list[WorkerOrders])
Children(sys.argv[1:], len(orders)).send(orders)
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (["1", "killed"], EXIT_PEER_LOST),  # the first only failed as it lost the other
        (["1", "1"], 1),
        (["0", "3"], 3),
        (["0", "killed"], EXIT_PEER_LOST),
    ],
)
def test_a_run_ends_as_the_child_that_was_the_reason(ends: list[str], code: int) -> None:
    orders = [msgspec.structs.replace(ORDERS, flags=[end]) for end in ends]
    with start(PARENT_OF_MANY, sys.executable, "-c", ENDING) as parent:
        assert parent.stdin is not None
        parent.stdin.write(msgspec_json.encode(orders) + b"\n")
        parent.stdin.flush()
        parent.wait()
    assert parent.returncode == code


def test_a_new_run_waits_for_children_of_the_one_before(tmp_path: Path) -> None:
    lock = tmp_path / "children.lock"
    script = (
        "import sys, pathlib; from flows.processes import hold_recovery\n"
        "held = hold_recovery(pathlib.Path(sys.argv[1])); print('held', flush=True)\n"
        "sys.stdin.read(); print('going', flush=True)\n"
    )
    with start(script, str(lock)) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        holder.stdin.close()
        wait_for_recovery(lock)
        assert holder.stdout.read() == b"going\n"  # it had gone on, and ended, before we did


def test_several_children_hold_the_recovery_store_together(tmp_path: Path) -> None:
    lock = tmp_path / "children.lock"
    with hold_recovery(lock), hold_recovery(lock):
        pass
    wait_for_recovery(lock)
