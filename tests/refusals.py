"""What every refused file has in common: one line for the user, with the words that matter."""

import re

import pytest

from smae_jax.errors import UserError
from smae_jax.io.reading import read


def refused(path, *said, read=read, **options):
    """Assert one line that says all of this; return it."""
    with pytest.raises(UserError, match=re.escape(said[0])) as caught:
        read(str(path), **options)
    message = str(caught.value)
    assert "\n" not in message
    for text in said:
        assert text in message, message
    return message
