"""Where the files of every published set lie under the data folder, split by split, and who publishes it.

The one place that knows: what is evaluated on (`data_pipelines.text.benchmarks`), and what a corpus is
decontaminated against (`data_pipelines.corpus.evaluation_sets`). Files may be plain, .gz, .xz, .zst or .zip.
"""

import dataclasses
import glob
from collections.abc import Mapping
from pathlib import Path

# Splits that may be trained on. Every other one is held out.
OPEN = ("train", "unlabeled")
# A set in one file, which its owners do not split.
WHOLE = "all"


@dataclasses.dataclass(frozen=True)
class Published:
    """A set. `splits`: name to globs under the data folder, alternatives in order of preference."""

    owners: str
    splits: Mapping[str, tuple[str, ...]]

    @property
    def held_out(self) -> tuple[str, ...]:
        """Globs of all that must not be trained on."""
        return tuple(g for split, globs in self.splits.items() if not split.startswith(OPEN) for g in globs)

    def files(self, split: str, data: Path) -> list[Path]:
        """The split's files, sorted, by the first alternative that is there; none where it is missing."""
        patterns = (str(Path(glob.escape(str(data)), one)) for one in self.splits.get(split, ()))
        found = (glob.glob(pattern) for pattern in patterns)  # noqa: PTH207
        return sorted(map(Path, next(filter(None, found), [])))


_FEWCLUE = "https://github.com/CLUEbenchmark/FewCLUE"
_CLUE = "https://github.com/CLUEbenchmark/CLUE"
_CSL = "https://github.com/ydli-ai/CSL"
_REVIEWS = "https://github.com/SophonPlus/ChineseNlpCorpus"
_AGIF = "https://github.com/LooperXX/AGIF"
_FEW_SPLITS = (
    *(f"{part}_{number}" for part in ("train", "dev") for number in range(5)),
    *("train_few_all", "dev_few_all", "test_public", "test", "unlabeled"),
)


def _few(name: str) -> Published:
    return Published(_FEWCLUE, {split: (f"fewclue/{name}/{split}.json*",) for split in _FEW_SPLITS})


def _clue(name: str, owners: str = _CLUE) -> Published:
    """CLUE's archives unpack into NAME_public; a set that was revised has its test as test1.1.json."""
    files = {
        "train": ("train.json*", "train.50k.json*", "train.30k.json*", "train.10k.json*", "train.3k.json*"),
        "dev": ("dev.json*",),
        "test": ("test1.1.json*", "test.json*", "test1.0.json*"),
    }
    return Published(
        owners,
        {
            split: tuple(f"clue/{name}{end}/{file}" for file in names for end in ("", "_public"))
            for split, names in files.items()
        },
    )


def _csl(folder: str) -> Published:
    return Published(_CSL, {split: (f"csl/{folder}/{split}.tsv*",) for split in ("train", "dev", "test")})


def _reviews(name: str) -> Published:
    return Published(_REVIEWS, {WHOLE: (f"reviews/{name}/{name}.*",)})


def _mixed(name: str) -> Published:
    splits = ("train", "dev", "test")
    return Published(_AGIF, {s: (f"dialogue/mix_multi_intent/{name}_clean/{s}.txt*",) for s in splits})


_FEW = ("eprstmt", "csldcp", "tnews", "iflytek", "ocnli", "bustm", "chid", "csl", "cluewsc")
_CLUE_ALONE = ("afqmc", "tnews", "iflytek", "cmnli", "cluewsc2020", "csl", "chid")

SETS: Mapping[str, Published] = {
    **{f"fewclue/{name}": _few(name) for name in _FEW},
    **{f"clue/{name}": _clue(name) for name in _CLUE_ALONE},
    "clue/ocnli": _clue("ocnli", "https://github.com/CLUEbenchmark/OCNLI"),
    "clue/c3": Published(
        "https://github.com/nlpdata/c3",
        {
            split: (
                f"clue/c3/c3-?-{split}.json*",
                f"clue/c3/?-{split}.json*",
                f"clue/c3_public/?-{split}.json*",
            )
            for split in ("train", "dev", "test")
        },
    ),
    "clue/cmrc2018": Published(
        "https://github.com/ymcui/cmrc2018",
        {
            split: (
                f"clue/cmrc2018/squad-style-data/cmrc2018_{split}.json*",
                f"clue/cmrc2018/cmrc2018_{split}.json*",
                f"clue/cmrc2018/{split}.json*",
                f"clue/cmrc2018_public/{split}.json*",
            )
            for split in ("train", "dev", "trial", "test")
        },
    ),
    "csl/title": _csl("ts"),
    "csl/keywords": _csl("kg"),
    "csl/category": _csl("cls_ctg"),
    "csl/discipline": _csl("cls_dcp"),
    "lcsts": Published(
        "http://icrc.hitsz.edu.cn/Article/show/139.html",
        {
            split: (f"lcsts/PART_{part}.txt*", f"lcsts/DATA/PART_{part}.txt*")
            for split, part in (("train", "I"), ("dev", "II"), ("test", "III"))
        },
    ),
    "ttnews": Published(
        "http://tcci.ccf.org.cn/conference/2018/taskdata.php",
        {
            split: tuple(f"{folder}/{file}" for file in files for folder in ("ttnews", "nlpcc2018"))
            for split, files in {
                "train": ("train_with_summ.txt*", "train*.json*"),
                "dev": ("dev*.json*",),
                "test": ("evaluation_with_ground_truth.txt*", "test*.json*"),
            }.items()
        },
    ),
    "dialogue/crosswoz": Published(
        "https://github.com/thu-coai/CrossWOZ",
        {split: (f"dialogue/crosswoz/{split}.json*",) for split in ("train", "val", "test")},
    ),
    # The labels lie beside the words, in ch.test.intent and so on.
    "dialogue/cais": Published(
        "https://github.com/Adaxry/CM-Net",
        {split: (f"dialogue/cais/{split}/ch.{split}",) for split in ("train", "valid", "test")},
    ),
    "dialogue/smp2019": Published(
        "https://conference.cipsc.org.cn/smp2019/evaluation.html", {WHOLE: ("dialogue/smp2019_nlu/*.json*",)}
    ),
    "dialogue/mixatis": _mixed("MixATIS"),
    "dialogue/mixsnips": _mixed("MixSNIPS"),
    "reviews/hotels": _reviews("ChnSentiCorp_htl_all"),
    "reviews/takeaway": _reviews("waimai_10k"),
    "reviews/shopping": _reviews("online_shopping_10_cats"),
}
