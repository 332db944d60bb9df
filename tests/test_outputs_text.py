from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuplug.outputs import TextFilter, clean_text, clean_traceback

_KEPT = re.compile("\x1b\\[[0-9;:]*m")
_FORBIDDEN = re.compile(
    "[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _whole(data: bytes) -> str:
    text_filter = TextFilter()
    return text_filter.feed(data) + text_filter.flush()


def _is_harmless(text: str) -> bool:
    return not _FORBIDDEN.search(_KEPT.sub("", text))


# What arrives, and what may be shown of it.
_CASES = {
    "plain": ("héllo\tworld\r\n\b", "héllo\tworld\r\n\b"),
    "colour": ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
    "colour of 24 bits": ("\x1b[38;2;1;2;3mx\x1b[m", "\x1b[38;2;1;2;3mx\x1b[m"),
    "colour with colons": ("\x1b[4:3mx\x1b[0m", "\x1b[4:3mx\x1b[0m"),
    "colour left on": ("\x1b[30;40mhidden", "\x1b[30;40mhidden\x1b[0m"),
    "overlong colour": ("a\x1b[" + "1;" * 40 + "mb", "ab"),
    "private m": ("a\x1b[>4;2mb", "ab"),
    "colour by an 8-bit introducer": ("\x9b31mx\x1b[0m", "\x1b[31mx\x1b[0m"),
    "cursor": ("a\x1b[2J\x1b[1;1Hb\x1b[Kc", "abc"),
    "modes": ("\x1b[?1049ha\x1b[?25lb\x1b[?2004h", "ab"),
    "answers that are typed for the user": ("a\x1b[6n\x1b[c\x1b[0cb", "ab"),
    "control inside a sequence": ("\x1b[3\n1mx", "\n1mx"),
    "escape inside a sequence": ("\x1b[3\x1b[1mx\x1b[0m", "\x1b[1mx\x1b[0m"),
    "escape twice": ("\x1b\x1b[1mx\x1b[0m", "\x1b[1mx\x1b[0m"),
    "letter outside ASCII inside a sequence": ("\x1b[3éx", "éx"),
    "reset": ("a\x1bcb\x1b7\x1b8c", "abc"),
    "character set": ("a\x1b(0b\x1b$(Bc", "abc"),
    "title": ("a\x1b]0;evil\x07b", "ab"),
    "title ended by ST": ("a\x1b]2;evil\x1b\\b", "ab"),
    "clipboard": ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
    "link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "8-bit command": ("a\x9d52;c;evil\x9cb", "ab"),
    "command that a newline ends": ("a\x1b]0;evil\nb", "a\nb"),
    "device control": ("a\x1bPq#0;2;0\nmore\x1b\\b", "ab"),
    "8-bit device control": ("a\x90evil\x9cb", "ab"),
    "application command": ("a\x1b_Gevil\x1b\\b", "ab"),
    "privacy message": ("a\x1b^evil\x1b\\b", "ab"),
    "start of string": ("a\x1bXevil\x1b\\b", "ab"),
    "a bell does not end device control": ("a\x1bPevil\x07evil\x1b\\b", "ab"),
    "cancelled": ("a\x1bPevil\x18b", "ab"),
    "colour that ends a command": ("a\x1b]0;evil\x1b[1mb\x1b[0m", "a\x1b[1mb\x1b[0m"),
    "unfinished escape": ("a\x1b", "a"),
    "unfinished sequence": ("a\x1b[31", "a"),
    "unfinished command": ("a\x1b]52;c;evil", "a"),
    "C0": ("a\0\x01\x05\x07\x0b\x0c\x0e\x0f\x7fb", "ab"),
    "C1": ("a\x80\x84\x85\x8d\x99b", "ab"),
    "bidi": ("a\u202e\u2066\u200f\u061cb", "ab"),
    "emoji with joiners": ("👩\u200d💻", "👩\u200d💻"),
}


@pytest.mark.parametrize("name", _CASES)
def test_a_stream_keeps_text_and_colour_only(name: str) -> None:
    sent, shown = _CASES[name]
    assert _whole(sent.encode()) == shown
    assert clean_text(sent) == shown


@pytest.mark.parametrize("name", _CASES)
def test_a_stream_cut_at_every_byte_is_shown_as_if_it_were_whole(name: str) -> None:
    sent, shown = _CASES[name]
    data = sent.encode()
    for cut in range(len(data) + 1):
        text_filter = TextFilter()
        assert text_filter.feed(data[:cut]) + text_filter.feed(data[cut:]) + text_filter.flush() == shown
    text_filter = TextFilter()
    assert "".join(text_filter.feed(data[at : at + 1]) for at in range(len(data))) + text_filter.flush() == shown


_HOSTILE = st.lists(
    st.sampled_from([case.encode() for case, _ in _CASES.values()])
    | st.binary(max_size=6)
    | st.sampled_from([b"\x1b", b"[", b"]", b"P", b"m", b"1;", b"\x07", b"\\", b"\xc2", b"\xc2\x9b", b"\xe2\x80\xae"]),
    max_size=30,
)


@given(_HOSTILE)
@settings(deadline=None)  # the machine may be busy
def test_any_bytes_in_any_pieces_leave_nothing_that_steers_a_terminal(pieces: list[bytes]) -> None:
    text_filter = TextFilter()
    shown = "".join(text_filter.feed(piece) for piece in pieces) + text_filter.flush()
    assert _is_harmless(shown)
    assert shown == _whole(b"".join(pieces))
    assert clean_text(shown) == shown
    shown.encode()


def test_bytes_that_are_no_utf8_are_shown_as_replaced() -> None:
    assert _whole(b"a\xffb\xe2\x82") == "a\ufffdb\ufffd"
    assert clean_text("a\ud800b") == "a\ufffdb"


def test_a_command_that_never_ends_does_not_swallow_the_rest_of_the_cell() -> None:
    text_filter = TextFilter()
    shown = text_filter.feed(b"\x1bP")
    for _ in range(40):
        shown += text_filter.feed(b"x" * 50_000)
    assert 0 < len(shown) < 40 * 50_000
    assert len(shown) == 40 * 50_000 - (1 << 20)
    assert shown == _whole(b"\x1bP" + b"x" * 2_000_000)


def test_a_very_long_line_passes_in_pieces_and_nothing_is_held_back() -> None:
    text_filter = TextFilter()
    for _ in range(100):
        assert len(text_filter.feed(b"x" * 10_000)) == 10_000
    assert text_filter.feed(b"\x1b[" + b"1" * 1_000_000) == ""
    assert text_filter.feed(b"mback") == "back"


def test_a_filter_can_be_flushed_and_used_again() -> None:
    text_filter = TextFilter()
    assert text_filter.feed(b"\xe2\x82") + text_filter.flush() == "\ufffd"
    assert text_filter.feed(b"\x1b]0;x") + text_filter.flush() + text_filter.flush() == ""
    assert text_filter.feed(b"ok") == "ok"


def test_a_traceback_is_clean_line_by_line() -> None:
    assert clean_traceback(["\x1b[31mError\x1b[0m", "\x1b]0;x\x07b", "c\x1b[1m"]) == (
        "\x1b[31mError\x1b[0m",
        "b",
        "c\x1b[1m\x1b[0m",
    )


def test_an_endless_traceback_is_cut_and_says_so() -> None:
    lines = clean_traceback(["x"] * 5000)
    assert (len(lines), lines[-1]) == (1001, "... the rest of the traceback is not shown")
    huge = clean_traceback(["x" * (5 << 20), "y"])
    assert (len(huge), len(huge[0])) == (2, 1 << 20)
