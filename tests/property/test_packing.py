"""Snapshots come back from packing as they went in."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.packing import pack, pack_tree, unpack, unpack_tree

# Bytes with long runs of zeros, as tables have.
SPARSE = st.lists(
    st.one_of(st.binary(max_size=20), st.integers(0, 600).map(bytes)), max_size=6
).map(b"".join)
TREE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SPARSE, st.integers(), st.text(max_size=4), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(SPARSE)
def test_unpacking_gives_back_the_bytes(data: bytes) -> None:
    packed = pack(data)
    assert unpack(packed) == data
    words = [data[i : i + 8] for i in range(0, len(data) - len(data) % 8, 8)]
    assert len(packed.words) == 8 * sum(word != bytes(8) for word in words)


@settings(deadline=None)
@given(TREE)
def test_unpacking_gives_back_a_tree(tree: Any) -> None:
    assert unpack_tree(pack_tree(tree)) == tree
