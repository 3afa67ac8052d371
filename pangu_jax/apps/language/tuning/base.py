"""The model that is tuned: what its shape is, and where its parameters come from."""

from dataclasses import dataclass, field
from typing import Protocol

import jax

from pangu_jax.workloads import Tree
from pangu_jax.workloads.language.model.architecture import Architecture


class Base(Protocol):
    """The model that is tuned."""

    @property
    def config(self) -> Architecture:
        """Its shape."""
        ...

    @property
    def shapes(self) -> Tree:
        """Its complete parameters without their contents."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What it depends on besides shapes: its vocabulary's hash."""
        ...

    @property
    def files(self) -> dict[str, bytes]:
        """What a run of it needs beside checkpoints: its vocabulary."""
        ...

    def restore(self, shardings: Tree) -> Tree:
        """Its parameters, fp32, where they are to be."""


@dataclass(frozen=True)
class InMemoryBase:
    """A base whose parameters are here already, such as that of a sweep; they are not changed."""

    config: Architecture
    params: Tree
    fingerprint: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def shapes(self) -> Tree:
        """Of the parameters."""
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.params)

    def restore(self, shardings: Tree) -> Tree:
        """The parameters, moved where they are not there yet."""
        return jax.device_put(self.params, shardings)
