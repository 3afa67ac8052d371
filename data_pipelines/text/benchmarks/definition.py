"""Tasks from their TOML files in definitions/, and from a user's own.

    kind = "classification"
    metric = "accuracy"
    reader = "records"                      # a format of `readers`
    fields = {sentence = "sentence"}        # a slot of the patterns, a key of the records
    leaks = "..."

    [labels]                                # a label, and its name in words
    Positive = "好评"

    [derived.test_clean]                    # a rule of `derived`, and its settings
    rule = "without"

    [patterns.ask]
    inputs = "{sentence}这条评论是好评还是差评？"
    target = "{answer}"
    words = {Positive = "好评", Negative = "差评"}

`like = "fewclue/tnews"` takes what is not given from another task; `like` in a pattern, from another pattern.
"""

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import derived, published, readers
from data_pipelines.text.benchmarks.patterns import Pattern
from data_pipelines.text.benchmarks.task import KINDS, BenchmarkTask

_FOLDER = resources.files("data_pipelines.text.benchmarks") / "definitions"
_KEYS = frozenset(
    ("like", "kind", "metric", "reader", "fields", "label", "skip", "leaks", "labels", "derived", "patterns")
)
_PATTERN_KEYS = frozenset(field.name for field in dataclasses.fields(Pattern)) - {
    "name",
    "labels",
    "demonstrations",
}


def names() -> tuple[str, ...]:
    """All tasks, in the order of `published.SETS`."""
    return tuple(name for name in published.SETS if _file(name).is_file())


@functools.cache
def get(name: str) -> BenchmarkTask:
    """The task of a name.

    Raises:
      DataError: there is none of that name.
    """
    if name not in published.SETS or not _file(name).is_file():
        raise DataError(f"benchmarks: no task {name!r}; there are {', '.join(names())}")
    return task(name, _definition(name))


def task(name: str, definition: Mapping[str, Any]) -> BenchmarkTask:
    """A task of a definition, a TOML file's content.

    Raises:
      DataError: it has unknown keys, kinds or readers, or a pattern that does not fit.
    """
    where = f"benchmarks: {name}"
    _require_known(where, definition, _KEYS)
    for key, known in (("kind", KINDS), ("reader", tuple(readers.READERS))):
        if definition.get(key) not in known:
            raise DataError(f"{where}: {key} = {definition.get(key)!r} is not one of {', '.join(known)}")
    kind, labels = definition["kind"], definition.get("labels", {})
    own = tuple(labels) if kind == "classification" else ()
    found = BenchmarkTask(
        name=name,
        kind=kind,
        labels=tuple(labels),
        names=labels,
        metric=definition.get("metric", "accuracy"),
        patterns=_patterns(name, own, labels, definition.get("patterns", {})),
        reader=definition["reader"],
        fields=definition.get("fields", {}),
        label=definition.get("label", "label"),
        skip=tuple(definition.get("skip", ())),
        derived={split: _rule(where, split, rule) for split, rule in definition.get("derived", {}).items()},
        leaks=definition.get("leaks", ""),
    )
    if kind != "intents":
        return found
    pairs = {
        f"{split}_{end}_pairs": derived.Pairs(split, new=end == "new")
        for split in found.published.splits
        for end in ("seen", "new")
    }
    return dataclasses.replace(found, derived={**found.derived, **pairs})


def from_file(name: str, path: str | Path) -> BenchmarkTask:
    """A user's task: their TOML file, on the files of the set `name`.

    Raises:
      DataError: it cannot be read, is no TOML, or does not fit; or there is no such set.
    """
    if name not in published.SETS:
        raise DataError(f"benchmarks: no set {name!r}; there are {', '.join(published.SETS)}")
    try:
        content = Path(path).expanduser().read_text("utf-8")
        return task(name, _inherited(tomllib.loads(content)))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"benchmarks: cannot read the task {path}: {error}") from error


def _file(name: str):
    return _FOLDER / f"{name}.toml"


def _definition(name: str) -> dict[str, Any]:
    return _inherited(tomllib.loads(_file(name).read_text("utf-8")))


def _inherited(own: dict[str, Any]) -> dict[str, Any]:
    if "like" not in own:
        return own
    other = _definition(own["like"])
    other = {key: value for key, value in other.items() if key not in ("derived", "leaks")}
    return {**other, **{key: value for key, value in own.items() if key != "like"}}


def _patterns(
    name: str, labels: tuple[str, ...], words: Mapping[str, str], definitions: Mapping[str, Any]
) -> dict[str, Pattern]:
    patterns = {}
    for own, definition in definitions.items():
        where = f"{name} {own}"
        definition = {**definitions.get(definition.get("like"), {}), **definition}
        definition.pop("like", None)
        _require_known(f"pattern {where}", definition, _PATTERN_KEYS)
        settings: dict[str, Any] = {"words": words, **definition}
        patterns[own] = Pattern(where, labels, **settings)
    return patterns


def _rule(where: str, split: str, definition: Mapping[str, Any]) -> derived.Rule:
    settings = dict(definition)
    rule = derived.RULES.get(settings.pop("rule", None))
    if rule is None:
        raise DataError(f"{where}: the rule of {split!r} is not one of {', '.join(derived.RULES)}")
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    try:
        return rule(**settings)
    except TypeError as error:
        raise DataError(f"{where}: split {split!r}: {error}") from error


def _require_known(where: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise DataError(f"{where}: unknown {unknown[0]!r}; there are {', '.join(sorted(known))}")
