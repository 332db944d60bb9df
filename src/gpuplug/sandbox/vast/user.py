"""The account's own routes: the user, SSH keys, charges, and the few of volumes and copying."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox import query
from gpuplug.sandbox.accounts import checked_public_key
from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.replies import DONE, ApiError, invalid
from gpuplug.sandbox.vast.door import body_of
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.market import Market

USER_ID = 4711
MOST_CHARGES = 500


def _within(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Tell whether a charge is of the type and of the days that were asked for."""
    days = filters.get("day", {})
    types = filters.get("type", {}).get("in", [row["type"]])
    return bool(
        row["type"] in types and row["end"] >= days.get("gte", 0) and row["start"] <= days.get("lte", row["end"])
    )


KEY_ID = 1


class User:
    """Handlers of the routes that concern the account."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", "/api/v0/users/current/", "user", self._user),
            Route("GET", "/api/v0/auth/apikeys/", "api_keys", self._api_keys),
            Route("GET", "/api/v0/ssh/", "account_keys", self._keys),
            Route("POST", "/api/v0/ssh/", "account_keys", self._add_key),
            Route("PUT", r"/api/v0/ssh/{key:\d+}/", "account_keys", self._change_key),
            Route("DELETE", r"/api/v0/ssh/{key:\d+}/", "account_keys", self._remove_key),
            Route("GET", "/api/v0/charges/", "charges", self._charges),
            Route("GET", "/api/v1/invoices/", "invoices", self._invoices),
            Route("POST", "/api/v0/volumes/search/", "volumes", self._volume_offers),
            Route("GET", "/api/v0/volumes/", "volumes", self._volumes),
            Route("PUT", "/api/v0/volumes/", "volumes", self._rent_volume),
            Route("DELETE", "/api/v0/volumes/", "volumes", self._rent_volume),
            Route("PUT", "/api/v0/commands/copy_direct/", "copy", self._copy),
            Route("PUT", "/api/v0/commands/rsync/", "copy", self._copy),
        ]

    async def _user(self, _request: web.Request) -> web.Response:
        left = self._market.credit_left() / MICROS
        return web.json_response(
            {
                "id": USER_ID,
                "username": "sandbox",
                "email": "sandbox@example.invalid",
                "fullname": "Sandbox",
                "credit": max(left, 0.0),
                "balance": min(left, 0.0),
                "sid": "C.4711",
                "key_id": KEY_ID,
                "ssh_key": next(iter(self._market.account.ssh_keys.values()), None),
                "api_key": self._market.account.key,
                "can_pay": True,
            }
        )

    async def _api_keys(self, _request: web.Request) -> web.Response:
        rights = self._market.account.rights
        told: dict[str, Any] | None = None if rights is None else {"api": {name: {} for name in sorted(rights)}}
        key = {"id": KEY_ID, "user_id": USER_ID, "rights": told, "team_id": None, "team_name": None}
        return web.json_response({"apikeys": [key]})

    def _key(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "user_id": USER_ID,
            "public_key": self._market.account.ssh_keys[number],
            "created_at": "2026-01-01T00:00:00",
            "deleted_at": None,
        }

    async def _keys(self, _request: web.Request) -> web.Response:
        keys = self._market.account.ssh_keys
        if not keys:
            raise ApiError(404, "not_found", "No ssh keys found")
        return web.json_response([self._key(number) for number in keys])

    async def _add_key(self, request: web.Request) -> web.Response:
        text = checked_public_key((await body_of(request)).get("ssh_key"))
        number = self._market.account.number()
        self._market.account.ssh_keys[number] = text
        return web.json_response({"success": True, "key": self._key(number)})

    def _known_key(self, request: web.Request) -> int:
        number = int(request.match_info["key"])
        if number not in self._market.account.ssh_keys:
            raise ApiError(404, "not_found", f"ssh key {number} not found")
        return number

    async def _change_key(self, request: web.Request) -> web.Response:
        number = self._known_key(request)
        text = checked_public_key((await body_of(request)).get("ssh_key"))
        self._market.account.ssh_keys[number] = text
        return web.json_response({"success": True, "key": self._key(number)})

    async def _remove_key(self, request: web.Request) -> web.Response:
        del self._market.account.ssh_keys[self._known_key(request)]
        return web.json_response(DONE)

    async def _charges(self, request: web.Request) -> web.Response:
        try:
            filters = json.loads(request.query.get("select_filters") or "{}")
            limit, first = int(request.query.get("limit", "20")), int(request.query.get("after_token") or "0")
        except ValueError:
            raise invalid("select_filters is JSON, limit and after_token are numbers") from None
        if not isinstance(filters, dict) or not 1 <= limit <= MOST_CHARGES:
            raise invalid(f"select_filters is an object, limit is 1 to {MOST_CHARGES}")
        rows = [row for row in self._charge_rows() if _within(row, filters)]
        following = first + limit
        token = str(following) if following < len(rows) else None
        page = rows[first:following]
        answer = {"success": True, "count": len(page), "total": len(rows), "next_token": token}
        return web.json_response({**answer, "results": page})

    def _charge_rows(self) -> list[dict[str, Any]]:
        wall = self._market.clock.wall()
        return [
            {
                "start": row["started"],
                "end": wall,
                "type": "instance",
                "source": f"instance-{row['id']}",
                "description": f"Instance {row['id']} {row['num_gpus']}x {row['gpu']}",
                "amount": row["spend_micros"] / MICROS,
                "metadata": {"label": row["label"]},
                "items": [],
            }
            for row in self._market.rows()
        ]

    async def _invoices(self, _request: web.Request) -> web.Response:
        answer: dict[str, Any] = {"success": True, "count": 0, "total": 0, "next_token": None, "results": []}
        return web.json_response(answer)

    async def _volume_offers(self, request: web.Request) -> web.Response:
        rows = self._market.book.rows(1.0, bid=False)
        found = query.search(rows, await body_of(request))
        return web.json_response({"offers": [dict(row) for row in found]})

    async def _volumes(self, _request: web.Request) -> web.Response:
        return web.json_response({"volumes": []})

    async def _rent_volume(self, _request: web.Request) -> web.Response:
        raise ApiError(422, "invalid_args", "volumes are shown but not rented in the sandbox")

    async def _copy(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        if "src_path" not in body or "dst_path" not in body:
            raise invalid("src_path and dst_path are required")
        address = {"src_addr": "127.0.0.1", "src_port": 22, "dst_addr": "127.0.0.1", "dst_port": 22}
        return web.json_response({"success": True, **address})
