"""Masks from every format, several at once, in either polarity, on the command line and in configs."""

import gzip
import io

import h5py
import numpy as np
import pytest
import tifffile
from fabio import edfimage, fit2dmaskimage
from PIL import Image

from smae_jax.cli import parse, together
from smae_jax.config import DataOptions, InferConfig, InspectConfig, TrainConfig
from smae_jax.config_file import dump, from_dict, load
from smae_jax.errors import UserError
from smae_jax.io.reading import describe_mask, read, read_mask, with_masks
from smae_jax.run.data import read_data


@pytest.fixture
def bad():
    """Marked pixels, unlike under every flip and turn."""
    marks = np.zeros((20, 16), bool)
    marks[2:5, 1:9], marks[11, 13], marks[-1, 0] = True, True, True
    return marks


def picture(path, values, mode=None):
    Image.fromarray(values, mode).save(path)


def text(delimiter, head=""):
    def write(path, marks):
        rows = (delimiter.join(map(str, row)) for row in marks.astype(int))
        path.write_text(head + "\n".join(rows) + "\n")

    return write


def hdf5(path, marks):
    with h5py.File(path, "w") as file:
        file["entry/m"] = marks


def packed(path, marks):
    held = io.BytesIO()
    np.save(held, marks)
    path.write_bytes(gzip.compress(held.getvalue()))


def rgba(path, marks):
    values = np.repeat((marks * 255).astype(np.uint8)[..., None], 4, axis=2)
    values[..., 3] = 255
    picture(path, values)


def palette(path, marks):
    image = Image.fromarray(marks.astype(np.uint8), "L").convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255, *[0] * 750])
    image.putdata(marks.astype(np.uint8).ravel().tolist())
    image.save(path)


WRITERS = {
    "m.png": lambda p, m: picture(p, (m * 255).astype(np.uint8)),
    "one.png": lambda p, m: Image.fromarray(m).save(p),
    "ones.png": lambda p, m: picture(p, m.astype(np.uint8)),
    "deep.png": lambda p, m: Image.fromarray((m * 40000).astype(np.uint16)).save(p),
    "rgba.png": rgba,
    "palette.png": palette,
    "m.jpg": lambda p, m: picture(p, np.kron(m * 255, np.ones((8, 8))).astype(np.uint8)),
    "m.bmp": lambda p, m: picture(p, (m * 255).astype(np.uint8)),
    "m.txt": text(" "),
    "head.txt": text("\t", "# a mask\n"),
    "m.csv": text(","),
    "semi.csv": text("; "),
    "m.msk": lambda p, m: fit2dmaskimage.Fit2dMaskImage(data=m.astype(np.int8)).write(str(p)),
    "m.edf": lambda p, m: edfimage.EdfImage(data=m.astype(np.int8)).write(str(p)),
    "m.npy": np.save,
    "m.npz": np.savez,
    "m.npy.gz": packed,
    "m.tif": lambda p, m: tifffile.imwrite(p, m.astype(np.uint8), photometric="minisblack"),
    "lzw.tif": lambda p, m: tifffile.imwrite(p, m, compression="lzw", photometric="minisblack"),
    "m.h5": hdf5,
}


