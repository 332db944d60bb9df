"""HTML, Markdown and LaTeX from a rented host, reduced to what can do nothing but be read."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, NamedTuple

from gpuplug.outputs.text import clean_text

_TAG_NAMES: Final = (
    "abbr b bdi blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3"
    " h4 h5 h6 hr i ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead"
    " tr tt u ul var"
)
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "*": set(),
    "table": {"border"},
    "td": {"colspan", "rowspan", "align", "valign"},
    "th": {"colspan", "rowspan", "align", "valign", "scope"},
    "tr": {"align", "valign"},
    "col": {"span"},
    "colgroup": {"span"},
    "ol": {"start", "type"},
    "details": {"open"},
}
# What these hold is no text for a reader.
_DROPPED_WHOLE: Final = (
    "applet audio canvas datalist embed frameset head iframe map math noembed noframes noscript object script select"
    " style svg template textarea title video xmp"
)
_ACTIVE: Final = re.compile(r"<(script|style)\b|<!--", re.IGNORECASE)
_ENDS: Final = {
    "script": re.compile(r"</script", re.IGNORECASE),
    "style": re.compile(r"</style", re.IGNORECASE),
    None: re.compile("--(?=>)"),
}
# pandas puts these rules before each table; nobody misses them.
_PANDAS_STYLE: Final = re.compile(r"<style scoped>[^<]*</style>")
_MARKUP: Final = re.compile("<[^>]*>")
_LONGEST_NAME: Final = 20

_LONGEST: Final = 5_000_000
# The parser's time grows with (open elements) x (tags), (formatting elements) x (tags), the square of a tag's
# attributes and the square of all ampersands: up to these limits it is about a second for any input.
_MOST_AMPERSANDS: Final = 100_000
_SMALL: Final = 65_536
_SMALL_TAGS: Final = 10_000
_SMALL_PRODUCT: Final = 300_000
_DEEPEST: Final = 100
_DEEPEST_FORMATTING: Final = 4
_FORMATTING_TAG: Final = re.compile(r"</?(a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)\b", re.IGNORECASE)
_VOID: Final = frozenset({"br", "col", "hr", "img", "input", "wbr"})
_VALUE: Final = r"""\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=`]+)"""
_TAG: Final = re.compile(
    rf"<(/?)([a-zA-Z][a-zA-Z0-9]{{0,{_LONGEST_NAME}}})(?:\s+[\w:.-]{{1,40}}(?:{_VALUE})?){{0,20}}\s*/?>"
)

# TeX that links, styles, loads or names: MathJax obeys it wherever it finds mathematics, in HTML too.
_TEX: Final = re.compile(
    r"\\(?=(?:href|url|class|cssId|style|data|require|csname|mmlToken|bbox|toolTip|mathtip|texttip|html[A-Za-z]*)"
    r"(?![A-Za-z]))"
)


class Cleaned(NamedTuple):
    """Safe markup, or None when there is none to show, and a note about what is missing."""

    text: str | None
    note: str = ""


def clean_html(html: str) -> Cleaned:
    """Keep tables and formatted text; drop scripts, styles, links, images, forms and every name or address."""
    import nh3  # noqa: PLC0415 - most cells show no HTML

    if len(html) > _LONGEST:
        return Cleaned(None, f"text/html of {len(html)} characters is not shown: over the limit of {_LONGEST}")
    rest, lost = _without_active(html)
    if rest.count("&") > _MOST_AMPERSANDS or not (_is_small(rest) or _is_nested_well(rest)):
        return Cleaned(None, "text/html is not shown: too large and irregular to be cleaned")
    safe = nh3.clean(
        rest,
        tags=set(_TAG_NAMES.split()),
        clean_content_tags=set(_DROPPED_WHOLE.split()),
        attributes=_ATTRIBUTES,
        url_schemes=set(),
        link_rel=None,
        strip_comments=True,
    )
    if not _MARKUP.sub("", safe).strip():
        return Cleaned(None, "text/html is not shown: without scripts, styles and images nothing is left")
    note = "text/html is shown without its scripts and styles" if lost else ""
    return Cleaned(clean_tex(clean_text(safe)), note)


def clean_markdown(text: str) -> str:
    """Keep Markdown's text and formatting; raw HTML, entities, links and images become visible text."""
    safe = clean_text(text).replace("&", "&amp;").replace("<", "&lt;")
    for link in ("](", "]:"):
        safe = safe.replace(link, f"]&#{ord(link[1])};")
    return clean_tex(safe)


def clean_tex(text: str) -> str:
    """Part TeX commands that do more than typeset from their backslash, by a space that nobody sees."""
    return _TEX.sub("\\\\\u200b", text)


def _without_active(html: str) -> tuple[str, bool]:
    """Cut scripts, styles and comments, whose content no tag counter understands; tell whether any mattered."""
    kept: list[str] = []
    lost = False
    position = 0
    while found := _ACTIVE.search(html, position):
        kept.append(html[position : found.start()])
        kind = found[1].lower() if found[1] else None
        end = _ENDS[kind].search(html, found.end())
        position = html.find(">", end.end()) + 1 if end else 0
        position = position or len(html)
        lost = lost or (kind is not None and not _PANDAS_STYLE.fullmatch(html, found.start(), position))
    kept.append(html[position:])
    return "".join(kept), lost


def _is_small(html: str) -> bool:
    tags = html.count("<")
    if len(html) > _SMALL or tags > _SMALL_TAGS:
        return False
    return sum(1 for _ in _FORMATTING_TAG.finditer(html)) * tags <= _SMALL_PRODUCT


def _is_nested_well(html: str) -> bool:
    """Tell whether every tag is plain and ended in order, as machines write it: then parsing takes linear time."""
    stack: list[str] = []
    depth: Counter[str] = Counter()
    position = html.find("<")
    while position >= 0:
        tag = _TAG.match(html, position)
        if tag is None or not _step(tag[2].lower(), stack, depth, closes=bool(tag[1])):
            return False
        position = html.find("<", tag.end())
    return not stack


def _step(name: str, stack: list[str], depth: Counter[str], *, closes: bool) -> bool:
    kind = "formatting" if _FORMATTING_TAG.fullmatch(f"<{name}") else "other"
    if name in _VOID:
        return not closes
    if closes:
        depth[kind] -= 1
        return bool(stack) and stack.pop() == name
    stack.append(name)
    depth[kind] += 1
    return len(stack) <= _DEEPEST and depth["formatting"] <= _DEEPEST_FORMATTING
