"""The formats that sets are published in, by name."""

from collections.abc import Callable, Iterator, Mapping

from data_pipelines.text.benchmarks import file_formats, line_formats
from data_pipelines.text.benchmarks.examples import Example
from data_pipelines.text.benchmarks.files import File

READERS: Mapping[str, Callable[[File], Iterator[Example]]] = {
    reader.__name__: reader
    for reader in (
        line_formats.records,
        line_formats.idioms,
        line_formats.idiom_groups,
        line_formats.pronouns,
        line_formats.articles,
        file_formats.c3,
        file_formats.squad,
        file_formats.prompted_lines,
        file_formats.short_texts,
        file_formats.dialogues,
        file_formats.tagged,
        file_formats.tagged_characters,
        file_formats.commands,
    )
}
