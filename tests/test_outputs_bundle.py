from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpuplug.outputs import SafeBundle, clean_bundle, images, size_text

_PLAIN = b"<Figure>"
_KINDS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


def _image(kind: str, width: int = 30, height: int = 20, **options: Any) -> bytes:  # noqa: ANN401 - PIL's options
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, kind, **options)
    return file.getvalue()


def _clean(mime: str, content: bytes) -> SafeBundle:
    return clean_bundle({mime: content, "text/plain": _PLAIN}, {})


@pytest.mark.parametrize("mime", _KINDS)
def test_an_image_passes_as_base64_with_its_size_and_nothing_else_of_its_metadata(mime: str) -> None:
    content = _image(_KINDS[mime])
    metadata = {mime: {"width": 300, "height": 200.5, "onerror": "x", "needs_background": "y"}, "other": {"width": 1}}
    bundle = clean_bundle({mime: content, "text/plain": _PLAIN}, metadata)
    assert bundle.data == {mime: base64.b64encode(content).decode(), "text/plain": "<Figure>"}
    assert bundle.metadata == {mime: {"width": 300, "height": 200.5}}
    assert bundle.notes == ()


@pytest.mark.parametrize("extent", [True, -1, 0, 10**9, float("nan"), float("inf"), "100", None, [1]])
def test_a_width_that_is_no_sensible_number_is_dropped(extent: object) -> None:
    bundle = clean_bundle({"image/png": _image("PNG")}, {"image/png": {"width": extent, "height": 5}})
    assert bundle.metadata == {"image/png": {"height": 5}}


@pytest.mark.parametrize("metadata", [None, [], "x", {"image/png": 5}, {"image/png": {"width": {}}}])
def test_metadata_of_any_shape_does_no_harm(metadata: Any) -> None:  # noqa: ANN401 - anything
    assert clean_bundle({"image/png": _image("PNG")}, metadata).metadata == {}


@pytest.mark.parametrize("size", [(1, 1), (16383, 3), (300, 7000)])
@pytest.mark.parametrize("mime", _KINDS)
def test_the_size_of_an_image_is_read_from_its_first_bytes(mime: str, size: tuple[int, int]) -> None:
    assert images.dimensions(mime, _image(_KINDS[mime], *size)) == size


def test_the_size_is_read_of_every_kind_of_jpeg_and_webp() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 30_000
    options: dict[str, Any]
    for options in ({"progressive": True}, {"exif": exif}, {"quality": 5, "optimize": True}):
        assert images.dimensions("image/jpeg", _image("JPEG", **options)) == (30, 20)
    for options in ({"lossless": True}, {"exif": exif}, {"lossless": True, "exif": exif}):
        assert images.dimensions("image/webp", _image("WEBP", **options)) == (30, 20)


@pytest.mark.parametrize("mime", _KINDS)
def test_an_image_cut_at_any_byte_has_a_size_or_is_dropped_but_raises_nothing(mime: str) -> None:
    content = _image(_KINDS[mime])
    for length in range(len(content)):
        assert images.dimensions(mime, content[:length]) in {None, (30, 20)}
    assert images.dimensions(mime, b"") is None


@given(st.sampled_from(sorted(_KINDS)), st.binary(max_size=200), st.integers(0, 40))
@settings(deadline=None)  # the machine may be busy
def test_any_bytes_have_a_size_or_none(mime: str, data: bytes, keep: int) -> None:
    images.dimensions(mime, _image(_KINDS[mime])[:keep] + data)


@pytest.mark.parametrize("mime", _KINDS)
def test_what_is_no_image_of_its_type_is_dropped_with_a_note(mime: str) -> None:
    for content in (
        b"",
        b"<script>alert(1)</script>",
        _image("BMP"),
        _image(next(k for m, k in _KINDS.items() if m != mime)),
    ):
        bundle = _clean(mime, content)
        assert bundle.data == {"text/plain": "<Figure>"}
        assert bundle.notes == (f"{mime} is not shown: it is no such image",)


def test_an_image_of_too_many_pixels_or_bytes_is_dropped_with_a_note() -> None:
    large = bytearray(_image("PNG"))
    large[16:24] = (5000).to_bytes(4, "big") + (4001).to_bytes(4, "big")
    assert "5000 x 4001 pixels" in _clean("image/png", bytes(large)).notes[0]
    assert "over the limit of 10 MB" in _clean("image/png", _image("PNG") + bytes(10 << 20)).notes[0]


def test_an_svg_is_shown_as_an_image_in_which_no_script_runs() -> None:
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
    bundle = _clean("image/svg+xml", svg)
    html = str(bundle.data["text/html"])
    assert html == f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'
    assert set(bundle.data) == {"text/html", "text/plain"}
    both = clean_bundle({"text/html": b"<b>more</b>", "image/svg+xml": svg}, {})
    assert both.data["text/html"] == "<b>more</b>"
    assert "text/html" not in _clean("image/svg+xml", b"no image").data


