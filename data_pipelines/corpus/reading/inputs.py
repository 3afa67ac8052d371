"""What a user points at: folders, files, globs and fsspec URLs, each with a name for its source if wanted."""

import dataclasses
import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data_pipelines.corpus.reading import left_out
from data_pipelines.corpus.reading.compression import SUFFIXES as COMPRESSIONS
from data_pipelines.errors import DataError

KINDS = {
    ".warc": "warc",
    ".wet": "warc",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
    ".md": "markdown",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".tar": "tar",
    ".zip": "zip",
}
ARCHIVES = ("tar", "zip")
# Of a file without a suffix, as wiki_00 and part.00001: what it is, its beginning says.
UNNAMED = "unnamed"
# Of these there are many in a folder: their source is the folder, of others the file.
_MANY = ("html", "json", "markdown", "text", UNNAMED)
_NO_SUFFIX = "no suffix"
_SHORT = {".tgz": ".tar.gz", ".txz": ".tar.xz", ".tzst": ".tar.zst", ".tbz2": ".tar.bz2"}
_NAMED = re.compile(r"(?P<name>[^/\\=:*?\[]+)=(?P<where>.+)", re.DOTALL)
_URL = re.compile(r"[a-z][a-z0-9+.-]*(://|::)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, order=True)
class InputFile:
    """A file to read.

    Attributes:
      name: its path inside the input, with slashes: the beginning of its documents' ids, no other file's.
      source: the sub-corpus it belongs to.
      path: where it is: an absolute path or a URL.
      size: bytes, as stored.
      kind: a value of KINDS, or UNNAMED.
      compression: "" or one of .gz, .xz, .zst, .bz2.
    """

    name: str
    source: str
    path: str
    size: int
    kind: str
    compression: str


def kind_of(name: str) -> tuple[str, str, str] | None:
    """(name without the suffixes, kind, compression), or None for a file of no known kind.

    Capitals are of no account. Files without a suffix whose name, or whose folder's, begins with a dot are of
    no kind: they are programs' own.
    """
    stem, suffix, compression = _suffixes(name)
    if PurePosixPath(name).name.startswith("._"):  # what macOS puts beside a file
        return None
    if kind := KINDS.get(suffix.lower()):
        return stem, kind, compression
    if suffix and not suffix[1:].isdecimal():
        return None
    hidden = any(part.startswith(".") and part.strip(".") for part in PurePosixPath(name).parts)
    return None if hidden else (stem + suffix, UNNAMED, compression)


def unknown(name: str) -> str:
    """What a file that is passed over is counted as: its suffix, compression and all."""
    _, suffix, compression = _suffixes(name)
    return f"{suffix.lower()}{compression}" if suffix else _NO_SUFFIX


def _suffixes(name: str) -> tuple[str, str, str]:
    """(name without them, suffix, compression)."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (of a name, which may be a URL's)
    if suffix.lower() in _SHORT:
        stem, suffix = os.path.splitext(stem + _SHORT[suffix.lower()])  # noqa: PTH122
    compression = ""
    if suffix.lower() in COMPRESSIONS:
        compression = suffix.lower()
        stem, suffix = os.path.splitext(stem)  # noqa: PTH122
    return stem, suffix, compression


def printable(name: str) -> str:
    """A file's name as text: bytes in it that are not UTF-8 are written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def find(
    inputs: Sequence[str], skipped: Counter[str] | None = None, named: str = "--input"
) -> list[InputFile]:
    """The files of known kinds under `inputs`, sorted by name, each once whatever links lead to it.

    An input is a folder, a file, a glob or an fsspec URL, and may begin with `NAME=`, the source of all its
    documents. Without, a file's source is the first folder inside the input; where there is none, the file's
    own name less suffixes, or for texts and pages, of which there are many, the input folder's. The order of
    the inputs is of no account: of two that hold the same file, the one with a NAME has it.

    Args:
      skipped: counts what was left out, by suffix.
      named: what gave the inputs, for messages.

    Raises:
      DataError: an input matches no file of a known kind, or needs a package that is not installed.
    """
    skipped = Counter() if skipped is None else skipped
    found: dict[str, tuple] = {}  # by real path
    for given in sorted(set(inputs)):
        source, where = _named(given)
        members = _remote(where, named) if _URL.match(where) else _local(where, skipped)
        matched = False
        for home, inside, path, real, size in members:
            known = kind_of(inside)
            if known is None:
                skipped[unknown(inside)] += 1
                continue
            matched = True
            folders = PurePosixPath(inside).parts[:-1]
            single = known[1] in _MANY and home
            own = source or printable(folders[0] if folders else home if single else known[0])
            name = printable(f"{source}/{inside}" if source else inside)
            candidate = (source is None, name, own, path, size, *known[1:])
            found[real] = min(found.get(real, candidate), candidate)
        if not matched:
            over = left_out.files(skipped)
            raise DataError(
                f"{named} {given}: no file of a known kind is there ({', '.join(KINDS)}, plain or compressed)"
                + (f"; {over}" if over else "")
            )
    names = _distinct({real: (entry[1], entry[3]) for real, entry in found.items()})
    return sorted(InputFile(names[real], *entry[2:]) for real, entry in found.items())


