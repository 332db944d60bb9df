"""The only door to HTTP: one client for every adapter, with deadlines, pacing, typed errors and redaction."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from gpuplug.errors import NotReadyError, ProviderError, ReplyError, UnreachableError, UsageError
from gpuplug.providers._bodies import whole_body
from gpuplug.providers._calls import (
    SERVER_ERROR,
    TOO_MANY,
    Call,
    Pace,
    Pacer,
    Reply,
    is_loopback,
    is_temporary,
    may_be_called,
    pause,
)
from gpuplug.providers._reading import clean, mapping, number, parse_json
from gpuplug.providers._silence import IN_TROUBLE, NOT_ITSELF, no_answer, too_slow

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Generator, Mapping

    from gpuplug.types import Clock, Secret

DEADLINE_S = 30.0
CONNECT_S = 10.0
MAX_BODY = 32 << 20
_ATTEMPTS = 3
_IDLE_S = 20.0
_NO_CONTENT = 204
_REDIRECT = 300
_REFUSED = 400


class HttpClient:
    """Calls to one provider's API. Thread-safe; no call blocks longer than `deadline_s`.

    Raises:
        UsageError: `base_url` is neither https nor on this computer.
    """

    def __init__(
        self,
        base_url: str,
        key: Secret,
        clock: Clock,
        *,
        paces: Mapping[tuple[str, str], Pace] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        if not may_be_called(base_url):
            raise UsageError(f"the address {base_url!r} is neither https nor on this computer")
        self._base = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._key = key
        self._clock = clock
        self._deadline_s = deadline_s
        self._lines = _Lines(trust_environment=not is_loopback(base_url))
        self._pacer = Pacer(paces or {}, clock, deadline_s / 2)

    def send(self, call: Call) -> Reply:
        """Send `call` and return the reply, whatever its status below 500 except 3xx and 429.

        Raises:
            UnreachableError: no connection came about (`never_sent`), or no whole answer within the deadline.
            NotReadyError: the rate limit or a quota; says for how long.
            ReplyError: 5xx, a redirect, or a body that is no JSON.
        """
        end = self._clock.monotonic() + self._deadline_s
        attempt = 0
        while True:
            self._pacer.wait(call)
            raw = self._exchange(call, max(0.05, end - self._clock.monotonic()))
            attempt += 1
            wait = pause(raw.status, raw.headers, attempt)
            patient = call.safe and attempt < _ATTEMPTS and self._clock.monotonic() + wait < end
            if not (patient and is_temporary(raw.status)):
                return self._judge(raw, wait, call.fields)
            self._clock.sleep(wait)

    def download(self, url: str, *, limit: int = MAX_BODY, seconds: float = DEADLINE_S) -> tuple[int, bytes]:
        """Fetch `url` without any credentials within `seconds`; return status and body.

        Raises:
            ReplyError: `url` may not be called (no https, or this computer for a provider that is elsewhere).
            UnreachableError: no whole answer within the deadline.
        """
        local = is_loopback(url)
        if not may_be_called(url) or (local and not is_loopback(self._base)):
            raise ReplyError(f"{self._host} names an address that is not called: {clean(url)!r}")
        lines = _Lines(trust_environment=not local)
        try:
            request = lines.build("GET", httpx.URL(url), None, auth=None)
            raw = lines.fetch(request, min(seconds, self._deadline_s), limit, fresh=True)
        except httpx.InvalidURL as error:
            raise ReplyError(f"{self._host} names an address that is none: {clean(url)!r}") from error
        finally:
            lines.close()
        return raw.status, raw.body

    def listen(self, call: Call, *, seconds: float, quiet_s: float, limit: int = MAX_BODY) -> Reply:
        """Read a stream that has no end of its own: for `seconds`, until it says nothing for `quiet_s`, up to `limit` bytes.

        The reply's body is the text that was heard, or what `send` returns when it is a refusal.

        Raises:
            UnreachableError: it did not even begin.
            NotReadyError, ReplyError: as `send`.
        """
        self._pacer.wait(call)
        lines = _Lines(trust_environment=not is_loopback(self._base))
        request = self._request(lines, call)._replace(quiet_s=quiet_s)
        request.message.headers.update({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
        try:
            raw = self._checked(lines, request, min(seconds, self._deadline_s), limit, fresh=True)
        finally:
            lines.close()
        if raw.status >= _REDIRECT:
            return self._judge(raw, pause(raw.status, raw.headers, 1), None)
        return Reply(raw.status, raw.body.decode("utf-8", "replace"), raw.headers)

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self._lines.close()

    def redact(self, text: str) -> str:
        """Return `text` without the key."""
        return text.replace(self._key.reveal(), "***") if self._key else text

    def _request(self, lines: _Lines, call: Call) -> _Request:
        url = self._base + call.route.replace("{id}", quote(call.target, safe=""))
        content = None if call.body is None else json.dumps(call.body, allow_nan=False)
        auth = _Bearer(self._key) if self._key else None
        return lines.build(call.method, _address(url, tuple(call.query.items())), content, auth=auth)

    def _exchange(self, call: Call, seconds: float) -> _Raw:
        # A server may close an idle connection at any moment: then the fate of a request on it is unknown.
        request = self._request(self._lines, call)
        return self._checked(self._lines, request, seconds, MAX_BODY, fresh=not call.safe)

    def _checked(self, lines: _Lines, request: _Request, seconds: float, limit: int, *, fresh: bool) -> _Raw:
        try:
            raw = lines.fetch(request, seconds, limit, fresh=fresh)
        except ProviderError as error:
            # The frames below hold what the server sent: it may have echoed the key.
            raise error.with_traceback(None) from error.__cause__
        self._pacer.heed(raw.headers)
        return self._without_key(raw)

    def _without_key(self, raw: _Raw) -> _Raw:
        if not self._key:
            return raw
        headers = {name: self.redact(value) for name, value in raw.headers.items()}
        return _Raw(raw.status, raw.body.replace(self._key.reveal().encode(), b"***"), headers)

    def _judge(self, raw: _Raw, wait: float, fields: frozenset[str] | None) -> Reply:
        text = raw.body.decode("utf-8", "replace")
        if raw.status == TOO_MANY:
            raise self._too_many(raw, text, wait)
        if raw.status >= SERVER_ERROR:
            raise ReplyError(f"{self._host} answered with error {raw.status}", hint=IN_TROUBLE)
        if _REDIRECT <= raw.status < _REFUSED:
            raise ReplyError(f"{self._host} answered {raw.status}, a redirect, which is not followed", hint=NOT_ITSELF)
        if raw.status == _NO_CONTENT:
            return Reply(raw.status, None, raw.headers)
        try:
            body = parse_json(text, fields if raw.status < _REFUSED else None)
        except ValueError as error:
            if raw.status < _REFUSED:
                message = f"{self._host} answered {raw.status} with no JSON"
                raise ReplyError(message, hint=NOT_ITSELF) from error.with_traceback(None)
            body = clean(text, 300)
        return Reply(raw.status, body, raw.headers)

    def _too_many(self, raw: _Raw, text: str, wait: float) -> NotReadyError:
        reset = number(raw.headers.get("x-ratelimit-reset"), 0, 1 << 33)
        with contextlib.suppress(ValueError):
            body = mapping(parse_json(text))
            text = str(body.get("error") or body.get("detail") or text)
        message = f"too many requests to {self._host}: {clean(text)}"
        if reset is None:
            return NotReadyError(message, retry_after=wait)
        left = max(wait, float(reset) - self._clock.now().timestamp())
        return NotReadyError(f"{message}; the quota is renewed in {left:.0f} s", retry_after=left)


class _Raw(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


class _Bearer(httpx.Auth):
    """Puts the key into the header at the last moment, so that no variable of any frame holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        yield request


