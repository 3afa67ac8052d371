"""A train step of this library on one device, by a recipe, on random tokens: what benchmarks time."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BATCHES = 4  # placed beforehand and used in turn, so that no step waits for the host


@dataclass
class Prepared:
    """What a step is made of, before anything is on a device.

    Attributes:
      workload: of the recipe, on random tokens of its lengths.
      optimizer: of the recipe.
      layout: of the recipe's bindings, on one device.
      run: dtype and kernel of attention.
      mesh: of that device.
      backend: the device and how to compile for it.
      batch_size: windows of a step.
    """

    workload: Any
    optimizer: Any
    layout: Any
    run: Any
    mesh: Any
    backend: Any
    batch_size: int

    def batch(self, number: int = 0) -> dict[str, Any]:
        """Random tokens on the device."""
        from pangu_jax.parallel import feed

        source = self.workload.train_source(self.batch_size, 0)
        return dict(next(feed.batches(source, self.mesh, self.batch_size, number)))

    @property
    def facts(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "device": self.backend.describe(),
            "dtype": str(self.run.dtype),
            "attention": self.run.kernel,
            "batch": self.batch_size,
        }


def described(recipe: str, bindings: Sequence[str] = ()) -> tuple[Any, Any, Any]:
    """Workload, optimizer and layout of a recipe of a language model, for one device; nothing is made on it.

    Its data are random windows of the lengths that the recipe has, so none is read.
    """
    import gin

    import data_pipelines.text.synthetic  # noqa: F401  (its name is bound below)
    import pangu_jax.workloads.language  # noqa: F401
    from pangu_jax import recipes
    from pangu_jax.parallel.layout import Layout
    from pangu_jax.recipes.functions import TRAIN

    gin.clear_config()
    loaded = recipes.load([recipe], bindings, function=TRAIN)
    if recipes.Reference("", "corpus", True) == loaded.value("LanguageModel.data"):
        random = [
            "LanguageModel.data=@synthetic_tokens()",
            f"synthetic_tokens.vocabulary_size={loaded.value('corpus.vocabulary_size')}",
            *(
                f"synthetic_tokens.{tower}_length={loaded.value(f'corpus.{tower}_length')}"
                for tower in ("encoder", "decoder")
            ),
        ]
        loaded = recipes.load([recipe], [*random, *bindings], function=TRAIN)
    recipes.apply(loaded)
    bound = gin.get_bindings("train")
    return bound["workload"], bound["optimizer"], Layout().on(1)


def prepare(recipe: str, bindings: Sequence[str] = (), backend: str = "cpu") -> Prepared:
    """A recipe of a language model with bindings, on the first device of a backend."""
    import gin

    from pangu_jax.parallel.mesh import make_mesh
    from tpu_npu_backends import selection

    workload, optimizer, layout = described(recipe, bindings)
    chosen = selection.select(backend)
    return Prepared(
        workload,
        optimizer,
        layout,
        run_context(layout, chosen),
        make_mesh(layout, [chosen.devices[0]]),
        chosen,
        gin.get_bindings("train")["batch_size"],
    )


def attention(kernel: str) -> list[str]:
    """The binding that asks for a kernel of attention: "plain" or "flash"."""
    return [f"Layout.attention={kernel!r}"]


def run_context(layout: Any, backend: Any) -> Any:
    """As `train` makes it."""
    from pangu_jax.models.placement import OneDevice
    from pangu_jax.parallel.numbers import numbers
    from pangu_jax.workloads import RunContext

    found = numbers(layout, backend.platform, backend.capability)
    return RunContext(OneDevice(backend.native), layout.remat, found.dtype, found.kernel)


class OurStep:
    """A compiled step and its state, on the device.

    Args:
      prepared: what is stepped.
      options: for the compiler, over the backend's own.

    Attributes:
      compile_s: seconds of tracing and of the compiler, the state's program not counted.
      memory: bytes of the compiled step: arguments, results, aliased and temporary.
    """

    def __init__(self, prepared: Prepared, options: dict[str, Any] | None = None):
        import jax

        from pangu_jax.planning.compiled_steps import memory_of
        from pangu_jax.training import step

        self.prepared = prepared
        made = step.make_train_step(
            prepared.workload,
            prepared.optimizer,
            prepared.run,
            prepared.layout,
            prepared.mesh,
            batch_size=prepared.batch_size,
            seed=0,
            compiler_options={**prepared.backend.compiler_options, **(options or {})},
        )
        began = time.perf_counter()
        target = step.abstract_start(prepared.workload, prepared.optimizer, prepared.mesh)
        batch = prepared.batch()
        self._key = made.key
        self._compiled = made.jitted.lower(target.state, batch, made.constants, self._key, 0).compile()
        self._constants = made.constants
        self.compile_s = time.perf_counter() - began
        self.memory = memory_of(self._compiled)
        self._batches = itertools.cycle([batch, *map(prepared.batch, range(1, BATCHES))])
        self._start = lambda: step.init_state(prepared.workload, prepared.optimizer, prepared.mesh, 0)
        self._block = jax.block_until_ready
        self.state: Any = None

    @property
    def bytes_held(self) -> int:
        """What the program holds at most: results in the place of arguments count once."""
        return sum(self.memory.values()) - 2 * self.memory["aliased"]

    def advance(self, steps: int = 1) -> dict[str, Any]:
        """So many steps; the metrics of the last one, when it is done."""
        metrics: dict[str, Any] = {}
        if self.state is None:
            self.state = self._start()
        for _ in range(steps):
            self.state, metrics = self._compiled(self.state, next(self._batches), self._constants, self._key)
        self._block((self.state, metrics))
        return metrics

    def seconds(self, steps: int) -> float:
        """Of one step, the mean of so many in a row."""
        began = time.perf_counter()
        self.advance(steps)
        return (time.perf_counter() - began) / steps
