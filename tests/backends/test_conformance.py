"""npu does what the table says: every check passes, but for those that are known not to."""

import json

from tests.backends.conformance.known import KNOWN


def test_npu_passes_all_but_what_is_known(on_npu, tmp_path):
    results = tmp_path / "results.json"
    done = on_npu("-m", "tests.backends.conformance", "npu", "--json", results)
    said = json.loads(results.read_text())
    failing = {name: text for name, text in said.items() if text}
    assert failing.keys() == KNOWN["npu"].keys(), failing
    assert done.returncode == 0, done.stdout
    assert len(said) >= 60
