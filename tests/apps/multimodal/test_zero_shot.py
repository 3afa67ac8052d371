"""Classes by templates, and accuracy that no constant model has."""

import json

import numpy as np
import pytest

from pangu_jax.apps.multimodal import zero_shot
from pangu_jax.errors import UserError

CLASSES = ("圆", "方", "星")


def _embed(texts):
    """By the class named in a text, a little off by its template; lengths differ."""
    return np.stack(
        [(1 + len(t)) * (np.eye(3)[[c in t for c in CLASSES].index(True)] + 0.01 * len(t)) for t in texts]
    )


def test_a_class_is_the_mean_direction_of_its_templates():
    templates = zero_shot.read_templates()
    assert len(templates) > 3 and "一张{}的照片。" in templates
    vectors = zero_shot.class_vectors(CLASSES, _embed, templates)
    rows = [np.eye(3)[0] + 0.01 * (len(template) - 1) for template in templates]
    mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
    assert vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    label = np.array([0, 0, 1, 2, 2])
    pictures = np.eye(3)[[0, 1, 1, 2, 2]] * [[3], [1], [2], [1], [1]]
    found = zero_shot.evaluate(pictures, vectors, label, CLASSES, resamples=50)
    assert (found.accuracy, found.accuracy_at_5, found.commonest, found.pictures) == (80, 100, 40, 5)
    assert found.by_class == {"圆": 50, "方": 100, "星": 100}
    assert found.interval_95[0] <= 80 <= found.interval_95[1]
    assert json.loads(json.dumps(found.as_dict()))["accuracy"] == 80


def test_a_constant_model_is_never_right():
    vectors = zero_shot.class_vectors(CLASSES, lambda texts: np.ones((len(texts), 3)), ["{}"])
    found = zero_shot.evaluate(np.ones((4, 3)), vectors, np.array([0, 1, 2, 2]), CLASSES, resamples=10)
    assert found.accuracy == 0


def test_what_is_no_list_of_templates_or_classes_is_refused(tmp_path):
    file = tmp_path / "templates.toml"
    for text, message in (
        ('templates = ["一张{}的照片。", "照片"]', "template 2, '照片', must have {} once"),
        ('templates = ["{}和{}"]', "template 1"),
        ("templates = []", "no list of templates"),
        ("templates = [", "no TOML"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(UserError, match=message):
            zero_shot.read_templates(file)
    with pytest.raises(UserError, match="cannot read templates"):
        zero_shot.read_templates(tmp_path / "nowhere.toml")
    for classes, message in ((("圆",), "there is 1"), (("圆", "方", "圆"), "'圆' is there twice")):
        with pytest.raises(UserError, match=message):
            zero_shot.class_vectors(classes, _embed, ["{}"])
    with pytest.raises(UserError, match="no picture with a label"):
        zero_shot.evaluate(np.zeros((0, 3)), np.eye(3), np.zeros(0, int), CLASSES)
