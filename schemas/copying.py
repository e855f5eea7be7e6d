"""Copying bytes inside kernels: assigning a slice would copy it aside first."""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from schemas.columns import Bytes
from schemas.jit import kernel


@intrinsic
def _copy_at(_context: Any, target: Any, place: Any, source: Any, start: Any, size: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> None:
        to = context.make_array(signature.args[0])(context, builder, args[0])
        origin = context.make_array(signature.args[2])(context, builder, args[2])
        cgutils.raw_memcpy(  # type: ignore[no-untyped-call]
            builder,
            builder.gep(to.data, [args[1]]),
            builder.gep(origin.data, [args[3]]),
            args[4],
            1,
        )

    return types.void(target, place, source, start, size), codegen


def copy_bytes(target: Bytes, place: int, source: Bytes, start: int, size: int) -> None:
    """Copy ``source[start : start + size]`` to ``target[place :]``; the arrays do not overlap.

    Inside kernels nothing checks the bounds: the caller has.
    """
    target[place : place + size] = source[start : start + size]


@overload(copy_bytes)
def _copy_bytes_overload(target, place, source, start, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda target, place, source, start, size: _copy_at(  # type: ignore[call-arg]
        target, np.int64(place), source, np.int64(start), np.int64(size)
    )


@intrinsic
def _store_u64_at(_context: Any, target: Any, place: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> None:
        to = context.make_array(signature.args[0])(context, builder, args[0])
        at = builder.bitcast(builder.gep(to.data, [args[1]]), ir.PointerType(ir.IntType(64)))
        builder.store(args[2], at, align=1)

    return types.void(target, place, word), codegen


def store_u64(target: Bytes, place: int, word: np.uint64) -> None:
    """Store 8 bytes, little-endian, at any place; inside kernels nothing checks the bounds."""
    target[place : place + 8] = np.frombuffer(int(word).to_bytes(8, "little"), np.uint8)


@overload(store_u64)
def _store_u64_overload(target, place, word):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda target, place, word: _store_u64_at(  # type: ignore[call-arg]
        target, np.int64(place), np.uint64(word)
    )


@kernel
def gather_lines(rows: Any, raw: Bytes, target: Bytes) -> None:
    """Copy the rows' lines into ``target``, one after another, and point the rows there.

    ``rows`` have the fields ``line_start`` and ``line_length``; ``target`` has room for all of it.
    """
    place = 0
    for i in range(len(rows)):
        length = rows[i]["line_length"]
        copy_bytes(target, place, raw, rows[i]["line_start"], length)
        rows[i]["line_start"] = place
        place += length
