"""Scans of SPEC, spectra of Amptek, XAS Data Interchange, and frames as matrices of text."""

import sys

import numpy as np
import pytest

from smae_jax.io.reading import read
from smae_jax.io.text_tables import TableOptions

COUNTS = np.random.default_rng(4).poisson(90, (3, 20))
CHANNELS = np.arange(20)


def axis(data):
    assert data.axis is not None
    return data.axis


def spec(tmp_path, *, end="\n", name="scans.dat", channels="20 0 19 1"):
    lines = ["#F scans", "#D Sat Jul 22 13:05:06 2006", ""]
    for scan in (1, 2):
        lines += [f"#S {scan} ascan energy 7 8 19 1", "#N 4", "#L energy  Epoch  Monitor  Detector"]
        lines += [f"{7 + i / 20} {i} 1000 {COUNTS[scan, i]}" for i in CHANNELS]
        lines += [""]
    lines += ["#S 3 mca", "#@MCA %16C", f"#@CHANN {channels}", "#@CALIB 0.5 0.02 0"]
    lines += ["#@CTIME 1 0.9 1", "#N 1", "#L x"]
    for row in COUNTS:
        lines += [
            "1",
            "@A " + " ".join(map(str, row[:10])) + "\\",
            " " + " ".join(map(str, row[10:])),
        ]
    path = tmp_path / name
    path.write_bytes((end.join(lines) + end).encode())
    return str(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["scans.dat", "scans.spec", "scans.mca"])
def test_scans_of_a_spec_file_are_chosen_by_name(tmp_path, end, name):
    pytest.importorskip("silx")
    path = spec(tmp_path, end=end, name=name)
    with pytest.raises(ValueError, match=r"/1\.1 \(ascan energy.*/2\.1.*/3\.1 \(mca\).*::/1\.1"):
        read(path)
    data = read(f"{path}::/2.1")
    np.testing.assert_array_equal(data.counts, COUNTS[2:])
    np.testing.assert_allclose(axis(data).values, 7 + CHANNELS / 20)
    assert (axis(data).name, data.names) == ("energy", ("Detector",))
    assert (read(f"{path}::1.1/Monitor").counts == 1000).all()
    np.testing.assert_array_equal(read(f"{path}::1.1,2.1").counts, COUNTS[1:])
    chosen = read(f"{path}::/1.1", table=TableOptions(columns="Epoch"))
    np.testing.assert_array_equal(chosen.counts[0], CHANNELS)
    spectra = read(f"{path}::/3.1")
    np.testing.assert_array_equal(spectra.counts, COUNTS)
    np.testing.assert_allclose(axis(spectra).values, 0.5 + 0.02 * CHANNELS)
    with pytest.raises(ValueError, match=r"no scan '9'; it holds /1\.1"):
        read(f"{path}::9")
    with pytest.raises(ValueError, match="no column 'foo'"):
        read(f"{path}::1.1/foo")


@pytest.mark.parametrize("channels", ["1e9 0 999999999 1", "20 0 nan 1", "-5"])
def test_absurd_channels_of_a_spec_file_are_refused(tmp_path, channels):
    pytest.importorskip("silx")
    with pytest.raises(ValueError, match="more channels than the file holds"):
        read(f"{spec(tmp_path, channels=channels)}::/3.1")


def test_missing_silx_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "silx.io.specfile", None)
    with pytest.raises(ValueError, match=r"SPEC file.*pip install"):
        read(f"{spec(tmp_path)}::/1.1")


def amptek(
    tmp_path,
    *,
    head="LIVE_TIME - 12.5\n",
    calibration="LABEL - keV\n5 1.0\n15 3.0\n",
    data=None,
    end="<<END>>\n",
):
    data = "\n".join(map(str, COUNTS[0])) if data is None else data
    text = (
        f"<<PMCA SPECTRUM>>\nTAG - µ\n{head}<<CALIBRATION>>\n{calibration}<<DATA>>\n{data}\n{end}"
    )
    (tmp_path / "a.mca").write_bytes(text.replace("\n", "\r\n").encode("latin-1"))
    return str(tmp_path / "a.mca")


def test_amptek_spectrum_with_its_calibration_and_live_time(tmp_path):
    data = read(amptek(tmp_path))
    np.testing.assert_array_equal(data.counts, COUNTS[:1])
    np.testing.assert_allclose(axis(data).values, CHANNELS * 0.2, atol=1e-12)
    assert (axis(data).name, axis(data).unit) == ("energy", "keV")
    assert any("live time" in note for note in data.origin.notes)


