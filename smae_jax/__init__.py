"""Self-supervised denoising of centro-symmetric X-ray scattering patterns in JAX."""
