"""The `gpuplug` command: data to stdout, talk to stderr, exit status 0 only for success."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path

from gpuplug import __version__, config
from gpuplug.errors import GpuplugError, UsageError
from gpuplug.frontends.wording import as_command

_COMMANDS = {
    "status": "what runs, what it costs, what was spent today",
    "prices": "what can be rented now, cheapest true price first: prices [GPU...] [--history]",
    "ls": "every instance of the account that carries our label, and what each costs",
    "down": "destroy instances and prove it: down ID..., or down --all",
    "stop": "let instances rest: their disks stay and bill: stop ID...",
    "adopt": "count and end an instance that another computer rented with your key: adopt ID...",
    "doctor": "look at keys, balance, clock, SSH, agent, ledger and versions; say what to mend",
    "reap": "end what nobody uses and prove it, now or by a timer: reap [--install]",
    "spend": "what was spent, by instance, day, gpu, notebook, cell or platform: spend [--by day] [--since 7d]",
    "budget": "what may be spent: budget [5/day] [100/month] [3/instance]; off/day lifts one",
}
_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 1 when it failed, 2 when it makes no sense."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(given)
        sys.stdout.flush()
    except UsageError as error:
        _say(f"error: {error}")
        return _MISUSED
    except GpuplugError as error:
        _say(f"error: {error}")
        return _FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough (`| head`); what Python flushes at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    return status


def _run(given: list[str]) -> int:
    if not given:
        _say(_usage())
        return _MISUSED
    if given[0] in {"-h", "--help", "help"}:
        _show(_usage())
    elif given[0] == "--version":
        _show(__version__)
    elif given[0] == "sandbox":
        return _sandbox(given[1:])
    elif given[:2] == ["config", "budget"]:
        _verb("budget", given[2:])
    else:
        _verb(given[0], given[1:])
    return 0


def _usage() -> str:
    lines = [f"  gpuplug {verb:<8} {text}" for verb, text in _COMMANDS.items()]
    lines += [
        "  gpuplug sandbox  a make-believe GPU market on this computer: sandbox serve, sandbox run -- CMD",
        "",
        "gpuplug COMMAND --help tells the options of one.",
    ]
    return "\n".join([f"gpuplug {__version__}: run one cell of a local notebook on a rented GPU", "", *lines])


def _sandbox(arguments: list[str]) -> int:
    # A machine needs asyncssh long after the market began; better said now.
    missing = [name for name in ("aiohttp", "asyncssh") if importlib.util.find_spec(name) is None]
    if missing:
        _say(f"error: the sandbox needs {' and '.join(missing)}\n\nhint: pip install 'gpuplug[sandbox]'")
        return _FAILED
    from gpuplug.sandbox.cli import main as sandbox  # noqa: PLC0415 - an optional extra

    return sandbox(arguments)


def _verb(verb: str, arguments: list[str]) -> None:
    if verb not in _COMMANDS:
        known, _ = config.verb_of(verb)
        reason = f"{verb} needs a notebook" if known == verb else f"no command {verb!r}"
        raise UsageError(reason, hint="gpuplug --help")
    options = config.parse(shlex.join(arguments), verb, command=True)
    if options.help:
        _show(config.help_text(verb, command=True))
        return
    from gpuplug.engine import Engine  # noqa: PLC0415 - `gpuplug --help` must not pay for it
    from gpuplug.frontends.prices import NothingError  # noqa: PLC0415 - likewise
    from gpuplug.frontends.reaping import UnsettledError  # noqa: PLC0415 - likewise
    from gpuplug.frontends.verbs import VERBS, IllError  # noqa: PLC0415 - likewise

    engine = Engine("command line", Path.cwd())
    try:
        _show(VERBS[verb](engine, options, _say))
    except (IllError, NothingError, UnsettledError) as error:
        if options.json:  # data for programs comes in any case
            _show(error.shown)
        raise
    finally:
        engine.close()


def _show(text: str) -> None:
    sys.stdout.write(as_command(text) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(as_command(text) + "\n")


if __name__ == "__main__":
    sys.exit(main())
