"""checklist.chk, which lies beside published weights: the sha256 of every file."""

import hashlib
import logging
import re
from pathlib import Path, PurePosixPath

from pangu_jax.errors import UserError

FILE = "checklist.chk"
HASH = re.compile(r"\b[0-9a-fA-F]{64}\b")
CHUNK = 1 << 24

log = logging.getLogger(__name__)


def check(folder: Path) -> int:
    """The number of files that were compared with the list; 0 where there is no list.

    Files of the list that are not there are passed over, but for weights: the index says which are needed.

    Raises:
      UserError: a line is none of a list, a name leads out of the folder, or a file has another hash.
    """
    if not (folder / FILE).is_file():
        return 0
    listed = _listed(folder / FILE)
    there = {name: wanted for name, wanted in listed.items() if (folder / name).is_file()}
    for number, (name, wanted) in enumerate(sorted(there.items()), start=1):
        log.info("checking %s (%d of %d)", name, number, len(there))
        if (found := _sha256(folder / name)) != wanted:
            raise UserError(
                f"{folder / name} has sha256 {found[:12]} and {FILE} says {wanted[:12]}: it is damaged or of "
                "another version; copy it again"
            )
    return len(there)


def _listed(file: Path) -> dict[str, str]:
    """Name -> sha256, of lines that hold both in either order."""
    found: dict[str, str] = {}
    for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        hashes = HASH.findall(line)
        name = HASH.sub(" ", line).strip(" \t*:=,\"'").removeprefix("./")
        if len(hashes) != 1 or not name:
            raise UserError(f"{file}, line {number}, is no name with a sha256; copy it again, or remove it")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise UserError(f"{file}, line {number}, leads out of the folder; remove the list")
        found[name] = hashes[0].lower()
    return found


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
