"""Where IPython asks what Tab offers on the line of a magic; what answers is loaded when somebody presses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import IPython

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from IPython.core.interactiveshell import InteractiveShell

    from gpuplug.engine import Engine

_NAME = "gpuplug"
_MAGICS = ("%%remote_gpu", "%%gpu", "%gpu")
_MATCHERS = (8, 6)  # since then a completer can keep Python's own names out of a line that is no Python
_HOOK = "complete_command"


def attach(shell: InteractiveShell, engine: Callable[[], Engine]) -> None:
    """Have `shell` ask; `engine` is called when an instance is open and its name may be what is wanted."""
    if IPython.version_info >= _MATCHERS:
        shell.Completer.custom_matchers.append(_matcher(engine))
        return

    def hook(_shell: InteractiveShell, event: SimpleNamespace) -> list[str]:
        last, words = _offered(event.text_until_cursor, engine)
        # The shell replaces no more than `symbol`, which begins after a hyphen, a comma or an equals sign.
        kept = len(last) - len(event.symbol)
        return [word[kept:] for word in words] if last.endswith(event.symbol) else []

    for magic in _MAGICS:
        shell.set_hook(_HOOK, hook, str_key=magic)


def detach(shell: InteractiveShell) -> None:
    """Have `shell` ask no more. May be repeated."""
    if IPython.version_info >= _MATCHERS:
        matchers = shell.Completer.custom_matchers
        matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != _NAME]
        return
    for magic in _MAGICS:
        shell.strdispatchers[_HOOK].strs.pop(magic, None)


def _matcher(engine: Callable[[], Engine]) -> Callable[[Any], dict[str, Any]]:
    from IPython.core.completer import SimpleCompletion, context_matcher  # noqa: PLC0415 - older ones have neither

    @context_matcher(identifier=_NAME)  # type: ignore[untyped-decorator]  # IPython carries no types
    def matcher(context: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        last, words = _offered(context.text_until_cursor, engine)
        completions = [SimpleCompletion(word) for word in words]
        return {"completions": completions, "matched_fragment": last, "suppress": bool(words), "ordered": True}

    found: Callable[[Any], dict[str, Any]] = matcher
    return found


def _offered(typed: str, engine: Callable[[], Engine]) -> tuple[str, list[str]]:
    """Return the word before the cursor, and what may stand in its place; `typed` is the line up to the cursor."""
    words = typed.split()
    if not words or words[0] not in _MAGICS:
        return "", []
    from gpuplug.frontends.magics.completing import Offering  # noqa: PLC0415 - `%load_ext` must not pay for it

    last = "" if typed[-1].isspace() else words.pop()
    return last, Offering(engine).words(words, last)
