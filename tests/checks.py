"""`python -m tests.checks`: the house rules that a program holds without running the code, all at once.

The one list of them, for `make check` and for the tests. Standard output names those that failed, no more.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Programs of the environment, by the name that is reported when one fails.
CHECKS = {
    "lint": ("ruff", "check", "--no-cache"),
    "format": ("ruff", "format", "--check", "--no-cache"),
    "imports": ("lint-imports", "--no-cache"),
    "types": ("pyrefly", "check", "--python-interpreter-path", sys.executable),
}


def run(name: str) -> subprocess.CompletedProcess[str]:
    """One check over the whole repository; its standard output holds all that it said."""
    program, *arguments = CHECKS[name]
    command = [Path(sys.executable).with_name(program), *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main() -> int:
    with ThreadPoolExecutor() as threads:
        ran = dict(zip(CHECKS, threads.map(run, CHECKS), strict=True))
    failed = [name for name, check in ran.items() if check.returncode]
    for name in failed:
        print(f"--- {name}: {' '.join(CHECKS[name])}\n{ran[name].stdout}", file=sys.stderr)
    print(*failed, sep=", ")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
