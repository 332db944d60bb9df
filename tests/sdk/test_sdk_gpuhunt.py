"""gpuhunt, which dstack takes its prices from, reads the offers of both dialects with its own unmodified providers.

Their addresses are attributes of their modules and no option, so the driver sets those; nothing else is touched.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from runpod_kit import GPU, runpod_client
from sandbox_kit import market, offers
from sdk_kit import client_environment, drive, programs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sdk
REQUIREMENT = "gpuhunt==0.1.34"


def test_gpuhunt_finds_the_offers_of_both_markets(tmp_path: Path) -> None:
    vendor = programs(REQUIREMENT, ".venv-sdk-gpuhunt-0.1.34")
    with market(seed=9, pull=0) as shop:
        seen = json.loads(drive(vendor / "python", "drive_gpuhunt.py", client_environment(shop, tmp_path)))
        with shop.client() as vast:
            listed = {str(row["id"]): row for row in offers(vast, verified={"in": [True, False]})}
        with runpod_client(shop) as api:
            price = {row["id"]: row for row in api.get("/v2/catalog/gpus").json()["gpus"]}[GPU]["price"]
    found = [row for row in seen["vast"] if not row["spot"]]
    assert {row["gpu_name"] for row in found} == {"RTX4090"}
    assert {row["instance_name"] for row in found} <= listed.keys()
    assert any(row["spot"] for row in seen["vast"])
    mine = [row for row in seen["runpod"] if row["instance_name"] == GPU]
    assert {row["gpu_name"] for row in mine} == {"RTX4090"}
    home = {row["gpu_count"]: row["price"] for row in mine if row["location"] == "EU-RO-1"}
    assert (home[1], home[2]) == (price["secure"], pytest.approx(2 * price["secure"]))
    assert any(row["instance_name"].startswith("cpu3c-2-") for row in seen["runpod"])
