"""Which names of the notebook a cell needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpuplug.errors import UsageError
from gpuplug.references import Request, find

if TYPE_CHECKING:
    from pathlib import Path

ALL = frozenset("abcdefgxyz") | {"net", "model", "print", "self", "os", "e1"}

NEEDED = {
    "load": ("print(x)", "print x"),
    "bound before": ("x = 1\nx", ""),
    "loaded before bound": ("x\nx = 1", "x"),
    "value before target": ("x = x + 1", "x"),
    "augmented": ("x += 1", "x"),
    "augmented attribute": ("x.n += y", "x y"),
    "subscript target": ("x[a] = 1", "x a"),
    "delete": ("del x", "x"),
    "delete own": ("x = 1\ndel x", ""),
    "tuple target": ("x, (y, *z) = a\nx, y, z", "a"),
    "for target": ("for x in y: x", "y"),
    "for may not run": ("for x in y: z = 1\nz", "y z"),
    "while": ("while x: y = 1; break", "x"),
    "if one branch": ("if a: x = 1\nx", "a x"),
    "if both": ("if a: x = 1\nelse: x = 2\nx", "a"),
    "if else raises": ("if a: x = 1\nelse: raise b\nx", "a b"),
    "conditional walrus": ("a and (x := 1)\nx", "a x"),
    "sure walrus": ("if (x := a): x\nx", "a"),
    "ternary": ("(x := 1) if a else 0\nx", "a x"),
    "import": ("import x.y, a as b\nx, b", ""),
    "from import": ("from x import y as z, a\nz, a", ""),
    "import shadows later": ("os.path\nimport os", "os"),
    "with as": ("with a as (x, y): x\ny", "a"),
    "except as": ("try: pass\nexcept a as x: x\nx", "a x"),
    "try body is unsure in handler": ("try:\n x = a\nexcept b:\n x", "a b x"),
    "try all paths": ("try:\n x = 1\nexcept b:\n x = 2\nx", "b"),
    "finally": ("try:\n x = 1\nfinally:\n y = 1\nx, y", ""),
    "finally before": ("try: x = 1\nfinally: x", "x"),
    "except star": ("try: pass\nexcept* a as x: x", "a"),
    "match capture": ("match a:\n case {'k': x, **y}: x, y\n case [z, *b]: z, b\n case c: c", "a"),
    "match class": ("match a:\n case b.C(x=y): y\n case d(): pass", "a b d"),
    "match may not fit": ("match a:\n case 1: x = 1\nx", "a x"),
    "comprehension": ("[x for x in y if x != z]", "y z"),
    "comprehension target stays inside": ("[x for x in a]\nx", "a x"),
    "comprehension first iterable": ("[x for x in x]", "x"),
    "nested comprehension": ("{x: y for x in a for y in x if b}", "a b"),
    "generator": ("sum(x * z for x in y)", "y z"),
    "function parameter": ("def f(x, *y, z=a, **b): return x, y, z, b", "a"),
    "function body": ("def f(): return x", "x"),
    "function local anywhere": ("def f():\n x = 1\n return x", ""),
    "function local after load": ("def f():\n print(x)\n x = 1", "print"),
    "function bound before call": ("def f(): return x\nx = 1\nf()", ""),
    "function called before bound": ("def f(): return x\nf()\nx = 1", "x"),
    "function calls later function": ("def f(): return g()\ndef g(): return x\nf()", "x"),
    "recursion": ("def f(): return f()\nf()", ""),
    "default at definition": ("def f(a=x): pass\nx = 1", "x"),
    "decorator": ("@x\ndef f(): pass", "x"),
    "annotations": ("def f(a: x) -> y: pass\nb: z = 1", "x y z"),
    "annotation without value binds nothing": ("x: int\nx", "x"),
    "closure": ("def f():\n x = 1\n def g(): return x + y\n return g", "y"),
    "nonlocal": ("def f():\n x = 1\n def g():\n  nonlocal x\n  x += 1\n return g", ""),
    "global": ("def f():\n global x\n x += 1", "x"),
    "global in nested": ("def f():\n x = 1\n def g():\n  global x\n  return x", "x"),
    "walrus in comprehension in function": ("def f():\n [x := b for b in a]\n return x", "a"),
    "lambda": ("lambda x: x + y", "y"),
    "lambda kept": ("f = lambda: x\nx = 1\nf()", ""),
    "lambda default": ("f = lambda a=x: a", "x"),
    "class body": ("class A(b):\n x = y\n z = x", "b y"),
    "class name from outside": ("class A:\n x = x", "x"),
    "class scope is not seen by methods": ("class A:\n x = 1\n def m(self): return x", "x"),
    "class names do not leak": ("class A:\n x = 1\nx", "x"),
    "method before bound": ("class A:\n def m(self): return x\nx = 1\nA().m()", ""),
    "class in function": ("def f():\n x = 1\n class A:\n  y = x\n  def m(self): return y\n return A", "y"),
    "await": ("await x\nasync for y in a: y\nasync with b as z: z", "x a b"),
    "f-string": ("f'{x!r:>{y}}'", "x y"),
    "unknown names are left out": ("undefined_name + len(x)", "x"),
    "builtin shadowed": ("print(1)", "print"),
    "star arguments": ("f(*x, **y)", "f x y"),
    "shell expansion": ("!echo {x + 1} $y ${HOME} {not python}", "x y"),
    "magic expansion": ("%run a.py $x", "x"),
    "magic code": ("%time y = x + 1", "x"),
    "magic code with options": ("%timeit -n 10 -r3 x + 1\nz = %timeit -o y", "x y"),
    "magic assigns": ("x = !ls\nx", ""),
    "help": ("x?", "x"),
    "cell magic": ("%%time\ny = x", "x"),
    "foreign interpreter": ("%%python3\nprint(x)", ""),
    "shell cell": ("%%bash\necho $x", ""),
    "while loop joins": ("while True:\n x = 1\n break\nx", "x"),
    "nested unpacking in for": ("for a, (b, c) in x: a, b, c", "x"),
}  # fmt: skip


@pytest.mark.parametrize(("cell", "expected"), NEEDED.values(), ids=NEEDED.keys())
def test_a_cell_needs_the_names_that_it_loads_before_it_binds_them(tmp_path: Path, cell: str, expected: str) -> None:
    found = find(cell, Request(tmp_path, defined=ALL))
    assert sorted(use.name for use in found.names) == sorted(expected.split())


def test_a_name_has_the_first_line_that_needs_it(tmp_path: Path) -> None:
    found = find("\n\ny\nx = y\ndef f():\n  return z", Request(tmp_path, defined=ALL))
    assert [(use.name, use.line) for use in found.names] == [("y", 3), ("z", 6)]


def test_lines_below_commands_of_several_lines_keep_their_numbers(tmp_path: Path) -> None:
    found = find("!echo \\\n  one \\\n  two\nx", Request(tmp_path, defined=ALL))
    assert [(use.name, use.line) for use in found.names] == [("x", 4)]


def test_a_cell_that_nests_too_deeply_for_the_reader_is_refused_by_name(tmp_path: Path) -> None:
    cell = "a = " + "b.c(" * 60 + ")" * 60
    assert not find(cell, Request(tmp_path)).files
    with pytest.raises(UsageError, match=r"nests too deeply|cannot be parsed|too many nested"):
        find("a = " + "x" + ".y" * 20_000, Request(tmp_path, defined=ALL))
