"""Repeats of every format and number of dimensions: read, chosen, written and read again."""

import h5py
import numpy as np
import pytest
import tifffile

from smae_jax.io.reading import choose_frames, is_spectra, parse_frames
from smae_jax.io.reading import read as read_repeats
from smae_jax.io.writing import check_output, write
from smae_jax.measurements import mean_of_frames


@pytest.fixture
def spectra():
    """Counts (5, 12), no two alike, and an ascending axis of uneven steps."""
    counts = (
        np.random.default_rng(3).poisson(40, (5, 12)) + np.arange(12) * np.arange(1, 6)[:, None]
    )
    return counts.astype(np.int32), 1.0 + 0.1 * np.arange(12) ** 1.1


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("0:4", [0, 1, 2, 3]),
        ("0,2,4", [0, 2, 4]),
        ("::2", [0, 2, 4]),
        ("-1", [4]),
        ("3:, 0", [3, 4, 0]),
    ],
)
def test_choice_of_repeats_is_read(text, chosen):
    assert parse_frames(text, 5) == chosen


@pytest.mark.parametrize("text", ["5", "-6", "a", "1:2:3:4", "::0", "4:2", "0,0", "1,", "0:3,2"])
def test_choice_of_repeats_refuses_what_is_not_there(text):
    with pytest.raises(ValueError, match=r"^--data\.repeats: ") as error:
        parse_frames(text, 5)
    assert "\n" not in str(error.value)


def test_choice_keeps_names_and_makes_the_mean_exposure_one(tmp_path, spectra):
    counts, energy = spectra
    np.savez(tmp_path / "a.npz", counts=counts, energy=energy, exposure=[1.0, 1.0, 1.0, 3.0, 9.0])
    read = read_repeats(str(tmp_path / "a.npz"), dimensions=1)
    chosen = choose_frames(read, "3,0")
    np.testing.assert_array_equal(chosen.counts, counts[[3, 0]])
    np.testing.assert_allclose(chosen.frame_exposure, [1.5, 0.5])
    assert chosen.names == ("repeat 3", "repeat 0")
    mean, behind = mean_of_frames(chosen)
    np.testing.assert_allclose(mean, (counts[3] + counts[0]) / 2.0)
    np.testing.assert_allclose(behind, 2.0)


def test_npz_finds_axis_unit_exposure_and_mask(tmp_path, spectra):
    counts, energy = spectra
    mask = np.zeros(12, bool)
    mask[4] = True
    np.savez(
        tmp_path / "a.npz",
        raw=counts,
        energy=energy,
        energy_unit="keV",
        live_time=[1, 2, 2, 2, 3],
        mask=mask,
    )
    read = read_repeats(f"{tmp_path}/a.npz::raw")
    assert (read.axis.name, read.axis.unit, read.axis_label) == ("energy", "keV", "energy (keV)")
    np.testing.assert_allclose(read.axis.values, energy)
    np.testing.assert_allclose(read.frame_exposure, [0.5, 1, 1, 1, 1.5])
    assert not read.valid[:, 4].any()
    assert read.valid.sum() == 55
    assert (read.counts[:, 4] == 0).all()


def test_npz_with_several_arrays_must_be_told_which(tmp_path, spectra):
    counts, energy = spectra
    np.savez(tmp_path / "a.npz", first=counts, second=counts, energy=energy)
    with pytest.raises(ValueError, match=r"holds first, second, energy.*a\.npz::first"):
        read_repeats(f"{tmp_path}/a.npz")


def test_array_without_axis_must_be_told_its_dimensions(tmp_path, spectra):
    np.save(tmp_path / "a.npy", spectra[0])
    assert read_repeats(f"{tmp_path}/a.npy").counts.shape == (1, 5, 12)  # one pattern
    with pytest.raises(ValueError, match=r"\(5, 12\).*--data\.dimensions"):
        read_repeats(f"{tmp_path}/a.npy", repeats_axis=1)
    assert read_repeats(f"{tmp_path}/a.npy", dimensions=1).counts.shape == (5, 12)
    assert read_repeats(f"{tmp_path}/a.npy", dimensions=2).counts.shape == (1, 5, 12)


