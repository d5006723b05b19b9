"""Every option in one place: frozen dataclasses with their defaults, units and limits.

`config_file` reads them from TOML, `cli` overrides them from the command line. Only entry points know them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import tyro

from smae_jax.errors import UserError
from smae_jax.memory import parse_memory
from smae_jax.plausible import LONGEST_M, WAVELENGTHS_M


def check_given(options: object, *names: str) -> None:
    """Refuse options that name no path.

    Args:
      options: of a command.
      names: of those that it cannot do without.
    """
    for name in names:
        if not getattr(options, name):
            raise UserError(f"--{name}: expected a path, got none; see --help")


def at_least(name: str, value: int, least: int) -> None:
    """Raise UserError if `value` is below `least`."""
    if value < least:
        raise UserError(f"{name}: expected {least} or more, got {value}")


def as_locations(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return locations of files: one alone may be given as text, and "" names none.

    >>> as_locations("a.tif"), as_locations(("a.tif", "")), as_locations("")
    (('a.tif',), ('a.tif',), ())
    """
    return tuple(one for one in ((given,) if isinstance(given, str) else given) if one)


METHODS = (
    *("thinning", "smae", "noise2noise", "supervised", "noise2void"),
    *("deep_image_prior", "masked", "zero_shot"),
)
MODELS = ("unet", "large", "dncnn", "resnet", "msd", "sedcnn4")


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UserError if `value` is none of `known`, and names nothing of a user's own either."""
    if value not in known and ":" not in value:
        raise UserError(
            f"{option} {value}: expected one of {', '.join(known)}, or your own as package.module:name"
        )


def check_ensemble(ensemble: str, *, trained: str) -> str:
    """Return the group to average over, "same" resolved.

    Raises:
      UserError: if it is larger than the group that the network was trained with.
    """
    order = ("none", "flips", "d4")
    resolved = trained if ensemble == "same" else ensemble
    if order.index(resolved) > order.index(trained):
        raise UserError(
            f"--predict.ensemble '{ensemble}': the network is trained with augment '{trained}' and has never "
            f"seen the other orientations; use '{trained}' or smaller, or train with a larger --data.augment"
        )
    return resolved


def parse_center(text: str, *, option: str = "--data.center") -> tuple[float, float]:
    """Read `y,x` in pixels.

    Raises:
      UserError: if it is not two numbers.
    """
    try:
        y, x = (float(part) for part in text.split(","))
        if not (math.isfinite(y) and math.isfinite(x)):
            raise ValueError
    except ValueError:
        raise UserError(
            f"{option}: expected 'auto' or 'y,x' in pixels such as 490.5,410, got '{text}'"
        ) from None
    return y, x


def parse_shard(text: str) -> tuple[int, int]:
    """Read which part of how many, counted from 1; "" = the only one.

    Raises:
      UserError: if it is none.

    >>> parse_shard("3/16"), parse_shard("")
    ((3, 16), (1, 1))
    """
    if not text:
        return 1, 1
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--shard: expected a part of all such as 3/16, got '{text}'")
    return int(part), int(parts)


def parse_ranges(
    texts: tuple[str, ...], *, option: str = "--plot-range"
) -> list[tuple[float, float]]:
    """Read ranges of an axis, `low:high` each, in its unit.

    Raises:
      UserError: if one is not two ascending numbers.

    >>> parse_ranges(("2.5:7.5",))
    [(2.5, 7.5)]
    """
    ranges = []
    for text in texts:
        try:
            low, high = (float(part) for part in text.split(":"))
            if not low < high:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{option}: expected low:high in units of the axis such as 2.5:7.5, got '{text}'"
            ) from None
        ranges.append((low, high))
    return ranges


def check_replicas(number: int) -> None:
    """Refuse so few replicas that they tell nothing of an error."""
    if number and number < 4:
        raise UserError(f"--replicas {number}: expected 0, or 4 and more")


def check_background(background: str, scale: float) -> None:
    """Refuse a scale of the background that is none, or has no background to it."""
    if not 0 < scale < math.inf:
        raise UserError(f"--background-scale: expected a number above 0, got {scale:g}")
    if scale != 1 and not background:
        raise UserError(
            f"--background-scale {scale:g}: does nothing without --background; give both"
        )


