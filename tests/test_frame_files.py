"""Which files are frames: what is literally there first, in natural order, without masks and strangers."""

import os
import time
import unicodedata

import h5py
import numpy as np
import pytest
import tifffile

from smae_jax.errors import UserError
from smae_jax.io import scans
from smae_jax.io.frame_files import find_frames
from smae_jax.io.locations import matching, natural_key
from smae_jax.io.outputs import refuse_input
from smae_jax.io.reading import read
from smae_jax.io.source import open_source


def frame(path, value, dtype: type = np.int32):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((5, 4), value, dtype)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    return str(path)


def levels(path, **options):
    return read(str(path), **options).counts[:, 0, 0].tolist()


# Literally there first


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("run[1]", [10, 11]),
        ("run[1]/*.tif", [10, 11]),
        ("run[1]/s_[0].tif", [10]),
        ("run[1]/s_1.tif", [11]),
        ("run1/*.tif", [20, 21]),
        ("run[1-2]/*.tif", [20, 21]),
        ("run*/s_0.tif", [10, 20]),
        ("**/s_1.tif", [11, 21]),
    ],
)
def test_brackets_in_folders(tmp_path, asked, found):
    for folder, first in (("run[1]", 10), ("run1", 20)):
        for index in range(2):
            frame(tmp_path / folder / f"s_{index}.tif", first + index)
    assert sorted(levels(tmp_path / asked)) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("s[1]_0.tif", [1]),
        ("s[1]_*.tif", [1, 2]),
        ("s*.tif", [1]),  # a file of this very name
        ("s?_0.tif", [3]),
        ("s[12]_0.tif", [3]),
        ("t[[]x]*.tif", [5]),
    ],
)
def test_brackets_and_stars_in_names(tmp_path, asked, found):
    frame(tmp_path / "s[1]_0.tif", 1)
    frame(tmp_path / "s[1]_1.tif", 2)
    frame(tmp_path / "s1_0.tif", 3)
    frame(tmp_path / "t[x]_0.tif", 5)
    if asked == "s*.tif":
        frame(tmp_path / "s*.tif", 1)
    assert levels(tmp_path / asked) == found


def test_text_in_a_folder_with_brackets(tmp_path):
    (tmp_path / "run[1]").mkdir()
    for index in range(2):
        text = "\n".join(f"{x} {x * (index + 1)}" for x in range(9))
        (tmp_path / "run[1]" / f"{index}.txt").write_text(text)
    assert read(str(tmp_path / "run[1]")).counts.shape == (2, 9)


def test_outputs_know_inputs_by_the_same_rule(tmp_path):
    path = frame(tmp_path / "run[1]" / "s_0.tif", 1)
    frame(tmp_path / "run1" / "s_0.tif", 2)
    with pytest.raises(UserError, match="is an input"):
        refuse_input(path, f"{tmp_path}/run[1]/*.tif")
    refuse_input(tmp_path / "run1" / "s_0.tif", f"{tmp_path}/run[1]/*.tif")


# Natural order


def test_natural_order_of_any_script():
    accents = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    names = [
        *(f"a{n}" for n in ("1", "2", "10", "²", "٣", "\u0660\u0664", "₅", "Ⅷ", "½", "一")),
        *(f"{accents[n % 2]}{n}" for n in range(12)),
        *("", "7", "7a", "a", "a1b", "a01", "\udcff"),
    ]
    ordered = sorted(names, key=natural_key)
    names.reverse()
    assert sorted(names, key=natural_key) == ordered  # no two names are equal
    here = [name for name in ordered if name in ("a1", "a2", "a٣", "a\u0660\u0664", "a10")]
    assert here == ["a1", "a2", "a٣", "a\u0660\u0664", "a10"]
    accented = [name for name in ordered if unicodedata.normalize("NFC", name).startswith("é")]
    assert [int(name.lstrip("é\u0301e")) for name in accented] == list(range(12))
    assert ordered.index("a1") < ordered.index("a1b")


@pytest.mark.parametrize("digits", ["0123", "٠١٢٣", "\uff10\uff11\uff12\uff13"])
def test_frames_are_read_in_this_order(tmp_path, digits):
    for number in (10, 2, 1):
        name = "".join(digits[int(one)] for one in str(number))
        frame(tmp_path / f"s_{name}.tif", number)
    frame(tmp_path / "s_³.tif", 99)
    assert levels(tmp_path)[:3] == [1, 2, 10]


# What is no frame


def mixed(folder, *, frames=3):
    for index in range(frames):
        frame(folder / f"s_{index}.tif", index + 1)
    return folder


@pytest.mark.parametrize("where", ["", "*.tif", "*"])
@pytest.mark.parametrize("name", ["mask.tif", "beamstop.tif", "s_1b.tif", "Pilatus_MASK.tif"])
def test_mask_beside_frames_is_left_out_and_said(tmp_path, name, where):
    mixed(tmp_path)
    mask = frame(tmp_path / name, 7, np.uint8)
    if where == "*":
        (tmp_path / "a").mkdir()
    data = read(str(tmp_path / where), left_out=[mask])
    assert data.counts[:, 0, 0].tolist() == [1, 2, 3]
    assert data.origin.dtype == "int32"
    (note,) = data.origin.notes
    assert name in note
    assert "mask" in note
    source = open_source(str(tmp_path / where), left_out=[mask])
    assert source.frames == 3


