"""Which cells can run at all, IPython's syntax included."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuplug.errors import UsageError
from gpuplug.references import check_syntax

LEGAL = (
    "",
    "\n\n",
    "# only a comment",
    "x = 1; y = 2",
    "await f()",
    "async for x in y: pass",
    "async with a as b: pass",
    "[x async for x in y]",
    "!ls",
    "!!ls -l",
    "!echo it's fine",
    "!echo (unbalanced",
    "if x:\n    !ls\n    %time f()",
    "if x:\n    pass\n    !ls \\\n  -l\nelse:\n    pass",
    "x = !ls",
    "x, y = !ls",
    "d['a'] = !ls",
    "o.a = %time f()",
    "x = %timeit -o f(1)",
    "%matplotlib inline",
    "%load_ext autoreload\n%autoreload 2\nimport x",
    "%%time\nx = 1",
    "%%time\n%%bash\nit's",
    "\n\n%%bash\nfor i in 1 2; do echo $i; done",
    "%%writefile x.py\nnot python at all (",
    "%%html\n<b>",
    "%%!\nls 'x",
    "obj?",
    "obj.attr??",
    "?obj",
    "??obj",
    "%timeit?",
    "np.*load*?",
    ",f a b",
    ";f a b",
    "/f 1 2",
    "pip install torch",
    "cd data",
    ">>> x = 1\n>>> if x:\n...     y = 2",
    "    x = 1\n    y = 2",
    'x = """\n!not a command\n%neither\n"""',
    "x = (1\n%2)",
    "x = [\n  5\n  % 3\n]",
    "x = 1 \\\n% 2",
    "s = 'a\\\n!b'",
    "print(f\"{d['a']}\")\n!ls",
    "x = '%s' % y",
    "print('a=%s' % b)",
    "f(a=1)",
    "'\\d'",
    "x is 1",
    "def f():\n    '''\n    %doc\n    '''\n    return 1\n%time f()",
    "# it's\n!ls",
    "lambda: (yield)",
    "x = 5\r\n!ls\r\ny = 6\r",
    "from __future__ import annotations\nx: y = 1",
)

BROKEN = {
    "x = = 1": (1, "x = = 1\n        ^"),
    "a = 1\nif True\n  pass": (2, "if True\n           ^"),
    "!ls\n%time\nx = (1,": (3, "x = (1,\n        ^"),
    "  x = 1\n    y = 2": (2, "y = 2"),
    "def f():\nreturn 1": (2, "return 1"),
    "return 1": (1, "return 1"),
    "break": (1, "break"),
    "def f():\n    await x": (2, "await x"),
    "def f():\n    await x\n!ls": (2, "await x"),
    "x = 'abc": (1, "x = 'abc"),
    "f(x=1, x=2)": (1, "f(x=1, x=2)"),
    "nonlocal x": (1, "nonlocal x"),
    "1 = x": (1, "1 = x"),
    "%%time\n\nx = )": (3, "x = )"),
    "    if x:\n    y": (2, "y"),
}


@pytest.mark.parametrize("cell", LEGAL)
def test_what_ipython_runs_is_legal(cell: str) -> None:
    check_syntax(cell, shell=False)


@pytest.mark.parametrize(("cell", "line", "shown"), [(cell, *where) for cell, where in BROKEN.items()])
def test_what_cannot_run_is_refused_with_line_text_and_caret(cell: str, line: int, shown: str) -> None:
    with pytest.raises(UsageError, match=f"line {line}\\b") as caught:
        check_syntax(cell, shell=False)
    assert f"\n    {shown}" in str(caught.value)
    assert str(caught.value).endswith("^")


def test_a_shell_script_is_not_judged_as_python() -> None:
    check_syntax("for f in *; do echo 'a b'; done\nit's", True)  # noqa: FBT003 - as the engine calls it


@pytest.mark.parametrize("cell", ["a\n\0", "x = '\ud800'", "x = 1\n'\udcff'"])
def test_characters_that_no_interpreter_takes_are_refused_with_their_line(cell: str) -> None:
    for shell in (False, True):
        with pytest.raises(UsageError, match=f"line {cell[: cell.index(cell.strip()[-1])].count(chr(10)) + 1}|line "):
            check_syntax(cell, shell=shell)


PIECES = st.sampled_from(
    [
        "!",
        "%",
        "%%",
        "?",
        "\n",
        "  ",
        "'",
        '"',
        '"""',
        "(",
        ")",
        "[",
        "{",
        "}",
        "\\",
        "\\\n",
        "=",
        "x",
        "y",
        "#",
        "f'",
        "time",
        "bash",
        "run a.py",
        ">>> ",
        ",",
        ";",
        "/",
        "$x",
        "{x}",
        ":",
        "if x",
        "def f():",
        "\r",
        "\t",
        "%%time\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)), st.booleans())
def test_any_text_is_legal_or_refused_but_nothing_else(text: str, shell: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    with contextlib.suppress(UsageError):
        check_syntax(text, shell=shell)
