"""The picture of a spectrum: what its panels hold, and what it refuses."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from smae_jax.errors import UserError
from smae_jax.figures import save
from smae_jax.figures.losses import loss_figure
from smae_jax.figures.spectrum import spectrum_figure
from smae_jax.measurements import Axis, Measurements

AXIS = np.linspace(1, 9, 400)
TRUTH = 0.2 + 300 * np.exp(-(((AXIS - 3) / 0.2) ** 2)) + 20 * np.exp(-(((AXIS - 7) / 0.3) ** 2))
COUNTS = np.random.default_rng(2).poisson(TRUTH, (4, 400))


def data_of(counts, exposure=1.0, axis=None):
    exposure = np.broadcast_to(np.asarray(exposure, np.float32), counts.shape)
    return Measurements(counts.astype(np.float32), exposure, axis=axis)


DATA = data_of(COUNTS, axis=Axis(AXIS, "energy", "keV"))


def axes_of(figure):
    return [axes for axes in figure.get_axes() if axes.get_visible()]


def named(axes):
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_every_part_is_drawn(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    lines = [
        {"step": s, "loss": 1 / s, "validation_loss": 0.2 + abs(s - 30) / 100}
        for s in range(10, 60, 10)
    ]
    metrics.write_text("\n".join(map(json.dumps, lines)))
    figure = spectrum_figure(
        DATA,
        TRUTH,
        TRUTH**0.5 / 9,
        reference={"long measurement": TRUTH * 1.01},
        ranges=[(2, 4), (6, 8)],
        metrics=metrics,
    )
    top, residual, first, second, losses = axes_of(figure)
    assert named(top) >= {
        "repeats",
        "mean of 4 repeats",
        "long measurement",
        "denoised",
        "denoised, 2 sigma",
    }
    assert top.get_yscale() == "log"
    assert residual.get_xlabel() == first.get_xlabel() == "energy (keV)"
    assert first.get_xlim() == (2, 4)
    assert 250 < first.get_ylim()[1] < 700
    assert 15 < second.get_ylim()[1] < 80
    assert "best: step 30" in named(losses)
    save(spectrum_figure(DATA, TRUTH), tmp_path / "a.png")
    assert imread(tmp_path / "a.png").std() > 0.02


def test_losses_far_apart_have_scales_of_their_own(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    lines = [{"step": s, "loss": 1 / s, "validation_loss": 50 + 1 / s} for s in range(10, 90, 10)]
    metrics.write_text("\n".join(map(json.dumps, lines)))
    *_, losses, held_out = axes_of(spectrum_figure(DATA, TRUTH, metrics=metrics))
    assert losses.get_ylim()[1] < 1
    assert held_out.get_ylim()[0] > 49
    assert named(held_out) >= {"training", "held out"}
    assert len(loss_figure(metrics).get_axes()) == 2


def residual_rms(figure, *, blocks=True):
    text = axes_of(figure)[1].get_title(loc="left")
    return float(text.split(", " if blocks else "rms ")[1].split()[0])


def test_residual_of_the_truth_is_noise_alone():
    figure = spectrum_figure(DATA, TRUTH)
    assert residual_rms(figure) == pytest.approx(1, abs=0.2)
    assert residual_rms(figure, blocks=False) == pytest.approx(1, abs=0.1)
    assert residual_rms(spectrum_figure(DATA, COUNTS.mean(axis=0) + 1e-9), blocks=False) < 0.1
    assert residual_rms(spectrum_figure(DATA, 1.2 * TRUTH)) > 1.8


def test_residual_takes_exposures_and_masks_into_account():
    exposure = np.array([0.2, 0.6, 1.2, 2.0])
    counts = np.random.default_rng(3).poisson(exposure[:, None] * TRUTH)
    valid = np.ones((4, 400), bool)
    valid[1, 50:150] = False
    counts = np.where(valid, counts, 0)
    figure = spectrum_figure(data_of(counts, exposure[:, None] * valid), TRUTH)
    assert residual_rms(figure) == pytest.approx(1, abs=0.2)
    wrong = spectrum_figure(data_of(counts, exposure[:, None]), TRUTH)
    assert residual_rms(wrong) > 1.5


def test_given_noise_replaces_photon_noise():
    noise = np.full(400, 5.0)
    counts = TRUTH + np.random.default_rng(4).normal(0, 10, (4, 400))
    assert residual_rms(spectrum_figure(data_of(counts), TRUTH, noise=noise)) == pytest.approx(
        1, abs=0.2
    )


def test_counts_of_one_decade_are_drawn_linearly():
    truth = 50 + 40 * np.sin(AXIS)
    figure = spectrum_figure(data_of(np.random.default_rng(0).poisson(truth, (2, 400))), truth)
    assert axes_of(figure)[0].get_yscale() == "linear"
    assert axes_of(figure)[1].get_xlabel() == "channel"


def test_data_alone_have_no_residual():
    panels = axes_of(spectrum_figure(DATA.take([0]), ranges=[(2, 4)]))
    assert len(panels) == 2
    assert named(panels[0]) == {"measured"}


def test_channels_without_an_answer_are_shaded():
    answer = TRUTH.copy()
    answer[100:120] = np.nan
    top = axes_of(spectrum_figure(DATA, answer))[0]
    assert len(top.patches) == 1


def test_range_off_the_axis_is_refused_in_one_line():
    with pytest.raises(
        UserError, match=r"--plot-range 10:12: holds 0 channels; the axis, energy \(keV\)"
    ):
        spectrum_figure(DATA, TRUTH, ranges=[(10, 12)])
