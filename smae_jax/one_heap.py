"""One heap for all threads that keeps what is freed: the next arrays lie where those before them did."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

LARGE = 2**25
"""Bytes of an array that would lie apart from the heap: glibc's own largest threshold."""
_ARENA_MAX, _TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -8, -1, -2, -3, -4
"""Numbers of what can be set, from glibc's malloc.h."""
_SEVERAL = 2**16
"""Arrays that lie apart from the heap, at most: glibc's own number."""
_set, _within = list[bool](), list[bool]()
"""Hold an item where `use_one_heap` has set the heap, and one for each `large_in_heap` that is open."""


def use_one_heap() -> None:
    """Let all threads allocate from one heap, arrays of up to 32 MiB; call it before there are threads.

    glibc gives threads heaps of their own, and what one has freed another does not use again. With several of
    them a process grew by 0.2 GiB while it answered 1,000 frames of 512 x 512. Where the C library is another
    one, or a variable `MALLOC_...` is set, nothing is changed.

    Reference:
      The GNU C Library manual, "Malloc Tunable Parameters".
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        allocator = ctypes.CDLL(None)
        settings = (
            (_ARENA_MAX, 1),
            (_MMAP_THRESHOLD, LARGE),
            (_TRIM_THRESHOLD, 2**27),
            (_TOP_PAD, 2**26),
        )
        if all(allocator.mallopt(*setting) for setting in settings):
            _set.append(True)


@contextlib.contextmanager
def large_in_heap(wanted: bool = True) -> Iterator[None]:
    """Let arrays of more than 32 MiB lie in the heap too, where such come again and again; may be nested.

    Else the system gives a new place to each of them, page by page, and clears it: a training of 300 steps
    waited 4 million times for a page, now 0.3 million times. Large arrays that stay long do not belong there:
    they part the heap.

    Args:
      wanted: False = arrays lie where they would without this.
    """
    if not wanted or not _set:
        yield
        return
    allocator = ctypes.CDLL(None)
    _within.append(True)
    allocator.mallopt(_MMAP_MAX, 0)
    try:
        yield
    finally:
        _within.pop()
        if not _within:
            allocator.mallopt(_MMAP_MAX, _SEVERAL)


def hand_back() -> None:
    """Give the system what is free in the heap, between two blocks; nothing where it is not glibc.

    Arrays of one block lie in the gaps of another's, and not all fit: 0.5 GiB of 1.2 stayed unused.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
