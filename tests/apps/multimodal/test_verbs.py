"""What people do with a run of pictures and captions: `pangu caption`, `retrieve` and `eval`."""

import json

import numpy as np
import pytest
from PIL import Image

from pangu_jax.apps.multimodal.captioning import Captioner
from pangu_jax.apps.multimodal.embedding import Embedder
from pangu_jax.apps.multimodal.picture_files import view
from pangu_jax.runs import opening


@pytest.fixture(scope="module")
def embedder(run_dir):
    return Embedder.of_run(opening.open_run(run_dir, family="multimodal"))


@pytest.fixture
def folder(tmp_path):
    """Pictures of four kinds, and a file that is none."""
    rng = np.random.default_rng(0)
    for name, mode in (("a.png", "RGB"), ("b.jpg", "L"), ("c.jpg", "CMYK"), ("d.png", "RGB")):
        channels = {"RGB": 3, "L": 1, "CMYK": 4}[mode]
        pixels = rng.integers(0, 256, (40, 50, channels), np.uint8)
        Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(tmp_path / name)
    (tmp_path / "none.jpg").write_bytes(b"no picture")
    return tmp_path


def test_a_report_shows_what_was_found_and_written(run_dir):
    page = (run_dir / "report.html").read_text()
    for said in ("the best matches of", "similarities of texts", "captions of held-out pictures"):
        assert said in page
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    last = next(row for row in reversed(rows) if "retrieval/text_to_image/recall_at_1" in row)
    assert 0 <= last["retrieval/text_to_image/recall_at_1"] <= 100
    assert last["captions/nats_per_character/right_image"] > 0
    assert rows[0]["contrast/log_batch"] == pytest.approx(np.log(16), rel=1e-5)


def test_captions_are_written_and_what_is_no_picture_is_a_line(pangu, run_dir, folder):
    status, out, _ = pangu(
        "caption",
        "--run_dir",
        run_dir,
        folder / "a.png",
        folder / "none.jpg",
        folder / "c.jpg",
        "--json",
        "-",
    )
    rows = json.loads(out)
    assert status == 2
    assert [("caption" in row, "refused" in row) for row in rows] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def test_a_draw_is_of_the_picture_and_the_seed(embedder, folder):
    from pangu_jax.apps.language.decoding.settings import Sampling

    write = Captioner(embedder.workload, embedder.params, embedder.run)
    views = np.stack([view(embedder, folder / name) for name in ("a.png", "b.jpg", "d.png")])
    drawn = write(views, Sampling(seed=3))
    assert write(views[1:], Sampling(seed=3)) == drawn[1:]
    assert write(views, Sampling(seed=4)) != drawn


def test_what_is_written_is_what_the_loss_finds_likeliest(embedder, folder):
    """Greedy decoding by the cache of keys and values, against the decoder that is trained."""
    import jax.numpy as jnp

    write = Captioner(embedder.workload, embedder.params, embedder.run)
    views = np.repeat(view(embedder, folder / "a.png")[None], 8, axis=0)  # one for each device
    forward = embedder.workload.forward(embedder.run)
    memory = forward.memory(embedder.params, forward.seen(embedder.params, jnp.asarray(views)))
    from pangu_jax.workloads.multimodal.model.language_tower import caption_batch

    tokens = np.zeros((8, embedder.workload.data.length), np.int32)
    inner, params = forward.text.inner, embedder.params["text"]
    for place in range(6):
        batch = caption_batch(jnp.asarray(tokens), memory.shape[1])
        hidden = inner.decode(params, batch, inner.placement.begin(memory))
        tokens[:, place] = np.asarray(jnp.argmax(inner.logits(params, hidden)[:, place], axis=-1))
        if tokens[0, place] == 1:
            break
    expected = embedder.workload.data.vocabulary.decode(tokens[0].tolist())
    assert write(views[:1], most=6)[0] == expected


def test_pictures_are_found_and_the_index_is_kept(pangu, run_dir, folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("index") / "i"
    page = tmp_path_factory.mktemp("page") / "found.html"
    asked = ("retrieve", "--run_dir", run_dir, "--images", folder, "--index", place, "--json", "-")
    status, out, _ = pangu(
        *asked, "--query", "红色的圆在左边", "--query_image", folder / "a.png", "--html", page
    )
    found = json.loads(out)
    assert status == 0 and found["pictures"] == 4 and found["unusable"] == ["none.jpg"]
    assert found["queries"][1]["matches"][0]["name"] == "a.png"  # itself
    assert found["queries"][1]["matches"][0]["cosine"] == pytest.approx(1, abs=1e-4)
    assert "红色的圆在左边" in page.read_text() and "data:image/jpeg" in page.read_text()
    again = json.loads(pangu(*asked, "--query", "红色的圆在左边")[1])
    assert again["embedded"] == 0
    assert again["queries"][0]["matches"] == found["queries"][0]["matches"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "give --query TEXT, or --query_image FILE"),
        (["--query", " "], "an empty text"),
        (["--query", "红", "--top", "0"], "--top 0"),
        (["--query_image", "none.jpg"], "none.jpg"),
    ],
)
def test_what_cannot_be_asked_is_one_line(pangu, run_dir, folder, given, said):
    status, _, err = pangu("retrieve", "--run_dir", run_dir, "--images", folder, *given)
    assert status == 2 and said in err and "Traceback" not in err


def test_it_is_measured_with_intervals_and_controls(pangu, run_dir):
    status, out, _ = pangu(
        "eval", "--gin_file", "eval/retrieval.gin", "--run_dir", run_dir, "--json", "-",
        "--gin.evaluate_retrieval.written=8",
    )  # fmt: skip
    found = json.loads(out)
    assert status == 0
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank"):
        assert set(found[name]) == {"text_to_image", "image_to_text"}
        low, high = found["interval_95"][name]["text_to_image"]
        assert low <= found[name]["text_to_image"] <= high
    assert set(found["caption_nats_per_character"]) == {"right_image", "wrong_image"}
    assert found["captions"]["segmentation"] == "characters"
    assert found["by_sentence"]["recall_at_10"]["text_to_image"] >= found["recall_at_10"]["text_to_image"]


def test_a_run_of_another_kind_is_refused(pangu, run_dir, folder):
    status, _, err = pangu(
        "restore", "--run_dir", run_dir, "--task", "x2", "--out", folder / "out", folder / "a.png"
    )
    assert status == 2 and "family 'multimodal'" in err


def test_embeddings_do_not_hang_on_what_is_beside(embedder, folder):
    views = np.stack([view(embedder, folder / name) for name in ("a.png", "b.jpg", "c.jpg", "d.png")])
    together = embedder.pictures(views)
    np.testing.assert_allclose(embedder.pictures(views[2:3])[0], together[2], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
