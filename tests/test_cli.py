"""The command line: cheap to start, exact in its exit codes, one line for a mistake."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipelines.errors import DataError
from pangu_jax import cli, verbs
from pangu_jax.apps import families
from pangu_jax.errors import UserError
from tests.recipes.conftest import COMPLETE, FUNCTION
from tpu_npu_backends.errors import BackendError


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe for the small program of tests/recipes/toy.py, which stands in for training."""
    monkeypatch.setattr("pangu_jax.recipes.functions.TRAIN", FUNCTION)
    monkeypatch.setattr("pangu_jax.recipes.checking._constraints", [])
    path = tmp_path / "toy.gin"
    path.write_text(f"{COMPLETE}STEPS = 5\nfit.steps = %STEPS\n")
    return path


@pytest.fixture
def pangu(capsys: pytest.CaptureFixture):
    """`pangu("config", "show", ...)` gives (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse leaves this way
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


HEAVY = ("tensorflow", "seqio", "tensorflow_datasets", "jax", "flax", "orbax", "grain", "numpy")


@pytest.mark.parametrize(("code", "limit"), [("import pangu_jax", 1.0), ("help", 2.0)])
def test_starts_fast_and_loads_nothing_heavy(code, limit):
    help_ = "from pangu_jax import cli; cli.main(['--help'])"
    script = f"import sys; {help_ if code == 'help' else code}; print('loaded', *sys.modules)"
    start = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    loaded = ran.stdout.splitlines()[-1].split()
    assert not set(HEAVY) & set(loaded)
    assert seconds < limit


def test_checking_a_recipe_initialises_no_backend(recipe):
    script = (
        "import sys; from pangu_jax import recipes; "
        f"recipe = recipes.load([{str(recipe)!r}], function={FUNCTION!r}); "
        "assert recipes.check(recipe) == []; "
        "assert 'tensorflow' not in sys.modules; "
        "bridge = sys.modules.get('jax._src.xla_bridge'); assert not (bridge and bridge._backends)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


def test_help_lists_every_verb_and_every_verb_has_help_with_an_example(pangu):
    status, out, _ = pangu("--help")
    assert status == 0
    for name, verb in verbs.VERBS.items():
        assert name in out
        status, said, _ = pangu(*name.split(), "--help")
        assert status == 0
        assert verb.example in said
        assert "--json" in said
        assert ("--gin.NAME=VALUE" in said) == verb.takes_recipe
        assert ("--gin.Layout.NAME=VALUE" in said) == verb.opens_run
        assert "--backend NAME" in said or not verb.opens_run


def test_every_verb_that_uses_a_model_opens_its_run():
    using = {verb.partition(" --")[0] for family in families.FAMILIES.values() for verb in family.verbs}
    using -= {"tune"}  # which trains: its devices are train's
    assert {name for name, verb in verbs.VERBS.items() if verb.opens_run} == using


def test_module_train_is_the_same_program():
    ran = subprocess.run(
        [sys.executable, "-m", "pangu_jax.train", "--run_dir"], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("pangu train: argument --run_dir: expected one argument")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "pangu: no verb 'trian'; did you mean 'train'?; see `pangu --help`"),
        (["config", "chekc"], "pangu: no verb 'config chekc'; did you mean 'config check'?"),
        (["train", "--run_dri", "x"], "pangu train: no flag --run_dri; did you mean '--run_dir'?"),
        (["train"], "pangu train: the following arguments are required: --run_dir"),
        (["report", "--gin.x=1", "--run_dir", "x"], "pangu report: no flag --gin.x"),
        (
            ["train", "--gin_file", "nlp/quickstart.gin", "--backend", "gpu9", "--run_dir", "x"],
            "pangu train: command line: train.backend: no backend 'gpu9'",
        ),
        (["config", "show", "--gin.steps"], "pangu config show: --gin.steps has no value"),
        (["config", "show", "zebra.gin"], "pangu config show: no recipe 'zebra.gin'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(pangu, arguments, message):
    status, out, err = pangu(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [UserError, DataError, BackendError])
def test_errors_for_people_exit_2_without_a_traceback(pangu, recipe, monkeypatch, error):
    def fail(*_):
        raise error("the disk is full: free 3 GB")

    monkeypatch.setattr("pangu_jax.train.run", fail)
    status, _, err = pangu("train", "--gin_file", recipe, "--run_dir", "x")
    assert (status, err) == (2, "pangu train: the disk is full: free 3 GB\n")


def test_interrupt_exits_130(pangu, recipe, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pangu_jax.train.run", interrupt)
    assert pangu("train", "--gin_file", recipe, "--run_dir", "x")[0] == 130


def test_train_is_handed_files_bindings_and_directory(pangu, recipe, monkeypatch, tmp_path):
    seen, result = [], {"loss": 1.5, "text": "a table"}
    monkeypatch.setattr("pangu_jax.train.run", lambda *given: seen.append(given) or dict(result))
    flags = ["--gin.steps=3", "--gin.fit.backend", "cpu:8", "--gin.Network.name=my run = 1"]
    status, out, _ = pangu(
        "train", "--gin_file", recipe, *flags, "--run_dir", "x", "--json", tmp_path / "out.json"
    )
    assert (status, out) == (0, "a table\n")
    bindings = ["steps=3", "fit.backend=cpu:8", "Network.name=my run = 1"]
    assert seen == [([str(recipe)], bindings, "x")]
    assert json.loads((tmp_path / "out.json").read_text()) == {"loss": 1.5}


def test_train_goes_on_by_the_recipe_of_the_run_directory(pangu, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("pangu_jax.train.run", lambda *given: seen.append(given) or {"text": ""})
    status, _, err = pangu("train", "--run_dir", tmp_path)
    assert (status, seen) == (2, [])
    assert err.startswith("pangu train: give a recipe with --gin_file")
    (tmp_path / "recipe.gin").write_text("")
    assert pangu("train", "--run_dir", tmp_path)[0] == 0
    assert seen == [([str(tmp_path / "recipe.gin")], [], str(tmp_path))]


@pytest.mark.parametrize(("state", "status"), [("sound", 0), ("corrupt", 2)])
def test_verify_exits_by_what_it_found(pangu, monkeypatch, state, status):
    step = {"step": 100, "state": state, "why": "", "files": 3, "bytes": 2048}
    found = {"directory": "d", "steps": [step], "usable": [90], "set_aside": [], "unfinished": []}
    monkeypatch.setattr("pangu_jax.runs.checkpoint_files.verify", lambda directory: found)
    code, out, _ = pangu("checkpoint", "verify", "d")
    assert code == status
    assert state in out
    code, out, _ = pangu("checkpoint", "verify", "d", "--json", "-")
    assert (code, json.loads(out)) == (status, found)


def test_checkpoint_verbs_start_without_jax(tmp_path):
    script = (
        "import sys; from pangu_jax import cli; "
        f"status = cli.main(['checkpoint', 'inspect', {str(tmp_path)!r}]); "
        "assert status == 2 and not {'jax', 'tensorflow', 'orbax'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("\n") == 1


def test_check(pangu, recipe):
    assert pangu("config", "check", recipe)[0] == 0
    status, out, _ = pangu("config", "check", recipe, "--gin.fit.steps='ten'")
    assert status == 2
    assert out == "command line: fit.steps = 'ten': that is str, not int\n"


def test_show_explain_and_diff(pangu, recipe, tmp_path):
    status, out, _ = pangu("config", "show", recipe, "--gin.STEPS=6")
    assert status == 0
    assert "fit.steps = %STEPS  # 6" in out
    status, out, _ = pangu("config", "explain", "fit.steps", recipe, "--json", "-")
    assert status == 0
    assert json.loads(out)[0]["where"] == f"{recipe}:4"
    other = tmp_path / "other.gin"
    other.write_text(f"include '{recipe}'\nfit.steps = 9\n")
    status, out, _ = pangu("config", "diff", recipe, other)
    assert (status, out) == (0, f"fit.steps: 5 ({recipe}:4) -> 9 ({other}:2)\n")


def test_unwritable_json_is_refused_before_anything_runs(pangu, recipe, monkeypatch, tmp_path):
    monkeypatch.setattr("pangu_jax.train.run", lambda *_: pytest.fail("it ran"))
    path = tmp_path / "missing" / "out.json"
    status, _, err = pangu("train", "--gin_file", recipe, "--run_dir", "x", "--json", path)
    assert status == 2
    assert (
        err
        == f"pangu train: --json {path}: No such file or directory; name a file that can be written, or -\n"
    )


def test_a_closed_pipe_is_no_error(recipe):
    script = f"{sys.executable} -m pangu_jax.cli --help | head -n 1"
    ran = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_can_be_done_with_a_run_is_a_verb():
    offered = {verb for family in [*families.FAMILIES, "another"] for verb in families.verbs(family)}
    offered = {verb.partition(" --")[0] for verb in offered}
    assert offered <= set(verbs.VERBS) and {"chat", "report"} <= offered
    assert "chat" not in families.verbs("another")
