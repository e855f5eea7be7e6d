"""All entries together: each names the one before it, and they give one root."""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from .entries import KINDS, are_canonical, fault_of_form, is_nfc, parse_canonical
from .fault import AuditError

WIDTH: Final = 256
QUICK_SIZE_MAX: Final = 4096  # longer entries go the slow way: hostile ones cannot make us search
RULES_KEPT: Final = 4096
NO_PREVIOUS: Final = "0" * 64
_QUICK_KINDS: Final = KINDS - {"log.opened", "log.closed"}
_TIME: Final = "(0|[1-9][0-9]{0,17}|[1-8][0-9]{18})"
_NAME: Final = r'"[^"\\\x00-\x1f]'
_COUNT: Final = "(?:0|[1-9][0-9]{0,14})"
_SOURCE: Final = rf'\{{"offset":{_COUNT},"partition":{_COUNT},"source":{_NAME}+"\}}'
_QUICK: Final = (  # the usual shape of an entry on a line, the log's name left open
    rf'^\{{"actor":{_NAME}{{1,256}}","body":(\{{.*?\}}),"eid":"([0-9a-f]{{32}})",'
    rf'"event_time_ns":"{_TIME}","i":({_COUNT}),"kind":"([a-z.]+)","log":"%s",'
    rf'"log_time_ns":"{_TIME}","prev":"([0-9a-f]{{64}})","rule":(null|\{{.*?\}}),'
    rf'"src":\[(?:{_SOURCE}(?:,{_SOURCE})*)?\],"v":1\}}$'
)


def _root(hashes: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root: pair up, carry an odd one over, until one is left."""
    level = list(hashes) or [sha256(b"").digest()]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        level = above + level[len(level) // 2 * 2 :]
    return level[0]


class Chain:
    """The entries so far: each names the one before it, and all together give the root."""

    def __init__(self, origin: str, eids: dict[bytes, int], trusted_size: int) -> None:
        self.opened_ns = self.last_ns = 0
        self._origin = origin
        self._eids = eids
        self._trusted_bundle = trusted_size // WIDTH
        self._trusted_leaves: list[bytes] = []
        self._prev = NO_PREVIOUS
        self._is_closed = False
        self._bundles: list[bytes] = []
        self._tail: list[bytes] = []
        self._rules = {"null"}
        self._quick = re.compile(_QUICK % re.escape(origin), re.MULTILINE)

    @property
    def size(self) -> int:
        """Entries so far."""
        return len(self._bundles) * WIDTH + len(self._tail)

    def root_at(self, size: int) -> bytes:
        """Return the root at the size now, or at the trusted size."""
        whole, rest = divmod(size, WIDTH)
        leaves = self._tail if whole == len(self._bundles) else self._trusted_leaves
        return _root(
            [*self._bundles[:whole], _root(leaves[:rest])] if rest else self._bundles[:whole]
        )

    def take(self, entries: Sequence[bytes]) -> None:
        """Verify the next entries, which begin a bundle."""
        leaves = [sha256(b"\x00" + entry).digest() for entry in entries]
        if not self._are_plainly_next(entries, leaves):
            for index, (entry, leaf) in enumerate(zip(entries, leaves, strict=True), self.size):
                self._judge(entry, index)
                self._prev = leaf.hex()
        if len(self._bundles) == self._trusted_bundle:
            self._trusted_leaves = leaves
        if len(leaves) == WIDTH:
            self._bundles.append(_root(leaves))
        else:
            self._tail = leaves

    def _are_plainly_next(self, entries: Sequence[bytes], leaves: Sequence[bytes]) -> bool:
        """Tell quickly that nothing is wrong with entries; False means: look at each closely."""
        try:
            text = b"\n".join(entries).decode()
            rows = self._quick.findall(text)
            if len(rows) != len(entries) or text.count("\n") != len(entries) - 1:
                return False
            if (
                not self.size
                or self._is_closed
                or max(map(len, entries)) > QUICK_SIZE_MAX
                or not is_nfc(text)
            ):
                return False
            bodies, *columns = zip(*rows, strict=True)
            fine = self._are_in_place(columns, leaves) and are_canonical(bodies)
        except (ValueError, RecursionError, StopIteration):
            return False
        if fine:
            self._prev = leaves[-1].hex()
            self.last_ns = int(columns[4][-1])
        return fine

    def _are_in_place(self, columns: Sequence[Sequence[str]], leaves: Sequence[bytes]) -> bool:
        eids, _, indexes, kinds, log_times, prevs, rules = columns
        here = range(self.size, self.size + len(leaves))
        times_ns = list(map(int, log_times))
        return (
            list(indexes) == list(map(str, here))
            and list(prevs) == [self._prev, *(leaf.hex() for leaf in leaves[:-1])]
            and list(map(self._eids.get, map(bytes.fromhex, eids))) == list(here)
            and times_ns[0] >= self.last_ns
            and times_ns == sorted(times_ns)
            and _QUICK_KINDS.issuperset(kinds)
            and all(rule in self._rules or self._learn(rule) for rule in set(rules))
        )

    def _learn(self, rule: str) -> bool:
        """Remember a rule found canonical; rules are few and come again with every entry."""
        parse_canonical(rule.encode())
        if len(self._rules) < RULES_KEPT:
            self._rules.add(rule)
        return True

    def _judge(self, entry: bytes, index: int) -> None:
        """Accept an entry or say what is wrong with it."""
        where = f"entry {index}"
        try:
            held = parse_canonical(entry)
        except (ValueError, RecursionError) as error:
            raise AuditError(where, f"is not canonical JSON: {error}.") from error
        fault = fault_of_form(held) or next(self._faults_of_place(held, index), "")
        if fault:
            raise AuditError(where, fault)
        self.last_ns = int(held["log_time_ns"])
        self.opened_ns = self.opened_ns if index else self.last_ns
        self._is_closed = held["kind"] == "log.closed"

    def _faults_of_place(self, held: dict[str, Any], index: int) -> Iterator[str]:
        """Yield what is wrong with an entry where it stands."""
        if held["log"] != self._origin:
            yield f"belongs to the log {held['log']}, not {self._origin}."
        if held["i"] != index:
            yield f"says that it is entry {held['i']}."
        if held["prev"] != self._prev:
            yield "does not name the hash of the entry before it: the chain is broken here."
        if int(held["log_time_ns"]) < self.last_ns:
            yield "was logged earlier than the entry before it."
        if self._is_closed or (held["kind"] == "log.opened") != (index == 0):
            yield "stands before the log's opening or after its closing."
        if self._eids.get(bytes.fromhex(held["eid"])) != index:
            yield "is not where the index leads for its eid: it came twice, or the index is wrong."
