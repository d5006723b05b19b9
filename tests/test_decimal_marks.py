"""Commas and points in tables of text: decimal marks or thousands, decided by the whole file."""

import numpy as np
import pytest

from smae_jax.io.text_files import read_text
from smae_jax.io.text_tables import TableOptions

COUNTS = np.array([857, 3584, 12040, 999, 1000, 42, 2861, 4005, 7, 1234567])
ENERGY = 1 + 0.05 * np.arange(len(COUNTS))
WRITTEN = {  # of thousands, in several countries
    "american": lambda value: f"{value:,}",
    "german": lambda value: f"{value:,}".replace(",", "."),
    "french": lambda value: f"{value:,}".replace(",", "\u202f"),
    "old french": lambda value: f"{value:,}".replace(",", "\u00a0"),
    "swiss": lambda value: f"{value:,}".replace(",", "'"),
    "plain": str,
}


@pytest.fixture
def read(tmp_path):
    def read(text, *, decimal="auto", encoding="utf-8"):
        path = tmp_path / "spectra.txt"
        path.write_bytes(text.encode(encoding))
        return read_text(str(path), options=TableOptions(decimal=decimal))

    return read


def table(rows, delimiter):
    return "\n".join(delimiter.join(row) for row in rows) + "\n"


NATIONAL = [  # country, its decimal mark; plain numbers and blanks stand beside either
    *(("american", "."), ("german", ","), ("french", ","), ("french", "."), ("old french", ",")),
    *(("swiss", "."), ("swiss", ","), ("plain", "."), ("plain", ",")),
]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
@pytest.mark.parametrize(("country", "mark"), NATIONAL)
def test_thousands_beside_an_axis_with_decimals(read, country, mark, delimiter):
    rows = [
        (f"{e:.2f}".replace(".", mark), WRITTEN[country](c))
        for e, c in zip(ENERGY, COUNTS.tolist(), strict=True)
    ]
    raw = read(table([("energy", "a"), *rows], delimiter))
    np.testing.assert_array_equal(raw.values[0], COUNTS)
    np.testing.assert_allclose(raw.axis, ENERGY)


@pytest.mark.parametrize("country", ["american", "german"])
def test_whole_numbers_below_1000_show_that_groups_are_thousands(read, country):
    counts = [857, 3584, 12040, 999, 1000, 42, 2861, 4005]
    rows = [(str(i), WRITTEN[country](c)) for i, c in enumerate(counts, 500)]
    raw = read(table([("channel", "a"), *rows], ";"))
    np.testing.assert_array_equal(raw.values[0], counts)
    assert any("thousands are grouped" in note for note in raw.notes)


def test_quoted_thousands_between_commas(read):
    rows = [(f"{e:.2f}", f'"{c:,}"') for e, c in zip(ENERGY, COUNTS, strict=True)]
    np.testing.assert_array_equal(read(table([("energy", "a"), *rows], ",")).values[0], COUNTS)


@pytest.mark.parametrize(
    "other", ["1,2", "0,857", "1.234,56", "3,5841", "1234,567", "3,584e2", ",5"]
)
def test_one_number_that_is_clear_makes_all_commas_decimal(read, other):
    raw = read(table([(str(i), "3,584") for i in range(10)] + [("10", other)], ";"))
    np.testing.assert_array_equal(raw.values[0, :10], 3.584)


@pytest.mark.parametrize("other", ["1.2", "0.857", "1,234.56", "1,234,567", "3.5841", ".5"])
def test_one_number_that_is_clear_makes_all_commas_thousands(read, other):
    raw = read(table([(str(i), "3,584") for i in range(10)] + [("10", other)], "\t"))
    np.testing.assert_array_equal(raw.values[0, :10], 3584)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1 234,5", 1234.5), ("1'234,5", 1234.5), ("1.234,5", 1234.5), ("\u22121,5", -1.5)],
)
def test_groups_beside_a_decimal_comma(read, written, value):
    raw = read(table([(f"{i},5", written) for i in range(9)], ";"))
    np.testing.assert_array_equal(raw.values[0], value)


@pytest.mark.parametrize("delimiter", ["\t", ";", " "])
def test_what_can_be_read_in_two_ways_is_asked_for(read, delimiter):
    text = table([(str(i), f"{3584 + i:,}") for i in range(10)], delimiter)
    with pytest.raises(
        ValueError, match=r"line 1: '3,584'.*3584.*3\.584.*--data\.decimal"
    ) as error:
        read(text)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(read(text, decimal="point").values[0], 3584 + np.arange(10))
    np.testing.assert_allclose(read(text, decimal="comma").values[0], 3.584 + np.arange(10) / 1000)


def test_numbers_from_1000_without_groups_do_not_speak_for_thousands(read):
    rows = [(str(i), cell) for i, cell in enumerate(["3,584", "1234", "857"] * 4)]
    with pytest.raises(ValueError, match=r"--data\.decimal"):
        read(table(rows, ";"))


def test_points_of_three_places_stay_decimal_and_it_is_said(read):
    raw = read(table([(f"{i}", f"{3.584 + i:.3f}") for i in range(10)], "\t"))
    np.testing.assert_allclose(raw.values[0], 3.584 + np.arange(10))
    assert any("--data.decimal comma" in note for note in raw.notes)


def test_numbers_that_contradict_each_other_are_refused(read):
    text = table([(f"{i},25", f"{i}.5") for i in range(10)], ";")
    with pytest.raises(ValueError, match=r"line 1: '0\.5'.*line 1: '0,25'"):
        read(text)
    with pytest.raises(ValueError, match=r"column 1.*'0,25'.*--data\.decimal comma"):
        read(text, decimal="point")


def test_delimiter_is_not_taken_for_a_decimal_comma_nor_the_other_way(read):
    raw = read("\n".join(f"{i},{COUNTS[i]}" for i in range(10)))
    np.testing.assert_array_equal(raw.values[0], COUNTS)
    raw = read("\n".join(f"{i},05" for i in range(10)))  # one column
    np.testing.assert_allclose(raw.values[0], np.arange(10) + 0.05)
    raw = read("\n".join(f"{100 + i},15 {300 + i},5" for i in range(10)))
    np.testing.assert_allclose(raw.values[0], 300.5 + np.arange(10))


def test_spectra_in_rows_are_decided_along_their_rows(read):
    counts = np.array([[857, 3584, 12040, 999, 42, 2861, 4005, 7, 1000, 60]] * 3)
    rows = [[f"s{i}", *(f"{c:,}" for c in row)] for i, row in enumerate(counts)]
    np.testing.assert_array_equal(read(table(rows, ";")).values, counts)
