"""The page's pieces: pictures within a budget, tables that escape, and a figure for many frames."""

import io

import numpy as np
import pytest
from matplotlib.colors import Normalize
from PIL import Image

from smae_jax.figures.observables import Series, map_figure, series_figure
from smae_jax.report import gallery, page
from smae_jax.report.collecting import PerFrame
from smae_jax.report.gallery import Shown, make_gallery, png
from smae_jax.report.sections import frames_figure


def shown(number, shape=(90, 70), *, sigma=True):
    rng = np.random.default_rng(number)
    rate = np.full(shape, 4.0)
    before = rng.poisson(rate).astype(float)
    before[:5] = np.nan
    light = np.where(np.isfinite(before), 1.0, 0.0)
    rate[:2] = np.nan
    return Shown(
        number, f"frame {number}", before, rate, light, None, 0.1 * rate if sigma else None
    )


@pytest.mark.parametrize("frames", [1, 2, 6, 40])
def test_frames_have_whole_numbers(frames):
    numbers, values = 3 + np.arange(frames), np.linspace(1, 2, frames)
    one = Series("position", "position / nm", values, 0.1 * values, values)
    counts = frames_figure(numbers, PerFrame(*[values] * 5))
    for figure in (counts, series_figure([one, one], numbers=numbers)):
        figure.canvas.draw()
        axes = figure.axes[1]
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
        assert low < numbers[0]
        assert numbers[-1] < high


def test_pictures_show_values_on_the_scale_and_nothing_where_there_are_none():
    image = np.array([[0.0, 1.0, np.nan], [2.0, -5.0, 99.0]])
    drawn = np.asarray(Image.open(io.BytesIO(png(image, Normalize(0, 2), "gray"))).convert("RGBA"))
    assert drawn[..., 3].tolist() == [[255, 255, 0], [255, 255, 255]]
    assert drawn[0, 0, 0] == drawn[1, 1, 0] == 0
    assert drawn[1, 0, 0] == drawn[1, 2, 0] == 255
    assert abs(int(drawn[0, 1, 0]) - 127) <= 2


def test_all_layers_share_blocks_and_residuals_are_in_sigmas():
    one = shown(0)
    layers = one.layers(10)
    assert list(layers) == ["before", "denoised", "sigma", "residual"]
    assert {image.shape for image in layers.values()} == {(9, 7)}
    # Sums of 100 pixels of photon noise have a standard deviation of 1.
    assert 0.7 < layers["residual"].std() < 1.3
    np.testing.assert_allclose(layers["sigma"][1:], 0.4)


def test_a_gallery_stays_within_its_budget(monkeypatch):
    frames = [shown(k, (180, 140)) for k in range(2)]
    whole = make_gallery(frames, (90.0, 70.0))
    assert [view.block for view in whole.views] == [1]
    size = sum(len(image) for frame in whole.views[0].frames for image in frame.values())
    monkeypatch.setattr(gallery, "BUDGET", size // 2)
    small = make_gallery(frames, (90.0, 70.0))
    assert small.views[0].block > 1
    drawn = [image for view in small.views for frame in view.frames for image in frame.values()]
    assert sum(map(len, drawn)) < 1.2 * size / 2
    monkeypatch.setattr(gallery, "BUDGET", 10 * size)
    monkeypatch.setattr(gallery, "SIDE", 90)
    enlarged = make_gallery(frames, (90.0, 70.0))
    assert [view.name for view in enlarged.views] == ["whole frame", "about the beam"]
    assert [view.block for view in enlarged.views] == [2, 1]


@pytest.mark.parametrize("share", [1.0, 0.3, 0.021])
def test_error_bars_use_the_scale_and_do_not_saturate_it(share):
    y, x = np.mgrid[:60, :70]
    rate = 0.01 + 5 * np.exp(-(((np.hypot(y - 30, x - 31) - 15) / 2) ** 2))
    one = Shown(0, "frame", rate, rate, np.ones_like(rate), None, share * np.sqrt(rate))
    scale = gallery.counts_scale(rate[None])
    drawn = gallery.enlargement([one], scale) * one.sigma
    assert 0.1 * scale.vmax < np.percentile(drawn, 99) <= scale.vmax


def test_what_is_no_number_reads_as_a_dash_and_names_are_escaped():
    rows = [{"name": "<b>", "a": 1.25, "b": float("nan")}, {"name": "ours", "a": None, "b": 2}]
    text = page.table(rows, {"a": ("A & B", "{:.1f}"), "b": ("b", "{}")}, ours="ours")
    assert "<td>&lt;b&gt;</td><td>1.2</td><td>-</td>" in text
    assert "<tr class=ours><td>ours</td><td>-</td><td>2</td>" in text
    assert "A &amp; B" in text
    assert page.facts([("<", '"')]) == "<dl><dt>&lt;</dt><dd>&quot;</dd></dl>"


@pytest.mark.parametrize("frames", [1, 1000])
def test_series_and_maps_of_any_number_of_frames(frames):
    values = np.linspace(0, 1, frames)
    values[0] = np.nan
    one = Series("width, peak", "width / nm", values, values / 10, values, None, values)
    assert len(series_figure([one, one], numbers=np.arange(frames)).axes) == 2
    raster = (1, frames)
    assert len(map_figure(one, raster).axes) >= 4
