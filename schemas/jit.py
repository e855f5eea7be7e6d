"""How kernels are compiled, in one place.

``kernel`` and ``inlined`` switch numba's memory manager off: a kernel allocates nothing (its
arrays belong to the caller), so counting references to them would only cost time - and it costs
most of it, because every call between kernels would count every array it passes. ``inlined``
also puts a small kernel's code into its callers, so that arrays are never passed at all.
Without compilation (``NUMBA_DISABLE_JIT=1``) both leave the plain function.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit

from schemas.caches import keep_kernels

keep_kernels()  # before anything is decorated

# A whole number as kernels hand it on: Python's own at the edge, numpy's inside.
Int: TypeAlias = int | np.integer[Any]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: Final[dict[str, Any]] = {"cache": True, "nogil": True, "_nrt": False}


def kernel(function: _Function) -> _Function:
    """Compile a kernel that allocates nothing."""
    return cast("_Function", njit(**_OPTIONS)(function))


def inlined(function: _Function) -> _Function:
    """Compile a small kernel of the same sort into whatever calls it."""
    return cast("_Function", njit(**_OPTIONS, forceinline=True)(function))
