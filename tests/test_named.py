"""`package.module:name`: found, or said in one line; what a user's own module raises keeps its traceback."""

import sys
from pathlib import Path

import pytest

from smae_jax import named as named_module
from smae_jax.errors import UserError
from smae_jax.named import is_of_own_code, made, named


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module of the researcher's own within a package."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_package_for_a_test").mkdir()

    def write(name, text):
        (tmp_path / "own_package_for_a_test" / f"{name}.py").write_text(text)
        return f"own_package_for_a_test.{name}"

    yield write
    for name in [name for name in sys.modules if name.startswith("own_package_for_a_test")]:
        del sys.modules[name]


def test_anything_that_has_a_name_is_found(own):
    module = own("good", "class Network:\n    pass\n\nvalue = 3\n")
    assert named(f"{module}:value", option="--loss") == 3
    assert named(f"{module}:Network", option="--model").__name__ == "Network"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("math", "expected package.module:name such as my_module:mine, got 'math'"),
        ("", "got ''"),
        (":pi", "got ':pi'"),
        ("math:", "got 'math:'"),
        ("math:pi:e", "got 'math:pi:e'"),
        (".relative:pi", "got '.relative:pi'"),
        ("two..dots:pi", "got 'two..dots:pi'"),
        ("a/file.py:pi", "got 'a/file.py:pi'"),
        (
            "no_such_module:pi",
            "could not import 'no_such_module' (No module named 'no_such_module')",
        ),
        ("no_such_package.losses:pi", "could not import 'no_such_package.losses'"),
        ("json.no_such_part:pi", "could not import 'json.no_such_part'"),
        ("math.no_package:pi", "'math' is not a package"),
        ("sys:no_such_name", "module 'sys' (built in) has no 'no_such_name'"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line_that_names_the_option(spec, message):
    with pytest.raises(UserError) as caught:
        named(spec, option="--model")
    assert str(caught.value).startswith("--model: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_name_says_which_file_was_read(own, tmp_path):
    module = own("short", "")
    with pytest.raises(UserError, match=r"own_package_for_a_test/short\.py\) has no 'mine'"):
        named(f"{module}:mine", option="--loss")


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        ("import no_such_library\n", ModuleNotFoundError),
        ("import own_package_for_a_test.no_sister\n", ModuleNotFoundError),
        ("from math import no_such_function\n", ImportError),
        ("raise ValueError('mine')\n", ValueError),
        ("def f(:\n", SyntaxError),
    ],
)
def test_what_the_module_itself_raises_goes_through(own, text, raised):
    module = own("bad", text)
    with pytest.raises(raised) as caught:
        named(f"{module}:mine", option="--loss")
    assert not isinstance(caught.value, UserError)


def test_an_error_is_of_own_code_if_a_named_module_takes_part(own, monkeypatch):
    monkeypatch.setattr(named_module, "OWN", set())
    inner = own("inner", "def loss():\n    return open('/no/such/table')\n")
    outer = own("outer", f"from {inner} import loss\n")
    with pytest.raises(FileNotFoundError) as caught:
        Path("/no/such/table").read_text()
    assert not is_of_own_code(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        named(f"{outer}:loss", option="--loss")()  # type: ignore[operator]
    assert is_of_own_code(caught.value)
    bad = own("opens", "open('/no/such/table')\n")
    named_module.OWN.clear()
    with pytest.raises(FileNotFoundError) as caught:
        named(f"{bad}:mine", option="--loss")
    assert is_of_own_code(caught.value)


def test_the_standard_library_and_this_package_are_nobodys_own(monkeypatch):
    monkeypatch.setattr(named_module, "OWN", set())
    named("smae_jax.losses:mse", option="--loss")
    named("math:pi", option="--loss")
    assert not named_module.OWN


def test_what_a_user_named_is_called_with_what_it_asks_for():
    assert made(lambda outputs: outputs, what="--model mine:it", outputs=2) == 2
    assert made(lambda: 3, what="--model mine:it", outputs=2) == 3
    with pytest.raises(
        UserError, match=r"--model mine:it: .* no argument but outputs, got \(share\)"
    ):
        made(lambda share: share, what="--model mine:it", outputs=2)

    def fails():
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        made(fails, what="--model mine:it")
