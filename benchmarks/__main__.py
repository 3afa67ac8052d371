"""`make bench`: every benchmark in this folder, one after the other, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

failed = []
for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    print(f"== {path.stem}", flush=True)
    if subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}"]).returncode:
        failed.append(path.stem)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
