"""Masks that were drawn or typed: pictures (PNG, JPEG, BMP) and tables of numbers as text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from smae_jax.errors import UserError
from smae_jax.io.raw_frames import Frames, unreadable

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
TEXTS = (".txt", ".csv", ".tsv", ".dat", ".asc")


@contextmanager
def open_picture(path: str, inside: str, *, mask: bool = True) -> Iterator[Frames]:
    """Read a picture in black and white, as a mask.

    Transparency is passed over. JPEG blurs the edge of black and white: there a pixel is nonzero from half of
    the white on.

    Raises:
      UserError: in one line, if it is damaged, in colours, far too large, or a name within it is asked for.
    """
    del mask
    if inside:
        raise UserError(f"{path}: a picture has no named datasets; drop '::{inside}'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                lossy = picture.format == "JPEG"
                if picture.mode in ("P", "PA"):
                    picture = picture.convert("RGBA")
                values = np.asarray(picture)
                bands = picture.getbands()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: too large for a mask ({error}); save it as .npy") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path, "a picture", error) from error
    if values.ndim == 3:
        seen = values[..., [index for index, band in enumerate(bands) if band != "A"]]
        if (seen != seen[..., :1]).any():
            raise UserError(
                f"{path}: a picture in colours; expected black and white, where nonzero marks one kind "
                "of pixel"
            )
        values = seen[..., 0]
    yield Frames(values >= 128 if lossy else values)


@contextmanager
def open_table(path: str, inside: str, *, mask: bool = True) -> Iterator[Frames]:
    """Read a mask as text: a row of the detector a line, numbers apart by blanks, commas, tabs or semicolons.

    Raises:
      UserError: in one line, if there is something else than numbers, rows differ in length, or a name within
        it is asked for.
    """
    del mask
    if inside:
        raise UserError(f"{path}: a text file holds no names; drop '::{inside}'")
    try:
        with open(path, encoding="utf-8-sig") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no numbers are refused below
            lines = (re.sub(r"[,;\t]", " ", line) for line in file)
            values = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except UnicodeDecodeError as error:
        raise unreadable(path, "a text file", error) from error
    except ValueError as error:
        raise UserError(
            f"{path}: expected a mask as rows of numbers, all of one length ({' '.join(str(error).split())})"
        ) from error
    if not values.size:
        raise UserError(f"{path}: expected a mask as rows of numbers, found none")
    yield Frames(values)
