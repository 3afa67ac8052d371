"""Loading: names, includes, provenance, the command line; and what gin itself makes of the result."""

import string

import gin
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.recipes.uses import in_effect
from tests.recipes import toy


def test_unknown_recipe_suggests(monkeypatch):
    monkeypatch.setattr("pangu_jax.recipes.files.available", lambda: ["nlp/quickstart.gin", "nlp/small.gin"])
    with pytest.raises(
        UserError, match=r"no recipe 'nlp/quickstrat.gin' .*; did you mean nlp/quickstart.gin\?$"
    ):
        recipes.find("nlp/quickstrat.gin")
    with pytest.raises(UserError, match=r"did you mean nlp/small.gin\?$"):
        recipes.find("small")
    with pytest.raises(UserError, match=r"; there are: nlp/quickstart.gin, nlp/small.gin$"):
        recipes.find("zebra.gin")


def test_shipped_recipes_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "shipped" / "nlp").mkdir(parents=True)
    recipe = tmp_path / "shipped" / "nlp" / "one.gin"
    recipe.write_text("")
    monkeypatch.setattr("pangu_jax.recipes.files.root", lambda: tmp_path / "shipped")
    monkeypatch.chdir("/")
    assert recipes.available() == ["nlp/one.gin"]
    for name in ("nlp/one.gin", "nlp/one", "gin/nlp/one.gin", recipe):
        assert recipes.find(name) == recipe


def test_flags_reach_macros_then_the_functions_parameters(load):
    recipe = load("STEPS = 5\nfit.steps = %STEPS\n", "STEPS=7", "backend=cpu:8", "Network.name=my run")
    assert recipe.value("fit.steps") == 7
    assert recipe.value("backend") == recipe.value("fit.backend") == "cpu:8"
    assert recipe.value("Network.name") == "my run"
    assert recipe.value("batch") == 4


def test_number_stays_text_where_only_text_will_do(load):
    recipe = load("", "fit.backend=2024", "fit.batch=8", "Network.name='7'", "Network.dropout=1")
    assert recipe.value("fit.backend") == "2024"
    assert recipe.value("fit.batch") == 8
    assert recipe.value("Network.name") == "7"
    assert recipe.value("Network.dropout") == 1
    assert recipes.check(recipe) == []


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("stpes=1", "no macro, and no parameter of fit, is named 'stpes'; did you mean 'steps'?"),
        ("steps", "write --gin.NAME=VALUE"),
        ("=5", "write --gin.NAME=VALUE"),
        ("fit.stpes=1", "fit has no parameter 'stpes'; did you mean 'steps'?"),
        ("steps=(1", "not a gin value: (1"),
    ],
)
def test_bad_flags(findings, flag, message):
    assert findings("", flag) == [f"command line: --gin.{flag}: {message}"]


def test_includes_beside_the_file_and_what_they_set_is_overridden(load, tmp_path):
    (tmp_path / "base.gin").write_text("fit.steps = 1\nfit.batch = 2\n")
    recipe = load("include 'base.gin'\nfit.steps = 3\n", "steps=4")
    (steps,) = recipes.explain(recipe, "steps")
    assert steps.value == "4"
    assert steps.where == "command line"
    assert steps.overrode == (f"3 from {tmp_path}/recipe.gin:4", f"1 from {tmp_path}/base.gin:1")
    assert recipes.check(recipe) == []


def test_later_file_wins(tmp_path):
    for name, steps in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.gin").write_text(f"import tests.recipes.toy\nfit.steps = {steps}\n")
    files = [tmp_path / "a.gin", tmp_path / "b.gin"]
    assert recipes.load(files, function=toy.fit).value("steps") == 2


def test_explain(load, tmp_path):
    recipe = load("WIDE = 16\nNetwork:\n  heads = 4\n  width = %WIDE\n")
    (width,) = recipes.explain(recipe, "Network.width")
    assert str(width).splitlines() == [
        "Network.width = 16 (written %WIDE)",
        f"  from      {tmp_path}/recipe.gin:6",
        "  default   8",
        "  type      int",
        "  units of a layer, a power of two.",
    ]
    (activation,) = recipes.explain(recipe, "Network.activation")
    assert (activation.where, activation.type) == ("its default", "one of 'relu', 'gelu'")
    assert [one.name for one in recipes.explain(recipe, "Network")][:2] == ["Network.width", "Network.heads"]
    (macro,) = recipes.explain(recipe, "WIDE")
    assert (macro.value, macro.where) == ("16", f"{tmp_path}/recipe.gin:3")
    with pytest.raises(UserError, match=r"did you mean 'width'\?"):
        recipes.explain(recipe, "Network.widht")


