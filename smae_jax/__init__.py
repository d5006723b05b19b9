"""Self-supervised denoising of centro-symmetric X-ray scattering patterns and of spectra in JAX.

For notebooks: `load`, `from_arrays`, `train`, `open_run`; see `smae_jax.api`. They are imported when they
are first used, so that importing the package takes no time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smae_jax.api import Data, Denoiser, Result, from_arrays, load, open_run, train

__all__ = ["Data", "Denoiser", "Result", "from_arrays", "load", "open_run", "train"]


def __getattr__(name: str) -> Any:
    """Import the functions for notebooks on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'smae_jax' has no attribute '{name}'")
    from smae_jax.cli import use_compilation_cache

    use_compilation_cache()  # before JAX reads its environment
    from smae_jax import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """List the functions for notebooks."""
    return sorted([*globals(), *__all__])
