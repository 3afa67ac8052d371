"""The table that `make prove` ends with, where whole files are skipped at their import."""

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
FILES = {
    "test_absent.py": 'import pytest\npytest.importorskip("no_such_package")\n',
    "test_here.py": """import pytest

@pytest.mark.prove
def test_measured(proof):
    proof("largest difference", 3e-7)

def test_other():
    pass
""",
}


def test_a_file_skipped_at_its_import_is_no_proof_and_breaks_no_table(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = prove\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.split("what held")[1]
    assert "test_measured" in table and "largest difference: 3e-07" in table
    assert "test_absent" not in table and "test_other" not in table
