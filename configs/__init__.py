"""The commented configurations that travel with smae_jax."""
