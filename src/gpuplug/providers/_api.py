"""One provider's API as an adapter sees it: its refusals as typed errors, its rows as objects, and the one create."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpuplug.errors import ProviderError, ReplyError, UnknownOutcomeError, UnreachableError, UsageError
from gpuplug.providers._http import HttpClient
from gpuplug.providers._reading import mapping
from gpuplug.types import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpuplug.providers import Access
    from gpuplug.providers._calls import Call, Pace, Reply

_LABEL = re.compile(re.escape(LABEL_PREFIX) + r"[A-Za-z0-9._-]{1,200}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,1023}")
REFUSED = 400


def checked_label(label: str) -> str:
    """Return `label` if it is ours and can stand in a path, a header or a shell.

    Raises:
        UsageError: it cannot be a label.
    """
    if not _LABEL.fullmatch(label):
        raise UsageError(f"{label!r} cannot be a label")
    return label


def checked_image(image: str) -> str:
    """Return `image` if it is the name of a container image.

    Raises:
        UsageError: it is none.
    """
    if not _IMAGE.fullmatch(image):
        raise UsageError(f"{image!r} is no name of an image")
    return image


class Api:
    """An API of JSON objects at `access.base_url`, or at `home_url` when that is empty; thread-safe.

    `refusal` says what a reply from status 400 on means, given the place of the key; `unknown` tells whether a reply
    says, in the API's own words, that there is no such instance. An API with more words of its own overrides
    `refuses` and `made_nothing`.

    Raises:
        UsageError: the address is neither https nor on this computer.
    """

    def __init__(
        self,
        access: Access,
        home_url: str,
        refusal: Callable[[Reply, str], ProviderError],
        unknown: Callable[[Reply], bool],
        paces: Mapping[tuple[str, str], Pace] | None = None,
    ) -> None:
        self.http = HttpClient(access.base_url or home_url, access.key, access.clock, paces=paces)
        self._key_source = access.key_source
        self._refusal = refusal
        self._unknown = unknown

    def refuses(self, reply: Reply) -> bool:
        """Tell whether `reply` is a refusal."""
        return reply.status >= REFUSED

    def made_nothing(self, reply: Reply) -> bool:
        """Tell whether a create that was answered so has certainly made nothing: the API refused it in its own words."""
        return reply.status >= REFUSED and isinstance(reply.body, dict)

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self.http.close()

    def ask(self, call: Call) -> Reply:
        """Return the reply to `call`.

        Raises:
            ProviderError: a refusal, or no usable answer.
        """
        return self._checked(self.http.send(call))

    def tell(self, call: Call) -> Reply | None:
        """Return the reply to `call`; None when the API says that there is no such instance.

        Raises:
            ProviderError: a refusal, or no usable answer: nothing else may be taken for an end.
        """
        reply = self.http.send(call)
        return None if self._unknown(reply) else self._checked(reply)

    def find(self, call: Call) -> Mapping[str, object] | None:
        """Return the object that answers `call`; None when the API says that there is no such instance.

        Raises:
            ProviderError: a refusal, or no usable answer: nothing else may be taken for an end.
        """
        reply = self.tell(call)
        if reply is None:
            return None
        if not isinstance(reply.body, dict):
            raise ReplyError(f"the answer to {call.method} {call.route} is no object")
        return reply.body

    def items(self, call: Call, name: str) -> list[object]:
        """Return the list `name` in the answer to `call`.

        Raises:
            ProviderError: a refusal, or an answer without the list: that is not an empty one.
        """
        return listed(self.find(call) or {}, name, call)

    def rows(self, call: Call, name: str) -> list[Mapping[str, object]]:
        """Return the list `name` in the answer to `call`; what is no object in it becomes an empty one.

        Raises:
            ProviderError: a refusal, or an answer without the list: that is not an empty one.
        """
        return [mapping(row) for row in self.items(call, name)]

    def create(self, call: Call, label: str, read_id: Callable[[Mapping[str, object]], str]) -> str:
        """Send `call` once and return the id that `read_id` finds in its answer ("" for none). COSTS MONEY.

        Raises:
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: nothing was made: no connection came about, too many requests, or a clean refusal.
        """
        reply = self.send_once(call, label)
        # An instance may exist, and bill, even when the reply calls itself a refusal.
        if made := read_id(mapping(reply.body)):
            return made
        if not self.made_nothing(reply):
            raise UnknownOutcomeError(f"it is not known whether {label} was made: status {reply.status} and no id")
        raise self._refusal(reply, self._key_source)

    def send_once(self, call: Call, label: str) -> Reply:
        """Send a create and return its reply. COSTS MONEY.

        Raises:
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: nothing was made: no connection came about, or too many requests.
        """
        try:
            return self.http.send(call)
        except (UnreachableError, ReplyError) as error:
            if isinstance(error, UnreachableError) and error.never_sent:
                raise
            raise UnknownOutcomeError(f"it is not known whether {label} was made: {error.message}") from error

    def _checked(self, reply: Reply) -> Reply:
        if self.refuses(reply):
            raise self._refusal(reply, self._key_source)
        return reply


def listed(body: Mapping[str, object], name: str, call: Call) -> list[object]:
    """Return the list `name` in `body`, which answers `call`.

    Raises:
        ReplyError: there is none: that is not an empty one.
    """
    found = body.get(name)
    if not isinstance(found, list):
        raise ReplyError(f"the answer to {call.method} {call.route} holds no list of {name}")
    return found
