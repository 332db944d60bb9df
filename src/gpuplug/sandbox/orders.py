"""What a create request asks for, checked against the service's own limits."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.replies import ApiError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_IMAGE = 1024
MAX_ONSTART = 4048
MAX_LABEL = 256
MAX_ENV_VALUE = 256
MAX_ENV = 32_768
MAX_PORTS = 64
MIN_DISK = 8
BID_RANGE = (0.001, 128.0)


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted create request; `bid` is dollars per hour and machine, None for on-demand."""

    image: str
    disk_gb: float
    label: str | None
    onstart: str
    args: tuple[str, ...]
    runtype: str
    env: tuple[tuple[str, str], ...]
    bid: float | None
    cancel_unavail: bool
    stopped: bool

    @property
    def ssh(self) -> bool:
        """Whether the service puts an sshd into the container."""
        return not self.runtype.startswith("args")

    @property
    def direct(self) -> bool:
        """Whether open ports of the machine were asked for."""
        return "direc" in self.runtype

    @property
    def jupyter(self) -> bool:
        """Whether the proxy's SSH port is the one after `ssh_port`."""
        return "jupyter" in self.runtype

    @property
    def variables(self) -> dict[str, str]:
        """The environment without the docker flags that travel in the same object."""
        return {name: value for name, value in self.env if not name.startswith("-")}

    @property
    def command(self) -> str:
        """What the container runs at each start."""
        return " ".join([self.onstart, *map(shlex.quote, self.args)]).strip()


def parse(body: Mapping[str, Any]) -> Order:
    """Check a create body.

    Raises:
        ApiError: as the service would refuse it.
    """
    bid = _bid(body.get("price"))
    target = body.get("target_state", "running")
    return Order(
        image=_text(body, "image", MAX_IMAGE, required=True),
        disk_gb=_disk(body.get("disk", 10)),
        label=_label(body.get("label")),
        onstart=_text(body, "onstart", MAX_ONSTART),
        args=_args(body),
        runtype=_text(body, "runtype", MAX_LABEL) or "ssh",
        env=_env(body.get("env")),
        bid=bid,
        cancel_unavail=bool(body.get("cancel_unavail", bid is None and target == "running")),
        stopped=target == "stopped",
    )


def _text(body: Mapping[str, Any], name: str, limit: int, *, required: bool = False) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value):
        raise invalid(f"{name} must be a string")
    if len(value) > limit:
        raise invalid(f"{name} is longer than {limit} characters")
    return value


def _label(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid("label must be a string")
    if len(value) > MAX_LABEL:
        raise ApiError(400, "label_too_long", f"label is longer than {MAX_LABEL} characters")
    return value


def _args(body: Mapping[str, Any]) -> tuple[str, ...]:
    args = body.get("args") or []
    if not isinstance(args, list):
        raise invalid("args must be a list")
    return tuple(str(arg) for arg in args)


def _disk(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < MIN_DISK:
        raise invalid(f"disk must be a number of GB, at least {MIN_DISK}")
    return float(value)


def _bid(value: object) -> float | None:
    if value is None:
        return None
    low, high = BID_RANGE
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ApiError(400, "invalid_price", f"price must be between {low} and {high}")
    return float(value)


def _env(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        # A string of docker flags is accepted and does nothing: that is what the service does.
        return ()
    pairs = tuple((str(name), str(text)) for name, text in value.items())
    if sum(name.startswith("-p ") for name, _ in pairs) > MAX_PORTS:
        raise invalid(f"more than {MAX_PORTS} ports")
    if any(len(text) > MAX_ENV_VALUE for _, text in pairs):
        raise invalid(f"an environment value is longer than {MAX_ENV_VALUE} characters")
    if sum(len(name) + len(text) for name, text in pairs) > MAX_ENV:
        raise invalid(f"the environment is longer than {MAX_ENV} characters")
    return pairs
