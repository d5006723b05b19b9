"""S(Q), G(r) and shells of a glass whose shells are known; form factors beside published ones."""

import dataclasses

import numpy as np
import pytest

from smae_jax.config import ReportConfig
from smae_jax.errors import UserError
from smae_jax.geometry import Center, Geometry
from smae_jax.measurements import Measurements
from smae_jax.report.alarms import pair_doubtful, peaks_moved
from smae_jax.report.profiles import Profiles
from smae_jax.report.shells import areas, centroids, maxima, shell_in, shells_of

pytest.importorskip("xraylib")
from smae_jax import form_factors, glass
from smae_jax.form_factors import composition_of, klein_nishina, scattering_of
from smae_jax.report.pdf import Transform, lorch, make_transform, polarization

STEP = 0.17
AXIS = STEP * (np.arange(88) + 0.5)
MEASURED = AXIS > 0.6
R = np.arange(0, 12, 0.02)
SHELLS = (2.77, 4.83, 7.13)


def transform(**options) -> Transform:
    atoms = scattering_of(composition_of(glass.FORMULA), AXIS, glass.WAVELENGTH)
    seen = polarization(AXIS, glass.WAVELENGTH)
    return make_transform(AXIS, MEASURED, R, atoms, seen, **({"density": glass.DENSITY} | options))


def measured(shells=SHELLS):
    """I(Q) as a detector sees it, in units of its own."""
    whole = glass.intensity(AXIS, shells) * polarization(AXIS, glass.WAVELENGTH)
    return 0.013 * whole[MEASURED]


def test_form_factors_are_those_of_the_international_tables():
    # Waasmaier and Kirfel 1995 by periodictable 2.1.0, cromermann.fxrayatq at Q = 0.5 and 15.95 1/angstrom.
    published = {
        "Zr": (39.25240449, 8.83849102),
        "Cu": (28.64493377, 6.05432759),
        "Al": (12.63397471, 1.7315451),
    }
    for symbol, values in published.items():
        found = scattering_of(composition_of(symbol), np.array([0.5, 15.95]), 0.2)
        np.testing.assert_allclose(np.sqrt(found.square_mean), values, rtol=0.015)
        np.testing.assert_allclose(found.mean_square, found.square_mean)


def test_limits_of_compton_scattering():
    q = np.array([0.0, 0.01, 59.0])
    whole = composition_of("Cu")
    found = scattering_of(whole, q, 0.2)
    assert found.compton[0] == 0
    assert found.compton[1] < 1e-3
    # Nearly all 29 electrons, each with the photons of Klein and Nishina at 62 keV and 140 degrees.
    electrons = found.compton[2] / klein_nishina(q, 0.2)[2]
    assert 27.9 < electrons < 29
    # At q = 59 the photon turns by 139.8 degrees: E'/E = 0.8236, and 0.678 (2.038 - 0.416) / 1.584 = 0.694.
    assert klein_nishina(q, 0.2)[2] == pytest.approx(0.694, rel=0.003)
    np.testing.assert_allclose(klein_nishina(np.array([0.0]), 0.2), 1)


def test_a_mean_atom_is_weighted_by_shares():
    found = composition_of("Zr50Cu45Al5")
    assert dict(zip(found.numbers.tolist(), found.shares.tolist(), strict=True)) == (
        pytest.approx({13: 0.05, 29: 0.45, 40: 0.5})
    )
    # Copper: 8.96 g/cm^3 and a cell of 3.615 angstrom with 4 atoms.
    assert composition_of("Cu").atoms_per_volume(8.96) == pytest.approx(4 / 3.615**3, rel=5e-3)
    both = scattering_of(found, AXIS, 0.2)
    assert (both.mean_square > both.square_mean).all()


@pytest.mark.parametrize("formula", ["Zq5", "Zr-5", "50", "Zr 50"])
def test_what_is_no_composition_is_refused_by_name(formula):
    with pytest.raises(UserError, match=f"--composition: expected symbols.*'{formula}'"):
        composition_of(formula)


def test_without_xraylib_a_composition_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(form_factors, "missing", lambda: True)
    with pytest.raises(UserError, match=r"--composition SiO2: needs xraylib.*smae_jax\[physics\]"):
        composition_of("SiO2")


def test_structure_factor_comes_back_and_goes_to_one():
    found = transform().structure_factor(measured())
    q = AXIS[MEASURED]
    np.testing.assert_allclose(found, glass.structure_factor(q, SHELLS), atol=1e-3)
    np.testing.assert_allclose(found[q > 12].mean(), 1, atol=1e-3)


