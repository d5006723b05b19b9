"""Train a denoiser: the same as `smae-jax train`."""

import sys

from smae_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
