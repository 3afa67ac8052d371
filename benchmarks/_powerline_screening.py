"""Few labels chosen by screening, beside as many drawn at random: what `benchmarks.powerline` trains for it.

All begin with the same photos, drawn at random. Of a model trained on these, screening says which photos of
the rest are to be labelled: those that it is least sure of, or those that likeliest show the rarer class;
the control labels random ones. Then a model is trained anew on all that are labelled. The photos
that are held out are the fold's, and take no part in any choice.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIRST, ROUNDS = 40, (80, 160)  # photos that are labelled
CONTROLS = (80, 160, 240, 480)  # at random; the largest is three times and six times the rounds
STEPS = 500
# Which photo is of interest: that of the least sure thing, or that of the surest of a class.
INTERESTS: dict[str, str | None] = {"screened labels": None, "screened for defects": "defect"}
Row = dict[str, Any]


def rows(
    fold: int,
    seed: int,
    run_dir: Path,
    photos: Path,
    more: list[str],
    train: Callable[[Path, Path, list[str]], Row],
) -> list[Row]:
    """A row for each number of labels, of "random labels" and of each of `INTERESTS`."""
    from data_pipelines.images.boxed_images import boxed_images

    data = boxed_images(path=str(photos), fold=fold)
    pool = data.boxes.name_N[data.places(False)].tolist()
    order = np.random.default_rng([seed, fold]).permutation(len(pool))
    drawn = [pool[place] for place in order]
    made = []

    def fit(arm: str, names: list[str]) -> Path:
        directory = run_dir / f"{arm.replace(' ', '_')}-{len(names)}-fold{fold}-seed{seed}"
        directory.mkdir(parents=True, exist_ok=True)
        listed = directory / "labelled.txt"
        listed.write_text("".join(f"{name}\n" for name in names))
        bindings = [f"boxed_images.fold={fold}", f"train.seed={seed}", f"STEPS={STEPS}", *more]
        found = train(directory, photos, [*bindings, f"boxed_images.labelled={str(listed)!r}"])
        made.append({"arm": arm, "fold": fold, "seed": seed, "labels": len(names)} | found)
        return directory

    first = fit("random labels", drawn[:FIRST])
    for count in CONTROLS:
        fit("random labels", drawn[:count])
    for arm, wanted in INTERESTS.items():
        before, chosen = first, drawn[:FIRST]
        for count in ROUNDS:
            left = [name for name in pool if name not in set(chosen)]
            chosen = [*chosen, *_screened(before, data, left, chosen, wanted)[: count - len(chosen)]]
            before = fit(arm, chosen)
    return made


def _screened(directory: Path, data: Any, left: list[str], known: list[str], wanted: str | None) -> list[str]:
    """Names of photos, those that are worth a label first."""
    from pangu_jax.apps.vision.inspection.finder import PhotoFinder, surest, uncertainty
    from pangu_jax.apps.vision.inspection.screening import screened
    from pangu_jax.runs import opening

    find = PhotoFinder(opening.open_run(directory, family="vision"), (1.0,), 0.2)
    places = {name: place for place, name in enumerate(data.boxes.name_N.tolist())}
    findings = {name: find(data.pictures.pixels(places[name])) for name in (*left, *known)}

    def interest(name: str) -> float:
        found = findings[name].found
        return uncertainty(found) if wanted is None else surest(found, find.classes.index(wanted))

    order = screened(
        np.stack([findings[name].embedding_F for name in left]),
        np.array([interest(name) for name in left]),
        data.pictures.hash_N[[places[name] for name in left]],
        np.stack([findings[name].embedding_F for name in known]),
    )
    return [left[place] for place in order.order_N]
