import pytest

from pangu_jax.verbs.progress_rows import print_row


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"task": "tnews", "method": "generate", "accuracy": 56.25, "examples": 3}, "tnews generate: accuracy 56.25"),
        ({"round": 1, "accuracy": 18.7654321, "flops": 20825210880.0}, "round 1, accuracy 18.77, flops 2.083e+10"),
    ],
)  # fmt: skip
def test_a_row_in_a_line(row, line, capsys):
    print_row(row)
    assert capsys.readouterr().err == line + "\n"
