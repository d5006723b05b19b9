"""The command line: `smae-jax train|infer|evaluate|simulate|...`, and what `train.py` and `infer.py` call."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from smae_jax import config as options
from smae_jax.config_file import load
from smae_jax.removed import refuse_arguments

COMMANDS: dict[str, tuple[type, str]] = {
    "train": (options.TrainConfig, "train a denoiser on the frames of a scan"),
    "infer": (options.InferConfig, "denoise frames with a trained run"),
    "evaluate": (options.EvaluateConfig, "score a run beside simple filters"),
    "import-torch": (options.ImportTorchConfig, "make a run of a published PyTorch checkpoint"),
    "inspect": (options.InspectConfig, "show what the program understands of a scan"),
    "simulate": (options.SimulateConfig, "simulate a scan with its truth"),
    "demo": (options.DemoConfig, "simulate, train, denoise and compare, with pictures"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, or 2 with one line on standard error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: smae-jax COMMAND [options]; 'smae-jax COMMAND --help' explains each option\n")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:13} {purpose}")
        return 0
    name, *rest = arguments
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a user's own loss is looked for
    try:
        if name not in COMMANDS:
            raise ValueError(f"unknown command '{name}': expected one of {', '.join(COMMANDS)}")
        config = parse(COMMANDS[name][0], rest, program=f"smae-jax {name}")
        command(name)(config, lambda line: print(line, flush=True))
    except ValueError as error:
        print(f"smae-jax {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"smae-jax {name}: {_explain(error)}", file=sys.stderr)
        return 2
    except SystemExit as exit:  # --help was answered
        return int(exit.code or 0)
    except KeyboardInterrupt:
        print(f"smae-jax {name}: interrupted", file=sys.stderr)
        return 130
    return 0


def parse(kind: type, arguments: list[str], *, program: str) -> Any:
    """Read the options of a command: defaults, then the TOML file of --config, then the command line.

    Raises:
      ValueError: in one line, if an option is unknown, was removed or is ill-typed.
    """
    refuse_arguments(arguments)
    default = train_defaults(arguments) if kind is options.TrainConfig else kind()
    printed = io.StringIO()
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    try:
        with contextlib.redirect_stderr(printed), _columns(None if asks_for_help else 10_000):
            return tyro.cli(kind, args=arguments, default=default, prog=program)
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise ValueError(_one_line(printed.getvalue())) from None


def train_defaults(arguments: list[str]) -> options.TrainConfig:
    """Return what the command line changes: the options of --config and, with --resume, of the run."""
    kind, named = options.TrainConfig, _value_of("--config", arguments)
    given = kind() if named is None else dataclasses.replace(load(named, kind), config=named)
    if not (given.resume or "--resume" in arguments):
        return given
    own = Path(_value_of("--run", arguments) or given.run) / "config.toml"
    if not own.is_file():
        return given
    if named is None:
        return load(own, kind, of_run=True)
    return dataclasses.replace(
        load(named, kind, default=load(own, kind, of_run=True)), config=named
    )


def _explain(error: OSError) -> str:
    """Say in one line what the operating system refused, where, and what to do."""
    advice = {
        errno.ENOSPC: "free some space or write to another disk",
        errno.EDQUOT: "free some of your quota or write to another disk",
        errno.EACCES: "change the mode or choose another place",
        errno.EPERM: "change the mode or choose another place",
        errno.EROFS: "choose another place",
        errno.ENOENT: "check the path",
    }.get(error.errno or 0, "check the path and the disk")
    where = f"{error.filename}: " if error.filename else ""
    return " ".join(f"{where}{error.strerror or error}; {advice}".split())


def _value_of(option: str, arguments: list[str]) -> str | None:
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
        if argument == option and position + 1 < len(arguments):
            return arguments[position + 1]
    return None


@contextlib.contextmanager
def _columns(width: int | None) -> Iterator[None]:
    """Let tyro write lines of this width, so that it does not break the sentence that we take."""
    before = os.environ.get("COLUMNS")
    if width:
        os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        if width:
            del os.environ["COLUMNS"]
            if before is not None:
                os.environ["COLUMNS"] = before


def _one_line(message: str) -> str:
    """Take the sentence out of the box that tyro draws about it, and what it suggests."""
    lines = [re.sub(r"[│╭╮╰╯─]", " ", line).strip() for line in message.splitlines()]
    said = next((line for line in lines[1:] if line), "wrong options")
    said = re.sub(r"^Error parsing (?:[\w.-]+: (?=--)|(?=--))", "", said)
    shown = next((line for line in lines[2:] if line.startswith("--")), "")
    if "Perhaps you meant" in message:
        said = f"{said}; did you mean {shown.split()[0]}?"
    elif "Argument helptext" in message and shown:
        said = f"{said} (expected {shown})"
    elif said.startswith("Unrecognized options") and "--" not in said:
        more = "..." if len(said) > 100 else ""
        said = f"{said[:100]}{more}; quote a pattern, as in 'scan/*.tif', or the shell replaces it"
    return f"{said.rstrip('.')}; see --help"


def command(name: str) -> Callable[[Any, Callable[[str], None]], object]:
    """Import and return the function of a command: importing JAX takes seconds, --help should not."""
    use_compilation_cache()
    if name == "train":
        from smae_jax.commands.train import train as chosen
    elif name == "infer":
        from smae_jax.commands.infer import infer as chosen
    elif name == "evaluate":
        from smae_jax.commands.evaluate import evaluate as chosen
    elif name == "inspect":
        from smae_jax.commands.inspect import inspect as chosen
    elif name == "import-torch":
        from smae_jax.commands.import_torch import import_torch as chosen
    elif name == "simulate":
        from smae_jax.commands.simulate import simulate as chosen
    else:
        from smae_jax.commands.demo import demo as chosen
    return chosen


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs on disk, so that a second start is warm."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "smae_jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


if __name__ == "__main__":
    sys.exit(main())
