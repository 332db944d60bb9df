"""Every error that gpuplug raises, and what each says besides its name.

GpuplugError
├── UsageError            what was typed cannot be done; nothing was sent, nothing rented
│   ├── UnknownOptionError
│   ├── UnknownNameError      a GPU, platform or variable that does not exist
│   ├── MissingFileError      the cell reads a file that is not there
│   └── TooLargeError         the files to send pass the size guard
├── MoneyError            a limit of the user's forbids it
│   ├── TooDearError
│   ├── BudgetError
│   └── ConsentError          a first spend that nobody has agreed to
├── ProviderError         the provider's API refused or failed
│   ├── AuthError
│   ├── OfferGoneError        taken between search and rent: try the next one
│   ├── NoOfferError
│   ├── NoCreditError
│   ├── NotReadyError         ask again after `retry_after` seconds
│   ├── UnknownOutcomeError   a create whose fate is not known: look for the label
│   ├── ReplyError            not what the contract says: HTML, cut JSON, wrong types
│   └── UnreachableError      no answer: network, DNS, TLS, timeout
├── HostError             the instance itself
│   ├── HostKeyError          another key than the pinned one: nothing was sent
│   ├── LinkError             the connection is down; the instance may well run on
│   ├── AgentError            the agent refused or answered nonsense
│   ├── PreemptedError        a spot machine was taken away
│   └── WrongHardwareError    another GPU than was rented
├── RemoteError           the cell itself raised on the instance
├── DetachedError         the user left while the cell ran on
└── LedgerError           the ledger cannot be read or written: nothing may be rented

Each error answers three questions: would the same call help later (`retryable`), does money still run
(`billing`), and what to type next (`hint`).
"""

from __future__ import annotations

from typing import ClassVar


class GpuplugError(Exception):
    """Root of all errors of gpuplug.

    Args:
        message: what happened, with the value and the nearest alternative; lower case, no final stop.
        hint: what to type next; shown after a blank line.
        billing: what still costs money, as a sentence; empty when nothing does.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", billing: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.billing = billing

    def __str__(self) -> str:
        lines = [self.message]
        if self.billing:
            lines.append(self.billing)
        if self.hint:
            lines += ["", f"hint: {self.hint}"]
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook (IPython's protocol); the class stays catchable."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(GpuplugError):
    """What was typed cannot be done; nothing was sent and nothing rented."""


class UnknownOptionError(UsageError):
    """An option that does not exist."""


class UnknownNameError(UsageError):
    """A GPU, platform or variable that does not exist."""


class MissingFileError(UsageError):
    """The cell reads a file that is not there."""


class TooLargeError(UsageError):
    """The files to send pass the size guard and nobody agreed."""


class MoneyError(GpuplugError):
    """A limit that the user set forbids it."""


class TooDearError(MoneyError):
    """Every fitting offer costs more than the limit."""


class BudgetError(MoneyError):
    """The budget is spent, or would be."""


class ConsentError(MoneyError):
    """A first spend that nobody agreed to."""


class ProviderError(GpuplugError):
    """The provider's API refused or failed."""


class AuthError(ProviderError):
    """The key is not accepted; names where it was read, never the key."""


class OfferGoneError(ProviderError):
    """The offer was taken between search and rent; the next one may do."""


class NoOfferError(ProviderError):
    """No offer fits the request."""

    retryable = True


class NoCreditError(ProviderError):
    """The account has no credit left."""


class NotReadyError(ProviderError):
    """Not yet: ask again after `retry_after` seconds."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float = 2.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class UnknownOutcomeError(ProviderError):
    """A create whose fate is not known: look for the label, never repeat it."""


class ReplyError(ProviderError):
    """The reply is not what the contract says."""

    retryable = True


class UnreachableError(ProviderError):
    """No answer: network, DNS, TLS or time-out.

    `never_sent` says that no connection came about, so that the server has seen nothing of the request.
    """

    retryable = True

    def __init__(self, message: str, *, hint: str = "", never_sent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.never_sent = never_sent


class HostError(GpuplugError):
    """The instance itself."""


class HostKeyError(HostError):
    """The host shows another key than the pinned one; nothing was sent to it.

    Args:
        message: what happened.
        seen: the key that was shown, in one-line OpenSSH form ("ssh-ed25519 AAAA...").
        hint: what to type next.
    """

    def __init__(self, message: str, *, seen: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seen = seen


class LinkError(HostError):
    """The connection is down; the instance may well run on."""

    retryable = True


class AgentError(HostError):
    """The agent refused a request or answered nonsense."""


class PreemptedError(HostError):
    """A spot machine was taken away, because somebody bid more for it."""


class EndedError(HostError):
    """Somebody asked for the end of the instance while it was being made ready; no other is rented in its place."""


class UnguardedError(HostError):
    """The instance would not end itself: its dead man's switch is not armed."""


class WrongHardwareError(HostError):
    """The instance has other hardware than was rented."""


class RemoteError(GpuplugError):
    """The cell raised on the instance.

    Args:
        ename: name of the remote exception's class.
        evalue: its text.
        traceback: its lines, cleaned of everything but colour.
    """

    def __init__(self, ename: str, evalue: str, traceback: tuple[str, ...] = ()) -> None:
        super().__init__(f"{ename}: {evalue}" if evalue else ename)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback

    def _render_traceback_(self) -> list[str]:
        """Show the remote lines in place of this process's own (IPython's protocol)."""
        after = [line for line in (self.billing, self.hint and f"hint: {self.hint}") if line]
        return [*(self.traceback or (self.message,)), *after]


class DetachedError(GpuplugError):
    """The user left while the cell ran on."""


class LedgerError(GpuplugError):
    """The ledger cannot be read or written; nothing may be rented."""
