"""However drafts are cut into batches and runs, the same log comes out."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_logs import ORIGIN, START_NS, drafts, entries_of

from ledger.entry import leaf_hash
from ledger.tree import root_of
from ledger.verify import verify
from ledger.writer import LedgerWriter

TOTAL = 540


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("whole")
    with LedgerWriter(folder, ORIGIN, lambda: START_NS) as log:
        log.append(drafts(TOTAL))
    return entries_of(folder)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from("nfcr")), max_size=12))
def test_batches_flushes_and_restarts_leave_no_trace(
    whole: list[bytes], steps: list[tuple[int, str]]
) -> None:
    """Step: how many drafts, then nothing, a flush, a restart, or the last batch repeated."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = LedgerWriter(folder, ORIGIN, lambda: START_NS)
        done = 0
        for count, then in [*steps, (TOTAL, "n")]:
            batch = drafts(min(count, TOTAL - done), start=done)
            receipts = log.append(batch)
            assert [receipt.index for receipt in receipts] == [
                done + 1 + at for at in range(len(batch))
            ]
            done += len(batch)
            if then == "f":
                log.flush()
            elif then == "c":
                log.close()
                log = LedgerWriter(folder, ORIGIN, lambda: START_NS)
            elif then == "r":
                again = log.append(batch)
                assert [(one.index, one.leaf) for one in again] == [
                    (one.index, one.leaf) for one in receipts
                ]
            leaves = list(map(leaf_hash, whole[: done + 1]))
            assert log.head == (done + 1, root_of(leaves).hex())
        assert verify(folder).head == log.head[1]
        log.close()
        assert entries_of(folder) == whole
        assert verify(folder).staged == 0
