"""Small sources of pairs in every form."""

import base64
import io
import json
import tarfile

from tests.images.test_copies_and_splits import photo
from tests.images.test_decoding import saved

PHOTOS = {number: saved(photo(number)[::2, ::2], "JPEG") for number in range(6)}
SAID = {number: [f"第{number}张照片", f"照片{number}，红色"] for number in PHOTOS}


def written(folder, files):
    """Writes {name: bytes} under a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def in_tar(path, files):
    """Writes {name: bytes} as an archive, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in files.items():
            data = data if isinstance(data, bytes) else data.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def as_captions_file(folder):
    lines = [f"{number}.jpg#zhc#{k} {text}" for number in PHOTOS for k, text in enumerate(SAID[number])]
    photos = {f"images/{number}.jpg": data for number, data in PHOTOS.items()}
    return written(folder, {**photos, "captions.txt": "\n".join(lines)})


def as_id_tables(folder, split="train", numbers=tuple(PHOTOS)):
    rows = [f"{number}\t{base64.b64encode(PHOTOS[number]).decode()}\n" for number in numbers]
    said = [
        {"text_id": 10 * number + k, "text": text, "image_ids": [number]}
        for number in numbers
        for k, text in enumerate(SAID[number])
    ]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said)
    return written(folder, {f"{split}_imgs.tsv": "".join(rows), f"{split}_texts.jsonl": lines})


def as_shards(folder):
    for shard in range(2):
        files = {}
        for number in list(PHOTOS)[shard::2]:
            files[f"{number:04}.jpg"] = PHOTOS[number]
            one, other = SAID[number]
            files[f"{number:04}.txt"] = one
            files[f"{number:04}.json"] = json.dumps({"caption": [one, other]})  # says the first again
        in_tar(folder / f"{shard:05}.tar", files)
    return folder


def as_one_archive(folder):
    """Pictures first and captions behind them, as no shard should be."""
    photos = {f"a/{number}.jpg": data for number, data in PHOTOS.items()}
    return in_tar(folder / "all.tar.gz", {**photos, **{f"a/{n}.txt": "\n".join(SAID[n]) for n in PHOTOS}})


def as_text_files(folder):
    return written(
        folder,
        {f"{number}.jpg": data for number, data in PHOTOS.items()}
        | {f"{number}.txt": "\r\n".join(SAID[number]) for number in PHOTOS},
    )


FORMS = [as_captions_file, as_id_tables, as_shards, as_one_archive, as_text_files]