def test_pair_function_is_that_of_glassure():
    # glassure 3.0.0 with the same form factors: normalize(attenuation_factor=2 / 15.5**2), calculate_sq,
    # extrapolate_to_zero_step(y0=S[0]), calculate_fr(use_modification_fcn=True, method="integral").
    published = {2.78: 1.3599, 3.5: -0.6274, 4.84: 1.0364, 6.0: -0.9171, 7.1: 0.7149}
    axis = 0.05 * (np.arange(310) + 0.5)
    atoms = scattering_of(composition_of(glass.FORMULA), axis, glass.WAVELENGTH)
    seen = np.ones(len(axis))
    r = np.array([*published])
    one = make_transform(axis, axis > 0.7, r, atoms, seen, density=glass.DENSITY)
    intensity = glass.intensity(axis, (2.78, 4.83, 7.1))[axis > 0.7]
    np.testing.assert_allclose(one.scale(intensity), 1, atol=3e-4)
    pairs = one.pair_function(one.structure_factor(intensity))
    np.testing.assert_allclose(pairs, [*published.values()], atol=2e-3)


def test_normalisation_knows_neither_scale_nor_stack():
    one = transform()
    intensity = measured()
    np.testing.assert_allclose(
        one.structure_factor(7.3 * intensity), one.structure_factor(intensity), rtol=1e-12
    )
    stack = np.stack([intensity, measured((2.84, 4.75, 7.05))])
    both = one.pair_function(one.structure_factor(np.stack([stack, 2 * stack])))
    assert both.shape == (2, 2, len(R))
    np.testing.assert_allclose(both[1, 1], one.pair_function(one.structure_factor(stack[1])))


def test_density_is_a_small_part_of_the_normalisation_and_the_slope_at_small_r():
    known, unknown = transform(), transform(density=0.0)
    ratio = unknown.scale(measured()) / known.scale(measured())
    assert 1 < ratio < 1.003
    pairs = known.pair_function(known.structure_factor(measured()))
    small = (R > 0.3) & (R < 1.0)
    np.testing.assert_allclose(pairs[small], -4 * np.pi * glass.DENSITY * R[small], atol=0.03)


@pytest.mark.parametrize("window", [True, False])
def test_shells_lie_where_they_were_put(window):
    one = transform(window=window)
    pairs = one.pair_function(one.structure_factor(measured()))
    truth = glass.pair_function(R, SHELLS)
    found = shells_of(R, pairs, np.full(len(R), 0.02), apart=2 * np.pi / AXIS[-1])
    assert len(found) == 3
    for shell, position in zip(found, SHELLS, strict=True):
        np.testing.assert_allclose(maxima(R, pairs, shell), position, atol=0.02)
        np.testing.assert_allclose(
            centroids(R, pairs, shell), centroids(R, truth, shell), atol=0.02
        )


def test_window_takes_ripples_away_and_is_lorchs():
    np.testing.assert_allclose(lorch(np.array([0, 5.0, 10.0]), 10.0), [1, 2 / np.pi, 0], atol=1e-12)
    cut = AXIS[:42]  # up to 7.1 1/angstrom, where S(Q) still oscillates
    atoms = scattering_of(composition_of(glass.FORMULA), cut, glass.WAVELENGTH)
    seen = polarization(cut, glass.WAVELENGTH)
    empty = (R > 0.6) & (R < 1.8)
    ripples = []
    for window in (True, False):
        one = make_transform(
            cut, MEASURED[:42], R, atoms, seen, window=window, density=glass.DENSITY
        )
        pairs = one.pair_function(one.structure_factor(measured()[: len(one.q)]))
        ripples.append(np.std((pairs - glass.pair_function(R, SHELLS))[empty]))
    assert ripples[0] < 0.5 * ripples[1]


def test_gaps_are_bridged():
    whole = transform()
    atoms = scattering_of(composition_of(glass.FORMULA), AXIS, glass.WAVELENGTH)
    seen = polarization(AXIS, glass.WAVELENGTH)
    known = MEASURED.copy()
    known[40:42] = False
    gap = make_transform(AXIS, known, R, atoms, seen, density=glass.DENSITY)
    pairs = gap.pair_function(gap.structure_factor(measured()[known[MEASURED]]))
    all_of_it = whole.pair_function(whole.structure_factor(measured()))
    assert np.abs(pairs - all_of_it).max() < 0.03


def test_errors_of_sums_are_those_of_many_draws():
    rng = np.random.default_rng(0)
    one, intensity = transform(), measured()
    counts = 400 * intensity / intensity.mean()
    drawn = rng.poisson(counts, (4000, len(counts))).astype(float)
    pairs = one.pair_function(one.structure_factor(drawn))
    told = one.sigma(counts[None], counts[None], one.kernel)[0]
    near = R > 0.5
    np.testing.assert_allclose(pairs.std(axis=0)[near], told[near], rtol=0.08)
    structure = one.structure_factor(drawn)
    by_bin = one.sigma(counts[None], counts[None], np.eye(len(counts)))[0]
    np.testing.assert_allclose(structure.std(axis=0), by_bin, rtol=0.08)