def parse_tolerance(text: str) -> tuple[float, Literal["", "%", "deg"]]:
    """Read a largest error: a share in per cent, an angle in degrees, or a plain number.

    Returns:
      (number, unit); a share is returned as a fraction of 1.

    Raises:
      UserError: if it is none, or not above 0.

    >>> parse_tolerance("0.5%"), parse_tolerance("0.5deg"), parse_tolerance("0.01")
    ((0.005, '%'), (0.5, 'deg'), (0.01, ''))
    """
    unit: Literal["", "%", "deg"] = ""
    if text.endswith("%"):
        unit = "%"
    elif text.endswith("deg"):
        unit = "deg"
    try:
        value = float(text.removesuffix(unit))
        if not 0 < value < math.inf:
            raise ValueError
    except ValueError:
        raise UserError(
            f"--tolerance: expected an error above 0 such as 0.1%, 0.5deg or 0.01, got '{text}'"
        ) from None
    return (value / 100 if unit == "%" else value), unit


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which frames, and what to make of them."""

    path: str = ""
    """Frames: a file, a quoted pattern, a folder, `file.h5::/dataset` or `file.npz::name`."""
    mask: tuple[str, ...] = ()
    """Masks of the detector frame, all of which count: `mask.tif`, `mask.npz::name`, `file.h5::/dataset`."""
    mask_polarity: Literal["bad", "good"] = "bad"
    """What nonzero means in the mask files; detectors and pyFAI write nonzero = bad."""
    center: str = "auto"
    """Beam centre `y,x` in pixels (integer = middle of a pixel), on the frame or off it; auto = of the
    geometry file, else found by correlation, else the header's."""
    geometry: str = ""
    """Geometry file of pyFAI (`.poni`): beam centre, distance, pixel size, wavelength and tilt."""
    saturation: float = 0.0
    """Counts from which a pixel is saturated; 0 = the file's own cutoff, where it has one."""
    marks: str = "auto"
    """Values that mark gaps and bad pixels: auto (found by how they behave; a run keeps what it found), none,
    signed (negative values are measurements), or values: `65535`, `-1,-2`, `auto,65535`."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Frames that an HDF5 file announces and that are not there, as in a linked file that is gone."""
    hot_pixels: bool = True
    """Find and mask pixels that count too much in 3 frames or more, frame after frame."""
    outliers: Literal["put_back", "mask", "keep"] = "put_back"
    """Counts that stand out in a frame: hidden from the network and answered as counted, masked, or kept."""
    crop: int = 0
    """Train on at most this many pixels a side about the centre; 0 = the whole frame."""
    scale: Literal["scan", "frame", "scan_max", "frame_max"] = "scan"
    """Unit of rate: mean counts of the scan or of each frame, or the maximum (as published)."""
    augment: Literal["none", "flips", "d4"] = "d4"
    """Group that pairs are moved by: the four flips as published, or all eight motions of a square."""
    reference: str = ""
    """Paired high-count frames that method supervised learns from; named as --data.path."""
    pair_by: str = "order"
    """How frames find their reference: order, name (of the file), or an HDF5 dataset of ids."""
    dimensions: int = 0
    """Axes of one repeat: 1 = spectra, 2 = patterns, 3 = volumes; 0 = by the file (text is 1)."""
    frames: str = ""
    """Which frames of a scan are trained on, counted from 0: `0:500:2`, `0,2,5`; "" = all. Not kept: `infer`
    denoises all frames."""
    dark: str = ""
    """Dark frames of a detector that integrates; their mean is taken off every frame."""
    flat: str = ""
    """Flat field: response of each pixel in any unit, taken for exposure, so that counts stay counts."""
    memory: str = ""
    """Memory for the frames, such as 4GiB: of a larger scan frames evenly spread over it are taken; "" = a
    quarter of what the machine has."""
    noise: Literal["auto", "photons", "integrated"] = "auto"
    """Of whole values: that of photons, another one, as of a detector that integrates, or auto: as values
    scatter about a centre (a run keeps what it found)."""
    monitor: str = ""
    """Monitor counts, one per frame, taken for exposures: `file.h5::/dataset`, `.npy`, a column of text."""
    repeats: str = ""
    """Which repeats are used, counted from 0: `0:4`, `0,2,5`, `::2`; "" = all."""
    repeats_axis: int = 0
    """Axis of the array, or of the table in a text file, that the repeats lie along."""
    channel_axis: int | None = None
    """Axis of the array that holds the channels of multi-channel data; None = there is none."""
    axis_label: str = ""
    """Name and unit of the spectral axis where the file does not tell: `energy (keV)`."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """Decimal mark of a table of text; auto = as all its numbers together tell."""
    columns: str = ""
    """Columns of a text table that are spectra, by name or number from 1: `Raw data`; "" = by name."""

    def __post_init__(self) -> None:
        """Refuse values that contradict themselves."""
        object.__setattr__(self, "mask", as_locations(self.mask))
        if self.crop < 0 or 0 < self.crop < 16:
            raise UserError(f"--data.crop: expected 0 or at least 16 pixels, got {self.crop}")
        if self.center != "auto":
            parse_center(self.center)
        if self.memory:
            parse_memory(self.memory, "--data.memory")
        if self.frames and self.repeats:
            raise UserError("--data.frames and --data.repeats: expected one of them; leave one out")
        if self.dimensions not in (0, 1, 2, 3):
            raise UserError(f"--data.dimensions: expected 0, 1, 2 or 3, got {self.dimensions}")


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How long and how to train."""

    steps: int = 1500
    """Optimizer steps; more of them with --resume stretch the schedule to the new end."""
    batch_size: int = 16
    """Patches per step, over all devices together."""
    patch: int = 64
    """Largest side of a training patch in pixels; 0 = a whole half of the frame."""
    optimizer: Literal["muon", "adam"] = "muon"
    """Muon (orthogonalised momentum; biases by Adam) or Adam."""
    learning_rate: float = 0.0
    """Peak; 0 = 5e-3, which suits muon; 2e-3 suits adam."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the learning rate falls: to 2 % by a cosine, halved every `halve_every` steps, not at all."""
    warmup_steps: int = 50
    """Steps of linear rise to the peak learning rate."""
    restarts: int = 0
    """How often schedule cosine starts anew, each time from the peak and for the same number of steps."""
    accumulate: int = 1
    """Batches whose gradients are averaged before the parameters change."""
    halve_every: int = 0
    """Steps between two halvings of schedule step; 0 = a quarter of the training."""
    weight_decay: float = 0.0
    """Decoupled weight decay per unit of learning rate."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0 = no limit."""
    average_decay: float = 0.98
    """Decay per step of the moving average of the parameters, which predicts; 0 = no average."""
    validation: Literal["pixels", "frames", "none"] = "pixels"
    """What is kept from the training to choose the best step: pixels of all frames, or whole frames."""
    validation_share: float = 0.05
    """Share of pixels or frames kept, in (0, 0.5]."""
    validation_batches: int = 8
    """Batches that a validation loss is the mean of."""
    validate_every: int = 50
    """Steps between validations."""
    checkpoint_every: int = 200
    """Steps between checkpoints to resume from, with which the best step is written; 0 = only the last."""
    keep: int = 3
    """Newest checkpoints kept; 0 = all."""
    log_every: int = 10
    """Steps between lines in metrics.jsonl; device values are read only then."""
    steps_per_dispatch: int = 0
    """Steps per call of the device; 0 = 1 on a CPU, 20 on an accelerator."""
    devices: int = 0
    """Devices to train on; 0 = all."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the network's computation; parameters and losses stay float32."""
    resident: Literal["auto", "device", "host"] = "auto"
    """Where the scan stays: on the device, on the host (patches travel), or as memory allows."""
    polar: bool = False
    """Frames of photon counts about a beam centre: train a second network after the first, in polar
    coordinates, in half as many steps. Held-out photons then say how much of its answers is taken; rings gain
    most. Takes half as long again, and applying the run two to three times as long, more for a beam in a
    corner."""
    profile: bool = False
    """Write a trace of some steps into the run's folder profile/, for TensorBoard or Perfetto."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least("--train.steps", self.steps, 1)
        at_least("--train.batch-size", self.batch_size, 1)
        at_least("--train.validate-every", self.validate_every, 1)
        at_least("--train.validation-batches", self.validation_batches, 1)
        at_least("--train.log-every", self.log_every, 1)
        at_least("--train.restarts", self.restarts, 0)
        at_least("--train.accumulate", self.accumulate, 1)
        for name in ("keep", "checkpoint_every", "warmup_steps", "steps_per_dispatch", "devices"):
            at_least(f"--train.{name.replace('_', '-')}", getattr(self, name), 0)
        if not self.learning_rate >= 0:
            raise UserError(f"--train.learning-rate: expected 0 or more, got {self.learning_rate}")
        if not 0 <= self.average_decay < 1:
            raise UserError(f"--train.average-decay: expected 0..1, got {self.average_decay}")
        if not 0 < self.validation_share <= 0.5:
            raise UserError(
                f"--train.validation-share: expected 0..0.5, got {self.validation_share}"
            )
        if self.patch < 0 or 0 < self.patch < 16:
            raise UserError(f"--train.patch: expected 0 or at least 16 pixels, got {self.patch}")


@dataclasses.dataclass(frozen=True)
class SmaeOptions:
    """Method `smae`: one half of a pattern, turned, predicts the other."""

    rule: Literal["direct", "cross", "average"] = "average"
    """A pixel from its own side, from its partner's (as published), or the mean of both views."""
    reference: bool = False
    """The published rule: zero counts masked, mean over all pixels, halves predicted apart."""
    registration: bool = True
    """Make up for a beam centre between half pixels by displacing predictions (never counts)."""


