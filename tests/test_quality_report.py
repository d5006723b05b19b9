"""The page of the quality benchmark shows real frames beside the best filters."""

from benchmarks import p40
from benchmarks.methods_report import Making
from benchmarks.quality_report import write_report


def table():
    rows = {"raw": (1.0, 0.9), "rotated average": (0.6, 0.5), "thinning, average": (0.04, -0.01)}
    rows |= {f"Gaussian {s}": (abs(s - 0.7), abs(s - 1.2)) for s in p40.SIGMAS}
    rows |= {f"Gaussian {s}, rotated average": (abs(s - 0.6), abs(s - 0.6)) for s in p40.SIGMAS}
    return {name: dict(zip(("plain", "weighted"), row, strict=True)) for name, row in rows.items()}


def test_only_the_best_gaussians_are_shown():
    """The best by either score, once where one is the best by both; then the networks' rows."""
    assert p40.shown(table()) == [
        *("raw", "rotated average", "Gaussian 0.7", "Gaussian 1.2"),
        *("Gaussian 0.6, rotated average", "thinning, average"),
    ]


def test_page_has_real_frames_or_says_that_they_were_not_run(tmp_path):
    facts = {"command": "python -m benchmarks.quality", "steps": 10}
    facts |= Making(0).facts(60.0)
    scans = [
        {"name": f"{group}, {flux:g}", "group": group, "flux": flux, "rows": rows}
        for group, flux, rows in (
            ("SAXS", 0.1, {"raw": {"psnr_db": 20.0}, "thinning, average": {"psnr_db": 40.0}}),
            ("SAXS", 1.0, {"raw": {"psnr_db": 24.0}}),
            ("WAXD", 1.0, {"raw": {"psnr_db": 21.0}}),
        )
    ]
    chosen = {name: table()[name] for name in p40.shown(table())}
    write_report(tmp_path, scans, chosen, facts)
    page = (tmp_path / "quality.md").read_text()
    assert "| SAXS | 0.1 | 1 |\n| --- | ---: | ---: |\n| raw | 20.00 | 24.00 |" in page
    assert "| thinning, average | 40.00 | - |\n\n| WAXD | 1 |" in page
    assert "| thinning, average | 0.040 | -0.0100 |  |" in page
    assert page.count("Gaussian 0.6, rotated average") == 1
    assert (tmp_path / "images" / "quality.png").stat().st_size > 0
    write_report(tmp_path, scans, {}, facts)
    assert "Not run." in (tmp_path / "quality.md").read_text()
