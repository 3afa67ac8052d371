"""Is training to the bit what it was at another commit? Both are run here, in one environment.

    python -m benchmarks.same_as 8072cd0

The first steps and the validation of that commit's quickstart by both; then the run directory of the other
commit is resumed and asked for text by this one. Prints what was compared, and exits with 1 where a number
differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a machine's mood decides, not the code.
TIMINGS = {"tokens_per_second", "mfu", "step_seconds", "seconds", "host_memory_gib", "device_memory_gib"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default="8072cd0", help="version 0.1 (8072cd0) unless given")
    parser.add_argument("--steps", type=int, default=60)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pangu_same_as_") as folder:
        other, runs = Path(folder) / "other", Path(folder) / "runs"
        git("worktree", "add", "--detach", str(other), flags.commit)
        try:
            return compared(other, runs, flags.commit, flags.steps)
        finally:
            git("worktree", "remove", "--force", str(other))


def compared(other: Path, runs: Path, commit: str, steps: int) -> int:
    """The exit code; prints a line per comparison."""
    quickstart = ["train", "--gin_file", str(other / "gin/nlp/quickstart.gin"), f"--gin.STEPS={steps}"]
    quickstart += [f"--gin.train.validate_every={steps}", f"--gin.train.checkpoint_every={steps // 2}"]
    quickstart += ["--gin.train.log_every=1"]
    for name, root in (("then", other), ("now", ROOT)):
        pangu(root, *quickstart, "--run_dir", str(runs / name))
    then, now = rows(runs / "then"), rows(runs / "now")
    different = [
        f"step {a['step']}, {name}: {a.get(name)!r} then, {b.get(name)!r} now"
        for a, b in zip(then, now, strict=True)
        for name in sorted((a.keys() | b.keys()) - TIMINGS)
        if a.get(name) != b.get(name)
    ]
    count = sum(len(row.keys() - TIMINGS) for row in then)
    print(f"{steps} steps and a validation, {count} numbers: {len(different)} differ from {commit}")
    print("\n".join(different[:20]))
    shutil.copytree(runs / "then", runs / "resumed")
    pangu(
        ROOT,
        *(word.replace(f"STEPS={steps}", f"STEPS={steps + 4}") for word in quickstart),
        "--run_dir",
        str(runs / "resumed"),
    )
    resumed = [row["step"] for row in rows(runs / "resumed") if "loss" in row]
    print(f"its run directory resumes: steps {steps + 1} to {resumed[-1]}")
    text = pangu(ROOT, "generate", "--run_dir", str(runs / "then"), "--prompt", "今天", "--max_tokens", "16")
    print(f"it generates: {text.strip()[:60]!r}")
    return bool(different or resumed != list(range(1, steps + 5)))


def rows(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]


def pangu(root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "pangu_jax.cli", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stderr[-2000:]}")
    return done.stdout


def git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