def _named(given: str) -> tuple[str | None, str]:
    match = _NAMED.fullmatch(given)
    if match and not Path(given).exists():
        return match["name"], match["where"]
    return None, given


def _local(where: str, skipped: Counter[str]) -> Iterator[tuple[str, str, str, str, int]]:
    """(name of the input's folder, path inside, absolute path, real path, bytes) of every file.

    The first is "" of an input that is a file.
    """
    given = Path(where).expanduser().absolute()
    if given.is_dir():
        yield from ((given.name, *file) for file in _walk(given, "", set(), skipped))
        return
    base, pattern = given.parent, given.parts[-1:]
    if not given.exists():
        base = given
        while glob.has_magic(str(base)):
            base = base.parent
        pattern = given.relative_to(base).parts
    if "**" in pattern:  # by _walk, which survives loops
        found = _walk(base, "", set(), skipped)
        yield from ((base.name, *file) for file in found if _fits(file[0].split("/"), pattern))
        return
    paths = [given] if given.exists() else glob.glob(str(given))  # noqa: PTH207 (Path's takes no absolute one)
    for path in sorted(Path(p) for p in paths):
        if path.is_file():
            home = "" if path == given else base.name
            inside = path.relative_to(base).as_posix()
            yield home, inside, str(path), os.path.realpath(path), path.stat().st_size
        elif not path.is_dir():
            skipped["no regular file"] += 1


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (bool(parts) and _fits(parts[1:], pattern))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _walk(
    folder: Path, inside: str, seen: set[str], skipped: Counter[str]
) -> Iterator[tuple[str, str, str, int]]:
    """The last four of `_local` for all files under `folder`, through links too, but into no folder twice."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        skipped["unreadable folder"] += 1
        return
    folders = []
    for entry in entries:
        try:
            if entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                own = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}"
                yield f"{inside}{entry.name}", entry.path, own, entry.stat().st_size
            else:  # a pipe or a device would be read for ever; a link leads nowhere
                skipped["no regular file"] += 1
        except OSError:  # a link to itself
            skipped["no regular file"] += 1
    # Links last, so that a file has the name of its own folder.
    for entry in sorted(folders, key=lambda entry: (entry.is_symlink(), entry.name)):
        yield from _walk(Path(entry.path), f"{inside}{entry.name}/", seen, skipped)


def _remote(where: str, named: str) -> Iterator[tuple[str, str, str, str, int]]:
    """As `_local`, by fsspec."""
    try:
        import fsspec
    except ImportError:
        raise DataError(f"{named} {where}: reading URLs needs fsspec: pip install fsspec") from None
    try:
        system, path = fsspec.core.url_to_fs(where)
        if glob.has_magic(path):
            listed = system.glob(path, detail=True)
            base = path
            while glob.has_magic(base):
                base = base.rpartition("/")[0]
        elif system.isdir(path):
            base, listed = path, system.find(path, detail=True)
        else:
            base, listed = path.rpartition("/")[0], {path: system.info(path)}
    except (OSError, ImportError, ValueError) as error:
        raise DataError(f"{named} {where}: cannot be listed: {error}".replace("\n", " ")) from error
    for name, info in sorted(listed.items()):
        if info["type"] == "file":
            url = system.unstrip_protocol(name)
            home = "" if name == path else base.rstrip("/").rpartition("/")[2]
            yield home, name.removeprefix(base).lstrip("/"), url, url, info.get("size") or 0


def _distinct(files: dict[str, tuple[str, str]]) -> dict[str, str]:
    """A name for each: (its name inside its input, path) by real path.

    Where two inputs hold files of one name, as many of their folders are put before it as distinguish them.
    """
    names = {real: name for real, (name, _) in files.items()}
    more = Counter()
    while True:
        by_name = Counter(names.values())
        clashing = [real for real, name in names.items() if by_name[name] > 1]
        if not clashing:
            return names
        for real in clashing:
            name, path = files[real]
            parts = path.strip("/").split("/")
            more[real] += 1
            names[real] = "/".join(parts[-len(name.split("/")) - more[real] :])
