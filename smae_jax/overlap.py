"""Work that goes on beside other work, in a thread: one block is read, and one written, meanwhile."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")
MOST_THREADS = 8
"""More wait for the interpreter, or for the disk."""
BYTES = 2**28
"""That are worked on at once in threads."""


def threads_of(size: int) -> int:
    """Return how many threads work at once: as many as there are processors, up to `MOST_THREADS`.

    Args:
      size: bytes that one of them works on; together they take `BYTES` at most.
    """
    return max(1, min(MOST_THREADS, os.cpu_count() or 1, BYTES // max(1, size)))


def ahead(work: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[tuple[Item, Found]]:
    """Yield each item and what was made of it, in order; one item is worked on in advance.

    What `work` raises is raised where its item is due.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting: tuple[Item, Future[Found]] | None = None
        for item in items:
            following = item, thread.submit(work, item)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def in_threads(works: Iterable[Callable[[], Found]], threads: int) -> Iterator[Found]:
    """Yield what functions return, in order; so many are called at the same time, and taken up in advance."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = collections.deque[Future[Found]]()
        for work in works:
            waiting.append(pool.submit(work))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Behind:
    """Calls functions in a thread, one after the other; waits for the last one before the next is begun.

    What one of them raises is raised at the next call, or at the end.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def __call__(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Begin to call `work`, once the last call is done."""
        self.wait()
        self._last = self._thread.submit(work, *arguments, **options)

    def wait(self) -> None:
        """Wait for the last call."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way; what it raises is not told where something else went wrong before."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()
