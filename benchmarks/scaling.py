"""The scaling study: the train step of the 110B and 200B recipes compiled for 256 to 4,096 chips of TPU v5p.

No chip is needed, and none has run this: the TPU compiler is a pip package. Memory is the compiler's, time is
counted from the compiled program (docs/scaling.md has the definition). What has been compiled before is read
from the planner's cache.

    python -m benchmarks.scaling                       # what is in docs/results/scaling.json, as a table
    pip install 'pangu-jax[tpu]'
    python -m benchmarks.scaling --compile [NAME ...]  # minutes each; also docs/images/scaling.svg
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "scaling.json"
PICTURE = DOCS / "images" / "scaling.svg"


@dataclass(frozen=True)
class Case:
    """One program: a recipe on a topology with a batch and a layout."""

    recipe: str
    topology: str
    batch_size: int
    layout: dict[str, object]

    def bindings(self) -> list[str]:
        """For the command line, which shows them too."""
        layout = [f"Layout.{name}={value}" for name, value in self.layout.items()]
        return [f"train.batch_size={self.batch_size}", *layout]


def flat(fsdp: int) -> dict[str, object]:
    """Tensor axis on one torus dimension, everything else FSDP."""
    return {"fsdp": fsdp, "model": 8}


# A ring for each tower, around which microbatches go nine times: one layer per stage and round.
PIPELINE = {"stage": 4, "schedule": "gpipe", "repeats": 9, "microbatches": 8}
CASES = {
    "110b on 256": Case("nlp/110b.gin", "v5p:8x8x4", 512, flat(32)),
    "110b on 512": Case("nlp/110b.gin", "v5p:8x8x8", 1024, flat(64)),
    "110b on 1024": Case("nlp/110b.gin", "v5p:8x8x16", 2048, flat(128)),
    "110b on 2048": Case("nlp/110b.gin", "v5p:8x16x16", 4096, flat(256)),
    # 8 would be half of a torus dimension of 16, which has one link where a whole one has two
    "110b on 4096": Case("nlp/110b.gin", "v5p:16x16x16", 8192, {"fsdp": 1024, "model": 4}),
    "200b on 2048": Case("nlp/200b.gin", "v5p:8x16x16", 4096, flat(256)),
    "110b on 512, 4 stages": Case("nlp/110b.gin", "v5p:8x8x8", 1024, flat(16) | PIPELINE),
}


def measure(case: Case) -> dict[str, object]:
    """What the compiler says of a case."""
    import gin

    from pangu_jax import recipes
    from pangu_jax.parallel.layout import Layout
    from pangu_jax.planner import predictions
    from pangu_jax.planning.compiled_steps import compile_step
    from pangu_jax.planning.verifying import Verifier
    from pangu_jax.recipes.functions import TRAIN
    from pangu_jax.training.optimizers import state_bytes
    from tpu_npu_backends import topologies

    gin.clear_config()
    recipe = recipes.load([case.recipe], case.bindings(), function=TRAIN)
    recipes.apply(recipe)
    bound = gin.get_bindings("train")
    workload, optimizer, layout = bound["workload"], bound["optimizer"], Layout()
    topology = topologies.parse(case.topology)
    layout = layout.on(topology.device_count)
    model = predictions.describe(workload, case.batch_size, state_bytes(optimizer, workload), "auto")
    expected = predictions.predict(model, topology, layout)
    verifier = Verifier(topology)
    parts = (workload, optimizer, layout, case.batch_size, topology, verifier.devices)
    (found,) = verifier.verify(
        [expected], lambda _: compile_step(*parts), workload.flops_per_step(case.batch_size)
    )
    told = found.facts
    if told is None:
        raise SystemExit(f"{case}: {found.error}")
    return {
        "chips": topology.chips,
        "topology": topology.name,
        "batch_size": case.batch_size,
        "layout": layout.describe(),
        "schedule": layout.schedule,
        "gib": told["memory_bytes_per_device"]["total"] / 2**30,
        "compile_s": told["compile_s"],
        "step_s": told["seconds"]["step"],
        "mfu_compute": told["mfu"]["compute_only"],
        "mfu": told["mfu"]["exposed"],
        "predicted_gib": expected.bytes_per_device / 2**30,
        "predicted_step_s": expected.step_s,
    }


def table(rows: dict[str, dict[str, object]]) -> str:
    """In Markdown, as docs/scaling.md has it."""
    lines = [
        "| program | topology | batch | layout | GiB | step s | MFU compute-only | exposed | compile s |"
    ]
    lines.append("| --- " * 9 + "|")
    for name, r in rows.items():
        mfu = f"{100 * r['mfu_compute']:.1f}% | {100 * r['mfu']:.1f}%"
        lines.append(
            f"| {name} | {r['topology']} | {r['batch_size']} | {r['layout']} | {r['gib']:.1f} | "
            f"{r['step_s']:.3f} | {mfu} | {r['compile_s']:.0f} |"
        )
    flats = [r for name, r in rows.items() if name.startswith("110b") and r["schedule"] == "none"]
    base = next((r for r in flats if r["chips"] == 512), None)
    for r in flats if base else []:
        if r is base:
            continue
        linearity = 100 * base["step_s"] / r["step_s"]
        lines.append(f"\nstep time 512 -> {r['chips']} chips at {r['batch_size'] / r['chips']:g} "
                     f"examples per chip: {linearity:.1f}% of linear")  # fmt: skip
    return "\n".join(lines)


def draw(rows: dict[str, dict[str, object]]) -> None:
    """MFU over chips, for the layouts without a pipeline."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = FigureCanvasSVG(figure).figure.subplots()
    flats = sorted((r for n, r in rows.items() if n.startswith("110b") and r["schedule"] == "none"),
                   key=lambda r: r["chips"])  # fmt: skip
    chips = [r["chips"] for r in flats]
    axes.plot(chips, [100 * r["mfu_compute"] for r in flats], "o-", label="110B, compute only")
    axes.plot(chips, [100 * r["mfu"] for r in flats], "s-", label="110B, with exposed communication")
    for name, r in rows.items():
        if name.startswith("200b"):
            axes.plot(
                r["chips"], 100 * r["mfu"], "D", color="tab:red", label="200B, with exposed communication"
            )
    axes.set(
        xscale="log", xlabel="TPU v5p chips (compiled, not run)", ylabel="estimated MFU, %", ylim=(0, 100)
    )
    axes.set_xticks(chips, [f"{c:,}" for c in chips])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Shows what is known, after compiling what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compile", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(CASES)}")
    wanted = parser.parse_args().compile
    if unknown := set(wanted or ()) - set(CASES):
        parser.error(f"no program {', '.join(unknown)}; there are {', '.join(CASES)}")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in CASES if wanted == [] else wanted or ():
        rows[name] = measure(CASES[name])
        rows = {name: rows[name] for name in CASES if name in rows}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))
    if wanted is not None:
        draw(rows)


if __name__ == "__main__":
    sys.exit(main())
