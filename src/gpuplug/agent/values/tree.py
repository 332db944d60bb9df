"""Containers: a JSON skeleton whose leaves are JSON or references to parts, and the parts' bytes after it."""

from __future__ import annotations

import collections
import json
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Set, Tuple

from . import frames, leaves, plain
from .failure import SAVE, ValueCodecError, require

Header = Dict[str, Any]
Node = Any

MAX_DEPTH = 100
# JSON text with this many separators stays under half a gigabyte as Python objects.
MAX_ITEMS = 4_000_000
_LONGEST_NUMBER = 40


class Writer:
    """Turns one value into nodes and collects its parts. `accept` names the codecs that the other end reads."""

    def __init__(self, accept: Optional[FrozenSet[str]]) -> None:
        self._accept = accept
        self._open: Set[int] = set()
        # The value is kept beside its number so that its id is not given to another one.
        self._known: Dict[int, Tuple[int, object]] = {}
        self._items = 0
        self.heads: List[Header] = []
        self.bodies: List[bytes] = []

    def permit(self, codec: str) -> None:
        """Refuse a codec that the other end cannot read.

        Raises:
            ValueCodecError: it is not among the accepted ones.
        """
        if self._accept is not None and codec not in self._accept:
            raise ValueCodecError(f"the other end cannot read values in {codec} form; install the library there")

    def node(self, value: Any) -> Node:  # noqa: ANN401 - any value at all
        """Return the node of `value`.

        Raises:
            ValueCodecError: it does not travel, holds itself, or holds too much.
        """
        self._items += 1
        if self._items > MAX_ITEMS:
            raise ValueCodecError("a value of over 4 million items cannot be sent; use numpy.array(...) or a file")
        kind = type(value)
        if kind in plain.ENCODERS and not (kind is str and len(value) > leaves.LONG_TEXT):
            return plain.ENCODERS[kind](value)
        if kind in _WRITERS:
            return self._within(value, _WRITERS[kind])
        if leaves.family(value) == "pandas":
            self.permit("pandas")
            return self._within(value, frames.write)
        return self._part(value)

    def _within(self, value: Any, write: Callable[[Writer, Any], Node]) -> Node:  # noqa: ANN401 - any container
        if id(value) in self._open:
            raise ValueCodecError(f"a {type(value).__name__} that holds itself cannot be sent")
        if len(self._open) >= MAX_DEPTH:
            raise ValueCodecError(f"a value nested over {MAX_DEPTH} deep cannot be sent; {SAVE}")
        self._open.add(id(value))
        node = write(self, value)
        self._open.discard(id(value))
        return node

    def _part(self, value: object) -> Node:
        if id(value) in self._known:
            return ["part", self._known[id(value)][0]]
        leaf = leaves.encode(value)
        if leaf is None:
            raise plain.unknown(value)
        header, body = leaf
        self.permit(header["codec"])
        index = len(self.bodies)
        self._known[id(value)] = index, value
        self.heads.append({**header, "size": len(body)})
        self.bodies.append(body)
        return ["part", index]


class Reader:
    """Turns nodes back into values. A part that is referred to twice is one object, as it was."""

    def __init__(self, heads: List[Header], parts: memoryview) -> None:
        self._heads = heads
        self._parts = parts
        self._starts = [0]
        for head in heads:
            size = head["size"]
            require(type(size) is int and size >= 0, "a part of no size")
            self._starts.append(self._starts[-1] + size)
        require(self._starts[-1] == len(parts), "parts that do not fill the payload")
        self._found: Dict[int, object] = {}
        self._depth = 0

    def node(self, node: Node) -> Any:  # noqa: ANN401 - any value at all
        """Return the value of `node`.

        Raises:
            ValueCodecError: it is no node; other malformed input raises what Python or the library raises.
        """
        if isinstance(node, dict):
            self._enter()
            found: Any = {key: self.node(item) for key, item in node.items()}
            self._depth -= 1
            return found
        if not isinstance(node, list):
            return node
        require(node and isinstance(node[0], str), "a node without a tag")
        tag, items = node[0], node[1:]
        if tag in plain.DECODERS:
            return plain.DECODERS[tag](*items)
        self._enter()
        found = self._tagged(tag, items)
        self._depth -= 1
        return found

    def _enter(self) -> None:
        self._depth += 1
        # Labels and levels of a frame are nodes of their own, so the limit here is looser than the writer's.
        require(self._depth <= 3 * MAX_DEPTH, "nested too deep")

    def _tagged(self, tag: str, items: List[Node]) -> Any:  # noqa: ANN401 - any value at all
        if tag == "part":
            return self._part(*items)
        if tag in _READERS:
            return _READERS[tag](self, items)
        require(tag in frames.TAGS, "a node of an unknown tag")
        return frames.read(self, tag, items)

    def _part(self, index: Node) -> object:
        require(type(index) is int and 0 <= index < len(self._heads), "a part that is not there")
        if index not in self._found:
            body = self._parts[self._starts[index] : self._starts[index + 1]]
            self._found[index] = leaves.decode(self._heads[index], bytes(body))
        return self._found[index]


