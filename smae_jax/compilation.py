"""Where compiled programs are kept."""

import os
from pathlib import Path


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs on disk, so that a second start is warm; before JAX is imported."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "smae_jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
