"""How the marketplace says no: a status, a slug, a text, all as the real service spells them."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A refusal: answered as `{"success": false, "error": slug, "msg": text, ...}` with `status`."""

    def __init__(self, status: int, slug: str, text: str, **more: object) -> None:
        super().__init__(text)
        self.status = status
        self.body: dict[str, Any] = {"success": False, "error": slug, "msg": text, **more}


def bad_key() -> ApiError:
    """The service answers 404, not 401, to a key that it does not know."""
    return ApiError(404, "auth_error", "Invalid user key")


def not_allowed() -> ApiError:
    """A key that may not do this."""
    return ApiError(403, "not_authorized", "Not authorized")


def invalid(text: str) -> ApiError:
    """Arguments that make no sense."""
    return ApiError(400, "invalid_args", text)


def taken(ask_id: int) -> ApiError:
    """The offer is gone; the text's two spaces are the service's own."""
    text = f"error 404/3603: no_such_ask  Instance type by id {ask_id} is not available."
    return ApiError(400, "invalid_args", text, ask_id=ask_id)


def unavailable(ask_id: int) -> ApiError:
    """The offer cannot start now and the caller asked not to queue."""
    text = f"error 410/3907: no_such_ask  Instance type by id {ask_id} is no longer available."
    return ApiError(410, "no_such_ask", text, ask_id=ask_id)


def no_instance(instance_id: int) -> ApiError:
    """The instance does not exist (any more)."""
    return ApiError(404, "no_such_instance", f"Instance {instance_id} not found.")


def no_credit() -> ApiError:
    """The prepaid credit is used up."""
    return ApiError(400, "insufficient_credit", "Your account lacks credit; see the billing page.")


QUEUED: dict[str, Any] = {
    "success": False,
    "msg": "Required resources are currently unavailable, state change queued.",
}
DONE: dict[str, Any] = {"success": True}