@dataclasses.dataclass(frozen=True)
class ThinningOptions:
    """Method `thinning`: a share of the photons of a pixel and of its partner predicts the rest."""

    partner: Literal["auto", "channel", "none"] = "auto"
    """The partner apart from the pixel, or left out; auto = chosen by the symmetry chi-square."""
    shares: tuple[str, ...] = ("0.4,0.4", "0.6,0.6", "0.8,0.8")
    """`own,partner`: shares of the photons in the source; each patch draws one of them. `1,0` is SMAE."""
    rule: Literal["direct", "average", "symmetric"] = "average"
    """A pixel's rate from its own place, also from its partner's, or the mean of both pixels' rates."""
    variants: int = 1
    """Ways in which each frame is split; 0 = another one at every step, for scans of very many frames."""
    across: bool = True
    """Let patches cross the centre where no photon can be source and target at once: with photon counts,
    equal shares of both sides and fixed splits. Otherwise they lie in half-planes."""
    hidden: bool = True
    """Hide a band of one side from the source of some patches, as a gap does: of as many, up to a half, as
    twice the share of pixels whose partner was not measured."""
    gain: float = 1.0
    """Values per photon of an integrating detector; other than 1 splits values as Gaussian ones."""
    readout_noise: float = 0.0
    """Rms noise of a pixel beside the photons', in values; above 0 splits values as Gaussian ones."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        shares = parse_shares(self.shares)
        if self.partner == "none" and not all(0 < own < 1 for own, _ in shares):
            raise UserError(
                "--thinning.shares: expected own shares between 0 and 1 without the partner (partner none), "
                f"got '{' '.join(self.shares)}'; change them, or the partner"
            )
        at_least("--thinning.variants", self.variants, 0)
        if not self.gain > 0:
            raise UserError(f"--thinning.gain: expected > 0, got {self.gain}")
        if not self.readout_noise >= 0:
            raise UserError(f"--thinning.readout-noise: expected >= 0, got {self.readout_noise}")

    @property
    def gaussian(self) -> tuple[float, float] | None:
        """Gain and readout noise of an integrating detector; None where photons are counted."""
        return (
            (self.gain, self.readout_noise) if (self.gain, self.readout_noise) != (1, 0) else None
        )


def parse_shares(texts: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """Read `own,partner` shares.

    Raises:
      UserError: if there is none, or one is not two shares that leave photons to see and to predict.
    """
    shares = []
    for text in texts:
        try:
            own, partner = (float(part) for part in text.split(","))
        except ValueError:
            own = partner = -1.0
        if not (0 <= own <= 1 and 0 <= partner < 1 and own + partner > 0):
            raise UserError(
                "--thinning.shares: expected own,partner with own from 0 to 1 and partner from 0 to below 1 "
                f"(the rest is the target), not both 0, such as 0.8,0.8, got '{text}'"
            )
        shares.append((own, partner))
    if not shares:
        raise UserError("--thinning.shares: expected at least one own,partner, got none")
    return tuple(shares)


@dataclasses.dataclass(frozen=True)
class MaskedOptions:
    """Method `masked`: hidden blocks of a frame from the rest of it."""

    block_size: int = 2
    """Side of a hidden block in pixels."""
    share: float = 0.5
    """Share of the pixels hidden at a time, in (0, 1)."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least("--masked.block-size", self.block_size, 1)
        if not 0 < self.share < 1:
            raise UserError(f"--masked.share: expected between 0 and 1, got {self.share}")


@dataclasses.dataclass(frozen=True)
class SupervisedOptions:
    """Method `supervised`: a low-count pattern predicts its paired high-count reference."""

    rule: Literal["direct", "cross", "average"] = "average"
    """A pixel from its own side (needs no symmetry, fills nothing), its partner's, or the mean."""


@dataclasses.dataclass(frozen=True)
class Noise2NoiseOptions:
    """Method `noise2noise`: repeats of one measurement predict each other."""

    strategy: Literal["1:X", "X:1"] = "X:1"
    """One repeat predicts the sum of all others, or all others predict one."""
    prediction: Literal["sum", "average"] = "sum"
    """The answer comes from the sum of all repeats, or is the mean of the answers to each source."""


@dataclasses.dataclass(frozen=True)
class Noise2VoidOptions:
    """Method `noise2void`: hidden points from what is around them."""

    share: float = 0.05
    """Share of the points that are targets at a time, in (0, 1)."""
    radius: int = 3
    """How far the neighbour that stands in for a hidden point lies at most along each axis, in points."""
    structure: tuple[int, ...] = ()
    """Points that are hidden too on both sides of a target, along each of the last axes (0 4: in rows)."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least("--noise2void.radius", self.radius, 1)
        at_least("--noise2void.structure", min(self.structure, default=0), 0)
        if not 0 < self.share < 1:
            raise UserError(f"--noise2void.share: expected between 0 and 1, got {self.share}")


@dataclasses.dataclass(frozen=True)
class DeepImagePriorOptions:
    """Method `deep_image_prior`: fixed noise becomes the one measurement, until held-out counts object."""

    channels: int = 8
    """Channels of the noise."""
    jitter: float = 0.03
    """Rms of fresh noise that is added to it at every step."""
    held_out: float = 0.1
    """Share of the counts that training does not see; they choose the best step. In (0, 0.5]."""
    patience: int = 0
    """Stop so many steps after the best one; 0 = go through all steps."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least("--deep-image-prior.channels", self.channels, 1)
        at_least("--deep-image-prior.patience", self.patience, 0)
        if not 0 < self.held_out <= 0.5:
            raise UserError(f"--deep-image-prior.held-out: expected 0..0.5, got {self.held_out}")


