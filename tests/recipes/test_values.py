"""Values: the command line's rules, and gin syntax there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.recipes import Macro, Reference, parse_flag_value, parse_value

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(max_size=8)
    | st.builds(Macro, names)
    | st.builds(Reference, st.just("") | names, names, st.booleans())
)
hashable = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashable, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_survives_being_written(value):
    again = parse_value(repr(value))
    assert again == value
    assert repr(again) == repr(value)  # tells 1 from 1.0 and True, and a tuple of one from its item


@given(values)
def test_gin_syntax_means_the_same_on_the_command_line(value):
    assert repr(parse_flag_value(repr(value))) == repr(value) or "#" in repr(value)


@given(st.from_regex(r"(\./)?[a-z/~][a-zA-Z0-9 /:._,=-]*", fullmatch=True).map(str.strip))
def test_paths_and_words_need_no_quotes(text):
    assert parse_flag_value(text) == text


@given(st.text())
def test_any_text_is_a_value_or_refused_as_one(text):
    try:
        value = parse_flag_value(text)
    except ValueError:
        assert text.strip()[0] in "([{@%'\""
    else:
        assert value == text.strip() or repr(parse_value(text.strip())) == repr(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cpu:8", "cpu:8"),
        ("my data/x", "my data/x"),
        ("data#2", "data#2"),
        ("5#2", "5#2"),
        ("none", "none"),
        ("None", None),
        ("1e-3", 1e-3),
        ("-5", -5),
        ("2024-01-01", "2024-01-01"),
        ("'quoted'", "quoted"),
        ("", ""),
        ("(1, 'a')", (1, "a")),
        ("@scope/adamw()", Reference("scope", "adamw", True)),
        ("%STEPS", Macro("STEPS")),
        ("语料/新闻", "语料/新闻"),
    ],
)
def test_flag_value(text, value):
    assert parse_flag_value(text) == value


@pytest.mark.parametrize("text", ["(1", "[1 2]", "@", "@f(", "%", "'open", '{"a": }', "@f() g"])
def test_broken_gin_syntax_is_not_taken_for_a_string(text):
    with pytest.raises(ValueError, match="not"):
        parse_flag_value(text)
