"""Things made once for equal arguments: a function that was compiled serves all that ask for the same one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")
MOST = 16
"""Things of a kind that are kept."""


def made_once(make: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Return what a pure function makes of equal arguments once, and then again and again.

    What is made of arguments that cannot be hashed, such as a user's own method with a list, is made anew.
    """
    kept = functools.lru_cache(MOST)(make)

    @functools.wraps(make)
    def found(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        try:
            hash((args, tuple(kwargs.values())))
        except TypeError:
            return make(*args, **kwargs)
        return kept(*args, **kwargs)

    return found