@dataclasses.dataclass(frozen=True)
class RateOptions:
    """How a network's answer becomes a rate, which is never negative."""

    head: Literal["auto", "root", "scales"] = "auto"
    """Roots with a correction, or a mixture of smoothings; auto = scales for small networks on repeats."""
    correction: bool = False
    """Let head scales add what no smoothing holds: for plenty of data."""


@dataclasses.dataclass(frozen=True)
class DncnnOptions:
    """Model `dncnn`."""

    features: int = 8
    """Channels of every layer."""
    layers: int = 3
    """Convolutions, the last one included."""

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least("--dncnn.features", self.features, 1)
        at_least("--dncnn.layers", self.layers, 1)


@dataclasses.dataclass(frozen=True)
class ResnetOptions:
    """Model `resnet`."""

    features: int = 16
    """Channels of every layer."""
    blocks: int = 2
    """Residual blocks of two convolutions each."""

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least("--resnet.features", self.features, 1)
        at_least("--resnet.blocks", self.blocks, 0)


@dataclasses.dataclass(frozen=True)
class MsdOptions:
    """Model `msd` (mixed-scale dense)."""

    width: int = 1
    """Channels of every layer."""
    layers: int = 8
    """Layers, each on all before it."""
    reach: int = 4
    """Different dilations: 1, 2, 4, ..."""

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        for name in ("width", "layers", "reach"):
            at_least(f"--msd.{name}", getattr(self, name), 1)


@dataclasses.dataclass(frozen=True)
class UnetOptions:
    """Model `unet`."""

    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each level, finest (half resolution) first."""
    blocks: int = 1
    """Residual blocks per level and side."""

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        if not self.widths or min(self.widths) < 1 or self.blocks < 0:
            raise UserError(f"--unet.widths: expected channels >= 1, got {self.widths}")


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """How a trained network is applied; kept with the run, `infer` may override it."""

    ensemble: Literal["same", "none", "flips", "d4"] = "flips"
    """Group that predictions are averaged over; not larger than --data.augment; same = equal to it."""
    conserve_totals: bool = True
    """Scale each denoised frame to the counts measured on its valid pixels."""
    batch_size: int = 0
    """Frames per batch; 0 = as many as make up about four million pixels."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Train a denoiser on the frames of a scan."""

    run: str = ""
    """Folder for everything that the training writes; must be new."""
    config: str = ""
    """TOML file with any of these options; the command line goes before it."""
    seed: int = 0
    """Seed of every random number of the training."""
    method: str = "thinning"
    """How pairs are made and predictions put back: thinning, smae, noise2noise, supervised, noise2void,
    deep_image_prior, masked, zero_shot, or your own as package.module:name."""
    model: str = "unet"
    """Network: unet (light), large, dncnn, resnet, msd (small ones for small data), sedcnn4 (the published
    one), or your own Flax module as package.module:name."""
    loss: str = "poisson"
    """`mse`, `0.8*mse+0.2*ssim`, `poisson+0.01*tv`, or your `package.module:function`; repeats: `auto`."""
    init_from: str = ""
    """Run folder whose parameters to start from (fine-tuning); the optimizer starts fresh."""
    init_checkpoint: str = "best"
    """Which of its parameters: best (by validation), last, or the step of a kept checkpoint."""
    resume: bool = False
    """Go on with the run where its last checkpoint left off."""
    overwrite: bool = False
    """Replace the run folder if it exists."""
    data: DataOptions = DataOptions()
    train: TrainOptions = TrainOptions()
    smae: SmaeOptions = SmaeOptions()
    thinning: ThinningOptions = ThinningOptions()
    noise2noise: Noise2NoiseOptions = Noise2NoiseOptions()
    supervised: SupervisedOptions = SupervisedOptions()
    noise2void: Noise2VoidOptions = Noise2VoidOptions()
    deep_image_prior: DeepImagePriorOptions = DeepImagePriorOptions()
    masked: MaskedOptions = MaskedOptions()
    rate: RateOptions = RateOptions()
    unet: UnetOptions = UnetOptions()
    dncnn: DncnnOptions = DncnnOptions()
    resnet: ResnetOptions = ResnetOptions()
    msd: MsdOptions = MsdOptions()
    predict: PredictOptions = PredictOptions()

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        check_ensemble(self.predict.ensemble, trained=self.data.augment)
        one_of("--method", self.method, METHODS)
        one_of("--model", self.model, MODELS)
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite: expected one of them; leave one out")
        if self.data.noise == "photons" and self.thinning.gaussian is not None:
            raise UserError(
                "--data.noise photons and --thinning.gain or --thinning.readout-noise: expected one of them, "
                "as photons have gain 1 and no readout noise; leave one out"
            )

    @property
    def noise(self) -> Literal["auto", "photons", "integrated"]:
        """Of whole values: a gain or readout noise says as well that they are no photon counts."""
        return "integrated" if self.thinning.gaussian is not None else self.data.noise

    @property
    def peak_rate(self) -> float:
        """Peak learning rate: as given, or what suits muon."""
        return self.train.learning_rate or 5e-3


