"""Symmetric photon thinning: photons of a pixel and of its partner are split, one part predicts the other.

A Poisson count divided binomially gives two independent Poisson counts. The source holds a share of the
pixel's photons and a share of its partner's, each with its exposure; the rest of both is the target. SMAE is
the corner where all photons of one side predict all of the other. The network answers with two rates, the
pixel's and its partner's, each trained on its own rest, so that an asymmetry is kept and not averaged away.

A photon that is in an example twice, as the pixel's own and as its partner's at the turned place, is dealt
alike both times: every one is either source or target, everywhere that it can be seen. Patches stay within
one half-plane and their partners within the other, or cross the centre where both appearances are dealt alike
(`across`).

Reference:
  Neufeld et al. 2024, "Data thinning for convolution-closed distributions" (the split); Monroy et al. 2025,
  "Generalized Recorrupted-to-Recorrupted" (denoising with it). The partner's channel and the family of
  shares are this project's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from smae_jax import symmetry
from smae_jax.errors import UserError
from smae_jax.geometry import turn
from smae_jax.measurements import Measurements, not_counted
from smae_jax.methods.partner import choose_partner
from smae_jax.methods.protocol import Answers, Batch, Method, Pair, Predict, Region, Say, silent
from smae_jax.methods.smae import assemble
from smae_jax.methods.views import bordered, like, moved_with, rate_of, stacked, view_shift
from smae_jax.registration import displace
from smae_jax.splitting import LARGEST, check_splittable, fission, local_variance, thin_counts

Partner = Literal["auto", "channel", "none"]
Rule = Literal["direct", "average", "symmetric"]
Measurement = tuple[Array, Array]
"""Counts and the exposure behind them, (batch, *spatial) each."""
SHARES = ((0.4, 0.4), (0.6, 0.6), (0.8, 0.8))


_IMAGES = (
    "counts",
    "exposure",
    "partner_counts",
    "partner_exposure",
    "eligible",
    "identity",
    "partner_identity",
)
"""What a pair is made of, of a batch."""


@dataclasses.dataclass(frozen=True)
class Thinning(Method):
    """A share of the photons of a pixel and of its partner predicts the rest of them.

    Attributes:
      partner: "channel" gives pixel and partner to the network apart, "none" leaves the partner out (data
        without symmetry), "auto" leaves the choice to `settled`.
      shares: (own, partner) of the photons in the source; each example draws one of these, evenly. Where all
        own photons are in the source, as in SMAE's corner (1, 0), the pixel's own rate has no target there.
      rule: with partner "channel": "direct" takes the rate answered at the pixel's own place, "average" its
        mean with the rate answered at the partner's place for it, "symmetric" the mean of both pixels' rates.
      augment: group from which one element per example is drawn in `pair`.
      most: largest count that is split.
      variants: ways in which a pixel of a frame is split, the same whenever it is met again; 0 = another one
        every time. Of a fixed count the rest is what was not seen, and a network that is shown many splits of
        few frames learns just that.
      gaussian: (values per photon, rms readout noise in values) of an integrating detector, whose values are
        split as Gaussian ones of that variance; None = photons, split exactly.
      across: patches may cross the centre, where a photon is in an example twice. Both appearances are dealt
        alike only with equal shares on both sides and fixed splits of whole photons; elsewhere patches stay
        within half-planes.
      hidden: share of the examples in which a band of one side is missing from the source: the network
        learns what it will see beside gaps and at the border of the overlap. None = chosen by `settled`, and
        nothing is hidden before.
      registration: whether `settled` makes up for a centre between half pixels.
      shift: displacement (y, x) in pixels between the pixel's view and its partner's, see `smae.Smae`.
    """

    partner: Partner = "auto"
    shares: Sequence[tuple[float, float]] = SHARES
    rule: Rule = "average"
    augment: symmetry.GroupName = "d4"
    most: int = LARGEST
    variants: int = 1
    gaussian: tuple[float, float] | None = None
    across: bool = True
    hidden: float | None = None
    registration: bool = True
    shift: tuple[float, float] = (0.0, 0.0)

    needs = frozenset({"counts"})

    @property
    def rules(self) -> tuple[str, ...]:  # type: ignore[override]
        """Ways to put two views together; without the partner there is one view."""
        return () if self.partner == "none" else ("direct", "average", "symmetric")

    @property
    def sees_exposure(self) -> bool:  # type: ignore[override]
        """Whether the shares differ from example to example."""
        return len(set(self.shares)) > 1

    @property
    def crosses(self) -> bool:
        """Whether patches cross the centre: where that is asked for and shows no network its target."""
        return self.across and deals_alike(self.shares, self.variants, self.gaussian)

    @property
    def region(self) -> Region:  # type: ignore[override]
        """One half-plane, so that a patch and its partner's share no photon; or across the centre."""
        if self.partner == "none":
            return "frame"
        return "across" if self.crosses else "half"

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """Rates that the network answers with."""
        return 1 if self.partner == "none" else 2

    @property
    def source_channels(self) -> int:  # type: ignore[override]
        """Rate and exposure of every measurement."""
        return 2 * self.outputs

    def settled(self, data: Measurements, *, say: Say = silent) -> Thinning:
        """Check that the values can be split, and choose what is made of the partner.

        Args:
          data: with its centre, if it has one.
          say: receives every line that a person should read.

        Raises:
          UserError: if the values are no photon counts and the noise is not known, or the partner is asked
            for where there is no centre.
        """
        if self.gaussian is None:
            check_countable(data)
        if data.center is None:
            if self.partner == "channel":
                raise UserError(
                    "--thinning.partner channel: is for centro-symmetric patterns, and no beam centre is "
                    f"known of {data.origin.source}; leave it out"
                )
            shares = tuple((own, own) for own, _ in self.shares)
            return dataclasses.replace(
                self, partner="none", shares=shares, variants=0, most=largest_count(data)
            )
        partner = self.partner
        if partner == "channel" and not data.center.trusted:
            raise UserError(
                f"--thinning.partner channel: expected a centre of symmetry, got none: {data.center.reason}; "
                "give the right one with --data.center (of infer: --center), or leave the option out"
            )
        if partner == "auto":
            chosen, reason = choose_partner(data)
            partner: Partner = "channel" if chosen == "channel" else "none"
            say(f"partner {partner}: {reason}")
        if self.across and not self.crosses and partner != "none":
            say(
                "patches within half-planes: unequal shares, splits drawn anew or values that are no counts "
                "would show the network its target across the centre"
            )
        shift = view_shift(data.center) if self.registration else self.shift
        return dataclasses.replace(
            self,
            partner=partner,
            most=largest_count(data),
            hidden=share_to_hide(data) if self.hidden is None else self.hidden,
            shift=(0.0, 0.0) if partner == "none" else shift,
        )

    def pair(self, key: Array, batch: Batch) -> Pair:
        """Split the photons of every pixel and of its partner.

        Args:
          key: typed random key.
          batch: patches within `region`, (batch, *spatial).

        Returns:
          Source (batch, *spatial, 2 or 4): rate and exposure of the pixel, and of its partner. Target and
          weight (batch, *spatial, 1 or 2): the rest of each.
        """
        share_key, variant_key, move_key, hide_key, *split_keys = jax.random.split(key, 6)
        # Moved before they are split, or a CPU would split them anew for every element of the group.
        images = {n: image for n in _IMAGES if (image := getattr(batch, n)) is not None}
        images, shift = moved_with(move_key, images, group=self.augment, shift=self.shift)
        batch = dataclasses.replace(batch, **images)
        chosen = jax.random.randint(share_key, batch.scale.shape, 0, len(self.shares))
        variant = jax.random.randint(variant_key, chosen.shape, 0, max(self.variants, 1))
        salts = _salts(chosen * max(self.variants, 1) + variant)
        identities = [batch.identity, batch.partner_identity]
        source, target, weight = [], [], []
        shown = self._shown(hide_key, batch.counts.shape)
        for side, measured in enumerate(self._sides(batch)):
            identity = identities[side] if self.variants else None
            # Held-out pixels keep their photons in the source: their rest is what validation looks at.
            kept, rest = self._split(split_keys[side], measured, chosen, side, identity, salts)
            light = kept[1] * shown[side]
            source += [rate_of(kept[0] * shown[side], light, batch.scale), light]
            target.append(rate_of(*rest, batch.scale))
            weight.append(rest[1] * batch.eligible)
        pair = stacked(source, target, bordered(weight, self.shift))
        if shift is None:
            return pair
        return dataclasses.replace(
            pair,
            source=self._registered(pair.source, shift),
            shift=jnp.stack([jnp.zeros_like(shift), -shift][: self.outputs], axis=1),
        )

    def denoise(self, predict: Predict, batch: Batch) -> Answers:
        """Predict every pixel of centred canvases from all photons, and put the answers together.

        Args:
          predict: (batch, *spatial, source_channels) -> (batch, *spatial, outputs).
          batch: whole canvases; centred, unless the partner is left out.

        Returns:
          Expected counts per full frame, shaped as the batch. A pixel without a measurement has the rate of
          its partner, and is marked as filled.
        """
        own_seen, partner_seen = batch.exposure > 0, batch.partner_exposure > 0
        # All photons are more than training ever showed; the network hears of the most light that it knows,
        # and sees no side that it never saw.
        sides = [
            (counts * light, exposure * light)
            for (counts, exposure), light in zip(self._sides(batch), self._most_light, strict=False)
        ]
        channels = [x for one in sides for x in (rate_of(*one, batch.scale), one[1])]
        shift = jnp.broadcast_to(jnp.asarray(self.shift), (len(batch.scale), 2))
        registered = any(self.shift)
        array = jnp.stack(channels, axis=-1)
        rates = predict(self._registered(array, shift) if registered else array)
        known = own_seen if self.partner == "none" else own_seen | partner_seen
        if self._most_light[0] == 1:
            rule = "direct" if self.rule == "direct" else "average"
            value, _ = assemble(rates[..., -1], own_seen, partner_seen, rule=rule, shift=self.shift)
        elif self.partner == "none":
            value = rates[..., 0]
        else:
            value = self._assembled(rates, own_seen, partner_seen, shift if registered else None)
        counts = jnp.where(known, value * like(batch.scale, value), jnp.nan)
        return Answers(counts=counts, known=known, filled=known & ~own_seen)

    @property
    def _most_light(self) -> tuple[float, float]:
        """The shares that predictions are made with: the most light under which all outputs were trained.

        In SMAE's corner only the partner's rate was; it is the pixel's own by the symmetry.
        """
        return max(self.shares, key=lambda pair: (pair[0] < 1, sum(pair), max(pair)))

    def _sides(self, batch: Batch) -> list[Measurement]:
        sides = [(batch.counts, batch.exposure), (batch.partner_counts, batch.partner_exposure)]
        return sides[: 1 if self.partner == "none" else 2]

    def _shown(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draw what the source shows of each side, (outputs, *shape) of 0 and 1."""
        if self.outputs == 1 or not self.hidden or not all(min(pair) for pair in self.shares):
            return jnp.ones((self.outputs, *shape))
        return hide_bands(key, shape, share=self.hidden)

    def _split(
        self,
        key: Array,
        measured: Measurement,
        chosen: Array,
        side: int,
        identity: Array | None,
        salts: Array,
    ) -> tuple[Measurement, Measurement]:
        counts, exposure = measured
        shares = tuple(pair[side] for pair in self.shares)
        share = like(jnp.asarray(shares, jnp.float32)[chosen], counts)
        if self.gaussian:
            gain, noise = self.gaussian
            variance = local_variance(counts, exposure, gain=gain, readout_noise=noise)
            kept = jnp.where(exposure > 0, fission(key, counts, variance, share), 0.0)
        else:
            kept = thin_counts(
                key,
                counts,
                chosen,
                shares=shares,
                most=self.most,
                identity=identity,
                salts=salts,
            )
        return (kept, exposure * share), (counts - kept, exposure * (1 - share))

    def _registered(self, source: Array, shift: Array) -> Array:
        """Bring the partner's views, (batch, *spatial, channel), onto the pixel's own grid.

        Interpolation correlates their noise; that is harmless in a source, and targets are never touched.
        """
        if self.partner == "none":
            return source
        rate, exposure = source[..., 2], source[..., 3]
        most = jnp.max(exposure, axis=tuple(range(1, exposure.ndim)), keepdims=True)
        light = displace(exposure, shift)
        counts = displace(rate * exposure, shift)
        seen = (light > 0.5 * most) & (light > 0)
        rate = jnp.where(seen, counts / jnp.where(seen, light, 1.0), 0.0)
        partner = jnp.stack([rate, jnp.where(seen, light, 0.0)], axis=-1)
        return jnp.concatenate([source[..., :2], partner], axis=-1)

    def _assembled(
        self, rates: Array, own_seen: Array, partner_seen: Array, shift: Array | None
    ) -> Array:
        """Put the two rates of every pixel together, and fill in from the partner."""

        def onto_own(turned: Array) -> Array:
            return turned if shift is None else displace(turned, shift)

        own = rates[..., 0]
        # At the partner's place the second output is this pixel's rate; its grid is the partner's turned.
        partner = rates[..., 1] if shift is None else displace(rates[..., 1], -shift)
        there = symmetry.rotate180(partner)
        value = own if self.rule == "direct" else (own + there) / 2
        turned = onto_own(symmetry.rotate180(value))
        if self.rule == "symmetric":
            value = jnp.where(partner_seen, (value + turned) / 2, value)
        return jnp.where(own_seen, value, turned)


def deals_alike(
    shares: Sequence[tuple[float, float]], variants: int, gaussian: tuple[float, float] | None
) -> bool:
    """Tell whether both appearances of a photon in a patch are dealt alike, also across the centre."""
    equal = all(own == partner for own, partner in shares)
    return equal and variants > 0 and gaussian is None


def share_to_hide(data: Measurements) -> float:
    """Return the share of examples to hide a band in: twice that of pixels whose partner is not measured.

    At most a half, and nothing where there is no symmetry.
    """
    if data.symmetry is None:
        return 0.0
    measured = np.asarray(data.valid.any(axis=0))
    alone = measured & ~turn(measured, data.symmetry.half_pixel, False)
    return min(2 * float(alone.sum()) / max(float(measured.sum()), 1.0), 0.5)


def hide_bands(key: Array, shape: tuple[int, ...], *, share: float) -> Array:
    """Draw bands that are missing on one of two sides, as gaps of a detector and its own border are.

    Args:
      key: typed random key.
      shape: of the examples, (batch, *spatial).
      share: of the examples that have a band, in [0, 1].

    Returns:
      (2, *shape) float32: 0 in the bands, 1 elsewhere. A band runs along one axis from border to border, is
      up to half as wide as the example, and may leave it.
    """
    batch, *spatial = shape
    which_key, side_key, axis_key, start_key, width_key = jax.random.split(key, 5)
    has_band = jax.random.uniform(which_key, (batch,)) < share
    side = jax.random.randint(side_key, (batch,), 0, 2)
    axis = jax.random.randint(axis_key, (batch,), 0, len(spatial))
    length = jnp.asarray(spatial)[axis]
    width = 1 + jnp.floor(jax.random.uniform(width_key, (batch,)) * length / 2)
    start = jnp.floor(jax.random.uniform(start_key, (batch,)) * (length + width)) - width
    ones = (1,) * len(spatial)
    place = jnp.stack(jnp.broadcast_arrays(*jnp.indices(spatial, sparse=True)))  # (axes, *spatial)
    along = place[axis] - start.reshape(-1, *ones)
    inside = (along >= 0) & (along < width.reshape(-1, *ones)) & has_band.reshape(-1, *ones)
    on_side = (jnp.arange(2)[:, None] == side[None]).reshape(2, -1, *ones)
    return jnp.where(inside[None] & on_side, 0.0, 1.0)


def _salts(split: Array) -> Array:
    """Return a salt for the splits of each example; 64 bits of counts fit between two."""
    return split.astype(jnp.uint32) * jnp.uint32(64)


def largest_count(data: Measurements) -> int:
    """Return a bound of the counts, all bits set, so that one compilation serves many scans."""
    return 2 ** max(1, int(data.counts.max(initial=1))).bit_length() - 1


def check_countable(data: Measurements) -> None:
    """Refuse values that cannot be split as photons.

    Raises:
      UserError: if one is negative or not whole, or too large for float32 to hold exactly.
    """
    odd = not_counted(data.counts)
    if odd is not None:
        raise UserError(
            f"{data.origin.source}: expected whole photon counts to split, got {odd:g}; give --thinning.gain "
            "and --thinning.readout-noise of an integrating detector, or use --method smae, noise2noise or "
            "noise2void"
        )
    check_splittable(data.counts, data.origin.source)
