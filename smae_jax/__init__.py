"""Self-supervised denoising of photon-counting X-ray data in JAX: scattering patterns, spectra, volumes.

Nine calls make up a training, on arrays, without a folder:

    loss, optimizer = smae_jax.losses.poisson, optax.adam(2e-3)
    data    = smae_jax.read("scan/*.tif", mask="mask.tif")
    method  = smae_jax.Thinning().settled(data)
    placed  = smae_jax.place(data, method, patch=64)
    net     = smae_jax.unet(method)
    step    = smae_jax.make_step(net, method, loss, optimizer)
    state   = smae_jax.fit(step, placed, jax.random.key(0), steps=1500)
    answers = smae_jax.predict(net, state.average, method, data)
    answers = smae_jax.finish(answers, data, stages=smae_jax.STAGES)

`train`, `open_run` and `from_arrays` are for notebooks; see `smae_jax.api`. Everything is imported when it is
first used, so that importing the package takes no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smae_jax.api import *  # noqa: F403

__all__ = [
    "STAGES",
    "Answers",
    "Axis",
    "Batch",
    "Center",
    "DeepImagePrior",
    "Denoiser",
    "Loop",
    "Masked",
    "Measurements",
    "Method",
    "Noise2Noise",
    "Noise2Void",
    "Pair",
    "Placing",
    "Result",
    "Smae",
    "Supervised",
    "Thinning",
    "UserError",
    "ZeroShot",
    "finish",
    "fit",
    "from_arrays",
    "losses",
    "make_optimizer",
    "make_schedule",
    "make_step",
    "open_run",
    "place",
    "predict",
    "read",
    "train",
    "unet",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'smae_jax' has no attribute '{name}'")
    from smae_jax.compilation import use_compilation_cache

    use_compilation_cache()  # before JAX reads its environment
    if name == "losses":  # a module: what the package itself imports before `api` is there
        return importlib.import_module("smae_jax.losses")
    from smae_jax import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """List everything that can be imported."""
    return sorted([*globals(), *__all__])
