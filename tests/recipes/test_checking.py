"""Every trap that gin walks into silently or late is a finding with its line, before anything runs."""

import pytest

from pangu_jax import recipes
from pangu_jax.errors import UserError

# In these tests line 3 is the first line after the complete recipe of conftest.py.
ONE_LINE_TRAPS = {
    "fit.model_dirr = 1": "fit.model_dirr: fit has no parameter 'model_dirr'",
    "fit.stpes = 1": "fit.stpes: fit has no parameter 'stpes'; did you mean 'steps'?",
    "fti.steps = 1": "fti.steps: no configurable 'fti'; did you mean 'fit'?",
    "Zebra.steps = 1": "Zebra.steps: no configurable 'Zebra' (is its module imported?)",
    "Pipeline.num_microbatchs = 4": "Pipeline.num_microbatchs: Pipeline has no parameter 'num_microbatchs'; "
    "did you mean 'num_microbatches'?",
    "ghost/fit.steps = 7": "ghost/fit.steps: no reference uses the scope 'ghost'",
    "STEPS = 7": "macro STEPS is never used",
    "fit.steps = %STEPZ": "fit.steps = %STEPZ: macro STEPZ is not defined",
    "fit.batch = %gin.REQUIRED": "fit.batch must be given a value",
    "Pipeline.more = @Unfinished()": "Unfinished lacks the method axes of Family; its docstrings say what",
    "fit.schedule = @decay()": "decay.rate has no default and is not bound",
    "fit.network = @Networ()": "fit.network = @Networ(): no configurable 'Networ'; did you mean 'Network'?",
    "import tests.recipes.toys": "import tests.recipes.toys: No module named 'tests.recipes.toys'; "
    "did you mean 'toy'?",
    "import zebra": "import zebra: No module named 'zebra' (is its folder on PYTHONPATH?)",
    "fit.run_dir = 'x'": "fit.run_dir is set by the program, not by a recipe",
    "from __gin__ import dynamic_registration": "gin's dynamic registration is not supported: import modules "
    "that register their configurables",
    "include 'nowhere.gin'": "include: no recipe 'nowhere.gin' (neither a file nor one that comes with",
    "include 'recipe.gin'": "include 'recipe.gin' comes back to a file that is being read",
    "fit.backend = /tmp/x": "is not gin syntax: unable to parse value (a string needs quotes here): "
    "fit.backend = /tmp/x",
    "Pipeline.more = @Pipeline()": "@Pipeline() is called within itself, without end",
}


@pytest.mark.parametrize("line", ONE_LINE_TRAPS)
def test_trap_is_one_finding_with_its_line(findings, line):
    (finding,) = findings(line + "\n")
    assert finding.startswith(f"recipe.gin:3: {ONE_LINE_TRAPS[line]}")


WRONG_TYPES = {
    "fit.steps = 'ten'": "str, not int",
    "fit.steps = True": "bool, not int",
    "fit.steps = 1.5": "float, not int",
    "fit.steps = None": "NoneType, not int",
    "fit.batch = 'four'": "str, not int | None",
    "fit.backend = 8": "int, not str",
    "fit.workload = @Pipeline": "@Pipeline itself (add () to call it), not Workload",
    "fit.workload = 3": "int, not Workload",
    "fit.network = @Pipeline()": "what @Pipeline() gives, not Network | None",
    "fit.network = @Network": "@Network itself (add () to call it), not Network | None",
    "fit.schedule = 0.1": "float, not collections.abc.Callable[[int], float] | None",
    "Network.activation = 'selu'": "str, not one of 'relu', 'gelu'",
    "Network.shape = [1, 2]": "list, not tuple[int, ...]",
    "Network.shape = (1)": "int, not tuple[int, ...]",
    "Network.shape = (1, 'a')": "tuple, not tuple[int, ...]",
    "Network.tags = {'a': 'b'}": "dict, not dict[str, int] | None",
    "Network.dropout = 'none'": "str, not float",
}


@pytest.mark.parametrize("line", WRONG_TYPES)
def test_wrong_type(findings, line):
    complete = not line.startswith("fit.workload")
    (finding,) = findings("import tests.recipes.toy\n" * (not complete) + line, complete=complete)
    assert finding.endswith(f": that is {WRONG_TYPES[line]}")


@pytest.mark.parametrize(
    "line",
    [
        "Network.dropout = 1",
        "Network.activation = 'gelu'",
        "Network.shape = ()",
        "Network.name = None",
        "Network.tags = {'a': 1}",
        "Pipeline.colour = 'red'",  # far from any name: that is what **options is for
        "fit.batch = None",
        "fit.network = @Network()",
        "fit.schedule = @decay()\ndecay.rate = 0.5",
        "fit.schedule = @slow/decay()\nslow/decay.rate = 0.5",
        "fit.schedule = @slow/decay()\ndecay.rate = 0.5",
        "STEPS = 3\nHALF = %STEPS\nfit.steps = %HALF",
    ],
)
def test_nothing_wrong(findings, line):
    assert findings(line) == []