@dataclasses.dataclass(frozen=True)
class ApplyOptions:
    """Which run is applied to which frames, and how; every setting that is not given comes from the run."""

    run: str = ""
    """Run folder made by `smae-jax train`."""
    input: str = ""
    """Frames: a file, a quoted pattern, a folder, `file.h5::/dataset` or `file.npz::name`."""
    output: str = ""
    """Where the results go."""
    repeats: str = "run"
    """Which repeats of spectra, patterns or volumes: run = those of the training, all, or as `0:4`."""
    dark: str = "run"
    """Dark frames of the input: run = those of the training, none, or files."""
    flat: str = "run"
    """Flat field of the input: run = that of the training, none, or a file."""
    monitor: str = ""
    """Monitor counts of the input, one per frame: `file.h5::/dataset`, `.npy`, a column of text."""
    marks: str = "run"
    """Values that mark gaps and bad pixels: run = as it found them, else as --data.marks of a training."""
    mask: tuple[str, ...] = ()
    """Mask files that replace the run's own mask."""
    mask_polarity: Literal["bad", "good"] = "bad"
    """What nonzero means in the mask files."""
    overwrite: bool = False
    """Replace the output if it exists."""
    noise: Literal["run", "auto", "photons", "integrated"] = "run"
    """Of whole values: run = as it found them, else as --data.noise of a training."""
    missing: Literal["run", "refuse", "skip"] = "run"
    """Frames that an HDF5 file announces and that are not there; run = as the training did."""
    checkpoint: str = "best"
    """Which parameters: best (by validation), last, or the step of a kept checkpoint."""
    ensemble: Literal["run", "none", "flips", "d4"] = "run"
    """Group that predictions are averaged over; not larger than the run was trained with."""
    rule: Literal["run", "direct", "cross", "average", "symmetric"] = "run"
    """How the two views of a pixel are put together; run = as the run says."""
    scale: Literal["run", "input"] = "run"
    """Unit of rate: the run's (one frame's answer then depends on that frame only), or the input's mean."""
    batch_size: int = 0
    """Frames per batch; 0 = as many as make up about four million pixels."""
    center: str = "run"
    """Beam centre: run = as trained, auto = found on the input, or `y,x` in pixels."""
    combine: bool = True
    """Scans of 8 frames or more of photon counts: answers are weighted means over the frames, which then
    differ in as many ways as held-out photons confirm; takes twice as long."""
    polar: bool = True
    """Frames of photon counts: mix in the answers of the run's second network, in polar coordinates, if it
    was trained with one (--train.polar), as held-out photons say."""
    keep_significant: float = 5.0
    """Frames of photon counts: answer with the counts where 3 x 3 pixels lie further than so many sigma from
    the network's answer, as a lone spot does; 0 = never."""
    memory: str = ""
    """Memory for the frames, such as 4GiB: less makes the blocks smaller that large scans are denoised in;
    "" = a quarter of what the machine has."""
    seed: int = 0
    """Seed of the splits of photons that judge: halves, and what is held out."""
    keep_sums: bool = True
    """Frames of photon counts: correct what the network gets wrong in all frames alike, so that the answers
    add up to the counts of the scan, and to those of all frames that are dark where others are bright; a
    frame's answer then depends a little on the frames beside it."""
    keep_shadows: bool = True
    """Frames of photon counts: lower answers where many pixels together counted far less than was answered,
    in the scan or in a frame, as rows that count nothing and shadows do."""
    keep_measured: bool = True
    """Frames of other values than photon counts: take of an answer so much as opposite pixels confirm, and
    of what was measured the rest, so that no answer is worse."""

    def __post_init__(self) -> None:
        """Refuse a centre or a number of sigmas that is none."""
        object.__setattr__(self, "mask", as_locations(self.mask))
        if not self.keep_significant >= 0:
            raise UserError(
                f"--keep-significant: expected 0 or more sigma, got {self.keep_significant:g}"
            )
        if self.memory:
            parse_memory(self.memory)
        if self.center not in ("run", "auto"):
            parse_center(self.center, option="--center")


@dataclasses.dataclass(frozen=True)
class InferConfig(ApplyOptions):
    """Denoise frames with a trained run; every setting that is not given comes from the run."""

    output: str = ""
    """`.h5`/`.nxs` (NeXus), `.tif`, `.npy`, or a folder for one file per frame; spectra also `.csv`."""
    background: str = ""
    """Frames without the sample, whose mean is taken off the answers; `sigma` counts its noise too."""
    background_scale: float = 1.0
    """What the background is multiplied by: transmission of the sample, ratio of exposures."""
    sigma: bool = False
    """Also one standard deviation of every answer; takes three passes of the network instead of one."""
    replicas: int = 0
    """Plausible answers beside the answer, such as 16; their scatter in any later quantity is its error. In
    HDF5; each takes as long as two answers."""
    only: Literal["answers", "filled", "sigma"] = "answers"
    """What is written: the answers; filled = what was counted, and the answer only where nothing was
    measured; sigma = the error bars alone."""
    output_dtype: str = "float32"
    """float32, float16, uint8, uint16, uint32 or int32; the largest whole number = no answer."""
    packing: str = "bitshuffle"
    """How patterns in HDF5 are packed: bitshuffle (LZ4), zstd, gzip or none; with a level: zstd:9, gzip:1.
    Bitshuffle is ten times faster, gzip is read without hdf5plugin."""
    shard: str = ""
    """Part of the blocks that this process does, 1/16 to 16/16; the last to finish joins them."""
    figure: str = ""
    """PNG to draw the first frame to, before and after; "" = none."""
    plot_range: tuple[str, ...] = ()
    """Ranges of the axis that the figure of a spectrum enlarges, such as 2.5:7.5 10:15."""

    def __post_init__(self) -> None:
        """Refuse a range that is none."""
        super().__post_init__()
        parse_ranges(self.plot_range)
        parse_shard(self.shard)
        self._check_only()
        self._check_replicas()
        check_background(self.background, self.background_scale)

    def _check_replicas(self) -> None:
        """Refuse too few replicas, and outputs that have no place for them."""
        check_replicas(self.replicas)
        if self.replicas == 0:
            return
        if self.only != "answers":
            raise UserError(
                f"--only {self.only} and --replicas: they are of answers; leave one out"
            )
        hdf5 = (".h5", ".hdf5", ".hdf", ".nxs", ".nx")
        if self.output and not self.output.lower().endswith(hdf5):
            raise UserError(
                f"--replicas {self.replicas}: are written to HDF5, and {self.output} is none; write .h5"
            )

    def _check_only(self) -> None:
        """Let `--only sigma` imply `--sigma`, and refuse what contradicts a choice of what is written."""
        if self.only == "sigma":
            object.__setattr__(self, "sigma", True)
        elif self.only == "filled" and self.sigma:
            raise UserError(
                "--only filled and --sigma: measured counts are no answers and have no error bars; leave "
                "one out"
            )
        if self.only == "filled" and self.background:
            raise UserError(
                "--only filled and --background: measured counts keep their background; leave one out"
            )
        if self.only != "answers" and self.figure:
            raise UserError(f"--only {self.only} and --figure: draws answers; leave one out")
        if self.only == "sigma" and self.output_dtype not in ("float32", "float16"):
            raise UserError(
                f"--only sigma and --output-dtype {self.output_dtype}: error bars are no whole numbers; "
                "expected float32 or float16"
            )


