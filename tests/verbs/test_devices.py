"""--backend and --gin.Layout.NAME=VALUE of the verbs that open a run: on eight devices as on one."""

import io
import json

import pytest

from pangu_jax import cli
from pangu_jax.runs import inference_layout
from tests.runs import made_up

ASK = ("--prompt", "价格便宜", "--max_tokens", 6)
FSDP = ("--backend", "cpu:8", "--gin.Layout.data=1", "--gin.Layout.fsdp", "8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which nothing says how it was spread."""
    words = made_up.words(tmp_path_factory.mktemp("words"))
    return made_up.language_run(tmp_path_factory.mktemp("run"), words)


@pytest.fixture
def pangu(capsys, monkeypatch):
    """Runs the command line; its status, output, errors, and the layouts that models were opened with."""
    layouts = []
    spread = inference_layout.spread

    def watched(*arguments, **more):
        layouts.append(spread(*arguments, **more))
        return layouts[-1]

    monkeypatch.setattr(inference_layout, "spread", watched)

    def pangu(*arguments):
        layouts.clear()
        status = cli.main(list(map(str, arguments)))
        return status, *capsys.readouterr(), [one.layout.describe() for one in layouts]

    return pangu


def test_a_run_is_generated_from_on_eight_devices_as_on_one(pangu, run):
    one = pangu("generate", "--run_dir", run, *ASK, "--backend", "cpu", "--json", "-")
    eight = pangu("generate", "--run_dir", run, *ASK, *FSDP, "--json", "-")
    assert (one[0], eight[0]) == (0, 0)
    (row,), (expected,) = json.loads(eight[1]), json.loads(one[1])
    assert row["text"] == expected["text"] and row["score"] == pytest.approx(expected["score"], rel=1e-4)
    assert (one[3], eight[3]) == (["one device"], ["fsdp 8"])
    assert not one[2] and not eight[2], "nothing to be said"


def test_a_talk_on_eight_devices(pangu, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("你好\n"))
    status, _, _, layouts = pangu("chat", "--run_dir", run, "--max_tokens", 4, *FSDP)
    assert (status, layouts) == (0, ["fsdp 8"])


def test_an_evaluation_on_eight_devices(pangu, run, tmp_path):
    task = tmp_path / "fewclue" / "eprstmt"
    task.mkdir(parents=True)
    rows = [{"sentence": text, "label": "Positive"} for text in made_up.TEXTS]
    (task / "test_public.json").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = tmp_path / "eval.gin"
    recipe.write_text(
        "import pangu_jax.apps.language.benchmarks.evaluate\nevaluate.tasks = ('fewclue/eprstmt',)\n"
        f"evaluate.data_dir = {str(tmp_path)!r}\nLayout.model = 2\nLayout.fsdp = 2\n"
    )
    ask = ("eval", "--gin_file", recipe, "--run_dir", run, "--backend")
    scores = []
    for devices in (("cpu", "--gin.Layout.model=1", "--gin.Layout.fsdp=1"), ("cpu:8",)):
        predictions = tmp_path / f"{len(scores)}.jsonl"
        status, _, err, layouts = pangu(*ask, *devices, "--predictions", predictions)
        assert status == 0, err
        scores.append(predictions.read_text())
    assert layouts == ["data 2 x fsdp 2 x model 2"], "the recipe's layout, where flags say nothing else"
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--backend", "cpu:8", "--gin.Layout.data=6"), "the layout data 6 needs 6 devices and there are 8"),
        (("--backend", "cpu:8", "--gin.Layout.model=8"), "heads 4 is not divisible by model 8"),
        (("--gin.Layout.fspd=8",), "Layout has no parameter 'fspd'; did you mean 'fsdp'?"),
        (("--gin.Layout.fsdp",), "--gin.Layout.fsdp has no value"),
        (("--gin.train.steps=3",), "--gin.train.steps=3: a run has its own recipe"),
        (("--backend", "cup"), "no backend 'cup'"),
        (("--backend", "cpu:9"), "needs 9 devices and JAX started with 8"),
    ],
)
def test_devices_that_make_no_sense_are_one_line(pangu, run, flags, words):
    status, out, err, _ = pangu("generate", "--run_dir", run, *ASK, *flags)
    assert status == 2 and not out and words in err and len(err.splitlines()) == 1
