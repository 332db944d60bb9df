"""Text from a rented host, as a terminal may see it: colours stay, everything else that steers one goes."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# All control characters but \b \t \n \r, the controls of writing direction, and halves of surrogate pairs.
_SPECIAL: Final = re.compile(
    "[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SEQUENCE_BODY: Final = re.compile("[\x20-\x3f]*")
_COLOUR: Final = re.compile("[0-9;:]*")
_STRING_END: Final = re.compile("[\x18\x1a\x1b\x9c]")
_COMMAND_END: Final = re.compile("[\x07\n\x18\x1a\x1b\x9c]")
_NEUTRAL: Final = re.compile("0*(?:;0*)*")
_INTERMEDIATE: Final = frozenset(map(chr, range(0x20, 0x30)))
_ESCAPE_FINAL: Final = frozenset(map(chr, range(0x30, 0x7F)))
_SEQUENCE_FINAL: Final = frozenset(map(chr, range(0x40, 0x7F)))
_RESET: Final = "\x1b[0m"
_LONGEST_COLOUR: Final = 64
# A string that nobody ends must not swallow the rest of the cell.
_LONGEST_STRING: Final = 1 << 20
_MOST_LINES: Final = 1000
_LONGEST_TRACEBACK: Final = 1 << 20


class TextFilter:
    """Cleans one stream, however it is cut. Never holds back more than an unfinished character or colour.

    Kept are text, backspace, tab, newline, carriage return and colour sequences (SGR); every other control character,
    escape sequence, terminal command (links, titles, the clipboard) and bidirectional control is dropped.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state: Callable[[str, int], int] = self._text
        self._out: list[str] = []
        self._body = ""
        self._swallowed = 0
        self._string_end = _STRING_END
        self._coloured = False

    def feed(self, data: bytes) -> str:
        """Return what may be shown of everything up to the end of `data`."""
        return self._clean(self._decoder.decode(data))

    def flush(self) -> str:
        """End the stream: return what is left, and end a colour that is still on. May be repeated."""
        text = self._clean(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        if self._coloured:
            text += _RESET
            self._coloured = False
        self._state = self._text
        return text

    def feed_text(self, text: str) -> str:
        """Like `feed`, for text that is decoded already."""
        return self._clean(text)

    def _clean(self, text: str) -> str:
        position = 0
        while position < len(text):
            position = self._state(text, position)
        found = "".join(self._out)
        self._out.clear()
        return found

    def _text(self, text: str, position: int) -> int:
        found = _SPECIAL.search(text, position)
        if found is None:
            self._out.append(text[position:])
            return len(text)
        self._out.append(text[position : found.start()])
        char = found[0]
        if char == "\x1b":
            self._state = self._escape
        elif "\ud800" <= char <= "\udfff":
            self._out.append("\ufffd")
        else:
            self._introduce(char)
        return found.end()

    def _introduce(self, char: str) -> None:
        """Enter the state that an 8-bit control starts."""
        if char == "\x9b":
            self._body = ""
            self._state = self._sequence
        elif char in "\x90\x98\x9d\x9e\x9f":
            self._swallowed = 0
            self._string_end = _COMMAND_END if char == "\x9d" else _STRING_END
            self._state = self._string

    def _escape(self, text: str, position: int) -> int:
        char = text[position]
        if char in _INTERMEDIATE:
            self._state = self._designation
            return position + 1
        self._state = self._text
        if char in "[]PX^_":
            self._introduce(chr(ord(char) + 0x40))
        return position + 1 if char in _ESCAPE_FINAL else position

    def _designation(self, text: str, position: int) -> int:
        """Skip a sequence like ESC ( B, which chooses a character set."""
        char = text[position]
        if char in _INTERMEDIATE:
            return position + 1
        self._state = self._text
        return position + 1 if char in _ESCAPE_FINAL else position

    def _sequence(self, text: str, position: int) -> int:
        body = _SEQUENCE_BODY.match(text, position)
        end = body.end() if body else position
        # One character over the limit is kept, so that an overlong colour is known as such.
        self._body = (self._body + text[position:end])[: _LONGEST_COLOUR + 1]
        if end == len(text):
            return end
        self._state = self._text
        if text[end] not in _SEQUENCE_FINAL:
            return end
        if text[end] == "m" and len(self._body) <= _LONGEST_COLOUR and _COLOUR.fullmatch(self._body):
            self._out.append(f"\x1b[{self._body}m")
            self._coloured = not _NEUTRAL.fullmatch(self._body)
        return end + 1

    def _string(self, text: str, position: int) -> int:
        limit = min(len(text), position + _LONGEST_STRING - self._swallowed)
        found = self._string_end.search(text, position, limit)
        if found is None:
            self._swallowed += limit - position
            if self._swallowed >= _LONGEST_STRING:
                self._state = self._text
            return limit
        self._state = self._text
        # ESC may end the string as ESC \ or begin something else; a newline is still text.
        return found.start() if found[0] in "\n\x1b" else found.end()


def clean_text(text: str) -> str:
    """Return what may be shown of `text`; a colour that it leaves on is ended."""
    text_filter = TextFilter()
    return text_filter.feed_text(text) + text_filter.flush()


def clean_traceback(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the lines of a traceback as they may be shown, at most 1,000 and 1 MiB of them."""
    cleaned: list[str] = []
    room = _LONGEST_TRACEBACK
    for line in lines:
        if len(cleaned) == _MOST_LINES or room <= 0:
            cleaned.append("... the rest of the traceback is not shown")
            break
        cleaned.append(clean_text(line[:room]))
        room -= len(line)
    return tuple(cleaned)