def test_repeats_along_the_second_axis_are_asked_for_by_the_axis(tmp_path, spectra):
    counts, energy = spectra
    np.savez(tmp_path / "a.npz", counts=counts.T, energy=energy)
    with pytest.raises(ValueError, match=r"12 values, but a spectrum has 5.*--data.repeats-axis"):
        read_repeats(f"{tmp_path}/a.npz")
    np.testing.assert_array_equal(read_repeats(f"{tmp_path}/a.npz", repeats_axis=1).counts, counts)


def test_channels_go_last_and_repeats_first(tmp_path):
    values = (
        np.random.default_rng(0).poisson(9, (3, 7, 5)).astype(np.float32)
    )  # channel, place, repeat
    values[1, 2, 4] = np.nan
    np.save(tmp_path / "a.npy", values)
    read = read_repeats(f"{tmp_path}/a.npy", dimensions=1, channel_axis=0, repeats_axis=-1)
    assert read.channels
    assert read.counts.shape == (5, 7, 3)
    assert read.spatial == (7,)
    assert read.counts[3, 6, 2] == values[2, 6, 3]
    assert not read.valid[4, 2]
    assert (read.counts[4, 2] == 0).all()
    assert read.valid.sum() == 34


def test_map_of_spectra_is_a_row_of_repeats(tmp_path):
    values = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    np.savez(tmp_path / "map.npz", counts=values, energy=np.linspace(1, 2, 8))
    read = read_repeats(f"{tmp_path}/map.npz", dimensions=1)
    assert read.origin.leading == (2, 3)
    np.testing.assert_array_equal(read.counts, values.reshape(6, 8))
    assert read.names[4] == "repeat 1,1"


def test_negative_values_of_a_spectrum_are_data_and_those_of_a_volume_are_not(tmp_path):
    values = np.ones((2, 4, 4, 4), np.int32)
    values[0, 1, 2, 3] = -1
    np.save(tmp_path / "a.npy", values)
    volumes = read_repeats(f"{tmp_path}/a.npy", dimensions=3)
    assert volumes.spatial == (4, 4, 4)
    assert not volumes.valid[0, 1, 2, 3]
    assert read_repeats(f"{tmp_path}/a.npy", dimensions=1).valid.all()


def test_patterns_are_read_as_a_scan_is(tmp_path):
    frames = np.random.default_rng(0).poisson(3, (4, 6, 9)).astype(np.int32)
    frames[:, 2] = -1
    for index, frame in enumerate(frames):
        tifffile.imwrite(tmp_path / f"f{index}.tif", frame)
    read = read_repeats(f"{tmp_path}/f*.tif", dimensions=2, repeats="1:3")
    np.testing.assert_array_equal(read.counts[:, 0], frames[1:3, 0])
    assert read.names == ("f1.tif", "f2.tif")
    assert not read.valid[:, 2].any()


def test_pages_of_a_tiff_are_a_volume(tmp_path):
    volume = np.random.default_rng(0).poisson(3, (5, 6, 7)).astype(np.uint16)
    for index in range(2):
        tifffile.imwrite(tmp_path / f"v{index}.tif", volume + index, photometric="minisblack")
    read = read_repeats(f"{tmp_path}/v*.tif", dimensions=3)
    np.testing.assert_array_equal(read.counts, [volume, volume + 1])


