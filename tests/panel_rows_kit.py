"""States as the server may send them, large and hostile; docs/panel.md tells their form."""

from __future__ import annotations

import datetime as dt
from typing import Any

HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>\u202e'


def offers(count: int) -> dict[str, Any]:
    """Return as many offers as a large account sees, with names as a hostile host may choose them."""
    rows = [
        {
            "id": f"vast/{index}",
            "platform": "vast",
            "gpu": HOSTILE if index % 3 == 0 else "RTX 4090",
            "gpu_count": 1,
            "vram_gb": 24,
            "usd_per_hour": f"0.{100_000 + index}",
            "disk_usd_per_hour": None,
            "sent_usd_per_gb": None,
            "reliability": None,
            "down_mbps": 500.0,
            "up_mbps": None,
            "cuda": "",
            "region": HOSTILE,
            "cloud": HOSTILE,
            "spot": False,
            "simulated": True,
            "suspicious": HOSTILE if index % 50 == 0 else "",
            "at": None,
            "series": "s",
        }
        for index in range(count)
    ]
    frame = {
        "at": None,
        "stale_after_s": None,
        "loading": False,
        "error": None,
        "dropped": 0,
        "hours": 1,
        "disk_gb": 20,
    }
    return {**frame, "revision": 1, "total": count, "items": rows, "series": {}, "troubles": [HOSTILE]}


def now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def part(items: list[Any] | None, **changes: object) -> dict[str, Any]:
    frame = {"at": now(), "stale_after_s": None, "loading": False, "error": None, "items": items}
    return {**frame, **changes}


GAUGE = {
    "name": "RTX 4090",
    "use_percent": 93,
    "vram_used_mb": 20100,
    "vram_total_mb": 24564,
    "temperature_c": 71,
    "power_w": 320.5,
}


def pods(count: int) -> list[dict[str, Any]]:
    """Return as many pods, each with a lease that drains and two GPUs at work."""
    soon = (dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=12)).isoformat().replace("+00:00", "Z")
    return [
        {
            "id": f"gp-{index}",
            "number": str(index),
            "platform": "vast",
            "label": f"gp-{index}",
            "name": HOSTILE,
            "notebook": "train-1a2b3c4d",
            "gpu": HOSTILE if index else "RTX 4090",
            "gpu_count": 2,
            "simulated": True,
            "spot": False,
            "mine": True,
            "state": "running",
            "state_text": "running",
            "phase": HOSTILE,
            "since": now(),
            "created": now(),
            "checked": now(),
            "usd_per_hour": "0.310000",
            "cost_usd": "0.120000",
            "cost_at": now(),
            "billing": True,
            "lease_s": 900,
            "lease_ends": soon,
            "hard_ends": soon,
            "hard_s": 14400,
            "runs": "job" if index == 0 else None,
            "gauges": {"at": now(), "lease_left_s": 720.0, "gpus": [GAUGE, GAUGE]},
            "may": {"extend": {}, "stop": {"text": "the disk bills"}, "destroy": {}, "adopt": None, "ssh": {}},
        }
        for index in range(count)
    ]


ALERT = {
    "id": "a",
    "kind": "destroy_failed",
    "severity": "error",
    "text": "RTX 4090 vast #1234 was not destroyed: vast answers 500; it still bills $0.31/h",
    "since": now(),
    "pod": "gp-0",
    "settles": "until the platform shows that it is gone",
    "actions": ["destroy"],
    "console_url": "javascript:alert(1)",
}


def state(count: int) -> dict[str, Any]:
    """Return a whole state with `count` pods, an alert, and a platform that cannot be reached."""
    error = {"text": "vast does not answer", "hint": "look at status.vast.ai", "billing": "", "since": now()}
    return {
        "version": 1,
        "now": now(),
        "source": "server",
        "revision": 1_000_000,
        "platforms": part([]),
        "pods": part(pods(count), error=error),
        "jobs": part([]),
        "spend": {**part(None), "figures": {"real": None, "simulated": None}},
        "alerts": part([ALERT]),
        "operations": part([]),
    }
