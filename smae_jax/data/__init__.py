"""Reading, masking and writing scans; numpy only, no JAX and no networks."""