def test_nexus_axis_and_units_are_followed(tmp_path, spectra):
    counts, energy = spectra
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file.attrs["default"] = "entry"
        file.create_group("entry").attrs["default"] = "plot"
        group = file["entry"].create_group("plot")
        group.attrs["signal"] = "fluorescence"
        group.attrs["axes"] = [".", "photon_energy"]
        group["fluorescence"] = counts
        group["photon_energy"] = energy
        group["photon_energy"].attrs["units"] = "keV"
        group["other"] = counts + 1
    read = read_repeats(f"{tmp_path}/a.nxs")
    np.testing.assert_array_equal(read.counts, counts)
    assert (read.axis.name, read.axis.unit) == ("photon_energy", "keV")
    other = read_repeats(f"{tmp_path}/a.nxs::/entry/plot/other")
    np.testing.assert_array_equal(other.counts, counts + 1)


def test_unclear_hdf5_lists_what_it_holds(tmp_path, spectra):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = spectra[0], spectra[0]
    with pytest.raises(ValueError, match=r"/one \(5, 12\), /two \(5, 12\).*a\.h5::/one"):
        read_repeats(f"{tmp_path}/a.h5")


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.tsv", "a.npz", "a.npy", "a.h5", "a.nxs"])
def test_written_spectra_are_read_back_with_their_axis(tmp_path, spectra, name):
    counts, energy = spectra
    np.savez(tmp_path / "in.npz", counts=counts, energy=energy, energy_unit="keV")
    read = read_repeats(f"{tmp_path}/in.npz")
    values = counts / 3 + 0.1
    path = str(tmp_path / name)
    write(path, values, read, sigma=values**0.5, process={"config": "two\nlines", "run": "r"})
    again = read_repeats(path)
    np.testing.assert_allclose(again.counts, values, rtol=1e-6)
    np.testing.assert_allclose(again.axis.values, energy, rtol=1e-8)
    if not name.endswith(".npy"):  # which has no place for a name
        assert (again.axis.name, again.axis.unit) == ("energy", "keV")
    if name == "a.csv":
        assert again.names == read.names
    with pytest.raises(ValueError, match=r"exists already.*--overwrite"):
        write(path, values, read)
    write(path, values, read, overwrite=True)


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.npy", "a.h5"])
def test_single_denoised_spectrum_is_written_with_its_sigma(tmp_path, spectra, name):
    counts, energy = spectra
    np.savez(tmp_path / "in.npz", counts=counts, energy=energy)
    read = read_repeats(f"{tmp_path}/in.npz")
    value = counts.mean(axis=0) + 0.25
    write(f"{tmp_path}/{name}", value[None], read, sigma=value[None] / 10)
    again = read_repeats(f"{tmp_path}/{name}")
    assert again.counts.shape == (1, 12)
    np.testing.assert_allclose(again.counts[0], value, rtol=1e-6)
    sigma = {
        "a.csv": lambda: np.loadtxt(f"{tmp_path}/a.csv", delimiter=",", skiprows=1, usecols=2),
        "a.npz": lambda: np.load(f"{tmp_path}/a.npz")["sigma"],
        "a.npy": lambda: np.load(f"{tmp_path}/a_sigma.npy"),
        "a.h5": lambda: h5py.File(f"{tmp_path}/a.h5")["entry/data/data_errors"][()],
    }[name]()
    np.testing.assert_allclose(np.ravel(sigma), value / 10, rtol=1e-6)


def test_files_of_one_spectrum_each_follow_one_another(tmp_path, spectra):
    counts, energy = spectra
    for index in (0, 1, 10, 2):
        rows = np.column_stack([energy, counts[index % 5] + index])
        np.savetxt(tmp_path / f"s{index}.txt", rows, header="shift(1/cm) counts")
    read = read_repeats(str(tmp_path))
    assert read.names == ("s0", "s1", "s2", "s10")
    np.testing.assert_allclose(read.counts[3], counts[0] + 10)
    assert (read.axis.name, read.axis.unit) == ("shift", "1/cm")
    np.savetxt(tmp_path / "s3.txt", np.column_stack([energy + 1, counts[0]]))
    with pytest.raises(ValueError, match=r"differ in their axes: .*s0\.txt and .*s3\.txt"):
        read_repeats(f"{tmp_path}/s*.txt")


