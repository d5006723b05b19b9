"""The command line: `smae-jax train|infer|evaluate|...`, and what `train.py` and `infer.py` call.

What the exit statuses mean stands in `STATUSES`, which `smae-jax --help` shows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tyro

from smae_jax import config as options
from smae_jax.compilation import use_compilation_cache
from smae_jax.config_file import load
from smae_jax.errors import UserError
from smae_jax.named import is_of_own_code
from smae_jax.one_heap import use_one_heap
from smae_jax.progress import set_verbosity, verbosity
from smae_jax.removed import refuse_arguments
from smae_jax.stopping import Stopped, stopping
from smae_jax.version import version

COMMANDS: dict[str, tuple[type, str]] = {
    "train": (options.TrainConfig, "train a denoiser on the frames of a scan"),
    "infer": (options.InferConfig, "denoise frames with a trained run"),
    "watch": (options.WatchConfig, "denoise frames as they come"),
    "fill": (options.FillConfig, "fill masked pixels from their partner, without training"),
    "evaluate": (options.EvaluateConfig, "score a run beside simple filters"),
    "report": (options.ReportConfig, "one page on a run: before and after, physics, alarms"),
    "plan": (options.PlanConfig, "how short one may expose, told from a pilot scan"),
    "import-torch": (options.ImportTorchConfig, "make a run of a published PyTorch checkpoint"),
    "inspect": (options.InspectConfig, "show what the program understands of a scan"),
    "simulate": (options.SimulateConfig, "simulate a scan with its truth"),
    "demo": (options.DemoConfig, "simulate, train, denoise and compare, with pictures"),
}
RESULT_IS_TEXT = ("inspect",)
"""Commands that are there to print; quiet or not, they do."""
EVERYWHERE = """with every command:
  -q, --quiet    print errors only (and what 'inspect' is there to print)
  -v, --verbose  print timings and the logs of the libraries too"""
STATUSES = """exit status:
  0    done
  1    a fault of the program or of your own code, with its traceback
  2    a mistake that you can mend, said in one line: an option, a file, a full disk
  130  interrupted (Ctrl-C)
  141  nobody reads the output any more, as after '| head'
  143  stopped by SIGTERM; a training has saved a checkpoint to go on from with --resume"""

BROKEN_PIPE = 128 + 13
"""Exit status where nobody reads the output any more, as a shell reports SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status, as `STATUSES` explains it.

    Only the user's mistakes (`UserError`, options that do not parse, files that the operating system refuses)
    become one line on standard error. Every other exception goes through with its traceback: it is a fault of
    the program, or comes from a user's own code, as even an `OSError` may.
    """
    try:
        status = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that has gone is noticed here, not when Python ends
        return status
    except BrokenPipeError as error:
        if is_of_own_code(error):
            raise
        _write_nowhere()
        return BROKEN_PIPE


def _run(arguments: Sequence[str] | None) -> int:
    """Run one command as `main` does; raise `BrokenPipeError` where nobody reads the output."""
    arguments, level = list(sys.argv[1:] if arguments is None else arguments), 0
    _print_whatever()
    use_one_heap()
    name, start, before = "", time.perf_counter(), verbosity()
    try:
        arguments, level = take_verbosity(arguments)
        name = arguments[0] if arguments else "--help"
        if name in ("-h", "--help"):
            print(front_page())
            return 0
        if name == "--version":
            print(versions())
            return 0
        if name not in COMMANDS:
            raise UserError(f"unknown command '{name}': expected one of {', '.join(COMMANDS)}")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # where a user's own loss is looked for
        config = parse(COMMANDS[name][0], arguments[1:], program=f"smae-jax {name}")
        set_verbosity(level)
        say = _silent if level < 0 and name not in RESULT_IS_TEXT else _say
        with _logs(level):
            command(name)(config, say)
    except UserError as error:
        return _fail(name, " ".join(str(error).split()), status=2)
    except BrokenPipeError:
        raise  # of a reader that has gone
    except OSError as error:
        if is_of_own_code(error):
            raise
        return _fail(name, _explain(error), status=2)
    except Stopped as stopped:
        return _fail(name, " ".join(str(stopped).split()), status=128 + signal.SIGTERM)
    except SystemExit as exit:
        if exit.code not in (0, None):
            raise
        return 0  # --help was answered
    except KeyboardInterrupt:
        return _fail(name, "interrupted", status=128 + signal.SIGINT)
    finally:
        set_verbosity(before)
    if level > 0:
        print(f"smae-jax {name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return 0


def front_page() -> str:
    """Return what `smae-jax --help` shows."""
    commands = "\n".join(f"  {name:13} {purpose}" for name, (_, purpose) in COMMANDS.items())
    return (
        "usage: smae-jax COMMAND [options]; 'smae-jax COMMAND --help' explains each option\n"
        "       smae-jax --version\n\n"
        f"{commands}\n\n{EVERYWHERE}\n\n{STATUSES}"
    )


def versions() -> str:
    """Return this program's version and JAX's, without importing JAX."""
    try:
        jax = metadata.version("jax")
    except metadata.PackageNotFoundError:
        jax = "missing"
    return f"smae_jax {version()} (jax {jax})"


def take_verbosity(arguments: Sequence[str]) -> tuple[list[str], int]:
    """Take -q and -v, in short or long, out of a command line, wherever they stand.

    Returns:
      (the other arguments, verbosity).

    Raises:
      UserError: if both are there.
    """
    level = {"-q": -1, "--quiet": -1, "-v": 1, "--verbose": 1}
    found = {level[argument] for argument in arguments if argument in level}
    if len(found) > 1:
        raise UserError("--quiet and --verbose: expected one of them; leave one out")
    return [argument for argument in arguments if argument not in level], sum(found)


def _print_whatever() -> None:
    """Let characters that the terminal cannot show, as of a file's name, be printed as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(line: str) -> None:
    print(line, flush=True)


