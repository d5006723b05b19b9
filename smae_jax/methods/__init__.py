"""How pairs are made and predictions put back: one file per method, and the protocol they share."""

from smae_jax.methods.deep_image_prior import DeepImagePrior
from smae_jax.methods.masked import Masked
from smae_jax.methods.noise2noise import Noise2Noise
from smae_jax.methods.noise2void import Noise2Void
from smae_jax.methods.protocol import Answers, Batch, Method, Pair
from smae_jax.methods.smae import Smae
from smae_jax.methods.supervised import Supervised
from smae_jax.methods.thinning import Thinning
from smae_jax.methods.zero_shot import ZeroShot

__all__ = [
    "Answers",
    "Batch",
    "DeepImagePrior",
    "Masked",
    "Method",
    "Noise2Noise",
    "Noise2Void",
    "Pair",
    "Smae",
    "Supervised",
    "Thinning",
    "ZeroShot",
]