def test_places_of_a_peak_and_of_none():
    peak = np.exp(-(((R - 3.013) / 0.2) ** 2)) - 1e-4
    shell = shell_in(R, peak, 2.0, 4.0)
    assert shell.upper == pytest.approx((2.86, 3.16), abs=0.021)
    assert shell.start < 2.5 < 3.5 < shell.end
    moved = np.stack([peak, np.exp(-(((R - 3.05) / 0.2) ** 2))])
    np.testing.assert_allclose(maxima(R, moved, shell), [3.013, 3.05], atol=4e-3)
    np.testing.assert_allclose(centroids(R, moved, shell), [3.013, 3.05], atol=2e-3)
    np.testing.assert_allclose(areas(R, peak, shell), 0.2 * np.sqrt(np.pi), rtol=2e-3)
    assert np.isnan(maxima(R, R, shell))
    assert np.isnan(maxima(R, -peak, shell))
    assert np.isnan(centroids(R, -np.ones(len(R)), shell))


SIZE = 96
PIXEL = 172.0
DISTANCE = 0.5 * SIZE * PIXEL * 1e-6 / glass.EDGE


@pytest.fixture(scope="module")
def frames():
    """The glass on a detector, without noise: (expected counts, centre, shells of every frame)."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    places = np.array([(2.77, 4.83, 7.13), (2.84, 4.75, 7.05)])
    rates = np.stack([glass.pattern(2 * y / SIZE, 2 * x / SIZE, tuple(p)) for p in places.tolist()])
    return 20 * rates / rates.mean(), Center.given(((SIZE - 1) / 2,) * 2), places


def made(frames, *, empty=0.0, **options):
    """S(Q) and G(r) of these frames, with photons of nothing but air on top."""
    pytest.importorskip("pyFAI")
    from smae_jax.report.cake import Cake
    from smae_jax.report.pair import pair_of
    from smae_jax.report.pair_layout import lay_out_pair

    rates, center, _ = frames
    size = (PIXEL * 1e-6, PIXEL * 1e-6)
    geometry = Geometry(None, size, glass.WAVELENGTH * 1e-10, DISTANCE)
    if options.pop("without", False):
        geometry = Geometry()
    config = ReportConfig(**({"composition": glass.FORMULA} | options))
    light = np.ones((1, SIZE, SIZE), np.float32)
    counts = (rates + empty).astype(np.float32)
    data = Measurements(counts, light, center)
    background = None
    if empty:
        background = Measurements(np.full((1, SIZE, SIZE), empty / 2, np.float32), light, center)
    cake = Cake(geometry, center, (SIZE, SIZE))
    sums = [cake(one, light[0]) for one in counts.astype(np.float64)]
    counted, norm = (np.stack([s[k].sum(axis=1) for s in sums]) for k in (0, 1))
    profile = Profiles(counted, norm, counted)
    layout = lay_out_pair(config, data, cake, geometry, profile.of_scan(), background)
    return pair_of(layout, profile)


def test_frames_of_a_detector_give_the_shells_back(frames):
    found = made(frames)
    assert found.layout.shells[0].where.startswith("shell at 2.8")
    assert len(found.layout.shells) == 3
    truth = np.stack([glass.pair_function(R, tuple(p)) for p in frames[2].tolist()])
    for k, shell in enumerate(found.layout.shells):
        position, centroid = found.observables[3 * k : 3 * k + 2]
        np.testing.assert_allclose(position.denoised, frames[2][:, k], atol=0.02)
        np.testing.assert_allclose(centroid.raw, centroids(R, truth, shell), atol=0.02)
    high = found.layout.transform.q > 11
    np.testing.assert_allclose(found.structure.raw[:, high].mean(), 1, atol=5e-3)


def test_a_background_that_is_given_changes_nothing(frames):
    alone = made(frames)
    with_air = made(frames, empty=8.0, background="air.tif", background_scale=2.0)
    np.testing.assert_allclose(with_air.structure.raw, alone.structure.raw, atol=2e-3)
    assert (with_air.structure.raw_sigma > alone.structure.raw_sigma).all()
    assert ("background", "2 times air.tif") in with_air.layout.said


def test_errors_of_shells_cover_and_shrink_with_counts(frames):
    rates, center, places = frames
    rng = np.random.default_rng(3)
    many = rng.poisson(np.repeat(rates[:1], 60, axis=0)).astype(float)
    found = made((many, center, np.repeat(places[:1], 60, axis=0)))
    for one in found.observables[:6]:
        told = np.nanmedian(one.raw_sigma)
        assert 0.75 < np.nanstd(one.raw) / told < 1.3, one.title
    assert np.nanmedian(found.observables[0].raw_sigma) < 0.02
    assert found.functions.denoised_sigma is None  # halves were not given


def test_structure_that_was_smoothed_away_shows_in_the_areas(frames):
    pytest.importorskip("pyFAI")
    rates, center, places = frames
    many = np.random.default_rng(4).poisson(np.repeat(rates[:1], 30, axis=0)).astype(float)
    whole = (center, np.repeat(places[:1], 30, axis=0))
    raw, truth = made((many, *whole)), made((np.repeat(rates[:1], 30, axis=0), *whole))
    profile = 0.6 * truth.structure.raw + 0.4 * np.ones_like(truth.structure.raw)
    flat = raw.layout.transform.pair_function(profile)
    for name, pairs, rings in (("truth", truth.functions.raw, False), ("flat", flat, True)):
        shell, area = raw.layout.shells[0], raw.observables[2]
        one = dataclasses.replace(area, denoised=areas(raw.layout.transform.r, pairs, shell))
        shift, error = one.shift
        assert (abs(shift) > 5 * error) == rings, name
        assert (peaks_moved([one]).state == "rings") == rings, name


def test_range_and_options_are_kept(frames):
    found = made(frames, q_max=11.0, r_max=9.0, lorch=False, shells=("2.3:3.4",), density=6.9)
    transform = found.layout.transform
    assert 10.7 < transform.q[-1] <= 11
    assert transform.r[-1] == pytest.approx(9)
    assert [one.title for one in found.observables] == [
        f"position, {found.layout.shells[0].where}",
        f"centroid, {found.layout.shells[0].where}",
        f"area, {found.layout.shells[0].where}",
    ]
    said = dict(found.layout.said)
    assert said["window"] == "none"
    assert "atoms per cubic angstrom" in said["density"]


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "quiet"),
        ({"density": 6.9}, "quiet"),
        ({"lorch": False}, "quiet"),
        ({"q_max": 11.0}, "quiet"),
        ({"q_max": 7.0}, "cannot tell"),
        ({"density": 14.0}, "rings"),
        ({"density": 1000.0}, "rings"),
        ({"composition": "U"}, "rings"),
        ({"composition": "H2O"}, "rings"),
        ({"composition": "Al"}, "rings"),
        ({"empty": 40.0, "background": "air.tif", "background_scale": 0.5}, "rings"),
    ],
)
def test_what_cannot_be_true_below_the_first_shell_is_an_alarm(frames, options, state):
    found = pair_doubtful(made(frames, **options).below)
    assert found.state == state, found


def test_values_that_are_no_counts_have_no_errors_but_may_be_in_doubt(frames):
    right, wrong = made(frames).without_noise(), made(frames, composition="U").without_noise()
    assert np.isnan(right.whole_functions.raw_sigma).all()
    assert np.isnan(right.observables[0].raw_sigma).all()
    assert pair_doubtful(right.below).state == "quiet"
    assert pair_doubtful(wrong.below).state == "rings"
    assert "noise" not in pair_doubtful(wrong.below).found


def test_noise_below_the_first_shell_is_no_doubt(frames):
    rates, *rest = frames
    noisy = np.random.default_rng(5).poisson(0.02 * rates).astype(float)
    for k in range(2):
        assert pair_doubtful(made((noisy[k : k + 1], *rest)).below).state != "rings"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"without": True}, "need q, and profiles are over the radius in pixels"),
        ({"q_max": 40.0}, "--q-max 40: measured up to"),
        (
            {"q_max": 2.0},
            "expected scattering up to 5 1/angstrom, got a profile up to 1.* with --q-max 2",
        ),
        ({"r_max": 90.0}, "--r-max 90: bins of"),
        ({"r_max": 0.01}, "--r-max 0.01: expected more than 1.2 angstrom"),
        (
            {"empty": 8.0, "background": "air.tif", "background_scale": 500.0},
            "--background-scale 500: .* in 100 % of the bins",
        ),
        ({"shells": ("2:3", "20:30")}, "--shells 20:30: expected a range"),
        ({"composition": "Xx"}, "--composition"),
    ],
)
def test_what_was_not_measured_is_refused_in_one_line(frames, options, words):
    with pytest.raises(UserError, match=words) as refused:
        made(frames, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"q_max": 12.0}, "--q-max: is for S"),
        ({"lorch": False}, "--no-lorch"),
        ({"background": "air.tif"}, "--background: is for S"),
        ({"composition": "SiO2", "background_scale": 2.0}, "--background-scale 2"),
        ({"composition": "SiO2", "density": -1.0}, "--density"),
        ({"composition": "SiO2", "shells": ("4:3",)}, "--shells"),
        ({"composition": "SiO2", "physics": "off"}, "--composition"),
    ],
)
def test_contradictions_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        ReportConfig(**options)
