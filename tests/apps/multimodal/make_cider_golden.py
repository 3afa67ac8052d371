"""Makes cider_golden.json: scores of COCO's caption evaluation on drawn sequences of letters.

pip install pycocoevalcap==1.2 && python tests/apps/multimodal/make_cider_golden.py
"""

import json
import random
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

rng = random.Random(0)


def text(letters: str) -> str:
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 9)))


sets = []
for letters, pictures in (("ab", 4), ("abcdefgh", 6), ("红色的圆在左边上下", 6)):
    references = [[text(letters) for _ in range(rng.randint(1, 3))] for _ in range(pictures)]
    written = [rng.choice([text(letters), references[i][0]]) for i in range(pictures)]
    own = {i: [" ".join(one)] for i, one in enumerate(written)}
    theirs = {i: [" ".join(one) for one in some] for i, some in enumerate(references)}
    bleu = Bleu(4).compute_score(theirs, own, verbose=0)[0][3]
    cider, rouge = (list(map(float, kind().compute_score(theirs, own)[1])) for kind in (Cider, Rouge))
    sets.append(
        {"written": written, "references": references, "bleu_4": bleu, "cider": cider, "rouge_l": rouge}
    )
lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in sets)
Path(__file__).with_name("cider_golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")
