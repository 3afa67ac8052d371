import pytest

from pangu_jax.verbs.progress_rows import print_row

OF_TASK = {"task": "tnews", "method": "generate", "accuracy": 56.25, "examples": 3}
OF_ROUND = {"round": 1, "accuracy": 18.7654321, "flops": 20825210880.0}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (OF_TASK, "tnews generate: accuracy 56.25"),
        (OF_ROUND, "round 1, accuracy 18.77, flops 2.083e+10"),
    ],
)
def test_a_row_in_a_line(row, line, capsys):
    print_row(row)
    assert capsys.readouterr().err == line + "\n"
