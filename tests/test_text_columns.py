"""Columns of instrument exports by their names, and the structure of tables as programs write them."""

import numpy as np
import pytest

from smae_jax.io.reading import read as read_measurements
from smae_jax.io.text_columns import axis_name, choose_measured, tier
from smae_jax.io.text_files import read_text
from smae_jax.io.text_tables import TableOptions

POINTS = 40
COUNTS = np.random.default_rng(3).poisson(300, (4, POINTS))
SHIFT = np.round(200 + 1.5 * np.arange(POINTS), 2)
BWTEK = (
    "Pixel;Wavelength;Wavenumber;Raman Shift;Dark;Reference;Raw data #1;Dark Subtracted #1;%TR #1;"
    "Absorbance #1;Irradiance (lumen) #1;"
)


@pytest.fixture
def read(tmp_path):
    def read(text, *, name="a.csv", encoding="utf-8", **options):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return read_text(str(tmp_path / name), options=TableOptions(**options))

    return read


def rows(*columns, delimiter=",", end=""):
    lines = zip(*columns, strict=True)
    return "".join(delimiter.join(map(str, line)) + end + "\n" for line in lines)


def bwtek(counts, header=BWTEK):
    nm = 1e7 / (1e7 / 785 - SHIFT)
    made = [counts - 50, counts / 9.5, counts * 0 + 1, counts * 0 + 2]
    columns = [range(POINTS), nm, 1e7 / nm, SHIFT, counts * 0 + 50, counts * 0 + 950, counts, *made]
    cells = [[f"{value:.2f}".replace(".", ",") for value in column] for column in columns]
    head = f"File Version;BWRam4.14_6\nDate;2012-05-01 12:00:00\nlaser;785\n{header}\n"
    return head + rows(*cells, delimiter=";", end=";")


def test_raw_counts_of_a_raman_instrument_are_the_spectrum(read):
    raw = read(bwtek(COUNTS[0]))
    np.testing.assert_array_equal(raw.values, COUNTS[:1])
    np.testing.assert_allclose(raw.axis, SHIFT)
    assert (raw.axis_name, raw.names) == ("shift", ("Raw data #1",))
    assert any("7 'Raw data #1'" in note and "--data.columns" in note for note in raw.notes)
    assert any("'Dark Subtracted #1'" in note and "left out" in note for note in raw.notes)


def test_files_of_an_instrument_are_one_spectrum_each(tmp_path):
    for i, counts in enumerate(COUNTS):
        (tmp_path / f"m{i}.txt").write_text(bwtek(counts))
    data = read_measurements(str(tmp_path / "*.txt"))
    np.testing.assert_array_equal(data.counts, COUNTS)
    assert data.names == ("m0", "m1", "m2", "m3")
    chosen = TableOptions(columns="Dark Subtracted")
    np.testing.assert_array_equal(
        read_measurements(str(tmp_path), table=chosen).counts, COUNTS - 50
    )
    (tmp_path / "m9.txt").write_text(bwtek(COUNTS[0], BWTEK.replace("Raw data #1", "Scan 1")))
    with pytest.raises(ValueError, match=r"'raw data'.*'scan'.*m9\.txt.*--data\.columns"):
        read_measurements(str(tmp_path / "*.txt"))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("Wavelength (nm),Dark,Reference,Sample,Processed", [3]),
        ("Wavelength [nm],Counts,Dark counts,Smoothed,Baseline", [1]),
        ("Wellenlänge (nm),Intensität,Dunkel,Referenz,Untergrund", [1]),
        ("wavelength,steel,copper,mean,sigma", [1, 2]),
        ("wavelength,scan 1,scan 2,scan 3,background", [1, 2, 3]),
        ("energy,i0,itrans,irefer,mutrans", [2]),
        ("wavelength,a,b,c,d", [1, 2, 3, 4]),
        ("wavelength,reference 1,reference 2,reference 3,reference 4", [1, 2, 3, 4]),
    ],
)
def test_names_tell_what_is_measured(read, header, chosen):
    raw = read(header + "\n" + rows(SHIFT, *COUNTS))
    np.testing.assert_array_equal(raw.values, COUNTS[np.array(chosen) - 1])
    np.testing.assert_array_equal(raw.axis, SHIFT)


