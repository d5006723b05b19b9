"""Text that can be written down, whatever bytes the name of a file is made of."""

from __future__ import annotations


def encodable(text: str) -> str:
    r"""Return text that UTF-8 can hold; bytes of a file's name that are no UTF-8 become escapes.

    An operating system keeps names as bytes, and Python hands on those that are no text in a form that can be
    opened but neither printed nor written.

    >>> print(encodable("M\udcfcller.tif"))
    M\xfcller.tif
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
