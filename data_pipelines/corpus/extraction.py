"""HTML to text: the main text of a page, a block element per line.

lexbor (by selectolax) parses a page and throws away what its tags call no content: menus, headers, footers,
asides, forms. A page without such tags goes to resiliparse, which finds the main content by its shape. Lines
that most pages of a site have in common are dropped afterwards, when many of its pages are at hand.

A walk over the elements in Python would cost more than parsing. So pages are marked before that: a form feed
at each tag of a block element, white space in HTML that moves nothing, then shows where a line ends.
"""

# ruff: noqa: SIM905 (tags are read more easily as words)

from collections.abc import Sequence

import polars as pl
from resiliparse.extract.html2text import extract_plain_text
from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser

from data_pipelines.corpus.reading import encodings

_LINE, _CELL, _RARE = "\f", "\x1f", "\x1e"
# Beginnings of names: "p" is <pre> too, "tr" is <track>, which does no harm; "d" would be <del>, which does.
_BLOCKS = (
    "p dl dt dd div details li ul ol tr table tbody hr br h1 h2 h3 h4 h5 h6 section article main header "
    "footer nav aside form fieldset fig address blockquote summary caption option center body"
).split()
_NO_CONTENT = ["nav", "header", "footer", "aside", "script", "button"]
# Also without content.
_RARE_TAGS = [
    *("style", "noscript", "template", "iframe", "object", "svg", "canvas"),
    *("audio", "video", "select", "textarea", "dialog", "menu"),
]
_CARE = {  # ends of what asks for more work: to look for each in every page would take longer
    f"</{name}": f"{_LINE}{_RARE}</{name}" for name in [*_RARE_TAGS, "article", "main", "form", "pre"]
}
_LINES = {f"<{slash}{name}": f"{_LINE}<{slash}{name}" for name in _BLOCKS for slash in ("", "/")}
_CELLS = {f"</{name}>": f"{_CELL}</{name}>" for name in ("td", "th")}
_CELLS |= {f"<{name}": f" <{name}" for name in ("td", "th")}  # for a cell before it that no tag ends
# Twice: of "</pre" and "</p" the first in order counts, of two values of one key the last.
_MARKS = _CARE | _LINES | _CELLS | _CARE
_SEMANTIC = b'<header <nav <main <footer <article <aside role="main" role="navigation"'.split()
_ROLES = "[role=navigation], [role=banner], [role=contentinfo], [role=complementary], [role=search]"
# Whole pages are in a form on some sites (ASP.NET): such a one is content.
_FORMS = "form:not(:has(p, h1, h2, table, article))"
# resiliparse takes the square of the depth of nesting: 2 s for as many nested elements.
_MAX_TAGS = 10_000


def text_of(page: str | bytes) -> str:
    """The main text of one page; see `texts_of`. Bytes in no known encoding give ""."""
    if isinstance(page, bytes):
        page = (encodings.decode(page, max_bad=0.02) or ("", 0))[0]
    return texts_of([page])[0]


def texts_of(pages: Sequence[str]) -> pl.Series:
    """The main texts of pages of HTML.

    A block element is a line (or some), cells of a table row are separated by tabs, white space is collapsed
    (the line ends of <pre> stay), entities are decoded. A page without text gives "".
    """
    marked = pl.Series(pages, dtype=pl.String).str.replace_many(
        _MARKS, ascii_case_insensitive=True, leftmost=True
    )
    # As bytes, which is what lexbor takes.
    raw = pl.Series([_content(page) for page in marked.cast(pl.Binary).to_list()], dtype=pl.String)
    white = raw.str.replace_all(rf"(?:[^\S\f ]|{_RARE})[^\S\f]*| [^\S\f]+", " ")  # but what is one space
    return (
        white.str.replace_all(rf"[ {_CELL}]*\f[ {_CELL}\f]*", "\n")
        .str.replace_all(rf" ?{_CELL}[ {_CELL}]*", "\t")
        .str.strip_chars()
    )


def _content(page: bytes) -> str:
    """Text with the marks in it."""
    if not any(begin in page for begin in _SEMANTIC) and page.count(b"<") <= _MAX_TAGS:
        main = extract_plain_text(page.decode(), main_content=True, list_bullets=False, alt_texts=False)
        if main.strip():
            return main.replace("\n", _LINE)
    page = _body(page)
    tree = LexborHTMLParser(page, options=LexborDocumentOptions.WO_EVENTS)
    if tree.body is None:
        return ""
    care = _RARE.encode() in page
    if care:
        for header in tree.css(":is(article, main) header"):  # holds the title
            header.unwrap()
    tree.strip_tags(_NO_CONTENT)
    if b"role=" in page:
        for node in tree.css(_ROLES):
            node.decompose()
    if care:
        tree.strip_tags(_RARE_TAGS)
        for node in tree.css(_FORMS):
            node.decompose()
        for node in tree.css("pre"):
            node.replace_with(node.text().replace("\n", _LINE))
    return tree.body.text()


def _body(page: bytes) -> bytes:
    """Saves parsing the head, when it is clear where that ends."""
    begin = page.find(b"<body")
    return page[begin:] if begin > 0 and page.find(b"<body", begin + 1) < 0 else page


def drop_repeated_lines(
    texts: pl.Series, sites: pl.Series, pages: int = 20, share: float = 0.5
) -> tuple[pl.Series, int]:
    """Texts without boilerplate, and the number of lines dropped.

    A line is boilerplate when it is on more than `share` of the texts of its site, if there are at least
    `pages` of those. A text whose site is null is left as it is.
    """
    table = pl.DataFrame({"text": texts, "site": sites}).with_row_index("page")
    enough = pl.len().over("site") >= pages
    some = table.filter(pl.col("site").is_not_null() & enough)
    if some.is_empty():
        return texts, 0
    lines = some.with_columns(line=pl.col("text").str.split("\n"), of=pl.len().over("site")).drop("text")
    lines = lines.explode("line")
    repeated = (
        lines.unique(["page", "line"])
        .group_by("site", "line")
        .agg(pl.len().alias("on"), pl.col("of").first())
        .filter(pl.col("on") > share * pl.col("of"))
    )
    kept = lines.join(repeated, on=["site", "line"], how="anti", maintain_order="left")
    repaired = kept.group_by("page", maintain_order=True).agg(pl.col("line").str.join("\n"))
    # A text that is all boilerplate has no row in `repaired`.
    text = pl.when(pl.col("page").is_in(some["page"].implode())).then(pl.col("line").fill_null(""))
    result = table.join(repaired, on="page", how="left", maintain_order="left").select(text.otherwise("text"))
    return result.to_series(), len(lines) - len(kept)
