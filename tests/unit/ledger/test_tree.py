from hashlib import sha256

import pytest

from ledger.entry import leaf_hash
from ledger.tree import Frontier, node_hash, root_of
from ledger.verify.chain import _root

# the leaves and roots every Certificate Transparency implementation tests itself with
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word: split at the largest power of two below n."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert root_of(leaves).hex() == _root(leaves).hex() == naive_root(leaves).hex() == ROOTS[size]


def test_every_size_to_600_has_the_root_of_the_definition() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(600)]
    frontier = Frontier()
    for size, leaf in enumerate(leaves):
        if size <= 100 or size in {255, 256, 257, 511, 512, 513}:
            assert frontier.root() == _root(leaves[:size]) == naive_root(leaves[:size])
        frontier.append(leaf)
    assert frontier.bundles == [naive_root(leaves[:256]), naive_root(leaves[256:512])]


def test_a_root_can_be_taken_from_bundle_roots_and_the_leaves_after_them() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(800)]
    bundles = [naive_root(leaves[at : at + 256]) for at in (0, 256, 512)]
    for size in (0, 1, 255, 256, 300, 512, 767, 768, 800):
        whole = size // 256
        assert root_of(leaves[whole * 256 : size], bundles[:whole]) == naive_root(leaves[:size])


def test_a_copied_edge_grows_by_itself() -> None:
    frontier = Frontier()
    for number in range(5):
        frontier.append(leaf_hash(b"%d" % number))
    before = frontier.root()
    frontier.copy().append(leaf_hash(b"other"))
    assert frontier.root() == before
