"""How RunPod says no: RFC 9457 problems, with the service's own texts."""

from __future__ import annotations

from typing import Any

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
}
NO_INSTANCES = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
NO_RESOURCES = "This machine does not have the resources to deploy your pod. Please try a different machine"
TOO_POOR = "Your account balance is too low to rent a pod. Please add funds to your account and try again."


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """A refusal; GraphQL answers its text with status 200."""

    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors

    def body(self) -> dict[str, Any]:
        """Return it as `application/problem+json` has it."""
        more = {} if self.errors is None else {"errors": self.errors}
        title = TITLES.get(self.status, "Error")
        return {"title": title, "status": self.status, "detail": self.detail, **more}


def no_capacity(text: str = NO_INSTANCES) -> Problem:
    """No machine fits: the same status as a broken rule, told apart by its text only."""
    return Problem(400, text)


def too_poor() -> Problem:
    """Less than an hour of credit is left."""
    return Problem(402, TOO_POOR)


def not_found(what: str) -> Problem:
    """There is no such thing (any more)."""
    return Problem(404, f"{what} not found")


def bad(text: str) -> Problem:
    """A rule is broken."""
    return Problem(400, text)


def misshapen(errors: list[str]) -> Problem:
    """The body is not in its shape."""
    return Problem(422, "request body validation failed", errors)
