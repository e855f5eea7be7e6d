"""Lay drafts out behind the end of a log, in memory: nothing of it is true before the commit."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from ledger.entry import (
    DIVERGENCE,
    NO_PREVIOUS,
    OPENED,
    EntryDraft,
    Place,
    Prepared,
    assemble,
    canonical,
    content_of_entry,
    leaf_hash,
    prepare,
)
from ledger.recovery import LogState
from schemas.ids import digest_parts

WRITER: Final = "tapewatch"  # the actor of entries nobody asked for


class Receipt(Struct, frozen=True):
    """Where a draft stands in the log, durable by the time it is handed out.

    `is_new` is False if the log held it already. If it held the eid with other content, the
    receipt is that of the `divergence` entry, and `diverges_from` the index it differs from.
    """

    origin: str
    index: int
    leaf: str
    is_new: bool
    diverges_from: int | None = None


class Batch:
    """What one transaction will append.

    Parameters
    ----------
    log
        Its end; not changed.
    now_ns
        The writer's time for all of the batch.
    look_up
        Gives {eid: index} for those of the eids that are in the log.
    read
        Gives a committed entry by its index.
    """

    def __init__(
        self,
        log: LogState,
        now_ns: int,
        look_up: Callable[[Sequence[bytes]], dict[bytes, int]],
        read: Callable[[int], bytes],
    ) -> None:
        self.origin = log.head.origin
        self.start = log.head.size
        self.prev = log.prev
        self.frontier = log.frontier.copy()
        self.entries: list[bytes] = []
        self.eids: dict[bytes, int] = {}
        self._log = canonical(self.origin)
        self._now_ns = now_ns
        self._look_up = look_up
        self._read = read

    @property
    def size(self) -> int:
        """Size of the log with this batch."""
        return self.start + len(self.entries)

    def add(self, prepared: Sequence[Prepared]) -> list[Receipt]:
        """Place each draft, or find it placed already, or record that it diverges.

        Raises
        ------
        EntryError
            If an entry would be too long.
        """
        held = self._look_up([one.draft.eid for one in prepared])
        receipts = []
        for one in prepared:
            index = self.eids.get(one.draft.eid, held.get(one.draft.eid))
            receipts.append(self._place(one) if index is None else self._meet(one, index))
        return receipts

    def _meet(self, prepared: Prepared, index: int) -> Receipt:
        """Compare a draft with the entry that has its eid."""
        entry = self._entry(index)
        held_content = content_of_entry(entry)
        if held_content == prepared.content:
            return Receipt(self.origin, index, leaf_hash(entry).hex(), is_new=False)
        divergence = prepare(_divergence(self.origin, prepared, index, held_content))
        eid = divergence.draft.eid
        told = self.eids.get(eid, self._look_up([eid]).get(eid))
        if told is None:
            new = self._place(divergence)
            return Receipt(self.origin, new.index, new.leaf, is_new=True, diverges_from=index)
        leaf = leaf_hash(self._entry(told)).hex()
        return Receipt(self.origin, told, leaf, is_new=False, diverges_from=index)

    def _entry(self, index: int) -> bytes:
        planned = index - self.start
        return self.entries[planned] if planned >= 0 else self._read(index)

    def _place(self, prepared: Prepared) -> Receipt:
        index = self.size
        entry = assemble(prepared, Place(self._log, index, self.prev, self._now_ns))
        leaf = leaf_hash(entry)
        self.frontier.append(leaf)
        self.prev = leaf.hex()
        self.entries.append(entry)
        self.eids[prepared.draft.eid] = index
        return Receipt(self.origin, index, self.prev, is_new=True)


def opening(origin: str, now_ns: int) -> EntryDraft:
    """Return a log's first entry."""
    return EntryDraft(
        eid=digest_parts(["tapewatch/log.opened/1", origin]),
        kind=OPENED,
        event_time_ns=now_ns,
        actor=WRITER,
        src=[],
        rule=None,
        body={"continues": NO_PREVIOUS},
    )


def _divergence(origin: str, new: Prepared, index: int, held_content: bytes) -> EntryDraft:
    """Say that an eid came again with other content; once for each other content."""
    draft = new.draft
    return EntryDraft(
        eid=digest_parts(["tapewatch/divergence/1", origin, draft.eid.hex(), new.content.hex()]),
        kind=DIVERGENCE,
        event_time_ns=draft.event_time_ns,
        actor=WRITER,
        src=draft.src,
        rule=None,
        body={
            "eid": draft.eid.hex(),
            "kind": draft.kind,
            "index": index,
            "content_held": held_content.hex(),
            "content_new": new.content.hex(),
        },
    )
