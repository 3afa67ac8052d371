"""The baselines of benchmarks/intents.py learn what they are shown, and its table scores what it is given."""

from benchmarks import intents
from data_pipelines.text.benchmarks import Example


def example(number: int, text: str, label: str, previous: str = "") -> Example:
    return Example(str(number), {"text": text, "previous": previous}, label)


def test_baselines_and_table() -> None:
    train = [example(0, "好的", "a"), example(1, "你好", "a；b"), example(2, "再见", "c")] * 4
    test = [example(0, "好的", "a"), example(1, "你好呀", "b；a")]
    most = intents.majority([*train, train[0]], test)
    assert most == [{"a"}, {"a"}]
    fitted = intents.linear(train, test, longest=2)
    assert fitted == [{"a"}, {"a", "b"}]
    found = {"majority": dict(zip("01", most, strict=True)), "linear": dict(zip("01", fitted, strict=True))}
    rows = intents.table(found, {"all": test, "pairs": test[1:]}).splitlines()
    assert rows[2:] == ["| majority | 50.0 | 80.0 | 0.0 | 66.7 |", "| linear |" + " 100.0 |" * 4]


def test_the_turn_before_is_read_where_asked_for() -> None:
    train = [example(0, "好的", "a", "酒店"), example(1, "好的", "b", "餐馆")] * 4
    test = [example(0, "好的", "a", "酒店"), example(1, "好的", "b", "餐馆")]
    assert intents.linear(train, test, longest=1, fields=("text", "previous")) == [{"a"}, {"b"}]
    assert intents.linear(train, test, longest=1)[0] == intents.linear(train, test, longest=1)[1]
