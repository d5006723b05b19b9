"""`smae-jax demo`: simulate a scan, train on it, denoise it, and show how good that is.

runs/demo/scan.h5  train/  denoised.h5  table.md  table.json  demo.json
figures/before_denoised_truth.png  figures/loss.png
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from smae_jax.commands.infer import infer
from smae_jax.commands.train import train
from smae_jax.config import DemoConfig, InferConfig, TrainConfig
from smae_jax.config_file import load
from smae_jax.evaluation.quality import as_json, as_markdown, as_text, quality_rows
from smae_jax.figures import save
from smae_jax.figures.frames import denoised_figure
from smae_jax.figures.losses import loss_figure
from smae_jax.io.atomic import OutputError, atomic_path, refuse_existing
from smae_jax.io.reading import masked, read
from smae_jax.io.results import read_result
from smae_jax.methods.protocol import Say
from smae_jax.run.folder import RunFolder
from smae_jax.run.lock import held
from smae_jax.run.shipped import shipped_config
from smae_jax.simulate import Simulation, simulate, write_simulation

FRAMES, SIZE = 64, 128
_MARK = "demo.json"
_MADE = ("scan.h5", "train", "denoised.h5", "table.md", "table.json", "figures", _MARK)


def demo(config: DemoConfig, say: Say) -> None:
    """Run the whole way once, on a simulated scan whose truth is known.

    Args:
      config: the options.
      say: receives every line that a person should read.

    Raises:
      UserError: in one line, if the folder exists and may not be replaced, or an option is wrong.
    """
    with held(config.run):
        check_folder(Path(config.run), overwrite=config.overwrite)
        _demo(config, say)


def _demo(config: DemoConfig, say: Say) -> None:
    folder, start = Path(config.run), time.perf_counter()
    options = load(config.config or shipped_config("demo"), TrainConfig)
    simulation = simulate("saxs", frames=FRAMES, size=SIZE, photons=config.photons)
    clear(folder)
    record: dict[str, Any] = {"made_by": "smae-jax demo", "photons": config.photons, "seconds": {}}
    write_text(folder / _MARK, json.dumps(record, indent=2) + "\n")

    def done(what: str) -> None:
        record["seconds"][what] = round(time.perf_counter() - start, 1)

    say(
        f"1 of 4: simulate {FRAMES} SAXS frames of {SIZE} x {SIZE} pixels, "
        f"{photons_in_words(config.photons)} per pixel"
    )
    scan = folder / "scan.h5"
    write_simulation(scan, simulation)
    done("simulated")

    say("2 of 4: train on them; the truth is not shown to the network")
    options = dataclasses.replace(
        options,
        run=str(folder / "train"),
        resume=False,
        overwrite=False,
        data=dataclasses.replace(
            options.data,
            path=f"{scan}::/entry/data/data",
            mask=(f"{scan}::/entry/mask",),
            mask_polarity="bad",
        ),
    )
    trained = train(options, say)
    done("trained")

    say("3 of 4: denoise them")
    output = folder / "denoised.h5"
    infer(InferConfig(run=str(trained), input=options.data.path, output=str(output)), say)
    done("denoised")

    say("4 of 4: compare with the truth")
    denoised, _, filled = read_result(str(output))
    rows = quality_rows(
        simulation.counts,
        {f"{options.method} ({options.model})": denoised},
        simulation.truth,
        simulation.valid,
        simulation.center,
    )
    for line in as_text(rows).splitlines():
        say(line)
    write_text(folder / "table.md", as_markdown(rows))
    write_text(folder / "table.json", as_json(rows))
    draw(folder, simulation, denoised, filled)
    done("all")
    write_text(folder / _MARK, json.dumps(record, indent=2) + "\n")
    say(
        f"{folder}: scan.h5, denoised.h5, table.md and figures/before_denoised_truth.png, made in "
        f"{record['seconds']['all'] / 60:.1f} minutes"
    )


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, or with `overwrite` one that no demo made.

    Raises:
      OutputError: if it is refused.
    """
    refuse_existing(folder, overwrite=overwrite)
    if folder.exists() and not (
        folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))
    ):
        raise OutputError(
            f"--run {folder}: was not made by a demo and is not replaced; choose another folder"
        )


def clear(folder: Path) -> None:
    """Remove what an earlier demo made, the mark last; files of others stay.

    Raises:
      OutputError: if there is no permission.
    """
    try:
        for name in _MADE:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"--run {folder}: an earlier demo cannot be removed ({error.strerror}); choose another "
            "folder"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, replacing what this demo wrote there before."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def photons_in_words(photons: float) -> str:
    """Write `1 photon`, `20 photons`."""
    return f"{photons:g} photon" + ("" if photons == 1 else "s")


def draw(
    folder: Path, simulation: Simulation, denoised: np.ndarray, filled: np.ndarray | None
) -> None:
    """Draw the middle frame of the scan, and the losses of the training."""
    data = masked(read(f"{folder / 'scan.h5'}::/entry/data/data"), simulation.valid)
    frame, (height, width) = data.frames // 2, data.spatial
    figure = denoised_figure(
        data,
        denoised,
        reference={"truth": simulation.truth},
        filled=filled,
        frame=frame,
        title=f"Simulated SAXS, {photons_in_words(simulation.parameters['photons'])} per pixel, "
        f"frame {frame} of {data.frames}, {height} x {width} pixels",
    )
    save(figure, folder / "figures" / "before_denoised_truth.png")
    losses = loss_figure(RunFolder(folder / "train").metrics)
    save(losses, folder / "figures" / "loss.png")
