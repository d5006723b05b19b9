"""The pages of the benchmarks on spectra can be written from what they measure."""

import numpy as np

from benchmarks.select_spectra import page as selection_page
from benchmarks.spectra_map import MapRow
from benchmarks.spectra_report import Row, page


def test_page_holds_every_row():
    text = page(
        [Row("mean of four", 43.5, 1.38, 0.01, 0, 8, 7, 9, "2.5 + 9.5")],
        {"own mean": 0.7, "truth": 0.8},
        [("one spectrum", 46.0, ""), ("best Gaussian", 50.5, ""), ("ours", 52.0, "3 + 4")],
        "noise: a",
        [("32, a network each", 32, 16.0, np.array([47.0, 45.0]))],
        [
            MapRow("as counted", np.array([30.0, 31.0])),
            MapRow("one network for all", np.full(4, 40.0), 2.0, 8.0),
        ],
        wider={"ours": np.array([0.4, 12.6])},
        uncertain=3,
        channels=100,
        load="",
    )
    assert "| mean of four | 43.50 | 1.3800 | +0.01 % | 0 | 8/10 | 7/10 (9) | 2.5 + 9.5 |" in text
    assert "- ours: +0, +13" in text
    assert "| 32, a network each | 16.00 | 0.500 | 46.00 (45.00) |" in text
    assert "| as counted |  |  | 30.50 (30.00) |" in text
    assert "| one network for all | 2.0 (8.0) | 2.000 | 40.00 (40.00) |" in text
    assert "| ours | 52.00 | +1.50 | 3 + 4 |" in text


def test_selection_page_holds_both_tables():
    text = selection_page(["| a |"], ["| b |"], 3.2)
    assert text.index("| a |") < text.index("## Raman") < text.index("| b |")