def test_volume_is_written_and_text_refuses_it(tmp_path):
    values = np.random.default_rng(0).poisson(5, (2, 3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    read = read_repeats(f"{tmp_path}/v.npy", dimensions=3)
    write(f"{tmp_path}/out.h5", values, read)
    np.testing.assert_array_equal(read_repeats(f"{tmp_path}/out.h5", dimensions=3).counts, values)
    with pytest.raises(ValueError, match="text holds spectra only"):
        check_output(f"{tmp_path}/out.csv", read)
    with pytest.raises(ValueError, match=r"unknown suffix '\.jpg'"):
        check_output(f"{tmp_path}/out.jpg", read)


def test_patterns_are_written_as_images_with_their_sigmas(tmp_path):
    frames = np.random.default_rng(0).poisson(3, (4, 6, 9)).astype(np.int32)
    np.save(tmp_path / "f.npy", frames)
    read = read_repeats(f"{tmp_path}/f.npy", dimensions=2)
    mean = frames.mean(axis=0)
    mean[1, 2] = np.nan
    write(f"{tmp_path}/out.tif", mean[None], read, sigma=mean[None] / 7)
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif"), mean, rtol=1e-6)
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out_sigma.tif"), mean / 7, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimensions": 3}, "expected at least as many axes"),
        ({"dimensions": 1, "repeats_axis": 5}, "expected an axis from 0 to 1"),
        ({"dimensions": 1, "channel_axis": 0}, None),
        ({"dimensions": 1, "repeats": "9"}, "there is no repeat 9"),
    ],
)
def test_axes_that_are_not_there_are_refused(tmp_path, spectra, arguments, message):
    np.save(tmp_path / "a.npy", spectra[0])
    if message is None:  # one spectrum of several channels
        assert read_repeats(f"{tmp_path}/a.npy", **arguments).counts.shape == (1, 12, 5)
        return
    with pytest.raises(ValueError, match=message):
        read_repeats(f"{tmp_path}/a.npy", **arguments)


def test_nothing_to_use_is_refused(tmp_path):
    np.save(tmp_path / "nan.npy", np.full((2, 9), np.nan))
    with pytest.raises(ValueError, match="no usable value"):
        read_repeats(f"{tmp_path}/nan.npy", dimensions=1)
    np.save(tmp_path / "zero.npy", np.zeros((2, 9)))
    with pytest.raises(ValueError, match="shutter"):
        read_repeats(f"{tmp_path}/zero.npy", dimensions=1)
    with pytest.raises(ValueError, match="no such file"):
        read_repeats(f"{tmp_path}/missing.csv")
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="Python objects"):
        read_repeats(f"{tmp_path}/objects.npy", dimensions=1)


def test_paths_that_can_only_be_spectra():
    assert is_spectra("a/b.CSV")
    assert is_spectra("a.npz::x", dimensions=1)
    assert not is_spectra("a/*.tif")


def test_raman_repeats_are_read_with_their_shift(shared_data):
    read = read_repeats(f"{shared_data}/raman_repeats.npz::sub", repeats="5:10")
    assert read.counts.shape == (5, 2048)
    assert read.axis_label == "shift (1/cm)"
    assert (read.counts < 0).any()
    assert read.valid.all()


def test_muscle_frames_are_repeats(shared_data):
    read = read_repeats(f"{shared_data}/muscle_p40_raw/*.tif", repeats="0:2")
    assert read.counts.shape == (2, 1043, 981)
    assert read.names[1].endswith("00001.tif")
    assert 0.85 < read.valid.mean() < 0.95