def test_amptek_live_times_weigh_files(tmp_path):
    for i, live in enumerate((1, 3)):
        (tmp_path / f"{i}").mkdir()
        amptek(tmp_path / f"{i}", head=f"LIVE_TIME - {live}\n")
    np.testing.assert_allclose(read(str(tmp_path / "*" / "*.mca")).frame_exposure, [0.5, 1.5])


@pytest.mark.parametrize(
    "calibration", ["", "LABEL - Channel\n1 1\n", "3 1\n3 2\n", "1e300 nan\n-1e99 4\n"]
)
def test_amptek_without_calibration_has_channel_numbers(tmp_path, calibration):
    data = read(amptek(tmp_path, head="LIVE_TIME - nan\n", calibration=calibration))
    np.testing.assert_array_equal(data.counts, COUNTS[:1])
    assert data.axis is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end": ""}, "20 channels and no <<END>>"),
        ({"data": "1\n2\nx"}, "line 11: expected the counts.*'x'"),
        ({"data": "1\n-2"}, "line 10: expected the counts.*'-2'"),
        ({"data": "1" * 40}, "line 9: expected the counts"),
        ({"data": "<<END>>"}, "0 channels"),
    ],
)
def test_damaged_amptek_files_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as error:
        read(amptek(tmp_path, **options))
    assert "a.mca" in str(error.value)


def xdi(tmp_path, names, columns, *, name="a.xdi", more=""):
    head = [f"Column.{i}: {name}" for i, name in enumerate(names, 1)]
    lines = ["XDI/1.0 GSE/1.0", *head, "Mono.d_spacing: 3.13", "///", "Cu foil", "-----", more]
    rows = [" ".join(map(str, row)) for row in zip(*columns, strict=True)]
    (tmp_path / name).write_text("\n".join([f"# {line}" for line in lines] + rows) + "\n")
    return str(tmp_path / name)


@pytest.mark.parametrize("name", ["a.xdi", "a.dat"])
@pytest.mark.parametrize("more", ["energy i0 itrans", "some words here", ""])
def test_xdi_columns_are_named_by_the_header(tmp_path, name, more):
    energy = 8900 + 0.5 * CHANNELS
    columns = [energy, 1000 + CHANNELS, COUNTS[0]]
    data = read(
        xdi(tmp_path, ["energy eV", "i0", "itrans || counts"], columns, name=name, more=more)
    )
    np.testing.assert_array_equal(data.counts, COUNTS[:1])
    np.testing.assert_array_equal(axis(data).values, energy)
    assert (data.axis_label, data.names) == ("energy (eV)", ("itrans",))


def test_xdi_with_several_signals_asks(tmp_path):
    names = ["energy eV", "i0", "itrans", "ifluor"]
    path = xdi(tmp_path, names, [8900 + CHANNELS, 1000 + CHANNELS, *COUNTS[:2]])
    with pytest.raises(ValueError, match=r"3 'itrans', 4 'ifluor'.*--data\.columns"):
        read(path)
    chosen = read(path, table=TableOptions(columns="ifluor"))
    np.testing.assert_array_equal(chosen.counts, COUNTS[1:2])


def test_matrices_of_text_are_frames_with_dimensions_2(tmp_path):
    frames = np.random.default_rng(2).poisson(3, (3, 12, 30))
    frames[1, 3, 4] = -1
    for i, frame in enumerate(frames):
        np.savetxt(tmp_path / f"f{i}.txt", frame, fmt="%d")
    for path in (tmp_path, tmp_path / "*.txt"):
        data = read(str(path), dimensions=2)
        assert data.counts.shape == (3, 12, 30)
        assert not data.valid[1, 3, 4]
        np.testing.assert_array_equal(data.counts[0], frames[0])
    header = "," + ",".join(map(str, range(30))) + "\n"
    body = [f"{i}," + ",".join(map(str, row)) for i, row in enumerate(frames[0])]
    (tmp_path / "pandas.csv").write_text(header + "\n".join(body))
    np.testing.assert_array_equal(read(f"{tmp_path}/pandas.csv", dimensions=2).counts[0], frames[0])


@pytest.mark.parametrize(
    ("text", "dimensions", "message"),
    [
        ("a b\nx 1\ny 2\n", 2, "holds no numbers"),
        ("1\n2\n3\n", 2, "no frame"),
        ("1 2\n3 4\n", 3, "--data.dimensions 3"),
    ],
)
def test_text_that_is_no_frame_is_refused(tmp_path, text, dimensions, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / "a.txt"), dimensions=dimensions)
