"""Runs in the vendor's own environment: drives the runpod module through one pod's life and prints what it saw."""

import json
import os
import sys
import time

import runpod

GPU = "NVIDIA GeForce RTX 4090"
REST = runpod.__version__.startswith("2.")


def until(read):  # noqa: ANN001, ANN201 - the vendor's environment has no types to name
    for _ in range(400):
        if read():
            return
        time.sleep(0.05)
    raise SystemExit(f"never so: {read()!r}")


runpod.api_key = os.environ["RUNPOD_API_KEY"]
gpus = runpod.get_gpus()
made = runpod.create_pod(
    name="first",
    image_name="runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
    gpu_type_id=GPU,
    cloud_type="SECURE",
    container_disk_in_gb=20,
    volume_in_gb=20,
    volume_mount_path="/workspace",
    ports="22/tcp,8888/http",
    env={"GREETING": "hello"},
)
number = made["id"]
until(lambda: runpod.get_pod(number)["runtime"])
seen = {
    "number": number,
    "gpus": sorted(row["id"] for row in gpus),
    "gpu": runpod.get_gpu(GPU),
    "user": runpod.get_user(),
    "listed": [row["id"] for row in runpod.get_pods()],
    "pod": runpod.get_pod(number),
    "stopped": runpod.stop_pod(number),
    "resumed": runpod.resume_pod(number) if REST else runpod.resume_pod(number, 1),
}
until(lambda: runpod.get_pod(number)["runtime"])
seen["ended"] = runpod.terminate_pod(number)
seen["after"] = runpod.get_pods()
seen["missing"] = runpod.get_pod(number)
try:
    runpod.terminate_pod(number)
except runpod.error.QueryError as error:
    seen["again"] = str(error)
json.dump(seen, sys.stdout)
