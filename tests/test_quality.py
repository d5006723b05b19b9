"""The table: scores are those of the metrics, at the pixels said, and gaps are not hidden."""

import json
import math

import numpy as np
import pytest

from smae_jax.evaluation.filters import gaussian, rotated_average
from smae_jax.evaluation.quality import SIGMAS, as_json, as_markdown, as_text, quality_rows
from smae_jax.geometry import turn
from smae_jax.metrics import psnr, rmse
from smae_jax.simulate import simulate


@pytest.fixture(scope="module")
def scan():
    return simulate("saxs", frames=3, size=(48, 62), photons=2, center_offset=(1.5, -2.0))


def rows_of(scan, **estimates):
    return quality_rows(scan.counts, estimates, scan.truth, scan.valid, scan.center)


def masks(scan):
    turned = turn(scan.valid, scan.center, False)
    return scan.valid & turned, scan.valid | turned


def test_rows_are_the_raw_counts_the_filters_and_the_estimates(scan):
    rows = rows_of(scan, second=scan.truth, first=2 * scan.truth)
    names = [row["name"] for row in rows]
    assert names[:2] == ["raw", "rotated average"]
    assert names[2].startswith("best Gaussian")
    assert names[3:] == ["second", "first"]


def test_scores_are_those_of_the_pixels_with_a_valid_partner(scan):
    both, _ = masks(scan)
    row = rows_of(scan)[0]
    expected = np.sqrt(np.mean((scan.counts.astype(float) - scan.truth)[:, both] ** 2))
    peak = scan.truth[:, both].max()
    assert row["rmse"] == pytest.approx(expected)
    assert row["data_range"] == pytest.approx(peak)
    assert row["psnr_db"] == pytest.approx(20 * np.log10(peak / expected))
    assert row["pixels"] == 3 * both.sum()


def test_best_gaussian_is_the_best_of_its_widths_and_is_named(scan):
    both, _ = masks(scan)
    average, known = rotated_average(scan.counts, scan.valid, scan.center)
    errors = {s: rmse(gaussian(average, known, s), scan.truth, both) for s in SIGMAS}
    row = rows_of(scan)[2]
    assert row["rmse"] == pytest.approx(min(errors.values()))
    assert f"sigma {min(errors, key=errors.get):g}" in row["name"]
    assert SIGMAS[0] < min(errors, key=errors.get) < SIGMAS[-1]


def test_second_score_looks_at_filled_pixels_too(scan):
    both, either = masks(scan)
    wrong = np.where(either & ~scan.valid, 3 * scan.truth, scan.truth)
    row = rows_of(scan, wrong=wrong)[-1]
    assert row["psnr_db"] == math.inf
    expected = psnr(wrong, scan.truth, either, scan.truth[:, both].max())
    assert row["psnr_either_db"] == pytest.approx(expected)


def test_missing_values_are_reported(scan):
    both, either = masks(scan)
    raw = rows_of(scan)[0]
    assert math.isnan(raw["psnr_either_db"])
    assert raw["no_value"] == pytest.approx(100 * (1 - scan.valid.sum() / either.sum()))
    gappy = scan.truth.copy()
    y, x = np.argwhere(both)[17]
    gappy[1, y, x] = np.nan
    rows = rows_of(scan, gappy=gappy)
    row = rows[-1]
    for key in ("psnr_db", "ssim", "rmse", "psnr_either_db", "count_ratio", "worst_count_ratio"):
        assert math.isnan(row[key]), key
    assert row["no_value"] == pytest.approx(100 / (3 * either.sum()))
    assert as_text(rows).count("no value /") == 1
    assert as_text(rows).splitlines()[5].count("no value") == 6
    assert json.loads(as_json(rows))[-1]["psnr_db"] is None


def test_count_ratio_is_of_the_measured_totals(scan):
    counts = np.where(scan.valid, scan.counts, np.nan)
    scaled = counts * np.array([1.0, 1.1, 0.8])[:, None, None]
    row = rows_of(scan, scaled=scaled)[-1]
    assert row["count_ratio"] == pytest.approx(np.nansum(scaled) / np.nansum(counts))
    assert row["worst_count_ratio"] == pytest.approx(0.8)
    assert rows_of(scan)[0]["count_ratio"] == 1


def test_wrong_shape_and_no_pairs_are_refused(scan):
    with pytest.raises(ValueError, match="half: expected shape"):
        rows_of(scan, half=scan.truth[..., :31])
    left = scan.valid & (np.arange(62) < 20)
    with pytest.raises(ValueError, match="no valid pixel has a valid partner"):
        quality_rows(scan.counts, {}, scan.truth, left, scan.center)


def test_tables_hold_every_row_and_say_what_they_mean(scan):
    rows = rows_of(scan, smae=scan.truth)
    markdown, text = as_markdown(rows), as_text(rows)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1
    assert f"{rows[1]['psnr_db']:.2f}" in table[3]
    lines = text.splitlines()
    assert len({len(line) for line in lines[: 2 + len(rows)]}) == 1
    for words in ("smae", f"{rows[0]['data_range']:.4g} counts", "valid partner"):
        assert words in text
        assert words in markdown