def test_mask_is_known_under_another_name_of_it(tmp_path, monkeypatch):
    mixed(tmp_path / "scan")
    frame(tmp_path / "scan" / "bad.tif", 7, np.uint8)
    os.symlink(tmp_path / "scan" / "bad.tif", tmp_path / "link.tif")
    monkeypatch.chdir(tmp_path)
    for name in ("scan/bad.tif", "./scan/../scan/bad.tif", "link.tif", "scan/b[a]d.tif"):
        assert levels("scan/*.tif", left_out=[name]) == [1, 2, 3]
    assert levels("scan/*.tif") == [7, 1, 2, 3]


def test_nothing_is_left_out_where_nothing_would_remain(tmp_path):
    mask = frame(tmp_path / "mask.tif", 7)
    assert levels(mask) == [7]
    assert levels(mask, left_out=[mask]) == [7]
    assert levels(tmp_path, left_out=[mask]) == [7]
    frame(tmp_path / "other_mask.tif", 8)
    assert levels(f"{tmp_path}/*.tif") == [7, 8]  # a scan of something that is called mask


@pytest.mark.parametrize("name", ["unmasked.tif", "mask_0001.tif", "damask.tif", "sigma.tif"])
def test_frames_that_are_called_something_like_it_stay(tmp_path, name):
    mixed(tmp_path)
    frame(tmp_path / name, 7)
    assert sorted(levels(tmp_path)) == [1, 2, 3, 7]


def test_a_mask_within_a_file_of_frames_leaves_it_a_frame(tmp_path):
    for index in range(2):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["data"], file["bad"] = np.full((1, 5, 4), index + 1), np.zeros((5, 4), bool)
    assert levels(f"{tmp_path}/*.h5::/data", left_out=[f"{tmp_path}/0.h5::/bad"]) == [1, 2]


def test_what_this_program_wrote_beside_is_left_out(tmp_path):
    mixed(tmp_path)
    frame(tmp_path / "s_1_sigma.tif", 9)
    frame(tmp_path / "t_sigma.tif", 8)  # of no file that is here
    data = read(f"{tmp_path}/*.tif")
    assert sorted(data.counts[:, 0, 0].tolist()) == [1, 2, 3, 8]
    assert "s_1_sigma.tif (written beside" in data.origin.notes[0]
    frame(tmp_path / "n" / "a.npy", 3)
    frame(tmp_path / "n" / "b.npy", 4)
    np.save(tmp_path / "n" / "a_axis.npy", np.arange(4.0))
    assert find_frames(str(tmp_path / "n"))[0] == [f"{tmp_path}/n/a.npy", f"{tmp_path}/n/b.npy"]


def test_data_files_of_a_master_are_not_read_twice(tmp_path):
    for name in ("scan_master.h5", "scan_data_000001.h5", "other_data_000001.h5"):
        (tmp_path / name).write_bytes(b"x")
    files, notes = find_frames(f"{tmp_path}/*.h5")
    assert [os.path.basename(f) for f in files] == ["other_data_000001.h5", "scan_master.h5"]
    assert "scan_data_000001.h5 (linked by the master file)" in notes[0]


def test_strangers_in_a_folder_are_said(tmp_path):
    mixed(tmp_path)
    for name in (".DS_Store", ".hidden.tif", "Thumbs.db", "scan.log", "notes.md", "a.png", "~b"):
        (tmp_path / name).write_bytes(b"x")
    data = read(str(tmp_path))
    assert data.counts[:, 0, 0].tolist() == [1, 2, 3]
    (note,) = data.origin.notes
    assert "left out of the frames: " in note
    assert "and 2 more (no frames, or hidden)" in note
    assert read(f"{tmp_path}/*.tif").origin.notes == ()


def test_mask_of_another_format_does_not_mix_the_folder(tmp_path):
    mixed(tmp_path)
    mask = frame(tmp_path / "bad.npy", 1)
    with pytest.raises(UserError, match="mixes formats"):
        read(str(tmp_path))
    assert levels(tmp_path, left_out=[mask]) == [1, 2, 3]


def test_unlike_types_of_numbers_are_told(tmp_path):
    mixed(tmp_path, frames=2)
    frame(tmp_path / "s_7.tif", 2.5, np.float32)
    (note,) = read(str(tmp_path)).origin.notes
    assert "2 of int32 (s_0.tif), 1 of float32 (s_7.tif)" in note


# Many files


def test_each_of_many_files_is_opened_once(tmp_path, monkeypatch):
    count, opened = 300, []
    for index in range(count):
        frame(tmp_path / f"s_{index}.tif", index + 1)
    whole = scans.opener_of
    monkeypatch.setattr(
        scans, "opener_of", lambda file, **k: opened.append(file) or whole(file, **k)
    )
    assert levels(f"{tmp_path}/*.tif") == list(range(1, count + 1))
    # A few, spread over the scan, are looked at before: they tell what is a mark.
    assert len(set(opened)) == count
    assert len(opened) <= count + 16


def test_listing_takes_time_in_proportion(tmp_path):
    def seconds(count):
        for index in range(count):
            (tmp_path / f"s_{index}.tif").write_bytes(b"x")
        start = time.process_time()
        assert len(find_frames(f"{tmp_path}/*.tif", [f"{tmp_path}/s_0.tif"])[0]) == count - 1
        return time.process_time() - start

    few, many = seconds(500), seconds(4000)
    assert many < 30 * few + 0.2
    assert len(matching(str(tmp_path))) == 4000
