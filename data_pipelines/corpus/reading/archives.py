"""Tar archives, member by member as they come. Nothing is written anywhere, so their names do no harm."""

import io
import tarfile
from collections import Counter
from collections.abc import Iterator

from data_pipelines.corpus.reading.compression import BrokenFileError
from data_pipelines.corpus.reading.inputs import kind_of, printable
from data_pipelines.corpus.reading.place import Place


def members(stream: io.BufferedReader, place: Place) -> Iterator[tuple[str, str, str, io.BufferedReader]]:
    """(name, kind, compression, content) of every file of a known kind but archives.

    A content must be read before the next member is asked for.

    Names are distinct: `#2` follows that of a second member of one name.

    Raises:
      BrokenFileError: the archive breaks off, or is none.
    """
    names: Counter[str] = Counter()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                # It would else hold every header.
                archive.members = []  # pyrefly: ignore[missing-attribute]  typeshed leaves it out
                if member.isdir():
                    continue
                name, known = printable(member.name), kind_of(member.name)
                if not member.isfile() or member.issparse():
                    place.note("links and devices in archives", 1)
                elif known is None or known[1] == "tar":
                    place.note("members of archives of no known kind", 1)
                else:
                    names[name] += 1
                    name = f"{name}#{names[name]}" if names[name] > 1 else name
                    content = archive.extractfile(member)
                    assert isinstance(content, io.BufferedReader)  # as of every member that is a file
                    yield name, known[1], known[2], content
    except (tarfile.TarError, EOFError) as error:
        raise BrokenFileError(f"broken archive: {error}") from error
