"""mfai's PanguWeather without what its packages import: ONNX, Lightning, torchvision and other models.

pip install torch==2.13.0
pip install --no-deps mfai==9.0.1 timm dataclasses-json marshmallow typing-inspect mypy-extensions
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

MODULE = "mfai.pytorch.models.pangu"
PASSED_OVER = ("mfai.pytorch", "mfai.pytorch.models", "timm", "timm.layers")  # their __init__


def loaded() -> Any:
    """The module mfai.pytorch.models.pangu; ImportError where something is missing."""
    if MODULE in sys.modules:
        return sys.modules[MODULE]
    found = {name: importlib.util.find_spec(name) for name in ("mfai", "timm")}
    for name in PASSED_OVER:
        top, *below = name.split(".")
        if not (spec := found[top]) or not spec.submodule_search_locations:
            raise ImportError(f"{top} is not installed")
        package = types.ModuleType(name)
        package.__path__ = [str(Path(spec.submodule_search_locations[0], *below))]
        package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules.setdefault(name, package)
    return importlib.import_module(MODULE)