def test_exposures_of_another_number_are_noted(tmp_path, spectra):
    counts, energy = spectra
    path = f"{tmp_path}/a.npz"
    np.savez(path, counts=counts, energy=energy, live_time=[1.0, 2.0])
    read = read_repeats(path)
    np.testing.assert_array_equal(read.exposure, 1)
    assert "2 exposures 'live_time' for an array of (5, 12): left out" in read.origin.notes
    np.savez(path, counts=counts.reshape(5, 2, 6), live_time=[1.0, 2.0])
    read = read_repeats(f"{path}::counts", dimensions=1)
    np.testing.assert_array_equal(read.exposure, 1)
    said = "2 exposures for 10 repeats: left out, all repeats count alike"
    assert said in read.origin.notes


def test_exposure_is_one_row_where_all_repeats_agree(tmp_path, spectra):
    counts, energy = spectra
    np.savez(tmp_path / "a.npz", counts=counts, energy=energy)
    assert read_repeats(f"{tmp_path}/a.npz").exposure.shape == (1, 12)
    np.savez(tmp_path / "b.npz", counts=counts, energy=energy, exposure=[1.0, 1.0, 1.0, 3.0, 9.0])
    several = read_repeats(f"{tmp_path}/b.npz")
    assert several.exposure.shape == (5, 12)
    assert choose_frames(several, "0:3").exposure.shape == (1, 12)
    np.testing.assert_array_equal(choose_frames(several, "0:3").exposure, 1)


def test_whole_numbers_of_spectra_are_not_rounded(tmp_path, spectra):
    counts, energy = spectra
    counts[2, 3] = 2**24 + 1
    np.savez(tmp_path / "a.npz", counts=counts, energy=energy)
    read = read_repeats(f"{tmp_path}/a.npz")
    assert read.counts.dtype == np.int32
    np.testing.assert_array_equal(read.counts, counts)


def test_pattern_with_coordinates_of_both_axes_is_no_spectra(tmp_path):
    image = np.random.default_rng(0).poisson(9, (6, 8)).astype(np.int32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("entry").attrs.update({"signal": "data", "axes": ["y", "x"]})
        file.attrs["default"] = "entry"
        file["entry/data"], file["entry/x"], file["entry/y"] = image, np.arange(8.0), np.arange(6.0)
    assert read_repeats(f"{tmp_path}/a.h5").counts.shape == (1, 6, 8)


def test_frames_beside_an_axis_of_the_scan_stay_patterns(tmp_path):
    frames = np.random.default_rng(0).poisson(9, (5, 6, 8)).astype(np.int32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["time"] = frames, np.arange(5.0)
    assert read_repeats(f"{tmp_path}/a.h5").counts.shape == (5, 6, 8)


def test_notes_in_a_folder_of_frames_are_not_read(tmp_path):
    (tmp_path / "notes.txt").write_text("1 2 3\n4 5 6\n")
    np.save(tmp_path / "f.npy", np.ones((2, 3, 4)))
    assert read_repeats(str(tmp_path)).counts.shape == (2, 3, 4)


def test_archive_that_is_one_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4)))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz: cannot be read as an \.npz file"):
        read_repeats(f"{tmp_path}/a.npz")


@pytest.mark.parametrize("channels", [False, True])
def test_answers_to_volumes_and_channels_come_back(tmp_path, channels):
    shape = (2, 3, 4, 5)
    values = np.random.default_rng(0).poisson(5, shape).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    layout = {"dimensions": 2, "channel_axis": -1} if channels else {"dimensions": 3}
    read = read_repeats(f"{tmp_path}/v.npy", **layout)
    known = np.ones(shape[:-1] if channels else shape, bool)
    known[0, 1, 2] = False
    write(f"{tmp_path}/out.h5", values, read, known=known)
    again = read_repeats(f"{tmp_path}/out.h5", **layout)
    np.testing.assert_array_equal(again.full_exposure > 0, known)
    if channels:
        with pytest.raises(ValueError, match="images have no channels"):
            check_output(f"{tmp_path}/out.tif", read)
