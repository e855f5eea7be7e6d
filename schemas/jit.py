"""How kernels are compiled, in one place.

``kernel`` and ``inlined`` switch numba's memory manager off: a kernel allocates nothing (its
arrays belong to the caller), so counting references to them would only cost time - and it costs
most of it, because every call between kernels would count every array it passes. ``inlined``
also puts a small kernel's code into its callers, so that arrays are never passed at all.
Without compilation (``NUMBA_DISABLE_JIT=1``) both leave the plain function.
"""

from typing import Any, Final

from numba import njit

kernel: Final[Any] = njit(cache=True, nogil=True, _nrt=False)
inlined: Final[Any] = njit(cache=True, nogil=True, _nrt=False, forceinline=True)
