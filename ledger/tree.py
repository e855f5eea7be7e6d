"""The Merkle tree of RFC 6962, kept as its right edge so that appending is O(1)."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

NODE: Final = b"\x01"  # RFC 6962 2.1: an inner node must never be replayable as a leaf
EMPTY_ROOT: Final = sha256(b"").digest()
BUNDLE_WIDTH: Final = 256
_BUNDLE_LEVEL: Final = 8


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtree roots into their parent."""
    return sha256(NODE + left + right).digest()


class Frontier:
    """The roots of the complete subtrees along the right edge, largest first.

    Their sizes are the binary digits of the leaf count, so a tree of any size is at most 64
    hashes. `bundles` collects the root of every 256 leaves completed here (level 8).
    """

    def __init__(self) -> None:
        self._edge: list[tuple[int, bytes]] = []
        self.bundles: list[bytes] = []

    def copy(self) -> "Frontier":
        """Return an equal edge that has completed no bundle yet."""
        twin = Frontier()
        twin._edge = self._edge.copy()
        return twin

    def append(self, leaf: bytes, level: int = 0) -> None:
        """Add a leaf hash, or the root of a complete subtree of 2^level leaves."""
        edge = self._edge
        while edge and edge[-1][0] == level:
            leaf = node_hash(edge.pop()[1], leaf)
            level += 1
            if level == _BUNDLE_LEVEL:
                self.bundles.append(leaf)
        edge.append((level, leaf))

    def root(self) -> bytes:
        """Return the tree's root: the edge folded from the right."""
        if not self._edge:
            return EMPTY_ROOT
        root = self._edge[-1][1]
        for _, left in reversed(self._edge[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes], bundles: Iterable[bytes] = ()) -> bytes:
    """Return the root over the roots of complete bundles followed by single leaf hashes.

    Examples
    --------
    >>> root_of([]).hex()[:16]
    'e3b0c44298fc1c14'
    """
    frontier = Frontier()
    for bundle in bundles:
        frontier.append(bundle, _BUNDLE_LEVEL)
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()
