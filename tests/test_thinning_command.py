"""Method thinning from the command line: what it chooses, refuses and keeps."""

from pathlib import Path

import numpy as np
import pytest

from smae_jax.config import TrainConfig, parse_shares
from smae_jax.config_file import dump, load
from smae_jax.geometry import Center
from smae_jax.io.reading import read
from smae_jax.measurements import Measurements
from smae_jax.methods.partner import choose_partner
from smae_jax.simulate import simulate
from tests.conftest import SMALL

THINNING = ("train", "--method", "thinning", *SMALL)


def scan_of(kind, **options):
    made = simulate(kind, frames=32, size=96, seed=3, **options)
    counts, exposure = made.counts.astype(np.int32), made.valid[None].astype(np.float32)
    return Measurements(counts * made.valid, exposure, center=Center.given(made.center))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("saxs", {"photons": 3.0}, "channel"),
        ("saxs", {"photons": 10.0, "asymmetry": 0.05}, "channel"),
        ("gisaxs", {"photons": 1.0}, "none"),
    ],
)
def test_the_symmetry_of_the_scan_chooses_the_partner(kind, options, expected):
    partner, reason = choose_partner(scan_of(kind, **options))
    assert partner == expected
    assert "chi-square" in reason


@pytest.mark.slow
def test_the_choice_is_said_kept_and_gone_on_with(smae, tmp_path):
    assert smae("simulate", "--frames", 4, "--size", 32, "--output", "s.h5").status == 0
    scan = ("--data.path", "s.h5::/entry/data/data", "--data.mask", "s.h5::/entry/mask")
    first = smae(*THINNING, "--run", "r", *scan)
    assert first.status == 0, first.err
    assert "partner channel" in first.out
    assert load(tmp_path / "r" / "config.toml", TrainConfig).thinning.partner == "channel"
    again = smae("train", "--run", "r", "--resume", "--train.steps", 6)
    assert again.status == 0, again.err
    out = ("infer", "--run", "r", "--input", "s.h5", "--output", "out.npy")
    assert smae(*out).status == 0
    counts, truth = np.load("out.npy"), read("s.h5::/entry/data/data").counts
    assert counts.shape == truth.shape
    assert np.isfinite(counts).mean() > 0.9
    refused = smae(*out, "--overwrite", "--rule", "cross")
    assert refused.status == 2
    assert "symmetric" in refused.err


@pytest.mark.slow
def test_values_that_are_no_photons_are_refused_unless_their_noise_is_known(smae):
    rng = np.random.default_rng(0)
    values = 2.5 * rng.poisson(20.0, (3, 32, 32)) + rng.normal(0, 2.0, (3, 32, 32))
    np.save("charge.npy", values.astype(np.float32))
    scan = ("--data.path", "charge.npy", "--data.center", "15.5,15.5")
    refused = smae(*THINNING, "--run", "r", *scan)
    assert refused.status == 2
    assert "charge.npy" in refused.err
    assert "--thinning.gain" in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    known = ("--thinning.gain", 2.5, "--thinning.readout-noise", 2.0)
    accepted = smae(*THINNING, "--run", "r", *scan, *known)
    assert accepted.status == 0, accepted.err


@pytest.mark.parametrize("text", ["1,1", "0,1", "0.5,1", "0,0", "0.5", "a,b", "1.2,0.1"])
def test_impossible_shares_are_refused(text):
    with pytest.raises(ValueError, match=r"thinning\.shares"):
        parse_shares((text,))


@pytest.mark.parametrize("text", ["1,0", "0,0.5"])
def test_without_the_partner_the_pixel_itself_is_seen_and_predicted(smae, small, small_scan, text):
    data = ("--method", "thinning", "--data.path", f"{small_scan}::counts", *small)
    refused = smae(
        "train", "--run", "r", *data, "--thinning.partner", "none", "--thinning.shares", text
    )
    assert refused.status == 2
    assert refused.err.count("\n") == 1
    assert f"got '{text}'" in refused.err
    assert not Path("r").exists()


@pytest.mark.slow
def test_smaes_corner_trains_and_answers(smae, small, small_scan):
    """All of one side predicts all of the other, by the same command as any other share."""
    data = ("--method", "thinning", "--data.path", f"{small_scan}::counts", *small)
    shares = ("--thinning.partner", "channel", "--thinning.shares", "1,0")
    trained = smae("train", "--run", "r", *data, *shares)
    assert trained.status == 0, trained.err
    assert "patches within half-planes" in trained.out
    applied = smae("infer", "--run", "r", "--input", f"{small_scan}::counts", "--output", "o.npy")
    assert applied.status == 0, applied.err
    assert np.isfinite(np.load("o.npy")).any()


def test_options_survive_the_config_file(tmp_path):
    assert parse_shares(("0.9,0", "0.8,0.8")) == ((0.9, 0.0), (0.8, 0.8))
    (tmp_path / "c.toml").write_text('[thinning]\nshares = ["0.7,0.2"]\npartner = "none"\n')
    config = load(tmp_path / "c.toml", TrainConfig)
    assert config.thinning.shares == ("0.7,0.2",)
    (tmp_path / "d.toml").write_text(dump(config))
    assert load(tmp_path / "d.toml", TrainConfig) == config


@pytest.mark.slow
def test_patches_cross_the_centre_only_where_no_photon_is_shown(smae, small, small_scan):
    data = ("--method", "thinning", "--data.path", f"{small_scan}::counts", *small)
    asked = (*data, "--data.center", "17.5,14")
    for run, options, said in (
        ("a", (), False),
        ("b", ("--thinning.variants", 0), True),
        ("c", ("--thinning.shares", "0.8,0.5"), True),
        ("d", ("--thinning.no-across",), False),
    ):
        answer = smae("train", "--run", run, *asked, *options)
        assert answer.status == 0, answer.err
        assert ("patches within half-planes" in answer.out) == said
        written = f"across = {str(not options).lower()}"
        assert written in Path(run, "config.toml").read_text()
