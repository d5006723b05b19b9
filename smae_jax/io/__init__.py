"""Files of measurements: sources and sinks by format, masks, sentinels, atomic writes; numpy only, no JAX."""
