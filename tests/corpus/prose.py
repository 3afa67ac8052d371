"""Chinese made up of common words, for tests of whole builds."""

WORDS = """
    我们 在 研究 中文 语言 模型 的 训练 方法 ， 数据 质量 决定 结果 。
    城市 交通 环境 保护 历史 文化 教育 医院 工程师 认为 这个 系统 可以 处理
    大量 文本 并且 保持 稳定 人们 昨天 讨论 天气 经济 发展 问题 同时 提出
    建议 学生 老师 图书馆 阅读 书籍 知识 来源 世界 各地 音乐 绘画 科学 实验
    结论 可靠 需要 验证 过程 记录 完整
""".split()  # noqa: SIM905


def prose(rng, sentences=12):
    """Chinese that reads like nothing but passes for text."""
    lines = []
    for _ in range(sentences):
        words = [rng.choice(WORDS) for _ in range(rng.randint(9, 16))]
        lines.append("".join(words).strip("，。") + "的数" + str(rng.randint(100, 999)) + "。")
    return "\n".join(lines)