@dataclasses.dataclass(frozen=True)
class FillConfig:
    """Fill masked pixels of a scan by the counts of their partner across the beam, without training."""

    input: str = ""
    """Frames: a file, a quoted pattern, a folder, `file.h5::/dataset` or `file.npz::name`."""
    output: str = ""
    """`.h5`/`.nxs` (NeXus), `.tif`, `.npz`, `.npy`, or a folder for one file per frame."""
    mask: tuple[str, ...] = ()
    """Masks of the detector frame, all of which count: `mask.tif`, `mask.npz::name`, `file.h5::/dataset`."""
    mask_polarity: Literal["bad", "good"] = "bad"
    """What nonzero means in the mask files; detectors and pyFAI write nonzero = bad."""
    center: str = "auto"
    """Beam centre `y,x` in pixels (integer = middle of a pixel); auto = of the geometry file, else found by
    correlation, else the header's."""
    geometry: str = ""
    """Geometry file of pyFAI (`.poni`): beam centre, distance, pixel size, wavelength and tilt."""
    flat: str = ""
    """Flat field: a partner's counts are multiplied by the ratio of the two pixels' responses."""
    saturation: float = 0.0
    """Counts from which a pixel is saturated; 0 = the file's own cutoff, where it has one."""
    marks: str = "auto"
    """Values that mark gaps and bad pixels, as --data.marks of a training."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Frames that an HDF5 file announces and that are not there, as in a linked file that is gone."""
    hot_pixels: bool = True
    """Find and fill pixels that count too much in 3 frames or more, frame after frame."""
    frames: str = ""
    """Which frames, counted from 0: `0:500:2`, `0,2,5`; "" = all."""
    memory: str = ""
    """Memory for the frames, such as 4GiB; "" = a quarter of what the machine has."""
    shard: str = ""
    """Part of the blocks that this process does, 1/16 to 16/16; the last to finish joins them."""
    output_dtype: str = "float32"
    """float32, float16, uint8, uint16, uint32 or int32; the largest whole number = no answer."""
    packing: str = "bitshuffle"
    """How patterns in HDF5 are packed: bitshuffle (LZ4), zstd, gzip or none; with a level: zstd:9, gzip:1."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        object.__setattr__(self, "mask", as_locations(self.mask))
        if self.center != "auto":
            parse_center(self.center, option="--center")
        if self.memory:
            parse_memory(self.memory)
        parse_shard(self.shard)

    def as_data(self) -> DataOptions:
        """Return how the frames are read, as options of a training."""
        names = {field.name for field in dataclasses.fields(DataOptions)}
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name in names}
        return DataOptions(path=self.input, outliers="keep", **given)


@dataclasses.dataclass(frozen=True)
class FramesAlone:
    """A run applied to frames one by one: each answer depends on its own frame and on the run alone."""

    run: str = ""
    """Run folder made by `smae-jax train` on frames of a scan."""
    checkpoint: str = "best"
    """Which parameters: best (by validation), last, or the step of a kept checkpoint."""
    ensemble: Literal["run", "none", "flips", "d4"] = "run"
    """Group that predictions are averaged over; not larger than the run was trained with."""
    rule: Literal["run", "direct", "cross", "average", "symmetric"] = "run"
    """How the two views of a pixel are put together; run = as the run says."""
    dark: str = "run"
    """Dark frames: run = those of the training, none, or files."""
    flat: str = "run"
    """Flat field: run = that of the training, none, or a file."""
    marks: str = "run"
    """Values that mark gaps and bad pixels: run = as it found them, else as --data.marks of a training."""
    mask: tuple[str, ...] = ()
    """Mask files that replace the run's own mask."""
    mask_polarity: Literal["bad", "good"] = "bad"
    """What nonzero means in the mask files."""
    center: str = "run"
    """Beam centre: run = as trained, or `y,x` in pixels."""
    keep_significant: float = 5.0
    """Answer with the counts where 3 x 3 pixels lie further than so many sigma from the network's answer;
    0 = never."""
    conserve_totals: Literal["run", "yes", "no"] = "run"
    """Scale every answer to the counts of its frame; run = as trained."""
    batch_size: int = 1
    """Frames that go through the network together; the last batch is filled up."""

    def __post_init__(self) -> None:
        """Refuse what would be refused of `infer`, and a centre that only a whole scan can tell."""
        object.__setattr__(self, "mask", as_locations(self.mask))
        at_least("--batch-size", self.batch_size, 1)
        if self.center == "auto":
            raise UserError(
                "--center auto: a centre is found on a scan, and here frames come one by one; give 'y,x'"
            )
        self.applied()

    def applied(self) -> ApplyOptions:
        """Return these as options of a run that is applied to a scan, without what needs several frames."""
        names = {field.name for field in dataclasses.fields(FramesAlone)} - {"conserve_totals"}
        given = {name: getattr(self, name) for name in names}
        return ApplyOptions(**given, combine=False, keep_sums=False, polar=False)


@dataclasses.dataclass(frozen=True)
class WatchConfig(FramesAlone):
    """Denoise frames as they come, one by one, until the scan is over."""

    input: str = ""
    """A quoted pattern or a folder that files come to, or a growing HDF5 file: `file.h5::/dataset`."""
    output: str = ""
    """`.h5` or `.nxs` (NeXus) that grows frame by frame; the same command again goes on with it."""
    frames: int = 0
    """Number of frames of the scan, with which it is over; 0 = not known."""
    idle: float = 60.0
    """Seconds without anything new, once there is a frame, after which the scan is over; 0 = never."""
    patience: float = 30.0
    """Seconds that are waited for a file that cannot be read, or a frame that is missing, before it is left
    out."""
    settle: float = 0.5
    """Seconds that a file has to stay unchanged before it is read."""
    report: float = 10.0
    """Seconds between two lines that say how far behind the answers are."""
    overwrite: bool = False
    """Replace the output if it exists, instead of going on with it."""
    output_dtype: str = "float32"
    """float32, float16, uint8, uint16, uint32 or int32; the largest whole number = no answer."""
    packing: str = "bitshuffle"
    """How frames are packed: bitshuffle (LZ4), zstd, gzip or none; with a level: zstd:9, gzip:1."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        at_least("--frames", self.frames, 0)
        for name in ("idle", "patience", "settle", "report"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UserError(f"--{name}: expected 0 seconds or more, got {value:g}")


@dataclasses.dataclass(frozen=True)
class ImportTorchConfig:
    """Turn a PyTorch checkpoint of the published network into a run that `infer` accepts."""

    checkpoint: tyro.conf.Positional[str] = ""
    """File of `torch.save`: the weights, alone or under state_dict, model_state_dict, model or net."""
    run: str = ""
    """Folder for the run; must be new."""
    overwrite: bool = False
    """Replace the run folder if it exists."""


@dataclasses.dataclass(frozen=True)
class SomeFrames(ApplyOptions):
    """Frames of the input that are looked at."""

    frames: int = 0
    """Frames that are judged, spread evenly over the scan and answered apart from the others; 0 = all."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        at_least("--frames", self.frames, 0)


