"""Tables of text: delimiters, headers, index and other columns, and which way the spectra lie."""

import numpy as np
import pytest

from smae_jax.io.reading import read as read_repeats
from smae_jax.io.text_files import read_text, write_text

COUNTS = np.random.default_rng(5).poisson(30, (3, 14))
ENERGY = np.round(2.5 + 0.25 * np.arange(14), 3)


def rows(lines, delimiter=","):
    return "\n".join(delimiter.join(str(cell) for cell in line) for line in lines) + "\n"


@pytest.fixture
def read(tmp_path):
    def read(text, *, encoding="utf-8", name="spectra.csv", **options):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return read_text(str(tmp_path / name), **options)

    return read


def test_energies_in_the_first_row_with_index_and_overflow(read):
    lines = [["", *ENERGY], *([i, *row[:-1], 5000 + i] for i, row in enumerate(COUNTS))]
    raw = read(rows(lines))
    np.testing.assert_array_equal(raw.values, COUNTS[:, :-1])
    np.testing.assert_array_equal(raw.axis, ENERGY[:-1])
    assert any("first column taken as an index" in note for note in raw.notes)
    assert any("last column left out" in note and "overflow" in note for note in raw.notes)


def test_last_channel_that_is_a_peak_stays(read):
    counts = COUNTS.copy()
    counts[:, -1] = 300
    np.testing.assert_array_equal(read(rows([ENERGY, *counts])).values, counts)


def test_label_live_time_and_text_columns(read):
    head = ["energy (keV)", *ENERGY, "live_time", "who"]
    lines = [head, *([f"s{i}", *row, i + 1, "me"] for i, row in enumerate(COUNTS))]
    raw = read(rows(lines))
    np.testing.assert_array_equal(raw.values, COUNTS)
    assert raw.names == ("s0", "s1", "s2")
    assert (raw.axis_name, raw.axis_unit) == ("energy", "keV")
    np.testing.assert_array_equal(raw.exposure, [1, 2, 3])
    assert any("'who'" in note for note in raw.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "   "])
def test_axis_in_the_first_column(read, delimiter):
    lines = [
        ["Energy/keV", "a", "b", "c"],
        *([e, *c] for e, c in zip(ENERGY, COUNTS.T, strict=True)),
    ]
    raw = read(rows(lines, delimiter))
    np.testing.assert_array_equal(raw.values, COUNTS)
    np.testing.assert_array_equal(raw.axis, ENERGY)
    assert (raw.axis_name, raw.axis_unit, raw.names) == ("energy", "keV", ("a", "b", "c"))


def test_names_in_a_comment_and_lines_of_an_instrument(read):
    table = rows(([e, *c] for e, c in zip(ENERGY, COUNTS.T, strict=True)), " ")
    raw = read("# Sample 7\n# shift(1/cm) a b c\n" + table)
    assert (raw.axis_name, raw.axis_unit, raw.names) == ("shift", "1/cm", ("a", "b", "c"))
    raw = read("Title: steel\nLaser: 785 nm\n\n" + table)
    np.testing.assert_array_equal(raw.values, COUNTS)
    assert any("2 line(s) of text above" in note for note in raw.notes)


def test_decimal_commas(read):
    lines = [[str(e).replace(".", ","), c] for e, c in zip(ENERGY, COUNTS[0], strict=True)]
    np.testing.assert_array_equal(read(rows(lines, ";")).axis, ENERGY)
    np.testing.assert_array_equal(read(rows(lines, "\t")).axis, ENERGY)


def test_table_without_an_axis_is_read_as_asked(read):
    np.testing.assert_array_equal(read(rows(COUNTS)).values, COUNTS)
    raw = read(rows(COUNTS.T))
    np.testing.assert_array_equal(raw.values, COUNTS.T)
    assert any("--data.repeats-axis 1" in note for note in raw.notes)
    np.testing.assert_array_equal(read(rows(COUNTS.T), repeats_axis=1).values, COUNTS)
    np.testing.assert_array_equal(read(rows(COUNTS[:1].T)).values, COUNTS[:1])


def test_axis_may_descend_and_be_rounded(read):
    axis = np.repeat(900.0 - np.arange(13), [1] * 5 + [2] + [1] * 7)
    raw = read(rows([a, *c] for a, c in zip(axis, COUNTS.T, strict=True)))
    np.testing.assert_array_equal(raw.axis, axis)
    np.testing.assert_array_equal(raw.values, COUNTS)