def _write_nowhere() -> None:
    """Let Python end without a word on output that nobody reads, as its documentation advises."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _silent(line: str) -> None:
    del line


def _fail(name: str, message: str, *, status: int) -> int:
    print(f"{f'smae-jax {name}'.rstrip()}: {message}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _logs(level: int) -> Iterator[None]:
    """Show the libraries' logs from INFO on when verbose, errors alone and no warnings when quiet."""
    if level == 0:
        yield
        return
    root = logging.getLogger()
    handler, before = logging.StreamHandler(), root.level
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO if level > 0 else logging.ERROR)
    try:
        with warnings.catch_warnings():
            if level < 0:
                warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def parse(kind: type, arguments: list[str], *, program: str) -> Any:
    """Read the options of a command: defaults, then the TOML file of --config, then the command line.

    Raises:
      UserError: in one line, if an option is unknown, was removed or is ill-typed.
    """
    refuse_arguments(arguments)
    arguments = together(arguments, ("--data.mask", "--mask"))
    default = train_defaults(arguments) if kind is options.TrainConfig else kind()
    printed = io.StringIO()
    asks_for_help = not {"-h", "--help"}.isdisjoint(arguments)
    try:
        with contextlib.redirect_stderr(printed), _columns(None if asks_for_help else 10_000):
            return tyro.cli(kind, args=arguments, default=default, prog=program)
    except SystemExit as exit:
        if exit.code in (0, None):
            if asks_for_help:
                print(EVERYWHERE)
            raise
        raise UserError(_one_line(printed.getvalue())) from None


def together(arguments: list[str], repeated: Sequence[str]) -> list[str]:
    """Gather what several uses of an option give behind its first use.

    >>> together(["--mask", "a", "--run", "r", "--mask=b"], ["--mask"])
    ['--mask', 'a', 'b', '--run', 'r']
    """
    kept, given = list[str](), dict[str, list[str]]()
    values = kept
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in repeated:
            if option not in given:
                given[option] = []
                kept.append(option)
            values = given[option]
            values += [value] if equals else []
        elif argument.startswith("--"):
            values = kept
            values.append(argument)
        else:
            values.append(argument)
    return [one for argument in kept for one in (argument, *given.get(argument, ()))]


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
    # Where the terminal is not said to know UTF-8, the box is drawn with dashes alone.
    lines = [re.sub(r"[│╭╮╰╯─]|^[ -]+$", " ", line).strip() for line in message.splitlines()]
    said = next((line for line in lines[1:] if line), "wrong options")
    said = re.sub(r"^Error parsing (?:[\w.-]+: (?=--)|(?=--))", "", said)
    shown = next((line for line in lines[2:] if line.startswith("--")), "")
    if "Perhaps you meant" in message:
        said = f"{said}; did you mean {shown.split()[0].rstrip(',')}?"
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
    elif name == "watch":
        chosen = _watch
    elif name == "fill":
        from smae_jax.commands.fill import fill as chosen
    elif name == "evaluate":
        from smae_jax.commands.evaluate import evaluate as chosen
    elif name == "report":
        from smae_jax.commands.report import report as chosen
    elif name == "plan":
        from smae_jax.commands.plan import plan as chosen
    elif name == "inspect":
        from smae_jax.commands.inspect import inspect as chosen
    elif name == "import-torch":
        from smae_jax.commands.import_torch import import_torch as chosen
    elif name == "simulate":
        from smae_jax.commands.simulate import simulate as chosen
    else:
        from smae_jax.commands.demo import demo as chosen
    return chosen


def _watch(config: Any, say: Callable[[str], None]) -> None:
    """Watch, and remember from before JAX is imported that a signal asked for the end.

    An exception in the place of that could be raised in a callback of JAX's, which would swallow it.
    """
    with stopping(signal.SIGTERM, signal.SIGINT) as stopped:
        from smae_jax.commands.watch import watch

        watch(config, say, stopped)


if __name__ == "__main__":
    sys.exit(main())
