"""Made-up Chinese, the same for the same seed."""

import random

WORDS = [
    "北京",
    "天气",
    "今天",
    "我们",
    "研究",
    "语言",
    "模型",
    "数据",
    "新闻",
    "经济",
    "学习",
    "的",
    "在",
    "是",
    "和",
    "了",
]


def sentences(seed: int, count: int) -> str:
    """`count` sentences of 4 to 14 words."""
    rng = random.Random(seed)
    return "".join("".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "。" for _ in range(count))
