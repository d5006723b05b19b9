"""Checkpoints of a run: the whole state to go on from, the averaged parameters to predict with.

The only file that imports orbax. What it restores are arrays of a known tree, nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from smae_jax.errors import UserError
from smae_jax.progress import verbosity


class CheckpointMismatchError(UserError):
    """A checkpoint does not fit the network that is to read it."""


class CheckpointDamagedError(UserError):
    """A checkpoint is there and cannot be read."""


class CheckpointNotWrittenError(UserError):
    """The disk did not take a checkpoint; earlier ones are untouched."""


class Checkpoints:
    """The checkpoints in one folder, by step; each holds `state`, `parameters` and `notes`."""

    def __init__(self, folder: str | Path, *, keep: int | None = None) -> None:
        """Open `folder`, made when first written to; `keep` newest are kept (None = all)."""
        self.folder, self.keep = Path(folder).absolute(), keep

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self.keep, enable_async_checkpointing=False, create=False
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def steps(self) -> list[int]:
        """Return the steps that are there, rising."""
        if not self.folder.is_dir():
            return []
        with _without_its_talk():
            return sorted(self._manager.all_steps())

    def save(self, step: int, *, parameters: Any, state: Any = None, notes: dict[str, Any]) -> None:
        """Save the parameters, with the state where one is given; notes are plain JSON values.

        Raises:
          CheckpointNotWrittenError: if the disk is full or forbids it; nothing half-written stays.
        """
        items = {"parameters": ocp.args.StandardSave(parameters), "notes": ocp.args.JsonSave(notes)}
        if state is not None:
            items["state"] = ocp.args.StandardSave(state)
        with _without_its_talk(), self._whole_or_not_at_all(step):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._find_room(parameters, state)
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
            self._manager.wait_until_finished()

    def _find_room(self, *trees: Any) -> None:
        """Ask the disk for the room first: orbax's writers run on after one failed, and say so at length.

        Raises:
          OSError: if there is none, because of the disk, a quota or a limit, or no permission to write.
        """
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        with tempfile.TemporaryFile(dir=self.folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, int(1.1 * size) + 100_000)
            elif shutil.disk_usage(self.folder).free < 1.1 * size + 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def _whole_or_not_at_all(self, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            with contextlib.suppress(Exception):  # other items may still be on their way
                self._manager.wait_until_finished()
            self.remove_unfinished()
            reason = _reason(error)
            if reason is None:
                raise
            raise CheckpointNotWrittenError(
                f"{self.folder / str(step)}: this checkpoint could not be written ({reason}); make "
                "room or mend the permissions, then go on with --resume"
            ) from error

    def remove_unfinished(self) -> None:
        """Remove what a kill or a full disk left of a checkpoint that never became one."""
        for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, steps: Collection[int]) -> None:
        """Delete all checkpoints but those of `steps`."""
        with _without_its_talk():
            for step in self.steps():
                if step not in steps:
                    self._manager.delete(step)

    def notes(self, step: int) -> dict[str, Any]:
        """Return the notes saved with a step.

        Raises:
          CheckpointDamagedError: if they cannot be read.
        """
        items = ocp.args.Composite(notes=ocp.args.JsonRestore())
        with _without_its_talk(), self._readable(step):
            return self._manager.restore(step, args=items)["notes"]

    def restore(self, step: int, item: str, like: Any = None) -> Any:
        """Restore `item` ("state" or "parameters") of a step.

        Args:
          step: one of `steps()`.
          item: what to restore.
          like: tree of arrays or `jax.ShapeDtypeStruct` with the shapes, dtypes and shardings wanted; the
            checkpoint may come from another number of devices. None = as the checkpoint has them.

        Raises:
          CheckpointMismatchError: if names or shapes differ; the message names the first difference.
          CheckpointDamagedError: if files of it are missing or cut short.
        """
        with _without_its_talk(), self._readable(step):
            like = self._as_saved(step, item) if like is None else like
            self._check(step, item, like)
            target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            items = ocp.args.Composite(**{item: ocp.args.StandardRestore(target)})
            return self._manager.restore(step, args=items)[item]

    @contextlib.contextmanager
    def _readable(self, step: int) -> Iterator[None]:
        try:
            yield
            return
        except UserError:
            raise
        except Exception as error:
            # ValueError: what tensorstore cannot read; Orbax wraps some of these in a plain Exception.
            what = (error.__cause__ or error) if type(error) is Exception else error
            if not isinstance(what, OSError | ValueError | KeyError):
                raise
            said = " ".join(str(what).split())[:150]
            del what
        gc.collect()  # what Orbax had begun complains when it goes, while nobody listens
        raise CheckpointDamagedError(
            f"{self.folder / str(step)}: this checkpoint cannot be read ({said}); take another one, or "
            "train again"
        )

    def _as_saved(self, step: int, item: str) -> Any:
        """Return the shapes that a checkpoint has, on the first device."""
        place: Any = self.folder / str(step) / item
        found = ocp.StandardCheckpointHandler().metadata(place)
        return on_first_device(getattr(found, "tree", found))

    def _check(self, step: int, item: str, like: Any) -> None:
        place: Any = self.folder / str(step) / item  # orbax's own kind of path is not asked for
        found = ocp.StandardCheckpointHandler().metadata(place)
        found = _shapes(getattr(found, "tree", found))
        wanted = _shapes(like)
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise CheckpointMismatchError(
                    f"{self.folder / str(step)}: parameter '{name}' is "
                    f"{found.get(name, 'absent')} in the checkpoint and {wanted.get(name, 'absent')} "
                    "in the network; use the --model and sizes that it was trained with"
                )

    def close(self) -> None:
        """Release what orbax holds."""
        if "_manager" in self.__dict__:
            with _without_its_talk():
                self._manager.close()


@contextlib.contextmanager
def _without_its_talk() -> Iterator[None]:
    """Keep orbax quiet while it works; what other libraries say, and what they say elsewhere, is untouched.

    It reports every step of every save, and an error with its traceback beside raising it; its readers and
    writers answer after one of them failed. With `--verbose` all of it is shown.
    """
    if verbosity() > 0:
        yield
        return
    talkers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, before = [talker.level for talker in talkers], sys.unraisablehook

    def hook(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and "Event loop is closed" in str(error)):
            before(unraisable)

    for talker in talkers:
        talker.setLevel(logging.CRITICAL)
    sys.unraisablehook = hook
    try:
        yield
    except BaseException:
        gc.collect()  # late answers come now, not after the block
        raise
    finally:
        sys.unraisablehook = before
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)


def _reason(error: Exception) -> str | None:
    """Return what the operating system said, which tensorstore hides in a text; None if it was not asked."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else None


def on_first_device(tree: Any) -> Any:
    """Return the shapes and dtypes of a tree, to be restored on the first device."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): tuple(leaf.shape) for path, leaf in leaves}


def _name(path: tuple[Any, ...]) -> str:
    """Join a tree path; attributes, indices and keys look the same in a checkpoint on disk."""
    parts = [getattr(p, "key", getattr(p, "idx", getattr(p, "name", None))) for p in path]
    return "/".join(str(part) for part in parts)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object of a run folder.

    Raises:
      UserError: if it is missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: not a readable file of a run ({error}); give --run a folder made by 'smae-jax train'"
        ) from None
