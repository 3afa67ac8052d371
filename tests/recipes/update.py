"""The golden recipes: what each recipe under gin/ resolves to, defaults of the code included.

`python -m tests.recipes.update` writes them anew; the diff is for the review to read.
"""

from pathlib import Path

from pangu_jax import recipes

GOLDEN = Path(__file__).parent / "golden"


def resolve(name: str) -> str:
    """The resolved form of a recipe that comes with the library."""
    return recipes.dump(recipes.load([name]))


def main() -> None:
    """Write all, and drop those whose recipe is gone."""
    for path in GOLDEN.rglob("*.gin"):
        path.unlink()
    for name in recipes.available():
        path = GOLDEN / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(resolve(name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
