"""Which code made a result."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of this checkout, with "+" where files differ from it; "" where it is none (a wheel)."""
    here = Path(__file__).parents[2]
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if head.returncode or not (here / ".git").exists():
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
