"""A text that comes token by token, and what there is to say of it when it is whole."""

from collections.abc import Generator, Iterator

from pangu_jax.apps.language.decoding.queries import Generated


class TextStream(Iterator[int]):
    """The tokens of one text.

    Args:
      writing: the tokens one by one, and the whole text as its result.

    Attributes:
      generated: the whole text with score and finish; None until the last token was taken.
    """

    def __init__(self, writing: Generator[int, None, Generated]):
        self._writing = writing
        self.generated: Generated | None = None

    def __next__(self) -> int:
        try:
            return next(self._writing)
        except StopIteration as finished:
            if finished.value is not None:
                self.generated = finished.value
            raise

    def close(self) -> None:
        """Stops the writing; the text stays unfinished."""
        self._writing.close()
