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
    from gpuplug.providers._calls import Call, Reply

_LABEL = re.compile(re.escape(LABEL_PREFIX) + r"[A-Za-z0-9._-]{1,200}")
_REFUSED = 400


def checked_label(label: str) -> str:
    """Return `label` if it is ours and can stand in a path, a header or a shell.

    Raises:
        UsageError: it cannot be a label.
    """
    if not _LABEL.fullmatch(label):
        raise UsageError(f"{label!r} cannot be a label")
    return label


class Api:
    """An API of JSON objects at `access.base_url`, or at `home_url` when that is empty; thread-safe.

    `refusal` says what a reply from status 400 on means, given the place of the key; `unknown` tells whether a reply
    says, in the API's own words, that there is no such instance.

    Raises:
        UsageError: the address is neither https nor on this computer.
    """

    def __init__(
        self,
        access: Access,
        home_url: str,
        refusal: Callable[[Reply, str], ProviderError],
        unknown: Callable[[Reply], bool],
    ) -> None:
        self._http = HttpClient(access.base_url or home_url, access.key, access.clock)
        self._key_source = access.key_source
        self._refusal = refusal
        self._unknown = unknown

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self._http.close()

    def find(self, call: Call) -> Mapping[str, object] | None:
        """Return the object that answers `call`; None when the API says that there is no such instance.

        Raises:
            ProviderError: a refusal, or no usable answer: nothing else may be taken for an end.
        """
        reply = self._http.send(call)
        if self._unknown(reply):
            return None
        if reply.status >= _REFUSED:
            raise self._refusal(reply, self._key_source)
        if not isinstance(reply.body, dict):
            raise ReplyError(f"the answer to {call.method} {call.route} is no object")
        return reply.body

    def rows(self, call: Call, name: str) -> list[Mapping[str, object]]:
        """Return the list `name` in the answer to `call`; what is no object in it becomes an empty one.

        Raises:
            ProviderError: a refusal, or an answer without the list: that is not an empty one.
        """
        found = (self.find(call) or {}).get(name)
        if not isinstance(found, list):
            raise ReplyError(f"the answer to {call.method} {call.route} holds no list of {name}")
        return [mapping(row) for row in found]

    def create(self, call: Call, label: str, read_id: Callable[[Mapping[str, object]], str]) -> str:
        """Send `call` once and return the id that `read_id` finds in its answer ("" for none). COSTS MONEY.

        Raises:
            UnknownOutcomeError: it may have been made; look for `label`.
            ProviderError: nothing was made: no connection came about, too many requests, or a refusal in JSON.
        """
        try:
            reply = self._http.send(call)
        except (UnreachableError, ReplyError) as error:
            if isinstance(error, UnreachableError) and error.never_sent:
                raise
            raise UnknownOutcomeError(f"it is not known whether {label} was made: {error.message}") from error
        # An instance may exist, and bill, even when the reply calls itself a refusal.
        if made := read_id(mapping(reply.body)):
            return made
        if reply.status < _REFUSED or not isinstance(reply.body, dict):
            raise UnknownOutcomeError(f"it is not known whether {label} was made: status {reply.status} and no id")
        raise self._refusal(reply, self._key_source)