class _Request(NamedTuple):
    message: httpx.Request
    auth: httpx.Auth | None
    quiet_s: float | None = None


class _Lines:
    """Kept connections, each lent to one call at a time."""

    def __init__(self, *, trust_environment: bool) -> None:
        self._trust_environment = trust_environment
        self._lock = threading.Lock()
        self._idle: list[_Line] = []
        self._closed = False
        self._tls: ssl.SSLContext | None = None

    def build(self, method: str, url: httpx.URL, content: str | None, *, auth: httpx.Auth | None) -> _Request:
        headers = _headers(with_body=content is not None)
        return _Request(httpx.Request(method, url, content=content, headers=headers), auth)

    def fetch(self, request: _Request, seconds: float, limit: int, *, fresh: bool) -> _Raw:
        end = time.monotonic() + seconds
        with self._lock:
            line = self._idle.pop() if self._idle and not fresh else None
        if line is not None:
            # The server may have closed the kept connection: then once more on a new one.
            try:
                with self._giving_back(line):
                    return line.fetch(request, seconds, limit)
            except UnreachableError:
                if not line.was_cut:
                    raise
        line = self._new_line()
        with self._giving_back(line):
            return line.fetch(request, max(0.05, end - time.monotonic()), limit)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _new_line(self) -> _Line:
        with self._lock:
            if self._tls is None:
                self._tls = httpx.create_ssl_context(trust_env=self._trust_environment)
        return _Line(self._tls, trust_environment=self._trust_environment)

    @contextlib.contextmanager
    def _giving_back(self, line: _Line) -> Generator[None, None, None]:
        try:
            yield
        except BaseException:
            line.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(line)
                return
        line.close()


