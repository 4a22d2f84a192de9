"""The Markdown that reports write, as HTML: headings, lists, tables, paragraphs, code and emphasis."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape


def to_html(markdown: str) -> Markup:
    """Everything but these is text, and is escaped."""
    blocks = (block.strip("\n").split("\n") for block in re.split(r"\n\s*\n", markdown) if block.strip())
    return Markup("\n").join(map(_block, blocks))


def _block(lines: Sequence[str]) -> Markup:
    first = lines[0]
    if heading := re.match(r"#+ (.*)", first):
        return Markup("<h3>{}</h3>").format(inline(heading[1]))
    if first.startswith("| "):
        head, _, *rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in lines)
        body = Markup("").join(map(_row, rows))
        table = '<div class="scroll"><table><thead>{}</thead><tbody>{}</tbody></table></div>'
        return Markup(table).format(_row(head, "th"), body)
    for mark, kind in ((r"- ", "ul"), (r"\d+\. ", "ol")):
        if re.match(mark, first):
            items = (Markup("<li>{}</li>").format(inline(re.sub(f"^{mark}", "", line))) for line in lines)
            return Markup(f"<{kind}>{{}}</{kind}>").format(Markup("").join(items))
    return Markup("<p>{}</p>").format(inline(" ".join(lines)))


def _row(cells: Sequence[str], kind: str = "td") -> Markup:
    shown = (Markup(f"<{kind}>{{}}</{kind}>").format(inline(cell.strip())) for cell in cells)
    return Markup("<tr>{}</tr>").format(Markup("").join(shown))


def inline(text: str) -> Markup:
    """One line: code in backticks and *emphasis*; a backslash takes a mark's meaning."""
    return Markup("").join(_span(part) for part in re.split(r"(`[^`]+`)", text))


def _span(text: str) -> Markup:
    if re.fullmatch(r"`[^`]+`", text):
        return Markup("<code>{}</code>").format(text[1:-1])
    emphasised = re.sub(r"(?<![\\\w])\*([^*\\]+)\*", r"<em>\1</em>", str(escape(text)))
    return Markup(re.sub(r"\\([|*_])", r"\1", emphasised))
