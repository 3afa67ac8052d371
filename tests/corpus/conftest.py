"""Raw text of many kinds, made up, with what a build must find in it."""

import json
import random

import pytest

WORDS = (
    "我们 在 研究 中文 语言 模型 的 训练 方法 ， 数据 质量 决定 结果 。 城市 交通 环境 保护 历史 文化 教育 医院 "
    "工程师 认为 这个 系统 可以 处理 大量 文本 并且 保持 稳定 人们 昨天 讨论 天气 经济 发展 问题 同时 提出 建议 "
    "学生 老师 图书馆 阅读 书籍 知识 来源 世界 各地 音乐 绘画 科学 实验 结论 可靠 需要 验证 过程 记录 完整"
).split()


def prose(rng, sentences=12):
    """Chinese that reads like nothing but passes for text."""
    lines = []
    for _ in range(sentences):
        words = [rng.choice(WORDS) for _ in range(rng.randint(9, 16))]
        lines.append("".join(words).strip("，。") + "的数" + str(rng.randint(100, 999)) + "。")
    return "\n".join(lines)


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """A folder of two sources: 60 documents, of which 3 exact copies, 1 near copy, 2 too short, 1 English."""
    folder = tmp_path_factory.mktemp("raw")
    rng = random.Random(5)
    texts = [prose(rng) for _ in range(50)]
    near = texts[3].replace("。", "！", 1) + "\n另外还有一句不同的话。"
    odd = ["短。", "太短了。", "this is an english text about nothing at all. " * 20]
    rows = [*texts[:25], texts[1], near, *odd]
    with (folder / "news.jsonl").open("w") as out:
        for text in rows:
            out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        out.write("{broken\n")
    (folder / "books").mkdir()
    for i, text in enumerate([*texts[25:], texts[2], texts[30]]):
        (folder / "books" / f"{i:02d}.txt").write_text(text)
    (folder / "books" / "noise.txt").write_bytes(bytes(rng.randrange(256) for _ in range(5000)))
    return folder