def test_diff_compares_what_values_come_to(load):
    first = load("STEPS = 5\nfit.steps = %STEPS\n")
    second = load("fit.steps = 5\nfit.batch = 8\n")
    (difference,) = recipes.diff(first, second)
    assert (difference.name, difference.first, difference.second) == ("fit.batch", "4", "8")
    assert difference.first_where == "its default"


def test_changes_between_resolved_recipes(load):
    before = recipes.dump(load("STEPS = 5\nfit.steps = %STEPS\nfit.network = @Network()\n"))
    assert recipes.changes(before, recipes.dump(load("fit.steps = 5\nfit.network = @Network()\n"))) == []
    after = recipes.dump(
        load("STEPS = 6\nfit.steps = %STEPS\nfit.network = @a/Network()\na/Network.width = 9\n")
    )
    assert recipes.changes(before, after) == [
        "a/Network.width not set -> 9",
        "fit.network @Network() -> @a/Network()",
        "fit.steps 5 -> 6",
    ]
    older = before.replace("# default: fit.batch = 4", "# default: fit.batch = 3")
    older = older.replace("# default: Network.heads = 2\n", "")  # the library did not have it yet
    assert recipes.changes(older, before) == ["fit.batch 3 -> 4"]


def test_what_is_made_of_one_recipe_while_gin_holds_another(load):
    """References are called with the arguments of their scope, and gin is not asked."""
    text = """
    fit.network = @wide/Network()
    fit.schedule = @decay
    fit.workload = @Pipeline()
    wide/Network.width = %WIDTH
    Network.heads = 4
    WIDTH = 32
    decay.rate = 0.5
    Pipeline.inner = (@Network(), {"a": @wide/Network()})
    """
    recipe = load(text, complete=True)
    recipes.apply(load("Network.width = 1"))
    made = recipes.make(recipe, recipe.arguments(recipe.function.selector))
    assert (made["network"].width, made["network"].heads) == (32, 4)
    assert made["schedule"]()(2) == 0.25
    first, second = made["workload"].options["inner"]
    assert (first.width, second["a"].width) == (8, 32)
    assert gin.query_parameter("Network.width") == 1


def test_apply_gives_gin_these_values_and_no_others(load):
    gin.parse_config("Network.width = 99")
    recipes.apply(load("STEPS = 5\nfit.steps = %STEPS\nfit.network = @Network()\n", "backend=cpu:8"))
    _, workload, network, steps, batch, backend, _ = toy.fit("somewhere")
    assert isinstance(workload, toy.Pipeline)
    assert (network.width, steps, batch, backend) == (8, 5, 4, "cpu:8")


BINDINGS = {
    "fit.steps": st.integers(),
    "fit.batch": st.none() | st.integers(),
    "fit.backend": st.text(string.printable + "语料", max_size=12),
    "fit.network": st.sampled_from([recipes.Reference(scope, "Network", True) for scope in ("", "a", "b")]),
    "Network.width": st.integers(),
    "Network.shape": st.lists(st.integers(), max_size=3).map(tuple),
    "Network.tags": st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    "a/Network.dropout": st.floats(0, 1),
    "Pipeline.colour": st.text(max_size=5) | st.lists(st.just(recipes.Macro("STEPS")), max_size=2),
}
bindings = st.fixed_dictionaries({}, optional=BINDINGS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(bindings, bindings)
def test_resolved_recipe_is_replayable(load, tmp_path, in_file, on_command_line):
    """Dumping, loading and dumping again changes nothing, and gin itself agrees with us on every value."""
    text = "".join(f"{name} = {value!r}\n" for name, value in in_file.items())
    flags = [f"{name}={value!r}" for name, value in on_command_line.items()]
    recipe = load("STEPS = 3\n" + text, *flags)
    resolved = recipes.dump(recipe)
    replayed = tmp_path / "resolved.gin"
    replayed.write_text(resolved, encoding="utf-8")
    again = recipes.load([replayed], function=toy.fit)
    assert recipes.dump(again) == resolved
    complaints = [finding.message for finding in recipes.check(again)]
    assert complaints == []
    recipes.apply(recipe)
    for key, binding in in_effect(recipe).items():
        if key.parameter:
            assert repr(gin.query_parameter(str(key))) == repr(binding.value)
