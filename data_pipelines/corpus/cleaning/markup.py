"""Remnants of Markdown and HTML in what should be text."""

import dataclasses
import html
import re

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Edit, Edited, configurable

# Only names of HTML: a < b and c > d, vector<int> and <username> are text.
_BLOCKS = (
    "address|article|aside|blockquote|body|br|center|dd|details|div|dl|dt|figcaption|figure|footer|form|h[1-6]|head"
    "|header|hr|html|li|main|nav|ol|option|p|pre|section|select|summary|table|tbody|tfoot|thead|title|tr|ul"
)
_INLINE = (
    "a|abbr|b|big|button|caption|cite|code|col|colgroup|del|em|embed|font|i|iframe|img|input|ins|kbd|label|link"
    "|mark|meta|noscript|object|param|q|rp|ruby|s|samp|script|small|source|span|strike|strong|style|sub|sup|svg|td"
    "|textarea|th|tt|u|var|video|wbr"
)
# A tag holds no empty line: one that is not closed may not take the text behind it.
_TAG_END = r"(?:[\s/](?:[^<>\n]|\n[^<>\n])*)?>"
_BRACKETED = r"\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"
_DASHES = r"---[ \t]*\r?\n"

# Patterns in Rust's syntax and what replaces them, in turn.
_STEPS = (
    # Front matter: lines of YAML between two lines of dashes at the very beginning.
    (rf"\A\s*{_DASHES}(?:(?:[A-Za-z0-9_.\-]+[ \t]*:|[ \t]*-|[ \t]|#)[^\n]*\n|\r?\n)*{_DASHES}", ""),
    # What goes as a whole: comments, programs, images, includes, addresses.
    (
        r"(?s)<!--.*?-->|<(?:script|SCRIPT)\b.*?</(?:script|SCRIPT)\s*>|<(?:style|STYLE)\b.*?</(?:style|STYLE)\s*>"
        rf"|!\[[^\]\n]*\](?:{_BRACKETED}|\[[^\]\n]*\])"
        rf"|\[!(?:include|INCLUDE)[ \t]*\[[^\]\n]*\]{_BRACKETED}\]"
        r"|\[!(?:NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]"
        r"|<(?:https?|ftp|mailto):[^<>\s]*>",
        "",
    ),
    # Definitions of links, then links: [text](address), [text][definition].
    (r"(?m)^[ \t]*\[[^\]\n]+\]:[ \t]*\S.*$", ""),
    (rf"\[([^\[\]\n]*)\](?:{_BRACKETED}|\[[^\[\]\n]*\])", "${1}"),
    # A gloss over a word follows it in brackets.
    (rf"<rp{_TAG_END}[^<]*</rp>", ""),
    (rf"<rt{_TAG_END}([^<]*)</rt>", "（${1}）"),
    (r"</(?:td|th|TD|TH)\s*>", " "),
    (rf"(?i)</?(?:{_BLOCKS}){_TAG_END}", "\n"),
    (rf"(?i)</?(?:{_INLINE}){_TAG_END}", ""),
    # At the beginning of a line: fences, rules, rules of tables, headings, quotes.
    (
        r"(?m)^[ \t]*(?:(?:```|~~~).*$|(?:[\-=*_][ \t]*){3,}\r?$"
        r"|\|?(?:[ \t]*:?-{2,}:?[ \t]*\|)+[ \t]*(?::?-{2,}:?)?[ \t]*\r?$|#{1,6}[ \t]+|#{2,6}|(?:>[ \t]?)+)",
        "",
    ),
    (r"\*\*([^*\n]+)\*\*", "${1}"),
    (r"`([^`\n]+)`", "${1}"),
)
# One of these is in every text that a step, or an entity, is for.
_SIGNS = (
    "](",
    "][",
    "]:",
    "[!",
    "<",
    "&",
    "**",
    "`",
    "~~~",
    "#",
    ">",
    "---",
    "===",
    "***",
    "___",
    "- - ",
    "* * ",
)
_SIGN = "|".join(map(re.escape, _SIGNS))
# Without its semicolon, an entity may be part of an address: ?a=1&copy=2.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


@configurable
@dataclasses.dataclass(frozen=True)
class Markup(Edit):
    """Takes out Markdown and HTML.

    Links become their text; images, tags, comments, front matter, rules, fences and marks of headings, quotes
    and emphasis go; entities become characters. Program code stays, its fences do not. Counts characters
    removed.
    """

    name: str = "markup"

    def edit(self, batch: Batch) -> Edited:
        counts = np.zeros(len(batch), np.int64)
        rows = np.flatnonzero(batch.texts.str.contains(_SIGN).to_numpy())
        if not len(rows):
            return Edited(batch, {"characters": counts})
        old = batch.texts[rows]
        steps = pl.col(old.name)
        for pattern, replacement in _STEPS:
            steps = steps.str.replace_all(pattern, replacement)
        made = old.to_frame().select(new=steps).with_columns(entity=pl.col("new").str.contains("&[#A-Za-z]"))
        new = _unescaped(made["new"], made["entity"].to_numpy())
        changed = (old != new).to_numpy()
        shorter = old.str.len_chars().cast(pl.Int64) - new.str.len_chars().cast(pl.Int64)
        counts[rows] = np.where(changed, np.maximum(shorter.to_numpy(), 1), 0)
        return Edited(batch.put(rows[changed], new.filter(changed)), {"characters": counts})


def _unescaped(texts: pl.Series, near: np.ndarray) -> pl.Series:
    """Entities of the texts in `near`, bool [texts], become characters."""
    rows = np.flatnonzero(near)
    new = [_ENTITY.sub(lambda entity: html.unescape(entity[0]), text) for text in texts[rows]]
    return Batch(texts).put(rows, pl.Series(new, dtype=pl.String)).texts