_OF_REFERENCE = ("reference_repeats", "pairing", "reference_noise", "reference_scale")
"""Options that say something of the reference."""


@dataclasses.dataclass(frozen=True)
class JudgeOptions(SomeFrames):
    """What a run is judged by: a reference, or held-out photons."""

    reference: str = ""
    """Frames of the same sample with more counts, or the truth; "" = judge by the counts alone."""
    reference_repeats: str = ""
    """Which repeats of the reference of spectra and other repeats, as `4:32`; "" = all."""
    pairing: Literal["auto", "order", "mean"] = "auto"
    """Frame by frame, the mean of all reference frames for each, or auto: by order, or one for all."""
    reference_noise: Literal["auto", "poisson", "none"] = "auto"
    """Noise of the reference that scores subtract; auto = poisson where all its values are whole."""
    held_out: float = 0.1
    """Share of the photons that judges what was made of the others, in [0.01, 0.5]."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        if not 0.01 <= self.held_out <= 0.5:
            raise UserError(f"--held-out: expected 0.01..0.5, got {self.held_out}")
        self._refuse_without_reference()

    def _refuse_without_reference(self) -> None:
        """Refuse what is said of a reference where there is none, instead of passing over it."""
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        for name in _OF_REFERENCE:
            value = getattr(self, name, None)
            if not self.reference and value != usual.get(name):
                raise UserError(
                    f"--{name.replace('_', '-')} {value}: does nothing without --reference; give both"
                )


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(JudgeOptions):
    """Score a trained run beside raw counts and simple filters, with a reference or without."""

    output: str = ""
    """Folder for the table, the numbers and the figures; must be new."""
    reference_scale: Literal["none", "totals"] = "none"
    """Repeats: whether the reference, say at another power, is scaled to the counts of the input."""
    checkpoints: Literal["one", "all"] = "one"
    """all = every checkpoint that the run kept (train with --train.keep 0), with a curve over steps."""
    scores: Literal["auto", "both", "none"] = "auto"
    """With the reference if there is one, else without; both; or none, to denoise only."""
    save_denoised: bool = False
    """Write the frames that each checkpoint denoised, as NeXus files."""
    figures: int = 4
    """Frames drawn, spread evenly over the scan; 0 = no figures."""

    def __post_init__(self) -> None:
        """Refuse values out of range or in contradiction."""
        super().__post_init__()
        at_least("--figures", self.figures, 0)
        if self.scores == "none" and not self.save_denoised:
            raise UserError("--scores none: nothing would be made; add --save-denoised")
        if self.checkpoints == "all" and self.checkpoint != "best":
            raise UserError(
                f"--checkpoint {self.checkpoint} and --checkpoints all: expected one of them"
            )


@dataclasses.dataclass(frozen=True)
class ProfileOptions(SomeFrames):
    """Where profiles, peaks and orientation are looked for."""

    geometry: str = ""
    """Geometry file of pyFAI (`.poni`) for the profiles; "" = what the frames' files and the run tell."""
    pixel_size: float = 0.0
    """Pixel size in micrometres; 0 = as the files tell, else profiles are over pixels."""
    distance: float = 0.0
    """From sample to detector in metres; 0 = as the files tell."""
    wavelength: float = 0.0
    """X-ray wavelength in angstrom; 0 = as the files tell."""
    rings: tuple[str, ...] = ()
    """Rings for I(chi), such as 0.65:0.75, in units of the profile's axis; none = the strongest peaks."""
    peaks: tuple[str, ...] = ()
    """Windows of the profile with one peak each, such as 0.65:0.75; none = the strongest peaks."""
    shape: Literal["auto", "gaussian", "pseudo_voigt"] = "auto"
    """Shape of the peaks; auto = the one that fits the mean of the scan better."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        parse_ranges(self.rings, option="--rings")
        parse_ranges(self.peaks, option="--peaks")
        if not 0 <= self.pixel_size < math.inf:
            raise UserError(f"--pixel-size: expected a number above 0, got {self.pixel_size:g}")
        if not 0 <= self.distance <= LONGEST_M:
            raise UserError(
                f"--distance: expected metres above 0 and up to {LONGEST_M:g}, got {self.distance:g}"
            )
        low, high = (1e10 * length for length in WAVELENGTHS_M)
        if self.wavelength and not low <= self.wavelength <= high:
            raise UserError(
                f"--wavelength: expected angstroms from {low:g} to {high:g}, got {self.wavelength:g}"
            )


@dataclasses.dataclass(frozen=True)
class ReportConfig(JudgeOptions, ProfileOptions):
    """Report on a run in one page: before and after, scores, profiles, peaks, and alarms in words."""

    output: str = ""
    """Folder for the page, its figures and its tables; must be new."""
    gallery: int = 8
    """Frames in the gallery, spread evenly over the scan."""
    sigma: bool = True
    """Show error bars in the gallery; without them the report takes less than half of the time."""
    replicas: int = 16
    """Plausible answers, whose scatter is the error of profiles and peaks; each takes an answer's time."""
    scores: bool = True
    """Score the answers beside raw counts and the best Gaussian, by held-out photons."""
    physics: Literal["auto", "on", "off"] = "auto"
    """Profiles, peaks and orientation; auto = where pyFAI and lmfit (extra `physics`) are installed."""
    composition: str = ""
    """Makes S(Q) and G(r) of a glass or liquid: its atoms, such as Zr50Cu45Al5; needs q."""
    density: float = 0.0
    """Of the sample in g/cm^3, for the normalisation of S(Q); 0 = its part, 0.1 % at Qmax 15, is left out."""
    background: str = ""
    """Frames without the sample, whose mean is taken off I(Q) for S(Q) and G(r), and off nothing else."""
    background_scale: float = 1.0
    """What the background is multiplied by: transmission of the sample, ratio of exposures."""
    q_max: float = 0.0
    """Last Q of S(Q) in 1/angstrom; 0 = up to where rings are half covered."""
    r_max: float = 0.0
    """Last r of G(r) in angstrom; 0 = 12, or as far as the bins of Q tell."""
    lorch: bool = True
    """Multiply Q (S - 1) by Lorch's window before the transform: fewer ripples, broader shells."""
    shells: tuple[str, ...] = ()
    """Ranges of r in angstrom with one shell each, such as 2.3:3.5; none = the clearest ones."""
    azimuthal_shape: Literal["von_mises", "gaussian", "pseudo_voigt"] = "von_mises"
    """Shape of the peak of I(chi) in each ring; it comes again every 180 degrees."""
    orders: tuple[int, ...] = ()
    """Meridional orders for the D-period, such as 1 3 5; none = those found, if they are three at least."""
    sector: float = 20.0
    """Half of the sector about the meridian that orders are looked for in, degrees."""
    meridian: float = 0.0
    """From the azimuth where I(q) ripples most to the meridian, degrees; 90 where it is the equator."""

    def __post_init__(self) -> None:
        """Refuse values out of range or in contradiction."""
        super().__post_init__()
        at_least("--gallery", self.gallery, 1)
        check_replicas(self.replicas)
        parse_ranges(self.shells, option="--shells")
        if any(order < 1 for order in self.orders) or len(set(self.orders)) != len(self.orders):
            given = " ".join(map(str, self.orders))
            raise UserError(f"--orders: expected different numbers from 1 on, got {given}")
        if len(self.orders) == 1:
            raise UserError(
                "--orders: expected two orders at least, got one; it is a peak: --peaks"
            )
        if not 1 <= self.sector <= 90:
            raise UserError(f"--sector: expected 1 to 90 degrees, got {self.sector:g}")
        if not -180 <= self.meridian <= 180:
            raise UserError(f"--meridian: expected -180 to 180 degrees, got {self.meridian:g}")
        for name in ("density", "q_max", "r_max"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"--{name.replace('_', '-')}: expected a number above 0, got {getattr(self, name):g}"
                )
        self._check_pair()
        if self.physics == "off" and (given := self.asks_for_physics):
            raise UserError(
                f"--physics off and --{given.replace('_', '-')}: expected one of them; leave one out"
            )

    def _check_pair(self) -> None:
        """Refuse what only S(Q) and G(r) read, where they are not asked for."""
        check_background(self.background, self.background_scale)
        names = ("density", "background", "q_max", "r_max", "shells")
        given = next(
            (name for name in names if getattr(self, name)), "" if self.lorch else "no_lorch"
        )
        if given and not self.composition:
            raise UserError(
                f"--{given.replace('_', '-')}: is for S(Q) and G(r), which --composition makes; give both"
            )

    @property
    def asks_for_physics(self) -> str:
        """The first option given that only profiles and peaks read; "" where there is none."""
        names = ("geometry", "rings", "peaks", "pixel_size", "distance", "wavelength", "shape")
        names = (*names, "azimuthal_shape", "orders", "sector", "meridian", "composition")
        defaults = {one.name: one.default for one in dataclasses.fields(self)}
        return next((name for name in names if getattr(self, name) != defaults[name]), "")