@pytest.mark.parametrize("polarity", ["bad", "good"])
@pytest.mark.parametrize("name", WRITERS)
def test_masks_in_every_format(tmp_path, bad, name, polarity):
    WRITERS[name](tmp_path / name, bad)
    marks = np.kron(bad, np.ones((8, 8), bool)) if name == "m.jpg" else bad
    found = read_mask(str(tmp_path / name), polarity=polarity)
    if name == "m.msk":
        found = found[: marks.shape[0], : marks.shape[1]]
    np.testing.assert_array_equal(found, marks if polarity == "good" else ~marks)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"no picture", "cannot be read as a picture"),
        ("b.jpg", b"\xff\xd8\xff\xe0 cut off", "cannot be read as a picture"),
        ("c.txt", b"1 0 0\n0 1\n", "all of one length"),
        ("d.csv", b"1,0\nx,1\n", "expected a mask as rows of numbers"),
        ("e.txt", b"# nothing\n", "expected a mask as rows of numbers"),
        ("f.txt", b"\xff\xfe\x00\x01" * 20, "cannot be read as a text file"),
        ("g.png", b"", "is empty (0 bytes)"),
        ("h.xyz", b"1", "unsupported suffix '.xyz'"),
    ],
)
def test_damaged_masks_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        read_mask(str(tmp_path / name))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_no_masks_are_refused(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 255, (20, 16, 3), dtype=np.uint8)
    picture(tmp_path / "rgb.png", values)
    with pytest.raises(UserError, match="in colours"):
        read_mask(str(tmp_path / "rgb.png"))
    picture(tmp_path / "a.png", values[..., 0])
    with pytest.raises(UserError, match="drop '::x'"):
        read_mask(f"{tmp_path}/a.png::x")
    with pytest.raises(UserError, match=r"unsupported suffix '\.png'"):
        read(str(tmp_path / "a.png"))
    for most in (100, 200):  # an error from twice this on, a warning before
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(UserError, match=r"a\.png: too large for a mask"):
            read_mask(str(tmp_path / "a.png"))


# Several


@pytest.fixture
def scan(tmp_path):
    """A scan, and three masks of it that share a pixel."""
    np.save(tmp_path / "s.npy", np.random.default_rng(0).poisson(3, (2, 20, 16)))
    for name, rows in {"a": slice(0, 2), "b": slice(1, 5), "c": slice(1, 2)}.items():
        marks = np.zeros((20, 16), np.uint8)
        marks[rows] = 1
        np.save(tmp_path / f"{name}.npy", marks)
    return tmp_path


def test_masks_add_up_and_each_share_is_told(scan):
    paths = [f"{scan}/{name}.npy" for name in "abc"]
    data = with_masks(read(f"{scan}/s.npy"), paths)
    np.testing.assert_array_equal(data.valid[0].all(axis=1), np.arange(20) >= 5)
    shares = data.origin.masked_by
    assert shares["user a.npy"] == pytest.approx(2 / 20)
    assert shares["user b.npy"] == pytest.approx(3 / 20)
    said = "10.00 % user a.npy, 15.00 % user b.npy, 0.00 % user c.npy"
    assert describe_mask(data) == f"25.0 % of pixels masked: 0.00 % detector, {said}"
    one = with_masks(read(f"{scan}/s.npy"), paths[:1])
    assert describe_mask(one).endswith("0.00 % detector, 10.00 % user")
    assert with_masks(one, []) is one


def test_polarity_is_that_of_all_masks(scan):
    for name in "ab":
        np.save(scan / f"{name}.npy", 1 - np.load(scan / f"{name}.npy"))
    paths = [f"{scan}/{name}.npy" for name in "ab"]
    data = with_masks(read(f"{scan}/s.npy"), paths, polarity="good")
    np.testing.assert_array_equal(data.valid[0].all(axis=1), np.arange(20) >= 5)


def test_one_wrong_mask_of_several_is_named(scan):
    np.save(scan / "t.npy", np.zeros((16, 20)))
    with pytest.raises(UserError, match=r"t\.npy: the mask has shape.*transposed"):
        with_masks(read(f"{scan}/s.npy"), [f"{scan}/a.npy", f"{scan}/t.npy"])
    with pytest.raises(UserError, match=r"gone\.npy: no such file"):
        with_masks(read(f"{scan}/s.npy"), [f"{scan}/a.npy", f"{scan}/gone.npy"])


def test_masks_of_one_name_are_told_apart(scan):
    (scan / "x").mkdir()
    np.save(scan / "x" / "a.npy", np.load(scan / "b.npy"))
    data = with_masks(read(f"{scan}/s.npy"), [f"{scan}/a.npy", f"{scan}/x/a.npy"])
    assert {f"user {scan}/a.npy", f"user {scan}/x/a.npy"} <= set(data.origin.masked_by)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint8, np.uint64])
