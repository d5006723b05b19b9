"""Figures: what is drawn is what was given, at the right place, and written whole or not at all."""

import json

import matplotlib.image
import numpy as np
import pytest

from smae_jax.errors import UserError
from smae_jax.figures import frames, save
from smae_jax.figures.frames import denoised_figure
from smae_jax.figures.losses import loss_figure, read_losses
from smae_jax.geometry import Center
from smae_jax.io.atomic import OutputError
from smae_jax.measurements import Measurements
from smae_jax.simulate import simulate


def small(photons=2.0, frames=2):
    return simulate("saxs", frames=frames, size=(40, 56), photons=photons)


def data_of(counts, valid=True, center=None):
    counts = np.asarray(counts)
    counts = counts if counts.ndim == 3 else counts[None]
    valid = np.broadcast_to(valid, counts.shape)
    counts = np.where(valid, counts, 0).astype(np.float32)
    center = None if center is None else Center.given(center)
    return Measurements(counts, valid.astype(np.float32), center=center)


def draw(path, data, denoised, **options):
    save(denoised_figure(data, denoised, **options), path)


def picture(path):
    return matplotlib.image.imread(path)


@pytest.mark.parametrize("with_truth", [True, False])
def test_picture_of_a_simulation_has_a_panel_for_each_image(tmp_path, with_truth):
    scan = small()
    known = {"truth": scan.truth} if with_truth else None
    path = tmp_path / "new" / "figure.png"
    draw(path, data_of(scan.counts, scan.valid), scan.truth, reference=known, frame=1)
    seen = picture(path)
    assert seen.shape[1] > (1900 if with_truth else 1400)
    assert seen[..., :3].std() > 0.1
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_drawn_frame_is_the_one_asked_for(tmp_path):
    scan = small()
    for name, counts, frame in (("a", scan.counts, 1), ("b", scan.counts[1:], 0)):
        denoised = scan.truth if len(counts) == 2 else scan.truth[1:]
        draw(tmp_path / f"{name}.png", data_of(counts, scan.valid), denoised, frame=frame)
    draw(tmp_path / "c.png", data_of(scan.counts[0], scan.valid), scan.truth[0])
    first, same, other = (picture(tmp_path / f"{name}.png") for name in "abc")
    assert (first == same).all()
    assert (first != other).any()


def test_what_stands_at_invalid_pixels_does_not_show(tmp_path):
    scan = small()
    wild = np.where(scan.valid, scan.counts, 1e6)
    unknown = np.where(scan.valid, scan.truth, np.nan)
    exposure = scan.valid[None].astype(np.float32)
    for name, counts in (("a", scan.counts), ("b", wild)):
        data = Measurements(counts.astype(np.float32), exposure)
        draw(tmp_path / f"{name}.png", data, unknown)
    assert (picture(tmp_path / "a.png") == picture(tmp_path / "b.png")).all()


def test_filled_pixels_are_outlined(tmp_path):
    scan = small()
    nothing, data = np.zeros_like(scan.valid), data_of(scan.counts, scan.valid)
    for name, filled in (("a", nothing), ("b", ~scan.valid)):
        draw(tmp_path / f"{name}.png", data, scan.truth, filled=filled)
    assert (picture(tmp_path / "a.png") != picture(tmp_path / "b.png")).any()
    lines = frames._outline(np.pad([[True, True]], ((2, 3), (1, 1))), (10, 20)).get_segments()
    assert len(lines) == 6  # the circumference of two pixels in a row
    points = np.concatenate(lines)
    assert points.min(axis=0).tolist() == [20.5, 11.5]
    assert points.max(axis=0).tolist() == [22.5, 12.5]


