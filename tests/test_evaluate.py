"""`smae-jax evaluate` from the command line: tables, numbers, figures, every checkpoint, and refusals."""

import csv
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from smae_jax.evaluation.filters import rotated_average
from smae_jax.evaluation.residuals import RingTotals, Whiteness
from smae_jax.io.results import read_result
from smae_jax.metrics import psnr

FILTERS = ["raw", "rotated average", "Gaussian", "Gaussian", "median", "non-local", "total var"]


@pytest.fixture(scope="module")
def scan(small_scan, tmp_path_factory):
    """The frames, their truth and a reference of ten exposures each."""
    y, x = np.mgrid[:34, :30]
    rate = 1 + 30 * np.exp(-(((y - 17.5) / 4) ** 2) - ((x - 14) / 7) ** 2)
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    high = np.random.default_rng(1).poisson(10 * rate, (6, 34, 30))
    half = np.broadcast_to(rate + 0.25, high.shape)
    np.savez(path, high=high.astype(np.int32), truth=half, few=high[:4].astype(np.int32))
    return f"{small_scan}::counts", path


def read(folder):
    record = json.loads((Path(folder) / "metrics.json").read_text())
    return record, {row["name"]: row for row in record["rows"]}


def test_evaluation_with_reference_of_every_checkpoint(smae, trained_run, scan, small_scan):
    frames, reference = scan
    arguments = ("--run", trained_run, "--input", frames, "--reference", f"{reference}::high")
    answer = smae(
        *("evaluate", *arguments, "--output", "out", "--checkpoints", "all", "--figures", 2),
        *("--save-denoised", "--scores", "both"),
    )
    assert answer.status == 0, answer.err
    record, rows = read("out")
    names = list(rows)
    assert all(name.startswith(what) for name, what in zip(names, FILTERS, strict=False))
    networks = [row for row in rows.values() if row["step"] is not None]
    assert [row["step"] for row in networks] == sorted({row["step"] for row in networks})
    assert networks[-1]["step"] == 4
    assert len(names) == len(FILTERS) + len(networks)
    for folder in ("out/figures/frame_0000.png", "out/figures/frame_0005.png", "out/curve.png"):
        assert matplotlib.image.imread(folder)[..., :3].std() > 0.02
    assert len(list(Path("out/figures").iterdir())) == 2
    assert {path.stem for path in Path("out/denoised").iterdir()} == {
        f"step_{row['step']}" for row in networks
    }
    assert any("multiplied by" in note and "x the exposure" in note for note in record["notes"])
    assert any("paired by order" in note for note in record["notes"])
    for words in ("PSNR / dB", "held-out deviance", "multiplied by", names[-1], "data range"):
        assert words in answer.out
        assert words in Path("out/table.md").read_text()
    with open("out/metrics.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == names
    assert float(table[1]["psnr_db"]) == rows["rotated average"]["psnr_db"]
    assert "with reference" in answer.err
    assert "%" in answer.err

    # The row of a filter, made here by hand.
    with np.load(small_scan) as file, np.load(reference) as other:
        counts, valid, high = file["counts"].astype(float), ~file["mask"], other["high"]
    factor = counts[:, valid].sum() / high[:, valid].sum()
    average, _ = rotated_average(counts, valid, (17.5, 14))
    peak = factor * high[:, valid].max()
    expected = psnr(average, factor * high, valid, peak)
    assert rows["rotated average"]["psnr_db"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "stages",
    [(), ("--no-keep-sums",), ("--keep-significant", 1), ("--checkpoint", "last")],
    ids=str,
)
def test_network_row_is_that_of_the_frames_that_infer_writes(
    smae, trained_run, scan, small_scan, stages
):
    """What is judged is what is written: the file's numbers, made here by hand, are those of the table."""
    frames, reference = scan
    run = ("--run", trained_run, "--input", frames, *stages)
    assert smae("infer", *run, "--output", "denoised.npy").status == 0
    truth = f"{reference}::truth"
    answer = smae(
        *("evaluate", *run, "--reference", truth, "--output", "out", "--figures", 0),
        *("--scores", "both", "--save-denoised"),
    )
    assert answer.status == 0, answer.err
    _, rows = read("out")
    denoised = np.load("denoised.npy", allow_pickle=False)
    with np.load(small_scan) as file, np.load(reference) as other:
        counts, valid, truth = file["counts"].astype(float), ~file["mask"], other["truth"]
    scaled = truth * counts[:, valid].sum() / truth[:, valid].sum()
    (name,) = (name for name in rows if name.startswith("thinning"))
    expected = psnr(denoised, scaled, valid, scaled[:, valid].max())
    assert rows[name]["psnr_db"] == pytest.approx(expected, rel=1e-5)
    assert "free of noise" in answer.out
    left, rings = Whiteness(), RingTotals.about((17.5, 14), valid.shape)
    left.add(counts, denoised, np.broadcast_to(valid, counts.shape))
    rings.add(counts, denoised, np.broadcast_to(valid, counts.shape))
    assert rows[name]["z_variance"] == pytest.approx(left.variance, rel=1e-5)
    assert rows[name]["z_blocks"] == pytest.approx(left.block_variance, rel=1e-5)
    assert rows[name]["ring_percent"] == pytest.approx(rings.worst()[0], rel=1e-4, abs=1e-4)
    (saved,) = Path("out/denoised").iterdir()
    again, _, filled = read_result(str(saved))
    np.testing.assert_allclose(again, denoised, rtol=1e-6)
    assert filled[:, 20:22].any()
    assert not Path("out/figures").exists()


def test_evaluation_without_reference(smae, trained_run, scan):
    frames, _ = scan
    arguments = ("evaluate", "--run", trained_run, "--input", frames, "--output", "out")
    answer = smae(*arguments, "--figures", 1, "--frames", 3)
    assert answer.status == 0, answer.err
    record, rows = read("out")
    assert "3 frames" in record["notes"][0]
    assert any("are answered apart from the others" in note for note in record["notes"])
    assert rows["raw"]["symmetry"] == pytest.approx(1, abs=0.15)
    assert rows["raw"]["deviance"] > min(row["deviance"] for row in rows.values())
    assert "psnr_db" not in rows["raw"]
    for name in ("agreement.png", "rings.png", "figures/frame_0000.png"):
        assert matplotlib.image.imread(f"out/{name}")[..., :3].std() > 0.02
    assert not Path("out/curve.png").exists()
    again = smae(*arguments, "--figures", 0, "--frames", 3, "--overwrite")
    assert again.status == 0, again.err
    assert read("out")[1] == rows  # the same splits
    assert not Path("out/figures").exists()


def test_chosen_frames_keep_their_own_reference(smae, trained_run, scan, small_scan):
    frames, reference = scan
    answer = smae(
        *("evaluate", "--run", trained_run, "--input", frames, "--output", "out", "--figures", 0),
        *("--reference", f"{reference}::high", "--frames", 2),
    )
    assert answer.status == 0, answer.err
    record, rows = read("out")
    assert "2 reference frames, paired by order" in record["notes"]
    with np.load(small_scan) as file, np.load(reference) as other:
        counts, valid = file["counts"][[0, 5]].astype(float), ~file["mask"]
        high = other["high"][[0, 5]]
    high = high * counts[:, valid].sum() / high[:, valid].sum()
    expected = psnr(counts, high, valid, high[:, valid].max())
    assert rows["raw"]["psnr_db"] == pytest.approx(expected)


def test_exposure_of_the_split_counts_is_respected(smae, trained_run, scan):
    """A network given a part of the counts answers for all of them."""
    frames, _ = scan
    arguments = ("evaluate", "--run", trained_run, "--input", frames, "--figures", 0)
    for share in (0.1, 0.5):
        assert smae(*arguments, "--held-out", share, "--output", f"out{share}").status == 0
    few, many = (read(f"out{share}")[1] for share in (0.1, 0.5))
    (name,) = (name for name in few if name.startswith("thinning"))
    assert few[name]["ring_percent"] == many[name]["ring_percent"]  # of the whole counts
    for rows in (few, many):
        assert rows["raw"]["held_out_total"] == pytest.approx(1, abs=0.08)  # of few photons
        assert rows[name]["held_out_total"] == pytest.approx(
            rows["raw"]["held_out_total"], rel=1e-3
        )
        assert rows[name]["deviance"] < rows["raw"]["deviance"]


def test_inference_only_over_the_checkpoints(smae, trained_run, scan):
    frames, _ = scan
    arguments = ("evaluate", "--run", trained_run, "--input", frames, "--output", "out")
    answer = smae(*arguments, "--scores", "none", "--save-denoised", "--checkpoints", "all")
    assert answer.status == 0, answer.err
    assert list(Path("out/denoised").glob("step_*.h5"))
    assert read("out")[1] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reference", "{frames}"), "holds a frame of --input"),
        (("--reference", "{reference}::few"), "--pairing mean"),
        (("--checkpoint", "7"), "expected best, last or one of the kept steps"),
        (("--checkpoint", "last", "--checkpoints", "all"), "expected one of them"),
        (("--scores", "none"), "--save-denoised"),
        (("--held-out", "0.9"), "0.01..0.5"),
        (("--input", "{reference}::truth"), "whole numbers"),
        (("--reference", "{reference}::high", "--output", "{reference}"), "is an input"),
    ],
)
def test_mistakes_are_answered_in_one_line_and_leave_nothing(
    smae, trained_run, scan, arguments, message
):
    frames, reference = scan
    given = [a.format(frames=frames, reference=reference) for a in arguments]
    named = [] if "--input" in given else ["--input", frames]
    named += [] if "--output" in given else ["--output", "out"]
    answer = smae("evaluate", "--run", trained_run, *named, *given, "--overwrite")
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("smae-jax evaluate:")
    assert not Path("out").exists()


def test_folder_that_no_evaluation_made_is_not_replaced(smae, trained_run, scan):
    frames, _ = scan
    Path("out").mkdir()
    Path("out/metrics.json").write_text('{"made_by": "me"}')
    arguments = ("evaluate", "--run", trained_run, "--input", frames, "--output", "out")
    for extra, message in (
        ((), "--overwrite"),
        (("--overwrite",), "not made by 'smae-jax evaluate'"),
    ):
        answer = smae(*arguments, *extra)
        assert answer.status == 2
        assert message in answer.err
    assert Path("out/metrics.json").read_text() == '{"made_by": "me"}'