def test_html_is_reduced_and_text_stays_beside_it() -> None:
    bundle = _clean("text/html", b"<table onclick=x><tr><td>1</td></tr></table><script>x</script>")
    assert bundle.data["text/html"] == "<table><tbody><tr><td>1</td></tr></tbody></table>"
    assert bundle.data["text/plain"] == "<Figure>"
    assert bundle.notes == ("text/html is shown without its scripts and styles",)


def test_text_markdown_and_latex_are_filtered() -> None:
    parts = {
        "text/plain": b"a\x1b]52;c;x\x07b",
        "text/markdown": b"# a <img src=x onerror=y>",
        "text/latex": rb"$\href{javascript:x}{y}$",
    }
    assert clean_bundle(parts, {}).data == {
        "text/plain": "ab",
        "text/markdown": "# a &lt;img src=x onerror=y>",
        "text/latex": "$\\\u200bhref{javascript:x}{y}$",
    }


def test_json_becomes_an_object_with_clean_texts() -> None:
    sent = {"a\u202e": ["x\x1b[2J", 1, 2.5, None, True], "b": {"c": "\ud800"}}
    bundle = _clean("application/json", json.dumps(sent).encode())
    assert bundle.data["application/json"] == {"a": ["x", 1, 2.5, None, True], "b": {"c": "\ufffd"}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"NaN",
        b"1e999",
        b"[Infinity]",
        b"9" * 100_000,
        b"[" * 100_000,
        b"\xff",
        b'"' + b"x" * (11 << 20) + b'"',
    ],
    ids=lambda content: ascii(content[:9]),
)
def test_json_that_is_none_or_too_large_is_dropped_with_a_note(content: bytes) -> None:
    bundle = _clean("application/json", content)
    assert bundle.data == {"text/plain": "<Figure>"}
    assert bundle.notes[0].startswith("application/json is not shown")


@pytest.mark.parametrize(
    "mime",
    [
        "application/javascript",
        "text/javascript",
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.plotly.v1+json",
        "application/vnd.vega.v5+json",
        "application/vnd.bokehjs_exec.v0+json",
        "application/vnd.holoviews_exec.v0+json",
        "application/vnd.jupyter.stdin",
        "application/pdf",
        "application/geo+json",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "image/svg",
        "video/mp4",
    ],
)
def test_what_has_no_safe_form_is_dropped_with_a_line_that_names_it(mime: str) -> None:
    bundle = _clean(mime, b"{}")
    assert bundle.data == {"text/plain": "<Figure>"}
    assert len(bundle.notes) == 1
    assert "is not shown: this kind of output is not safe to show" in bundle.notes[0]
    assert mime in bundle.notes[0] or mime == "TEXT/HTML"


@pytest.mark.parametrize("mime", ["", "x" * 10_000, "a/\x1b]0;x\x07", "<script>/x", "a/b\nforged note", "\u202e/x"])
def test_a_hostile_type_is_not_repeated_in_the_note(mime: str) -> None:
    assert _clean(mime, b"x").notes == ("a form of unknown type is not shown: this kind of output is not safe to show",)


def test_there_is_always_text() -> None:
    assert clean_bundle({}, {}).data == {"text/plain": "<output that is not shown>"}
    assert clean_bundle({"application/javascript": b"x"}, {}).data == {"text/plain": "<output that is not shown>"}
    assert clean_bundle({"image/png": _image("PNG")}, {}).data["text/plain"] == "<image/png>"


def test_size_and_number_of_parts_are_limited_with_a_note() -> None:
    many = clean_bundle({f"application/x{number}": b"" for number in range(100)}, {})
    assert len(many.notes) == 33
    assert many.notes[-1] == "68 more forms of this output are not shown"
    long = clean_bundle({"text/plain": b"x" * (11 << 20)}, {})
    assert len(str(long.data["text/plain"])) == 10 << 20
    assert long.notes == ("text/plain of 12 MB is cut at 10 MB",)
    heavy = clean_bundle({"application/x": bytes(60 << 20), "image/png": bytes(5 << 20), "text/plain": b"x"}, {})
    assert heavy.data == {"text/plain": "<output that is not shown>"}
    assert "over 64 MiB" in heavy.notes[1]


_MIMES = st.sampled_from(
    ["text/plain", "text/html", "text/markdown", "text/latex", "application/json", "image/svg+xml", *_KINDS]
)


@given(
    st.dictionaries(_MIMES | st.text(max_size=20), st.binary(max_size=80), max_size=6),
    st.dictionaries(_MIMES, st.none()),
)
@settings(deadline=None)  # the machine may be busy
def test_any_bundle_is_cleaned_without_an_error(parts: dict[str, bytes], metadata: dict[str, None]) -> None:
    bundle = clean_bundle(parts, metadata)
    assert "text/plain" in bundle.data
    json.dumps(bundle.data, allow_nan=False).encode()
    assert all(note.isprintable() for note in bundle.notes)


def test_importing_the_room_loads_no_cleaner_and_no_library() -> None:
    code = (
        "import sys; from gpuplug import outputs; outputs.clean_bundle({'text/plain': b'x', 'image/png': b'y'}, {});"
        "print([name for name in ('nh3', 'numpy', 'PIL', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_sizes_read_the_same_everywhere() -> None:
    assert size_text(82_000_000) == "82 MB"
