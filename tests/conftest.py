"""Devices, compilation cache and data folders shared by all tests."""

from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before anything asks JAX for a device: eight simulated ones, so that data parallelism is tested on
# any machine, and a cache that makes the second run of the suite short.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache" / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real detector data beside the checkout; skips the test where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} (`../shared/data` from the project root)")
    return folder