def test_bits_of_a_pixel_mask_are_said(scan, dtype):
    marks = np.zeros((20, 16), dtype)
    marks[0], marks[1], marks[2] = 1, 16 + 2, 32
    with h5py.File(scan / "m.h5", "w") as file:
        file["entry/instrument/detector/pixel_mask"] = marks
        file["plain"] = marks
    path = f"{scan}/m.h5::/entry/instrument/detector/pixel_mask"
    data = with_masks(read(f"{scan}/s.npy"), [path])
    assert data.origin.masked_by["user"] == pytest.approx(3 / 20)
    (note,) = data.origin.notes
    assert note == (
        f"{path}: bits set in 5.00 % (0, gap), 5.00 % (1, dead), 5.00 % (4, noisy), 5.00 % (5) of the pixels"
    )
    assert not with_masks(read(f"{scan}/s.npy"), [f"{scan}/m.h5::/plain"]).origin.notes


# Options


@pytest.mark.parametrize(
    "given",
    [
        ["--data.mask", "a.tif", "--data.mask", "b.h5::/m"],
        ["--data.mask", "a.tif", "b.h5::/m"],
        ["--data.mask=a.tif", "--seed", "1", "--data.mask=b.h5::/m"],
        ["--data.mask", "a.tif", "--data.mask-polarity", "bad", "--data.mask", "b.h5::/m"],
    ],
)
def test_mask_option_given_twice(given):
    config = parse(TrainConfig, [*given, "--run", "r"], program="train")
    assert config.data.mask == ("a.tif", "b.h5::/m")
    assert config.run == "r"


def test_mask_option_of_other_commands_and_of_one():
    config = parse(InferConfig, ["--mask", "a.tif", "--run", "r", "--mask", "b"], program="infer")
    assert (config.mask, config.run) == (("a.tif", "b"), "r")
    config = parse(InspectConfig, ["--data.mask", "a.tif"], program="inspect")
    assert config.data.mask == ("a.tif",)
    assert parse(InferConfig, [], program="infer").mask == ()
    assert parse(InferConfig, ["--mask", ""], program="infer").mask == ()
    assert together(["--mask", "a"], ["--data.mask"]) == ["--mask", "a"]


@pytest.mark.parametrize(
    ("text", "masks"),
    [
        ("mask = 'a.tif'", ("a.tif",)),
        ("mask = ''", ()),
        ("mask = ['a.tif', 'b.h5::/m']", ("a.tif", "b.h5::/m")),
        ("mask = []", ()),
    ],
)
def test_masks_in_a_config_and_a_run_folder(tmp_path, text, masks):
    (tmp_path / "c.toml").write_text(f"[data]\n{text}\n")
    for of_run in (False, True):
        config = load(tmp_path / "c.toml", TrainConfig, of_run=of_run)
        assert config.data.mask == masks
    (tmp_path / "d.toml").write_text(dump(config))
    assert load(tmp_path / "d.toml", TrainConfig) == config
    over = parse(TrainConfig, ["--config", f"{tmp_path}/c.toml", "--data.mask", "z"], program="t")
    assert over.data.mask == ("z",)


def test_masks_given_to_the_library():
    for given in ("a.tif", ("a.tif",), ["a.tif"]):
        assert from_dict({"mask": given}, DataOptions, where="read").mask == ("a.tif",)
    with pytest.raises(UserError, match="'mask' expected a list"):
        from_dict({"mask": 3}, DataOptions, where="read")


def test_masks_are_no_frames_of_the_scan(tmp_path, scan):
    frames = np.random.default_rng(0).poisson(3, (2, 20, 16)).astype(np.int32)
    (tmp_path / "f").mkdir()
    for index, one in enumerate(frames):
        np.save(tmp_path / "f" / f"{index}.npy", one)
    for name in "ab":
        np.save(tmp_path / "f" / f"{name}.npy", np.load(scan / f"{name}.npy"))
    masks = (f"{tmp_path}/f/a.npy", f"{tmp_path}/f/b.npy")
    data = read_data(DataOptions(path=f"{tmp_path}/f", mask=masks, center="9.5,7.5"))
    assert data.frames == 2
    assert data.origin.masked_by["user b.npy"] == pytest.approx(3 / 20)
    assert any("a.npy, b.npy (named as a mask or reference)" in n for n in data.origin.notes)
