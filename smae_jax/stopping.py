"""SIGTERM, or another signal, as a question that a loop asks between two steps, to save before it ends.

Batch systems send SIGTERM some seconds before they kill.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Stopped(Exception):  # noqa: N818  (not an error: asked for from outside)
    """The work ended early because SIGTERM came; the message is one line and says how to go on."""


@contextlib.contextmanager
def stopping(*signals: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Catch signals within the block; SIGTERM, where none are named.

    The former handlers come back at the end. Several SIGTERMs are one: batch systems repeat them, and work
    that saves must not be cut short by the second. Only a program's main thread may catch signals; in any
    other one the answer is always no.

    Yields:
      A function that tells whether one of them has come.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return

    def remember(number: int, frame: Any) -> None:
        del number, frame
        came.set()

    caught = signals or (signal.SIGTERM,)
    former = [signal.signal(one, remember) for one in caught]
    try:
        yield came.is_set
    finally:
        for one, handler in zip(caught, former, strict=True):
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
