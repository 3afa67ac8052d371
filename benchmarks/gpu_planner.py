"""Train steps compiled for clusters of NVIDIA's GPUs that are not here: what was predicted beside it.

No GPU is needed, and none has run this: XLA's compiler for GPUs is a pip package. Memory is the compiler's,
time is counted from the compiled program (docs/gpu_scaling.md). What has been compiled before is read from
the planner's cache.

    python -m benchmarks.gpu_planner                       # docs/results/gpu_planner.json as a table
    pip install 'pangu-jax[cuda-compile]'
    python -m benchmarks.gpu_planner --compile [NAME ...]  # 10 to 45 CPU-seconds each
"""

import argparse
import json
import sys

from benchmarks.scaling import DOCS, Case, measure

RESULTS = DOCS / "results" / "gpu_planner.json"
_BASE, _2B6, _13B = "nlp/base.gin", "nlp/2b6.gin", "nlp/13b.gin"
_1B, _7B = "openpangu/1b.gin", "openpangu/7b.gin"


def _case(recipe: str, topology: str, batch_size: int, attention: str, **layout: object) -> Case:
    fixed: dict[str, object] = {"partitioning": "'manual'", "remat": "'dots'", "model": 1, "streams": 1}
    return Case(recipe, topology, batch_size, fixed | layout | {"attention": repr(attention)})


CASES = {
    "base on 2 a100": _case(_BASE, "a100:1x2", 32, "plain", fsdp=2, partitioning="'auto'"),
    "base on 4 b200": _case(_BASE, "b200:1x4", 128, "flash", data=2, fsdp=2),
    "base on 8": _case(_BASE, "h100:1x8", 256, "plain", fsdp=8),
    "base on 8, fused": _case(_BASE, "h100:1x8", 256, "flash", fsdp=8),
    "1b on 8 a100": _case(_1B, "a100:1x8", 16, "flash", fsdp=8),
    "1b on 8 b200": _case(_1B, "b200:1x8", 16, "plain", fsdp=8),
    "2b6 on 8 b200": _case(_2B6, "b200:1x8", 128, "flash", fsdp=4, model=2),
    "2b6 on 16": _case(_2B6, "h100:2x8", 128, "plain", fsdp=16),
    "2b6 on 16, fused": _case(_2B6, "h100:2x8", 128, "flash", fsdp=16),
    "2b6 on 16, all kept": _case(_2B6, "h100:2x8", 256, "flash", fsdp=16, remat="'none'"),
    "2b6 on 32 a100": _case(_2B6, "a100:4x8", 128, "plain", fsdp=32, remat="'full'", partitioning="'auto'"),
    "7b on 32": _case(_7B, "h100:4x8", 64, "flash", fsdp=32),
    "13b on 64": _case(_13B, "h100:8x8", 256, "plain", fsdp=64, remat="'full'"),
    "13b on 64, fused": _case(_13B, "h100:8x8", 256, "flash", fsdp=64, remat="'full'"),
    "13b on 64, dots": _case(_13B, "h100:8x8", 256, "flash", fsdp=64),
    "13b on 64 a100": _case(_13B, "a100:8x8", 128, "flash", fsdp=32, model=2),
    "2b6 on 16, batch 512": _case(_2B6, "h100:2x8", 512, "flash", fsdp=16),
    "7b on 32, batch 128": _case(_7B, "h100:4x8", 128, "flash", fsdp=32),
    "13b on 64, batch 768": _case(_13B, "h100:8x8", 768, "flash", fsdp=64),
    "110b on 256, batch 512": _case("nlp/110b.gin", "h100:32x8", 512, "flash", data=2, fsdp=64, model=2),
    "110b on 256": _case("nlp/110b.gin", "h100:32x8", 4096, "flash", fsdp=256, remat="'full'"),
}


def table(rows: dict[str, dict[str, object]]) -> str:
    """In Markdown, as docs/gpu_scaling.md has it."""
    lines = [
        "| program | GPUs | batch | layout, attention | GiB predicted / compiled | "
        "step s predicted / compiled | MFU compute-only | exposed |"
    ]
    lines.append("| --- " * 8 + "|")
    for name, r in rows.items():
        gib, step = r["predicted_gib"] / r["gib"] - 1, r["predicted_step_s"] / r["step_s"] - 1
        lines.append(
            f"| {name} | {r['topology']} | {r['batch_size']:,} | {r['layout']}, {r['remat']}, "
            f"{r['attention']} | "
            f"{r['predicted_gib']:.1f} / {r['gib']:.1f} ({gib:+.0%}) | "
            f"{r['predicted_step_s']:.3f} / {r['step_s']:.3f} ({step:+.0%}) | "
            f"{100 * r['mfu_compute']:.1f}% | {100 * r['mfu']:.1f}% |"
        )
    return "\n".join(lines)


def main() -> None:
    """Shows what is known, after compiling what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compile", nargs="*", metavar="NAME", help=f"all, or of: {', '.join(CASES)}")
    wanted = parser.parse_args().compile
    if unknown := set(wanted or ()) - set(CASES):
        parser.error(f"no program {', '.join(unknown)}; there are {', '.join(CASES)}")
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in CASES if wanted == [] else wanted or ():
        case = CASES[name]
        said = {key: str(case.layout[key]).strip("'") for key in ("remat", "attention")}
        rows[name] = measure(case) | said
        rows = {name: rows[name] for name in CASES if name in rows}
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
