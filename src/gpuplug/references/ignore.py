"""`.gitignore` and `.gpuplugignore`, nested, with git's meaning."""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pathspec.pattern import RegexPattern

RULE_FILES = (".gpuplugignore", ".gitignore")
_YIELDING = ".gitignore"
# A name that no rule means: a rule that hides it in a folder hides the whole folder.
_ANY_NAME = "\x02any\x03"
_NAMED_GROUP = re.compile(r"\(\?P<\w+>")
# pathspec's mark of the slash after a folder that a rule names.
_FOLDER_GROUP = "ps_d"
_RULE_FILE_MAX = 1 << 20


class _Rules:
    """The rules of one file; paths are relative to its folder, folders end in a slash."""

    def __init__(self, rules: Iterable[RegexPattern]) -> None:
        # Comments and empty lines have no expression.
        self._patterns = [each for each in rules if each.regex is not None]
        texts = [each.regex.pattern for each in self._patterns if each.regex is not None]
        # One search instead of one per rule, for the many files that no rule means.
        union = "|".join(f"(?:{_NAMED_GROUP.sub('(?:', text)})" for text in texts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `[[]` may mean something else to later Pythons
            self._any = re.compile(union or r"(?!)")

    def verdict(self, path: str) -> bool | None:
        """Return True when the rules hide `path`, False when they show it again, None when they say nothing."""
        if not self._any.match(path):
            return None
        for rule in reversed(self._patterns):
            if _means(rule, path):
                return rule.include
        return None

    def without(self, folder: str) -> _Rules:
        """Return the rules that do not hide `folder` (relative, without a slash at its end) as a whole."""
        kept = [
            each
            for each in self._patterns
            if not each.include or not (each.match_file(f"{folder}/") or each.match_file(f"{folder}/{_ANY_NAME}"))
        ]
        return _Rules(kept)


class Chain:
    """The rules that hold in one folder: its own and those of the folders above it."""

    def __init__(self, links: tuple[tuple[str, str, _Rules], ...] = ()) -> None:
        self._links = links

    def hides(self, path: str, *, only: str = "") -> str:
        """Return the name of the rule file that hides `path` (folders end in a slash), or "".

        The deepest rule file that says anything decides. `only` asks one kind of rule file.
        """
        for kind in RULE_FILES:
            if only and kind != only:
                continue
            for base, name, rules in reversed(self._links):
                if name != kind:
                    continue
                verdict = rules.verdict(path[len(base) :])
                if verdict:
                    return kind
                if verdict is not None:
                    break
        return ""

    def below(self, root: str, folder: str) -> Chain:
        """Return the chain for `folder` (relative to `root`, "" for itself), one deeper than this one."""
        base = f"{folder}/" if folder else ""
        own = [(base, name, rules) for name in RULE_FILES if (rules := _read(f"{root}/{base}{name}"))]
        return Chain((*self._links, *own)) if own else self

    def named(self, folder: str) -> Chain:
        """Return the chain without the `.gitignore` rules that hide `folder` as a whole: the cell names it."""
        if not folder:
            return self
        links = [
            (base, name, rules.without(folder[len(base) :]) if name == _YIELDING and folder.startswith(base) else rules)
            for base, name, rules in self._links
        ]
        return Chain(tuple(links))


def chain_for(root: str, folder: str) -> Chain:
    """Return the chain for `folder`, read from `root` down."""
    chain = Chain().below(root, "")
    parts = folder.split("/") if folder else []
    for index in range(len(parts)):
        chain = chain.below(root, "/".join(parts[: index + 1]))
    return chain


def hidden_by(root: str, path: str, kind: str) -> bool:
    """Tell whether rule files called `kind` hide `path` (relative; folders end in a slash) or a folder above it."""
    chain, done = Chain().below(root, ""), ""
    *folders, name = path.rstrip("/").split("/")
    for folder in folders:
        done += folder + "/"
        if chain.hides(done, only=kind):
            return True
        chain = chain.below(root, done.rstrip("/"))
    return bool(chain.hides(done + name + ("/" if path.endswith("/") else ""), only=kind))


def _means(rule: RegexPattern, path: str) -> bool:
    """Tell whether `rule` means `path` itself, not a folder above it (judged before) or what is in it (`path/**`)."""
    result = rule.match_file(path)
    if result is None:
        return False
    match: re.Match[str] = result.match
    mark = match.re.groupindex.get(_FOLDER_GROUP)
    if mark is not None and match[mark] is not None:
        return match.end(mark) == len(path)
    return not path.endswith("/") or rule.match_file(path[:-1]) is not None


def _read(file: str) -> _Rules | None:
    try:
        if os.stat(file).st_size > _RULE_FILE_MAX or not os.path.isfile(file):  # noqa: PTH113, PTH116 - a walk asks often
            return None
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:  # noqa: PTH123 - as above
            lines = opened.read().split("\n")
    except OSError:
        return None
    return _parse(lines)


def _parse(lines: Iterable[str]) -> _Rules:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only cells that name folders need it

    rules: list[RegexPattern] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for line in lines:
            try:
                rules += cast("list[RegexPattern]", list(GitIgnoreSpec.from_lines([line]).patterns))
            except (ValueError, re.error):
                continue  # git passes over a rule that it cannot read
    return _Rules(rules)
