"""Against the libraries themselves, where they are installed: their loading of what was exported."""

import json

import numpy as np
import pytest

from pangu_jax.apps.vision.conversion.exporting import export_vision
from pangu_jax.apps.vision.conversion.importing import import_vision
from tests.apps.vision.conversion import golden
from tests.apps.vision.conversion.test_round_trip import ATOL, logits

torch = pytest.importorskip("torch")

SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80}


@pytest.mark.prove
@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_logits_equal_those_of_transformers_before_and_after(act, tmp_path, proof):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SIZES, image_size=32, patch_size=8, num_labels=7, hidden_act=act)
    made = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    made.save_pretrained(tmp_path / "source")
    import_vision("hf", tmp_path / "source", tmp_path / "run")
    export_vision("hf", tmp_path / "run", tmp_path / "out", shard_gb=1e-5)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    again = transformers.ViTForImageClassification.from_pretrained(tmp_path / "out").eval()
    images = golden.pictures(32)
    given = golden.torch_pixels(images, 0.5, 0.5)
    with torch.no_grad():
        expected, back = made(given).logits.numpy(), again(given).logits.numpy()
    np.testing.assert_array_equal(back, expected)
    found = logits(tmp_path / "run", images)
    np.testing.assert_allclose(found, expected, atol=ATOL)
    proof("largest difference of a logit", float(np.abs(found - expected).max()))


@pytest.mark.prove
def test_timm_loads_what_was_exported_at_another_size(tmp_path, proof):
    """By `local-dir:`, of a run whose positions were resized."""
    golden.stub_torchvision()
    timm = pytest.importorskip("timm")
    from timm.models import _hub

    torch.manual_seed(0)
    made = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=7).eval()
    _hub.save_for_hf(made, tmp_path / "source", safe_serialization=True)
    assert json.loads((tmp_path / "source/config.json").read_text())["model_args"]["depth"] == 2
    import_vision("timm", tmp_path / "source", tmp_path / "run", size=96)
    export_vision("timm", tmp_path / "run", tmp_path / "out")
    again = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = golden.pictures(96)
    with torch.no_grad():
        expected = again(golden.torch_pixels(images, 0.5, 0.5)).numpy()
    found = logits(tmp_path / "run", images)
    np.testing.assert_allclose(found, expected, atol=ATOL)
    proof("largest difference of a logit", float(np.abs(found - expected).max()))