@dataclasses.dataclass(frozen=True)
class PlanConfig(ProfileOptions):
    """Tell from a pilot scan how short one may expose: thinning makes scans of any lower exposure of it."""

    output: str = ""
    """Folder for the figure and the tables; must be new."""
    observable: Literal["d_spacing", "orientation", "area", "profile"] = "profile"
    """Your quantity, of every frame: spacing or area of each peak, orientation in each ring (its direction
    where the tolerance is in degrees, else its degree), or I(q) over all bins with counts."""
    tolerance: str = "1%"
    """Largest error (one standard deviation): a share as 0.1%, an angle as 0.5deg, or a number in the unit of
    the quantity."""
    frames: int = 64
    """Frames of the pilot that are looked at, spread evenly over the scan; 0 = all."""
    scale: Literal["run", "input"] = "input"
    """Unit of rate of the short scans, as of `infer`: input = their own mean, run = that of the training."""
    halvings: int = 6
    """How often the exposure is halved; 6 = down to 1/64 of the pilot's."""
    draws: int = 4
    """Scans that are made of the pilot at each exposure."""

    def __post_init__(self) -> None:
        """Refuse values out of range or in contradiction."""
        super().__post_init__()
        at_least("--halvings", self.halvings, 1)
        at_least("--draws", self.draws, 1)
        _, unit = parse_tolerance(self.tolerance)
        if unit == "deg" and self.observable != "orientation":
            raise UserError(
                f"--tolerance {self.tolerance}: is an angle, and --observable {self.observable} is none; "
                "give a share such as 0.1%"
            )


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """Show what the program understands of a scan, before any training."""

    data: DataOptions = DataOptions()
    output: str = "inspect.png"
    """PNG to draw to; "" = none."""
    overwrite: bool = False
    """Replace the PNG if it exists."""


@dataclasses.dataclass(frozen=True)
class SimulateConfig:
    """Simulate a scan with its truth, mask and centre."""

    output: str = ""
    """`.h5` (NeXus) or `.npz`."""
    kind: Literal["saxs", "waxd", "gisaxs", "glass", "flat"] = "saxs"
    """Fibre halo with meridional orders, textured rings, no 180-degree symmetry, metallic glass of known
    shells (extra `physics`), or constant."""
    frames: int = 64
    """Frames of the scan."""
    size: int = 128
    """Height and width in pixels."""
    photons: float = 1.0
    """Mean photons per valid pixel."""
    seed: int = 0
    """Seed of every random number."""
    asymmetry: float = 0.0
    """Amplitude of a factor 1 + asymmetry * sin(azimuth), in (-1, 1)."""
    center_offset: tuple[float, float] = (0.0, 0.0)
    """Beam centre (y, x) from the middle of the frame, pixels."""
    flat_field_error: float = 0.0
    """Relative rms of the pixels' fixed sensitivity."""
    readout_noise: float = 0.0
    """Rms of Gaussian readout noise, counts; frames are float then."""
    gaps: bool = True
    """Mask gaps between detector modules."""
    beamstop: bool = True
    """Mask a disc about the beam."""
    arm: bool = True
    """Mask the arm that holds the beamstop."""
    overwrite: bool = False
    """Replace the output if it exists."""


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """Simulate a scan, train on it, denoise it, and compare with the truth in a table and pictures."""

    run: str = "runs/demo"
    """Folder for all that the demo writes."""
    config: str = ""
    """TOML file with training options; "" = the demo's own."""
    photons: float = 1.0
    """Mean photons per valid pixel of the simulated scan."""
    overwrite: bool = False
    """Replace the folder if it exists."""
