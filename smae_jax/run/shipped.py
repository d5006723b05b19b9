"""Where the files that come with the program are, installed or not."""

from pathlib import Path

from smae_jax.errors import UserError


def shipped_config(name: str) -> Path:
    """Return the path of a configuration that comes with the program.

    A wheel holds them in the package, as `smae_jax/configs`; a checkout, also when it is installed
    in place, at its top.

    Args:
      name: without folder and suffix, e.g. `demo`.

    Raises:
      UserError: if there is none of this name; the message lists those that are.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package / "configs", package.parent / "configs"]
    for place in places:
        if (path := place / f"{name}.toml").is_file():
            return path
    known = sorted({path.stem for place in places for path in place.glob("*.toml")})
    raise UserError(
        f"config '{name}': none of this name comes with the program; known: "
        f"{', '.join(known) or 'none, install it again'}"
    )
