"""What lies beside an exported file: model.json, an example of a few lines, and a README."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pangu_jax.apps.vision.exporting.exported_model import ExportedModel
from pangu_jax.apps.vision.exporting.formats import INPUT, ExportFormat

DESCRIPTION, EXAMPLE, README = "model.json", "example.py", "README.md"

_OPEN = {
    "stablehlo": (
        "from jax import export",
        'model = export.deserialize(bytearray(open("{file}", "rb").read())).call',
    ),
    "onnx": (
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("{file}")\n'
        'model = lambda pixels: session.run(None, {{"pixels": pixels}})[0]',
    ),
    "litert": (
        "from ai_edge_litert.interpreter import Interpreter",
        'run = Interpreter("{file}").get_signature_runner()\n'
        'model = lambda pixels: run(pixels=pixels)["{output}"]',
    ),
}

_KINDS = {"classifier": "A classifier", "features": "Features of pictures"}


def example(format: ExportFormat, model: ExportedModel) -> str:
    """A script that answers for one picture, by the format's runtime, NumPy and Pillow."""
    imports, opening = (part.format(file=format.file, output=model.output) for part in _OPEN[format.name])
    mode, size = ("RGB" if model.channels == 3 else "L"), model.size
    fit = f"ImageOps.fit(picture, ({size}, {size}), Image.Resampling.BICUBIC)"
    shown = (
        'labels = json.load(open("model.json", encoding="utf-8"))["labels"] or range(answer.size)\n'
        "for place in answer.argsort()[::-1][:5]:\n"
        '    print(f"{answer[place]:8.3f}  {labels[place]}")\n'
        if model.kind == "classifier"
        else "print(answer.shape, answer[:8])\n"
    )
    return (
        f"# python {EXAMPLE} PICTURE; needs: pip install {' '.join(format.pinned())} numpy pillow\n"
        f"import json, sys\nimport numpy as np\n{imports}\nfrom PIL import Image, ImageOps\n\n"
        f'picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("{mode}")\n'
        f"pixels = np.asarray({fit}).reshape(1, {size}, {size}, {model.channels})\n"
        f"{opening}\nanswer = np.asarray(model(pixels))[0]\n{shown}"
    )


def description(
    format: ExportFormat, model: ExportedModel, outputs: int, facts: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """What model.json holds.

    Args:
      format: of the file.
      model: what was exported.
      outputs: numbers that come out of a picture.
      facts: of this export: run, step, weights, what was checked.
      folder: with all the other files, of which it has the hashes.
    """
    side = model.size
    return {
        "format": format.name,
        "file": format.file,
        "kind": model.kind,
        "input": {"name": INPUT, "dtype": "uint8", "shape": ["b", side, side, model.channels],
                  "channels": "RGB" if model.channels == 3 else "grey"},
        "output": {"name": model.output, "dtype": "float32", "shape": ["b", outputs]},
        "preprocessing": {
            "before": {"crop": "the largest square in the middle", "size": side,
                       "resize": "bicubic with antialiasing"},
            "in_the_model": {"divided_by": 255, "mean": list(model.mean), "deviation": list(model.deviation)},
        },
        "labels": list(model.labels),
        "parameters": model.parameters,
        **facts,
        "requires": format.pinned(),
        "sha256": {file.name: _sha256(file) for file in sorted(folder.iterdir())},
    }  # fmt: skip


def readme(described: dict[str, Any], title: str) -> str:
    """What a person reads first."""
    source, target = described["input"], described["output"]
    checked = described["checked"]
    lines = [
        f"# {described['file']}",
        "",
        f"{_KINDS[described['kind']]} as {title}, exported by pangu_jax from step "
        f"{described['step']} of {described['run']}: {described['parameters']:,} parameters, weights "
        f"{described['weights']}, {described['bytes']:,} bytes.",
        "",
        f"    pip install {' '.join(described['requires'])} numpy pillow",
        f"    python {EXAMPLE} PICTURE",
        "",
        f"- In: `{source['name']}`, uint8 {_sides(source)}, {source['channels']}, any number b of "
        "pictures. Of a photo take the largest square in the middle and resize it, bicubic with antialiasing "
        "(Pillow's BICUBIC). Mean and deviation are in the model.",
        f"- Out: `{target['name']}`, fp32 {_sides(target)}"
        + ("; labels in `model.json`." if described["labels"] else "."),
        f"- Checked against the model in JAX on {checked['pictures']}, in batches of "
        f"{' and '.join(map(str, checked['batches']))}: {checked['said']}.",
    ]
    if loss := described.get("loss_of_int8"):
        lines.append(f"- Weights of 8 bits against those of 32: {loss['said']}.")
    return "\n".join(lines) + "\n"


def _sides(of: dict[str, Any]) -> str:
    return f"[{', '.join(map(str, of['shape']))}]"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
