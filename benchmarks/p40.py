"""Score a training on real muscle frames against held-out repeats: `python -m benchmarks.p40`.

Six repeats of one 10 ms exposure: frames 0, 2, 4 are trained on and denoised, the mean of 1, 3, 5 is the
reference that no training sees. Scores as in `smae_jax.evaluation.scores`, in the 512 x 512 crop and mask;
the equatorial reflections' integrated intensity is compared with the same frames before denoising.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from smae_jax.cli import main as smae_jax
from smae_jax.data.canvas import Canvas
from smae_jax.data.readers import read_mask, read_scan
from smae_jax.evaluation.filters import gaussian, rotated_average
from smae_jax.evaluation.scores import score
from smae_jax.metrics import match_totals
from smae_jax.run_folder import RunFolder

DATA = Path(__file__).parents[2] / "shared" / "data"
RULES = {"smae": ("direct", "cross", "average"), "thinning": ("direct", "average", "symmetric")}
SIGMAS = (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)


def equatorial_boxes(center: tuple[float, float]) -> list[tuple[slice, slice]]:
    """Return the boxes that hold the two inner equatorial reflections, 13 x 31 pixels each."""
    y = round(center[0])
    return [(slice(y - 6, y + 7), slice(x - 15, x + 16)) for x in (373, 447)]


def mask_with_peaks(path: Path) -> str:
    """Write a mask like the file's, but with the reflections' brightest pixels usable."""
    with np.load(DATA / "muscle_p40_mask.npz", allow_pickle=False) as file:
        valid, detector, center = file["mask"], file["detector_mask"], file["center"]
    y, x = np.ogrid[: valid.shape[0], : valid.shape[1]]
    off_the_beamstop = np.hypot(y - center[0], x - center[1]) > 26
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, mask=valid | (detector & off_the_beamstop))
    return f"{path}::mask"


def shown(table: dict[str, dict[str, float]]) -> list[str]:
    """Return the rows to print: of the Gaussians only those that are best by one of the scores."""
    names = ["raw", "rotated average"]
    for ending in ("", ", rotated average"):
        own = [f"Gaussian {sigma}{ending}" for sigma in SIGMAS]
        best = (min(own, key=lambda name: table[name][by]) for by in ("plain", "weighted"))
        names += dict.fromkeys(best)
    return [*names, *(name for name in table if name.split(",")[0] in RULES)]


def main(arguments: list[str] | None = None) -> int:
    """Train, denoise, score and print; options beyond ours go to the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default="runs/p40-benchmark")
    parser.add_argument("--method", default="smae", choices=RULES, help="method that is trained")
    parser.add_argument("--keep", action="store_true", help="score the run that is there")
    parser.add_argument("--checkpoint", default="best", help="which parameters: best or last")
    parser.add_argument("--keep-significant", default="0", help="of infer, in sigma")
    parser.add_argument("--no-keep-sums", action="store_true", help="of infer, for every rule")
    parser.add_argument(
        "--with-peaks",
        action="store_true",
        help="use the brightest pixels of the two equatorial reflections, which the mask file takes for hot",
    )
    ours, training = parser.parse_known_args(arguments)
    run = Path(ours.run)
    files = str(DATA / "muscle_p40_raw" / "P40_1_3_0000[{}].tif")
    mask = f"{DATA / 'muscle_p40_mask.npz'}::mask"
    if ours.with_peaks:
        mask = mask_with_peaks(run.with_name(f"{run.name}-mask.npz"))
    started = time.perf_counter()
    if not ours.keep:
        command = ["train", "--config", "configs/pretrain.toml", "--run", str(run), "--overwrite"]
        command += ["--data.path", files.format("024"), "--data.mask-polarity", "good"]
        command += ["--data.mask", mask, "--method", ours.method, *training]
        if status := smae_jax(command):
            return status
    seconds = time.perf_counter() - started
    denoised = {}
    # Only a network that gives pixel and partner an answer each has rules to choose from.
    partner = RunFolder(run).config().thinning.partner
    alone = ours.method == "thinning" and partner == "none"
    for rule in ("run",) if alone else RULES[ours.method]:
        output = run / f"{rule}.npy"
        command = ["infer", "--run", str(run), "--input", files.format("024"), "--rule", rule]
        command += ["--checkpoint", ours.checkpoint, "--keep-significant", ours.keep_significant]
        if rule == "cross" or ours.no_keep_sums:  # the published rule, as it was published
            command += ["--no-keep-sums"]
        if status := smae_jax([*command, "--output", str(output), "--overwrite"]):
            return status
        denoised[f"{ours.method}, {rule}"] = np.load(output, allow_pickle=False)

    with np.load(DATA / "muscle_p40_mask.npz", allow_pickle=False) as file:
        center, corner = tuple(file["center"]), [int(v) for v in file["crop_origin"]]
    valid = read_mask(mask, polarity="good")
    low, held_out = (read_scan(files.format(i)).counts.astype(np.float64) for i in ("024", "135"))
    crop = Canvas((512, 512), (-corner[0], -corner[1]), valid.shape)
    inside = crop.embed(valid, False)
    turned, either = (
        np.stack(part)
        for part in zip(*(rotated_average(f, valid, center) for f in low), strict=True)
    )
    rows = {"raw": low, "rotated average": turned}
    for sigma in SIGMAS:
        rows[f"Gaussian {sigma}"] = np.stack([gaussian(f, valid, sigma) for f in low])
        rows[f"Gaussian {sigma}, rotated average"] = np.stack(
            [gaussian(f, m, sigma) for f, m in zip(turned, either, strict=True)]
        )
    rows |= denoised
    reference = crop.embed(held_out)
    table = {}
    for name, frames in rows.items():
        kept = np.mean([match_totals(f, low.mean(axis=0), valid) for f in frames], axis=0)
        frames = crop.embed(np.nan_to_num(frames))
        table[name] = score(frames, reference, inside)
        for side, box in zip(("left", "right"), equatorial_boxes(center), strict=True):
            use = valid[box]
            table[name][side] = kept[box][use].sum() / low.mean(axis=0)[box][use].sum() - 1
    (run / "p40.json").write_text(json.dumps({"seconds": seconds, "rows": table}, indent=2))
    print(
        f"trained in {seconds:.0f} s\n{'':34} plain weighted  change of the equatorial reflections / %"
    )
    for name in shown(table):
        row = table[name]
        print(
            f"{name:34} {row['plain']:.3f}  {row['weighted']:.4f}  "
            f"{100 * row['left']:+.2f} {100 * row['right']:+.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
