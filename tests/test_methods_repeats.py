"""The section of the methods page on repeats: where it stands, and that it can be made."""

import pytest

from benchmarks import methods
from benchmarks.methods_repeats import TITLE, put_section, section_of

PAGE = f"# Methods\n\ntext\n\n## {TITLE}\n\nold\n\n| a |\n\n## After\n\nmore\n"


def test_section_is_replaced_and_nothing_else():
    new = put_section(PAGE, TITLE, f"## {TITLE}\n\nnew\n")
    assert new == f"# Methods\n\ntext\n\n## {TITLE}\n\nnew\n\n## After\n\nmore\n"
    assert section_of(new, TITLE).strip() == f"## {TITLE}\n\nnew"


def test_section_is_added_where_there_is_none():
    new = put_section("# Methods\n\ntext\n", TITLE, f"## {TITLE}\n\nnew\n")
    assert new == f"# Methods\n\ntext\n\n## {TITLE}\n\nnew\n"
    assert section_of("# Methods\n", TITLE) == ""
    assert put_section(new, TITLE, section_of(new, TITLE)) == new


@pytest.mark.slow
def test_all_methods_have_a_row(tmp_path):
    (tmp_path / "methods.md").write_text("# Methods compared\n\nkept\n")
    assert methods.main(["--repeats", "--quick", "--output", str(tmp_path)]) == 0
    page = (tmp_path / "methods.md").read_text()
    assert page.startswith("# Methods compared\n\nkept\n")
    for name in ("Noise2Noise", "Noise2Void", "deep image prior", "supervised", "best Gaussian"):
        assert f"| {name}" in page
