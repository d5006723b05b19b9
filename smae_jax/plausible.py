"""Lengths that a scattering experiment can have; others are no metres. Imports nothing: options use it."""

WAVELENGTHS_M = (1e-13, 1e-8)
"""Gamma rays and electrons to soft X-rays and cold neutrons."""
LONGEST_M = 100.0
"""From sample to detector; no camera is so long, and 200 is 200 mm."""