def test_macro_is_checked_as_the_value_it_stands_for(findings):
    assert findings("STEPS = 'ten'\nfit.steps = %STEPS") == [
        "recipe.gin:4: fit.steps = %STEPS: that is 'ten', str, not int"
    ]


def test_misspelt_macro_assignment_names_the_macro_it_meant(findings):
    assert findings("FIT_STEPS = 5\nFIT_STEP = 50\nfit.steps = %FIT_STEPS") == [
        "recipe.gin:4: macro FIT_STEP is never used; did you mean 'FIT_STEPS'?"
    ]


def test_misspelt_scope_names_the_scope_it_meant(findings):
    assert findings("fit.network = @small/Network()\nsmal/Network.width = 4") == [
        "recipe.gin:4: smal/Network.width: no reference uses the scope 'smal'; did you mean 'small'?"
    ]


def test_circular_macros(findings):
    assert findings("A = %B\nB = %A\nfit.steps = %A") == [
        "recipe.gin:3: macro A is defined by itself",
        "recipe.gin:4: macro B is defined by itself",
    ]


def test_later_wins_within_a_file_is_a_slip(findings):
    assert findings("fit.steps = 1\nfit.steps = 2") == [
        "recipe.gin:4: fit.steps is already bound at line 3 of this file"
    ]


def test_required_unset(findings):
    assert findings("fit.steps = 3", complete=False) == [
        "recipe.gin: fit.workload has no default and is not bound"
    ]


def test_all_findings_at_once_in_the_order_of_lines(findings):
    found = findings("fit.steps = 'ten'\nfti.steps = 1\nghost/fit.batch = 3\n", "bakend=cpu")
    assert [finding.split(": ")[0] for finding in found] == [
        "recipe.gin:3",
        "recipe.gin:4",
        "recipe.gin:5",
        "command line",
    ]


def test_overriding_on_the_command_line_leaves_no_mistake_behind(findings):
    """The macro and the scope that the overridden values used are not called unused."""
    text = "STEPS = 5\nfit.steps = %STEPS\nfit.network = @small/Network()\nsmall/Network.width = 4"
    assert findings(text, "fit.steps=7", "fit.network=@Network()") == []


def test_macro_set_in_vain_on_the_command_line(findings):
    assert findings("STEPS = 5\nfit.steps = %STEPS", "STEPS=6", "fit.steps=7") == [
        "command line: --gin.STEPS has no effect: what used it is bound to something else"
    ]


def test_open_bracket_is_noticed_at_the_end(findings):
    (finding,) = findings("fit.steps = (1,\n")
    assert finding.endswith("is not gin syntax: a bracket or a long string is never closed")


def test_byte_order_mark_is_no_mistake(tmp_path):
    (tmp_path / "recipe.gin").write_text("\ufeffimport tests.recipes.toy\nfit.workload = @Pipeline()\n")
    assert recipes.check(recipes.load([tmp_path / "recipe.gin"], function="tests.recipes.toy.fit")) == []


def test_undecodable_file_is_a_finding(tmp_path):
    (tmp_path / "recipe.gin").write_bytes(b"\xff\xfe\xfa")
    (finding,) = recipes.check(recipes.load([tmp_path / "recipe.gin"], function="tests.recipes.toy.fit"))
    assert "cannot be read" in str(finding)


def test_constraints_see_the_resolved_recipe_and_name_the_place(load):
    """The seam for values that contradict each other: the trainer registers its own with `constraint`."""

    @recipes.constraint
    def heads_divide_width(recipe):
        network = recipe.arguments("Network")
        if network["width"] % network["heads"]:
            yield "Network.heads", f"{network['heads']} heads do not divide a width of {network['width']}"

    assert recipes.check(load("Network.heads = 4\n")) == []
    recipe = load("HEADS = 3\nNetwork.heads = %HEADS\n")
    with pytest.raises(UserError, match=r"recipe.gin:4: Network.heads: 3 heads do not divide a width of 8$"):
        recipes.require_valid(recipe)


def test_a_constraint_of_another_verb_is_not_asked(load):
    recipes.constraint(lambda recipe: [("fit.steps", "no")], of="toy.evaluate")
    assert recipes.check(load("")) == []
    recipes.constraint(lambda recipe: [("fit.steps", "no")], of="toy.fit")
    assert [finding.message for finding in recipes.check(load(""))] == ["fit.steps: no"]
