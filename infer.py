"""Denoise frames with a trained run: the same as `smae-jax infer`."""

import sys

from smae_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["infer", *sys.argv[1:]]))
