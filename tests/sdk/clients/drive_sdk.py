"""Runs in the vendor's own environment: drives the SDK class through one instance's life and prints what it saw."""

import json
import sys
import time

from vastai import VastAI


def until(read, wanted):  # noqa: ANN001, ANN201 - the vendor's environment has no types to name
    for _ in range(200):
        if read() == wanted:
            return
        time.sleep(0.05)
    raise SystemExit(f"never {wanted!r}, but {read()!r}")


sdk = VastAI()
offers = sdk.search_offers(
    query="gpu_name=RTX_4090 num_gpus=1 reliability>0.9 rented=false", order="dph_total", storage=20, limit=5
)
made = sdk.create_instance(
    id=offers[0]["id"],
    image="vastai/base-image",
    disk=20,
    label="first",
    env="-e GREETING=hello",
    ssh=True,
    direct=True,
    onstart_cmd="echo ${GREETING} from $CONTAINER_ID",
)
number = made["new_contract"]
status = lambda: sdk.show_instance(number)["actual_status"]  # noqa: E731
until(status, "running")
until(lambda: f"hello from {number}" in sdk.logs(number), wanted=True)
seen = {
    "prices": [row["dph_total"] for row in offers],
    "names": sorted({row["gpu_name"] for row in offers}),
    "user_credit": sdk.show_user()["credit"],
    "listed": [row["id"] for row in sdk.show_instances()],
    "extra_env": sdk.show_instance(number)["extra_env"],
    "age": sdk.show_instance(number)["duration"],
    "ssh_url": sdk.ssh_url(number),
    "tail": sdk.logs(number, tail="1"),
    "ls": sdk.execute(number, "ls /"),
    "missing": sdk.show_instance(999),
}
sdk.label_instance(number, "second")
seen["label"] = sdk.show_instances()[0]["label"]
sdk.stop_instance(number)
until(status, "exited")
sdk.start_instance(number)
until(status, "running")
seen["destroyed"] = sdk.destroy_instance(number)
seen["after"] = sdk.show_instances()
json.dump(seen, sys.stdout)
