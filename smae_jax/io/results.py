"""Denoised output of this program, read back into arrays."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from smae_jax.io.raw_frames import unreadable


def read_result(path: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Read a NeXus file that `writing.write` wrote.

    Args:
      path: the `.h5` file.

    Returns:
      (counts, NaN where there is no answer; their sigmas, or None; which pixels are filled, or None), all in
      the shape of the counts.

    Raises:
      UserError: in one line, if it is no such file.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            group: Any = file["entry/data"]
            for name in ("data", "data_errors", "sigma", "filled"):
                if name in group:
                    arrays[name] = np.asarray(group[name])
            counts = arrays["data"]
    except (OSError, KeyError) as error:
        raise unreadable(path, "output of this program", error) from error
    filled = arrays.get("filled")
    if filled is not None:
        filled = np.broadcast_to(filled != 0, counts.shape)
    return counts, arrays.get("data_errors", arrays.get("sigma")), filled
