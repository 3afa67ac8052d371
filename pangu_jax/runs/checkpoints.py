"""Saving and restoring the training state, over Orbax.

Asynchronous (the step waits only for the copy to host memory), sharded (each process writes its shards),
atomic (a step appears under its number only when it is whole). A restore names the arrays it wants by an
abstract tree with the shardings of the mesh it runs on now: mesh, number of devices and dtype may all differ
from those saved.
"""

import datetime
import logging
import os
import shutil
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

import pangu_jax
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files as files
from pangu_jax.runs.checkpoint_structure import (
    describe,
    mesh_axes,
    require_same_fingerprint,
    require_same_structure,
)
from pangu_jax.runs.orbax_setup import disk_trouble, open_manager
from pangu_jax.runs.sound_steps import SoundSteps

PyTree = Any
log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: where the steps live; made if it does not exist.
        keep: how many of the newest steps to keep.
        keep_every: also keep, for good, the steps that are multiples of this.
        asynchronous: return from `save` once the arrays are in host memory, and write in the background.
        checksums: let the first process sum each step's files before it is committed (about 1.6 GB/s a
            thread, in the background). Without, a step is "unsummed" and damage shows only if Orbax stumbles
            over it.
        read_only: for evaluation beside a running trainer: nothing is made, cleaned up or set aside.
    Raises:
        UserError: the directory cannot be written (or, read only, is not there).
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        keep: int = 3,
        keep_every: int | None = None,
        asynchronous: bool = True,
        checksums: bool = True,
        read_only: bool = False,
    ):
        self.directory = Path(directory).absolute()
        self._asynchronous = asynchronous
        self._checksums = checksums
        self._read_only = read_only
        self._sound = SoundSteps(self.directory, read_only)
        self._saving: int | None = None
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._sweeping: Future | None = None
        files.require_usable(self.directory, read_only)
        if not read_only and jax.process_index() == 0:
            shutil.rmtree(self.directory / files.EXPIRED, ignore_errors=True)
        self._kept_also: set[int] = set()
        self._manager = open_manager(
            self.directory, keep, keep_every, self._kept_also, read_only, self._before_commit
        )

    def save(self, step: int, state: PyTree, manifest: Mapping[str, Any], force: bool = False) -> bool:
        """Save `state` as `step`. Every process calls it.

        Args:
            step: names the checkpoint.
            state: any pytree of jax.Arrays, typed random keys included.
            manifest: JSON saved beside it: "recipe" (text of the resolved recipe), "fingerprint" ({name:
                hash}) and whatever else the caller wants back. Added: "step", "version" (of pangu_jax),
                "mesh", "saved" (time), "arrays" (shape, dtype and bytes of each).
            force: replace a checkpoint of the same step; otherwise it is left alone.
        Returns:
            Whether a save was started.
        Raises:
            UserError: this save, or the asynchronous one before it, failed because of the disk. Older steps
                are intact.
        """
        self.wait()
        if step in files.committed_steps(self.directory):
            if not force:
                return False
            self._manager.delete(step)
        manifest = {"mesh": mesh_axes(state), **manifest, "step": step, "version": pangu_jax.__version__}
        manifest |= {"saved": datetime.datetime.now(datetime.UTC).isoformat(), "arrays": describe(state)}
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), manifest=ocp.args.JsonSave(manifest))
        self._saving = step
        with self._disk_errors():
            self._manager.save(step, args=items, force=True)  # when to save is the trainer's business
        if jax.process_index() == 0:
            self._sweeping = self._background.submit(self._sweep)
        if not self._asynchronous:
            self.wait()
        return True

    def keep_also(self, step: int) -> None:
        """Keep this step besides the newest ones, and no longer the one that was named before."""
        self._kept_also.clear()
        self._kept_also.add(step)

    def latest(self) -> int | None:
        """The newest committed step, or None."""
        return max(files.committed_steps(self.directory), default=None)

    def exist(self) -> bool:
        """Whether there is a committed step, as process 0 sees it: a network file system may show another
        process less. Every process calls it."""
        there = self.latest() is not None
        if jax.process_count() > 1:
            there = bool(multihost_utils.broadcast_one_to_all(np.bool_(there)))
        return there

    def restore(
        self,
        abstract_state: PyTree,
        step: int | None = None,
        fingerprint: Mapping[str, str] | None = None,
    ) -> tuple[PyTree, dict[str, Any]]:
        """Restore the newest sound checkpoint, or that of `step`, onto the shardings and dtypes asked for.

        A damaged newest checkpoint is reported in one warning and the one before it is used; the damaged one
        is renamed to STEP.corrupt, so that training can save that step again.

        Args:
            abstract_state: pytree of jax.ShapeDtypeStruct with shardings of the current mesh (no sharding
                means the first device). A floating-point array may ask for another floating-point dtype.
            step: restore exactly this step; damage is then an error.
            fingerprint: the workload's ({name: hash}), compared with the saved one before any array is read.
        Returns:
            The state, structured as `abstract_state`, and the manifest.
        Raises:
            UserError: no checkpoint, none sound, another fingerprint, or arrays unlike `abstract_state`.
        """
        return self._restore(abstract_state, step, fingerprint, partial=False)

    def restore_entries(
        self,
        abstract_entries: Mapping[str, PyTree],
        step: int | None = None,
        fingerprint: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, PyTree], dict[str, Any]]:
        """As `restore`, reading only the entries of the state that are named, such as `params`."""
        return self._restore(dict(abstract_entries), step, fingerprint, partial=True)

    def read_below(self, step: int, path: str, wanted: PyTree) -> PyTree:
        """Some arrays of a step that was found sound, at or below a path such as "params/embedding", without
        the others.

        Args:
            step: which.
            path: of names, with "/" between them.
            wanted: pytree of jax.ShapeDtypeStruct of what is read there, as of `restore`.
        Raises:
            UserError: one of them is not there, or of another shape or kind of dtype.
        """
        names = path.split("/")
        target: PyTree = wanted
        for name in reversed(names):
            target = {name: target}
        step_directory = self.directory / str(step)
        saved, asked = files.read_manifest(step_directory)["arrays"], describe(target)
        require_same_structure(step_directory, {name: saved[name] for name in asked if name in saved}, target)
        found = self._read(step, target, partial=True)
        for name in names:
            found = found[name]
        return found

    def newest_sound(self, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """The step that `restore` begins with, and its manifest; no array is read.

        Damaged steps are reported and set aside as there; raises as it does.
        """
        self.wait()
        faults: dict[int, str] = {}
        chosen = self._sound.first(self._sound.candidates(step), faults)
        if chosen is None:
            raise self._sound.none_usable(faults)
        self._step_over(faults, chosen)
        return chosen, files.read_manifest(self.directory / str(chosen))

    def wait(self) -> None:
        """Wait for the save under way, if any.

        Raises:
            UserError: it failed because of the disk.
        """
        with self._disk_errors():
            self._manager.wait_until_finished()
        if self._sweeping:
            self._sweeping.result()

    def close(self) -> None:
        """Wait, then release threads and files. Raises as `wait`."""
        with self._disk_errors():
            self._manager.close()
        self._background.shutdown()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, exception, traceback) -> None:
        try:
            self.close()
        except UserError as error:
            if exception is None:
                raise
            log.error("%s", error)  # what went wrong first is what the caller should see

    def _restore(
        self, target: PyTree, step: int | None, fingerprint: Mapping[str, str] | None, partial: bool
    ) -> tuple[PyTree, dict[str, Any]]:
        self.wait()
        faults: dict[int, str] = {}
        candidates = self._sound.candidates(step)
        while (chosen := self._sound.first(candidates, faults)) is not None:
            step_directory = self.directory / str(chosen)
            manifest = files.read_manifest(step_directory)
            if fingerprint is not None:
                require_same_fingerprint(step_directory, manifest.get("fingerprint", {}), fingerprint)
            require_same_structure(step_directory, manifest["arrays"], target, partial)
            try:
                state = self._read(chosen, target, partial)
            except Exception as error:
                # With checksums the files are as written, so the trouble lies elsewhere; and one process of
                # several cannot step back alone.
                if files.is_summed(step_directory) or jax.process_count() > 1:
                    raise
                faults[chosen] = f"cannot be read ({' '.join(str(error).split())[:200]})"
                continue
            self._step_over(faults, chosen)
            return state, manifest
        raise self._sound.none_usable(faults)

    def _read(self, step: int, target: PyTree, partial: bool) -> PyTree:
        default = jax.sharding.SingleDeviceSharding(jax.devices()[0])

        def with_sharding(leaf) -> jax.ShapeDtypeStruct:
            sharding = getattr(leaf, "sharding", None) or default
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        target = jax.tree.map(with_sharding, target)
        restore_args = ocp.checkpoint_utils.construct_restore_args(target)
        arguments = ocp.args.PyTreeRestore(item=target, restore_args=restore_args, partial_restore=partial)
        state = self._manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
        for path, leaf in jax.tree.leaves_with_path(state):
            if not isinstance(leaf, jax.Array):  # a partial restore gives back what the files do not have
                raise ValueError(f"{jax.tree_util.keystr(path, simple=True, separator='/')} is not there")
        return state

    def _step_over(self, faults: Mapping[int, str], chosen: int) -> None:
        self._sound.step_over(faults, chosen)
        if not self._read_only:
            self._manager.reload()

    def _sweep(self) -> None:
        """Remove the steps that retention gave up, once the save under way is done."""
        with suppress(Exception):  # `wait` raises it in the caller's thread
            self._manager.wait_until_finished()
        shutil.rmtree(self.directory / files.EXPIRED, ignore_errors=True)

    def _before_commit(self) -> None:
        if self._checksums:
            for step_directory in self.directory.glob(f"{self._saving}.{files.IN_PROGRESS}*"):
                files.write_checksums(step_directory)

    @contextmanager
    def _disk_errors(self) -> Generator[None]:
        """Turn a failed write into one line for a person, and remove what it left, which frees the disk."""
        try:
            yield
        except Exception as error:
            if (trouble := disk_trouble(error)) is None:
                raise
            if jax.process_index() == 0:
                self._remove_unfinished()
            latest = self.latest()
            intact = "there is no earlier one" if latest is None else f"that of step {latest} is intact"
            raise UserError(
                f"could not save checkpoint {self.directory / str(self._saving)}: {trouble.lower()}; "
                f"{intact}; free or repair the disk and run the same command again"
            ) from error

    def _remove_unfinished(self) -> None:
        for _ in range(10):
            unfinished = list(self.directory.glob(f"*.{files.IN_PROGRESS}*"))
            for step_directory in unfinished:
                shutil.rmtree(step_directory, ignore_errors=True)
            if not unfinished:
                return
            time.sleep(0.1)  # writers that have not failed yet may still add files
