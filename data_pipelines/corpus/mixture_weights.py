"""What share each source has of a mixture: given, or by its size and a temperature."""

from collections.abc import Mapping

from data_pipelines.errors import DataError

# Files of a built corpus: sources with their sizes and shares; the sums of all files.
MIXTURE = "mixture.json"
SUMS = "SHA256SUMS"


def check(weights: Mapping[str, float] | None, temperature: float, where: str) -> None:
    """Raises DataError, naming settings of `where`, for weights or temperatures that are none."""
    if not temperature > 0:
        raise DataError(f"{where}.temperature is {temperature}: it must be above 0; 1 is by size")
    if weights is not None:
        for source, weight in weights.items():
            if not weight >= 0:
                raise DataError(f"{where}.weights: {source!r} is {weight}; weights are not negative")
        if not any(weights.values()):
            raise DataError(f"{where}.weights: all are zero; give at least one source a positive weight")


def shares(
    sizes: Mapping[str, int], weights: Mapping[str, float] | None, temperature: float, where: str
) -> dict[str, float]:
    """Share of each source, in all 1, in the order of `sizes`.

    Args:
      sizes: bytes of text per source.
      weights: relative; a source left out has none. None is by size: p_i ~ n_i^(1/T), as in mT5
        (arXiv 2010.11934): 1 is in proportion, higher temperatures are more even.
      temperature: T.
      where: whose settings an error names.

    Raises:
      DataError: a weight for no source, a negative one, or none that is positive.
    """
    check(weights, temperature, where)
    if weights is None:
        raw = {source: float(size) ** (1 / temperature) for source, size in sizes.items()}
    else:
        for source in weights:
            if source not in sizes:
                raise DataError(f"{where}.weights: there is no source {source!r}: have {', '.join(sizes)}")
        raw = {source: float(weights.get(source, 0)) for source in sizes}
    total = sum(raw.values())
    if not total:
        raise DataError(f"{where}: no source with text has a positive weight")
    return {source: weight / total for source, weight in raw.items()}


def epochs(sizes: Mapping[str, int], share: Mapping[str, float]) -> dict[str, float]:
    """How often each source is read while as many bytes are drawn as the corpus holds."""
    total = sum(sizes.values())
    return {source: share[source] * total / size if size else 0.0 for source, size in sizes.items()}