def test_numbering_is_no_spectrum(read):
    lines = [["", 0, 1, 2], *([e, *c] for e, c in zip(ENERGY, COUNTS.T, strict=True))]
    raw = read(rows(lines))
    np.testing.assert_array_equal(raw.values, COUNTS)
    np.testing.assert_array_equal(raw.axis, ENERGY)
    raw = read(rows([["", *range(14)], *([i, *row] for i, row in enumerate(COUNTS))]))
    np.testing.assert_array_equal(raw.values, COUNTS)
    assert raw.axis is None
    raw = read(rows([[i, *row] for i, row in enumerate(COUNTS)]))
    np.testing.assert_array_equal(raw.values, COUNTS)
    raw = read(rows([[i, *row] for i, row in enumerate(COUNTS.T)]))
    np.testing.assert_array_equal(raw.values, COUNTS)
    assert raw.axis is None


def test_columns_of_uncertainties_and_trailing_delimiters_are_left_out(read):
    text = "energy,counts,counts sigma,\n" + rows(
        [e, c, c**0.5, ""] for e, c in zip(ENERGY, COUNTS[0], strict=True)
    )
    raw = read(text)
    np.testing.assert_array_equal(raw.values, COUNTS[:1])
    assert any("'counts sigma'" in note for note in raw.notes)


def test_missing_cells_are_invalid_and_zeros_are_not(tmp_path):
    counts = COUNTS.astype(str)
    counts[1, 3], counts[2, 4], counts[0, 0] = "", "nan", "0"
    path = tmp_path / "a.csv"
    path.write_text(rows([ENERGY, *counts]))
    repeats = read_repeats(str(path))
    assert not repeats.valid[1, 3]
    assert not repeats.valid[2, 4]
    assert repeats.valid.sum() == 40
    assert np.isfinite(repeats.counts).all()


def test_written_text_suits_spreadsheets_and_numpy(tmp_path):
    options = {"axis": ENERGY, "axis_label": "energy (keV)", "names": ("first, best", "b")}
    for name in ("a.csv", "a.txt"):
        write_text(tmp_path / name, COUNTS[:2] / 3, process={"run": "r 1"}, **options)
    first, *lines = (tmp_path / "a.csv").read_text().splitlines()
    assert first == "energy (keV),first_ best,b"
    assert len(lines) == 14
    table = np.loadtxt(tmp_path / "a.txt")
    np.testing.assert_allclose(table, np.column_stack([ENERGY, COUNTS[:2].T / 3]), rtol=1e-8)
    raw = read_text(str(tmp_path / "a.txt"))
    assert (raw.axis_name, raw.axis_unit, raw.names) == ("energy", "keV", ("first,_best", "b"))


def test_other_encodings_and_line_ends(read):
    lines = [["Energie (eV)", "Zähler"], *zip(ENERGY, COUNTS[0], strict=True)]
    for encoding in ("utf-8-sig", "latin-1", "utf-16"):
        raw = read(rows(lines).replace("\n", "\r\n"), encoding=encoding)
        assert raw.axis_unit == "eV"
        assert raw.names == ("Zähler",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows of numbers"),
        ("hello\nworld\n", "no rows of numbers"),
        ("1,2,3\n4,5\n6,7,8\n", "line 2: expected 3 columns.*comma.*got 2"),
        ("1,2,3\n4,5,6\n4,x,3\n6,7,8\n", "line 3, column 2: expected a number.*'x'"),
        ("energy,counts\n" + rows([e, "nan"] for e in ENERGY), "no spectrum beside its axis"),
        ("a\0b", "is no text"),
    ],
)
def test_damaged_tables_are_refused_in_one_line(read, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert "spectra.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_xrf_spectra_as_documented(shared_data):
    repeats = read_repeats(f"{shared_data}/xrf_spectra.csv", axis_label="energy (keV)")
    assert repeats.counts.shape == (32, 4095)
    assert (repeats.axis.values[0], repeats.axis.values[-1]) == (-0.02, 20.491)
    assert repeats.axis_label == "energy (keV)"
    assert repeats.counts.max() < 1000
    assert len(read_repeats(f"{shared_data}/xrf_spectra.csv", repeats="0:4").counts) == 4
