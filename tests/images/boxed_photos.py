"""A folder of made-up photos: bright rectangles, and files that say where they are."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = (48, 64)  # height and width


def write(folder: Path, flights: int = 4, photos: int = 3, coco: bool = True) -> dict[str, list]:
    """Photos in folders of flights, `boxes.json` beside them; gives the boxes of each by its name."""
    draw = np.random.default_rng(0)
    told, images, annotations = {}, [], []
    for number in range(flights * photos):
        name = f"flight_{number // photos}/{number}.png"
        pixels = draw.integers(0, 60, (*SIDE, 3), np.uint8)
        left, top = draw.integers(2, 20, 2)
        wide, high = draw.integers(10, 30), draw.integers(10, 20)
        pixels[top : top + high, left : left + wide] = (230, 40, 40) if number % 2 else (40, 230, 40)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        told[name] = [[left, top, left + wide, top + high], "red" if number % 2 else "green"]
        images.append({"id": number, "file_name": name, "width": SIDE[1], "height": SIDE[0]})
        annotations.append(
            {"image_id": number, "category_id": 7 if number % 2 else 3}
            | {"bbox": [int(left), int(top), int(wide), int(high)]}
        )
    # Categories are numbered with gaps, and not in the order of their names.
    categories = [{"id": 7, "name": "red"}, {"id": 3, "name": "green"}]
    if coco:
        whole = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "boxes.json").write_text(json.dumps(whole))
    return told