def _dict_node(writer: Writer, value: Dict[Any, Any]) -> Node:
    if all(type(key) is str for key in value):
        nodes = {key: writer.node(item) for key, item in value.items()}
        if all(type(plain.str_node(key)) is str for key in value):
            return nodes
    return ["dict", *_pairs(writer, value)]


def _pairs(writer: Writer, value: Dict[Any, Any]) -> List[Node]:
    return [writer.node(part) for pair in value.items() for part in pair]


def _dict(reader: Reader, items: List[Node]) -> Dict[Any, Any]:
    require(len(items) % 2 == 0, "a key without a value")
    return {reader.node(items[at]): reader.node(items[at + 1]) for at in range(0, len(items), 2)}


def _sequence(tag: str) -> Callable[[Writer, Any], Node]:
    return lambda writer, value: [tag, *(writer.node(item) for item in value)]


_WRITERS: Dict[type, Callable[[Writer, Any], Node]] = {
    dict: _dict_node,
    collections.OrderedDict: lambda writer, value: ["ordered_dict", *_pairs(writer, value)],
    slice: lambda writer, value: ["slice", *map(writer.node, (value.start, value.stop, value.step))],
    **{kind: _sequence(kind.__name__) for kind in (list, tuple, set, frozenset)},
}

_READERS: Dict[str, Callable[[Reader, List[Node]], Any]] = {
    "dict": _dict,
    "ordered_dict": lambda reader, items: collections.OrderedDict(_dict(reader, items)),
    "slice": lambda reader, items: slice(*map(reader.node, items)),
    "list": lambda reader, items: [reader.node(item) for item in items],
    "tuple": lambda reader, items: tuple(reader.node(item) for item in items),
    "set": lambda reader, items: {reader.node(item) for item in items},
    "frozenset": lambda reader, items: frozenset(reader.node(item) for item in items),
}


def _check_items(text: bytes) -> None:
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MAX_ITEMS:
        raise ValueCodecError("a value of over 4 million items cannot be sent; use numpy.array(...) or a file")


def encode(value: object, accept: Optional[FrozenSet[str]]) -> Tuple[Header, bytes]:
    """Return the header and payload of any value that may hold others; a lone part stands for itself."""
    writer = Writer(accept)
    root = writer.node(value)
    if root == ["part", 0]:
        header = {key: item for key, item in writer.heads[0].items() if key != "size"}
        return header, writer.bodies[0]
    codec = "tree" if writer.heads else "json"
    writer.permit(codec)
    document = {"parts": writer.heads, "root": root} if writer.heads else root
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    _check_items(text)
    if not writer.heads:
        return {"codec": codec}, text
    return {"codec": codec, "skeleton": len(text)}, b"".join((text, *writer.bodies))


def _number(text: str) -> int:
    require(len(text) <= _LONGEST_NUMBER, "a number of too many digits")
    return int(text)


def _no_constant(text: str) -> None:
    raise ValueCodecError(f"this is no value: {text} is no JSON")


def _load(text: bytes) -> Any:  # noqa: ANN401 - JSON
    _check_items(text)
    return json.loads(text.decode(), parse_int=_number, parse_constant=_no_constant)


def decode(header: Header, payload: bytes) -> object:
    """Undo `encode`."""
    codec = header.get("codec")
    if codec == "json":
        return Reader([], memoryview(b"")).node(_load(payload))
    if codec != "tree":
        return leaves.decode(header, payload)
    size = header.get("skeleton")
    require(type(size) is int and 0 <= size <= len(payload), "a skeleton that does not fit the payload")
    document = _load(payload[:size])
    heads = document["parts"]
    require(isinstance(heads, list) and all(isinstance(head, dict) for head in heads), "parts without headers")
    return Reader(heads, memoryview(payload)[size:]).node(document["root"])