@pytest.mark.parametrize(
    "header", ["x,Dark,Reference,Absorbance,Transmission", "energy,i0,itrans,ifluor,mu"]
)
def test_a_choice_is_asked_for_with_the_columns_there_are(read, header):
    text = header + "\n" + rows(SHIFT, *COUNTS)
    with pytest.raises(ValueError, match=r"a\.csv: .*2 '.*5 '.*--data\.columns") as error:
        read(text)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(read(text, columns=header.split(",")[3]).values, COUNTS[2:3])
    np.testing.assert_array_equal(read(text, columns="4,2").values, COUNTS[[2, 0]])
    with pytest.raises(ValueError, match=r"no column 'foo'.*1 to 5"):
        read(text, columns="foo")


def test_names_of_axes_and_tiers():
    assert axis_name("Raman Shift, cm-1") == "shift"
    assert axis_name("Energie (keV)") == "energy"
    assert axis_name("2-Theta") == "two_theta"
    assert axis_name("muscle") is None
    assert [tier(name) for name in ("muscle 1", "white powder", "reference steel")] == [
        "unknown"
    ] * 3
    assert choose_measured(["x", "muscle 1", "dark"], [1, 2]) == ([1], "muscle")


@pytest.mark.parametrize(
    "text",
    [
        ",energy,a,b,c,d\n" + rows(range(POINTS), SHIFT, *COUNTS),
        "energy,a,b,c,d\n" + rows(range(POINTS), SHIFT, *COUNTS),  # R: no name above row numbers
        "No.,energy,a,b,c,d\n" + rows(range(7, POINTS + 7), SHIFT, *COUNTS),
        "Pixel,energy,a,b,c,d\n" + rows(range(1, POINTS + 1), SHIFT, *COUNTS),
        "energy,index,a,b,c,d\n" + rows(SHIFT, range(POINTS), *COUNTS),
        "time,energy,a,b,c,d\n"
        + rows([f"2024-05-01T12:00:{i:02d}.5Z" for i in range(POINTS)], SHIFT, *COUNTS),
        "date,energy,a,b,c,d\n"
        + rows([f"0{1 + i % 9}.05.2024" for i in range(POINTS)], SHIFT, *COUNTS),
        "energy,a,b,c,d\n" + rows(SHIFT, *COUNTS, end=","),
        "energy,a,b,c,d,\n" + rows(SHIFT, *COUNTS),
        "energy,a,b,c,d,\n" + rows(SHIFT, *COUNTS, end=",,"),
        "Title,steel,,,\nLaser,785,,,\nRange,1,2,,\n\nenergy,a,b,c,d\n" + rows(SHIFT, *COUNTS),
        "energy,a,b,c,d\n" + rows(SHIFT, *COUNTS) + ",,,,\n,,,,\n",
        "energy,a,b,c,d\n" + rows(SHIFT, *COUNTS) + "# end\nTotal: 12345\nChecksum,8A3F\n",
        "energy,a,b,c,d\n" + rows(SHIFT, *COUNTS) + "Mean,1,2,3,4\n",
        "energy,a,b,c,d\n" + rows(SHIFT, *COUNTS) + "Sum of counts,1,2,3,4\nend of file\n",
        "energy,,a,b,c,d\n" + rows(SHIFT, [""] * POINTS, *COUNTS),
        "energy,who,a,b,c,d\n" + rows(SHIFT, ["me"] * POINTS, *COUNTS),
        'sep=,\n"energy","a","b","c","d"\r\n' + rows(SHIFT, *COUNTS, end="\r"),
    ],
)
def test_tables_as_programs_write_them(read, text):
    raw = read(text)
    np.testing.assert_array_equal(raw.values, COUNTS)
    np.testing.assert_array_equal(raw.axis, SHIFT)
    assert (raw.axis_name, raw.names) == ("energy", ("a", "b", "c", "d"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings_of_spreadsheets(read, encoding):
    text = "Energie (eV)\tZähler\tµ\r\n" + rows(SHIFT, *COUNTS[:2], delimiter="\t", end="\r")
    raw = read(text, encoding=encoding)
    assert (raw.axis_name, raw.axis_unit, raw.names[0]) == ("energy", "eV", "Zähler")


@pytest.mark.parametrize(
    "head",
    [
        "Energy,a,b\nkeV,counts,counts\n",
        "Energy,a,b\n[keV],[counts],[counts]\n",
        "# Energy,a,b\n# keV,counts,counts\n",
    ],
)
def test_units_beneath_the_names(read, head):
    raw = read(head + rows(SHIFT, *COUNTS[:2]))
    assert (raw.axis_name, raw.axis_unit) == ("energy", "keV")
    assert raw.names == ("a (counts)", "b (counts)")


def test_names_keep_their_units_and_missing_cells_are_missing(read):
    cells = COUNTS[1].astype(object)
    cells[[3, 5, 7, 9]] = "n/a", "-", "#N/A", "inf"
    raw = read("Energy (keV);a (0,5 mM);b (cps)\n" + rows(SHIFT, COUNTS[0], cells, delimiter=";"))
    assert raw.names == ("a (0,5 mM)", "b (cps)")
    assert np.flatnonzero(np.isnan(raw.values[1])).tolist() == [3, 5, 7, 9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "energy,a,b\n" + rows(SHIFT, *COUNTS[:2]) + "900.5,3",
            "line 42: expected 3 columns.*got 2",
        ),
        ("energy,a\n" + rows(SHIFT, [*COUNTS[0][:-1], "x1"]), "line 41, column 2 'a'.*'x1'"),
        ("energy,a\n" + rows(SHIFT, COUNTS[0]) + "--\n" + rows(SHIFT, COUNTS[0]), "line 42"),
        ("Title\nRemark\nEnd\n", "no rows of numbers"),
    ],
)
def test_faults_name_line_and_cell(read, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert "a.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_cut_off_utf_16_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(rows(SHIFT, COUNTS[0]).encode("utf-16")[:-1])
    with pytest.raises(ValueError, match="cut off or damaged"):
        read_text(str(tmp_path / "a.csv"))


def test_maps_of_raman_microscopes(read):
    places = [(0.5 * i, 2.0) for i in range(4)]
    long = [
        (x, y, s, c)
        for (x, y), row in zip(places, COUNTS, strict=True)
        for s, c in zip(SHIFT, row, strict=True)
    ]
    wide = "\t\t" + rows(*([s] for s in SHIFT), delimiter="\t")
    wide += rows(*zip(*places, strict=True), *COUNTS.T, delimiter="\t")
    head = "#X\t\t#Y\t\t#Wave\t\t#Intensity\n"
    for text in (head + rows(*zip(*long, strict=True), delimiter="\t"), "#Laser=\t785nm\n" + wide):
        raw = read(text, name="map.txt")
        np.testing.assert_array_equal(raw.values, COUNTS)
        np.testing.assert_array_equal(raw.axis, SHIFT)
        assert raw.names == ("0,2", "0.5,2", "1,2", "1.5,2")


def test_sums_below_spectra_in_rows_are_left_out(read):
    head = "name," + ",".join(map(str, SHIFT)) + "\n"
    body = [
        f"{name}," + ",".join(map(str, row))
        for name, row in zip(["a", "Summit", "maximum 1", "Max Planck"], COUNTS, strict=True)
    ]
    total = "Total," + ",".join(map(str, COUNTS.sum(axis=0)))
    for lines in (body, [*body, total]):
        raw = read(head + "\n".join(lines))
        np.testing.assert_array_equal(raw.values, COUNTS)
        assert raw.names == ("a", "Summit", "maximum 1", "Max Planck")


def test_numbers_above_an_axis_are_names(read):
    names = [300 + 10 * i for i in range(9)]
    counts = np.random.default_rng(0).poisson(9, (9, POINTS))
    raw = read("energy (keV)," + ",".join(map(str, names)) + "\n" + rows(SHIFT, *counts))
    np.testing.assert_array_equal(raw.values, counts)
    assert raw.names == tuple(map(str, names))
