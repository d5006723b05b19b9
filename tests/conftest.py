"""Devices, compilation cache and data folders shared by all tests."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from smae_jax import cli

ROOT = Path(__file__).resolve().parents[1]

# Before anything asks JAX for a device: eight simulated ones, so that data parallelism is tested on
# any machine, and a cache of every program: what one process has compiled, the others read.
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache" / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
# Strictness lives here, the library stays light: no shape is widened by silence, no random key used twice.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


# XLA's older emitter of loops, and one compilation unit for each program: half the time to compile.
FAST_COMPILATION = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def pytest_configure(config: pytest.Config) -> None:
    """Compile fast rather than well: tiny steps take longer to compile than to run.

    Tests marked `optimized` have a run of their own, which compiles as users do.
    """
    if config.option.markexpr != "slow and optimized":
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # of the processes that tests start
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_COMPILATION}".strip()


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end, modules and tests: a fifth of the run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Forget the programs of a module after it: thousands of them fill memory and slow what follows."""
    if nextitem is not None and nextitem.path != item.path:
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real detector data beside the checkout; skips the test where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} (`../shared/data` from the project root)")
    return folder


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Names of the functions that XLA compiles during a test, one entry per compilation."""
    names = []

    def listen(event, _seconds, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


class Answer(NamedTuple):
    """What a command said: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture
def smae(capfd, tmp_path, monkeypatch) -> Callable[..., Answer]:
    """The command line within this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: object) -> Answer:
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return Answer(status, *capfd.readouterr())

    return run


SMALL = (
    *("--train.steps", 4, "--train.batch-size", 8, "--train.patch", 16, "--unet.widths", 8),
    *("--unet.blocks", 0, "--train.optimizer", "adam", "--train.validation-batches", 1),
    *("--train.log-every", 1, "--train.validate-every", 2, "--train.warmup-steps", 0),
    *("--train.schedule", "constant"),  # one program, whatever the number of steps
)


@pytest.fixture(scope="session")
def small() -> tuple[object, ...]:
    """Options of a training that takes seconds."""
    return SMALL


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory) -> Path:
    """An npz file: `counts` (6, 34, 30) about a centre off the middle, and its `mask` (True = bad)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:34, :30]
    rate = 1 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    mask = np.zeros((34, 30), bool)
    mask[20:22, :] = True  # a gap that the partners fill
    mask[3, 4] = mask[32, 24] = True  # a pixel and its partner
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    np.savez(path, counts=rng.poisson(rate, (6, 34, 30)).astype(np.uint16), mask=mask)
    return path


@pytest.fixture(scope="session")
def ring_rate() -> np.ndarray:
    """Rates (34, 30) of a ring about the centre of `trained_run`, brighter towards one direction."""
    y, x = np.mgrid[:34, :30]
    y, x = y - 17.5, x - 14
    radius, chi = np.hypot(y, x), np.arctan2(y, x)
    ring = np.exp(-(((radius - 9) / 1.5) ** 2)) * (1 + 0.8 * np.cos(2 * (chi - 0.6)))
    return 2 + 30 * np.exp(-((radius / 6) ** 2)) + 25 * ring


@pytest.fixture(scope="session")
def trained_run(small_scan, tmp_path_factory) -> Path:
    """A finished run on `small_scan`. Read only: a test that changes it makes a copy."""
    run = tmp_path_factory.mktemp("trained") / "run"
    data = ("--data.path", f"{small_scan}::counts", "--data.mask", f"{small_scan}::mask")
    arguments = ("train", "--run", run, *data, "--data.center", "17.5,14", *SMALL)
    arguments = (*arguments, "--train.schedule", "cosine")  # of which the best step is not the last
    with open(os.devnull, "w") as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", nowhere)
        assert cli.main([str(argument) for argument in arguments]) == 0
    return run