def test_residual_is_in_sigmas_and_blocks_add_up():
    rng = np.random.default_rng(0)
    expected = np.broadcast_to(rng.uniform(0.5, 5, (96, 1)), (96, 91))
    counts = rng.poisson(expected).astype(float)
    counts[20:30, :7] = np.nan
    images = frames._Images(counts, expected, np.ones_like(counts), {})
    for block in (1, 3, 4):
        *_, residual = frames._panels(images, block=block)
        values = residual.values
        assert values.shape == (-(-96 // block), -(-91 // block))
        assert np.nanmean(values**2) == pytest.approx(1, abs=5 * np.sqrt(2 / values.size))
        assert np.isnan(values[20 // block + 1, 0])
    before = frames._panels(images, block=4)[0].values
    assert before[0, 0] == counts[:4, :4].mean()


def test_residual_of_one_answer_to_all_knows_the_exposure_of_their_mean():
    rate = np.broadcast_to(np.linspace(0.5, 5, 91), (80, 91))
    counts = np.random.default_rng(0).poisson(rate, (9, 80, 91))
    for denoised in (rate, rate[None]):
        figure = denoised_figure(data_of(counts), denoised)
        note = next(a for a in figure.axes if a.get_title() == "residual").get_xlabel()
        assert float(note.split()[1]) == pytest.approx(1, abs=0.03)


def test_large_frame_is_drawn_whole_and_enlarged(tmp_path):
    shape = (330, 460)
    y, x = np.ogrid[: shape[0], : shape[1]]
    rate = 0.5 + 40 * np.exp(-np.hypot(y - 60, x - 400) / 9)
    counts = np.random.default_rng(1).poisson(rate)
    valid = np.ones(shape, bool)
    valid[100:110] = False
    draw(tmp_path / "large.png", data_of(counts, valid), np.where(valid, rate, np.nan))
    seen = picture(tmp_path / "large.png")
    assert seen.shape[0] > 1000
    rows, columns = frames.window_about(shape, frames._middle_of_counts(rate**2))
    assert rows.start <= 60 < rows.stop
    assert columns.start <= 400 < columns.stop
    assert (rows.stop - rows.start, columns.stop - columns.start) == (128, 128)
    assert rows.start >= 0
    assert columns.stop <= 460


@pytest.mark.parametrize("fault", ["no photons", "no answer"])
def test_frame_without_anything_to_show_is_drawn_without_an_error(tmp_path, fault):
    counts = np.zeros((20, 30))
    denoised = counts if fault == "no photons" else np.full((20, 30), np.nan)
    draw(tmp_path / "empty.png", data_of(counts), denoised, reference={"truth": counts})
    assert picture(tmp_path / "empty.png").shape[1] > 1000


def test_existing_picture_is_replaced_only_if_allowed(tmp_path):
    scan, path = small(), tmp_path / "figure.png"
    path.write_text("mine")
    figure = denoised_figure(data_of(scan.counts, scan.valid), scan.truth)
    with pytest.raises(OutputError, match="exists already"):
        save(figure, path)
    assert path.read_text() == "mine"
    save(figure, path, overwrite=True)
    assert picture(path).size


def metrics(path, *, steps=range(10, 201, 10), extra=""):
    lines = []
    for step in steps:
        lines.append({"step": step, "loss": 1 + 5 * np.exp(-step / 20), "learning_rate": 1e-3})
        if step % 50 == 0:
            lines.append({"step": step, "validation_loss": 1 + abs(step - 150) / 1000})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + extra)
    return path


def test_losses_are_read_in_order_and_later_lines_count(tmp_path):
    extra = '{"step": 20, "loss": 7.0}\n{"step": 30, "loss": NaN}\n{"step": 210, "lo'
    path = metrics(tmp_path / "metrics.jsonl", extra=extra)
    steps, losses = read_losses(path, "loss")
    assert steps.tolist() == [10, 20, *range(40, 201, 10)]
    assert losses[1] == 7
    steps, losses = read_losses(path, "validation_loss")
    assert steps[losses.argmin()] == 150


@pytest.mark.parametrize("steps", [range(10, 201, 10), range(1, 2), range(50, 51)])
def test_losses_are_drawn(tmp_path, steps):
    path = metrics(tmp_path / "metrics.jsonl", steps=steps)
    save(loss_figure(path), tmp_path / "loss.png")
    assert picture(tmp_path / "loss.png")[..., :3].std() > 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("", "found none"),
        ('{"step": 1, "validation_loss": 2}\n', "found none"),
        ('loss 3\n{"step": 1, "loss": 2}\n', "line 1"),
        ('[1]\n{"step": 1, "loss": 2}\n', "line 1"),
        ('{"loss": 3}\n{"step": 1, "loss": 2}\n', "line 1"),
    ],
)
def test_bad_metrics_are_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "metrics.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        loss_figure(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