class _Line:
    """One HTTP client with one connection, so that the socket to cut at the deadline is known.

    Time-outs of single reads cannot bound a reply that drips one byte at a time; cutting the socket does.
    """

    def __init__(self, tls: ssl.SSLContext, *, trust_environment: bool) -> None:
        self._client = httpx.Client(
            verify=tls,
            trust_env=trust_environment,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_S),
        )
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.was_cut = False  # the connection ended before the deadline and before the reply
        self._expired = False

    def fetch(self, request: _Request, seconds: float, limit: int) -> _Raw:
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        request.message.extensions = {
            "timeout": httpx.Timeout(seconds, connect=min(CONNECT_S, seconds)).as_dict(),
            "trace": self._watch,
        }
        timer.start()
        try:
            raw = self._exchange(request, limit)
        except httpx.HTTPError as error:
            self.was_cut = not (self._expired or isinstance(error, httpx.TimeoutException | httpx.ConnectError))
            raise _mapped(error, str(request.message.url), seconds, expired=self._expired) from _bare(error)
        finally:
            timer.cancel()
            timer.join()
        if self._expired and request.quiet_s is None:
            raise too_slow(str(request.message.url), seconds)
        return raw

    def close(self) -> None:
        self._client.close()

    def _exchange(self, request: _Request, limit: int) -> _Raw:
        response = self._client.send(request.message, stream=True, auth=request.auth)
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            if request.quiet_s is None or response.status_code >= _REDIRECT:
                return _Raw(response.status_code, whole_body(response, limit), headers)
            request.message.extensions["timeout"]["read"] = request.quiet_s
            return _Raw(response.status_code, _heard(response, limit), headers)
        finally:
            response.close()

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn the socket as soon as there is one: httpcore tells through its trace extension."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        with self._lock:
            self._socket = info["return_value"].get_extra_info("socket")
            if self._expired:
                self._cut()

    def _expire(self) -> None:
        with self._lock:
            self._expired = True
            self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # gone already
                self._socket.shutdown(2)


@functools.lru_cache(maxsize=256)
def _address(url: str, query: tuple[tuple[str, str], ...]) -> httpx.URL:
    """Parse an address once: the same few are called again and again, and parsing is most of what a call costs here."""
    return httpx.URL(url, params=dict(query)) if query else httpx.URL(url)


@functools.cache
def _headers(*, with_body: bool) -> httpx.Headers:
    """Return what every request says; each request takes a copy."""
    headers = {
        "User-Agent": f"gpuplug/{sys.modules['gpuplug'].__version__}",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
    }
    return httpx.Headers({**headers, "Content-Type": "application/json"} if with_body else headers)


def _heard(response: httpx.Response, limit: int) -> bytes:
    """Return what a stream says until it is quiet, cut, over, or longer than `limit`."""
    heard = bytearray()
    with contextlib.suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            heard += chunk
            if len(heard) > limit:
                break
    return bytes(heard[:limit])


def _mapped(error: httpx.HTTPError, url: str, seconds: float, *, expired: bool) -> UnreachableError:
    if expired or isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return too_slow(url, seconds)
    return no_answer(url, clean(str(error)), never_sent=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))


def _bare(error: BaseException) -> BaseException:
    """Drop the frames of the HTTP library: their variables hold the request's headers, and so the key."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
