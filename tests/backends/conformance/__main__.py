"""`python -m tests.backends.conformance npu [--json FILE] [CHECK...]`: the table for a platform.

Exits 0 when what fails is what `known` lists, 1 otherwise.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.backends.conformance")
    parser.add_argument("platform", help="cpu, npu, tpu or cuda")
    parser.add_argument("checks", nargs="*", help="some of the checks; all without")
    parser.add_argument("--json", type=Path, help="results as {check: what it said, empty when it passed}")
    arguments = parser.parse_args()

    # Before JAX is imported: this platform, and cpu to compare with, of eight devices.
    both = dict.fromkeys((arguments.platform, "cpu"))
    os.environ["JAX_PLATFORMS"] = ",".join(both)
    flag = "--xla_force_host_platform_device_count"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}=8".strip()

    from tests.backends.conformance import running
    from tests.backends.conformance.known import KNOWN

    unknown = sorted(set(arguments.checks) - set(running.CHECKS))
    if unknown:
        parser.error(f"no check {', '.join(unknown)}; there are {', '.join(running.CHECKS)}")
    known = KNOWN.get(arguments.platform, {})
    start, results = time.monotonic(), []
    for name in arguments.checks or running.CHECKS:
        result = running.run(name, arguments.platform)
        results.append(result)
        why = known.get(name, "")
        verdict = (
            ("known" if why else "FAILS") if not result.passed else "PASSES, known to fail" if why else "pass"
        )
        print(f"{name:<30} {verdict:<8} {result.said}", flush=True)
    failing = {result.name for result in results if not result.passed}
    expected = {result.name for result in results} & set(known)
    print(
        f"{len(results) - len(failing)} of {len(results)} pass on {arguments.platform}, "
        f"{len(failing & expected)} known failures, {len(failing ^ expected)} surprises, "
        f"{time.monotonic() - start:.0f} s"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({result.name: result.said for result in results}, indent=1))
    return int(failing != expected)


if __name__ == "__main__":
    sys.exit(main())
