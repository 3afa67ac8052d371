"""Where recipes live: any path, or a name relative to the recipes that come with the library.

`pangu_jax/_recipes` is a link to the checkout's folder gin/, and a plain folder in an installed wheel, so
one place serves both. gin/ itself must never hold an `__init__.py`: it would shadow the library gin.
"""

import difflib
from importlib import resources
from pathlib import Path

from pangu_jax.errors import UserError


def root() -> Path:
    """The folder of the recipes that come with the library."""
    return Path(str(resources.files("pangu_jax"))).joinpath("_recipes").resolve()


def available() -> list[str]:
    """Names of the recipes that come with the library, such as "nlp/quickstart.gin", sorted."""
    return sorted(path.relative_to(root()).as_posix() for path in root().rglob("*.gin"))


def find(name: str | Path, beside: Path | None = None) -> Path:
    """The file of a recipe.

    `name` is a path, or a name under the recipes that come with the library, with or without a leading
    "gin/" and the suffix ".gin". `beside` is a folder to look into first: an include may name a neighbour.
    UserError when there is no such file.
    """
    name = Path(name).expanduser()
    inside = Path(*name.parts[1:]) if name.parts[:1] == ("gin",) else name
    places = [name, root() / inside] if beside is None else [beside / name, name, root() / inside]
    for place in places:
        for candidate in (place, place.with_name(place.name + ".gin")) if place.name else ():
            if candidate.is_file():
                return candidate.resolve()
    raise UserError(f"no recipe '{name}' (neither a file nor one that comes with the library){_near(inside)}")


def _near(name: Path) -> str:
    names = available()
    wanted = name.with_suffix("").as_posix()
    by_stem = {known.removesuffix(".gin"): known for known in names}
    near = difflib.get_close_matches(wanted, by_stem, n=3, cutoff=0.6)
    near += [stem for stem in by_stem if Path(stem).name == name.stem and stem not in near]
    if near:
        return "; did you mean " + " or ".join(by_stem[stem] for stem in near) + "?"
    return f"; there are: {', '.join(names)}" if names else ""
