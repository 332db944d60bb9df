"""Runs in gpuhunt's own environment: asks its unmodified providers, whose addresses are attributes of their modules."""

import json
import os
import sys

from gpuhunt import QueryFilter
from gpuhunt.providers import runpod, vastai

vastai.bundles_url = os.environ["VAST_URL"] + "/api/v0/bundles/"
runpod.API_URL = os.environ["RUNPOD_API_BASE_URL"] + "/graphql"


def rows(items):  # noqa: ANN001, ANN201 - gpuhunt's environment has no types of ours
    keys = ("instance_name", "location", "price", "gpu_name", "gpu_count", "gpu_memory", "spot")
    return [{key: getattr(item, key) for key in keys} for item in items]


vast = vastai.VastAIProvider().get(QueryFilter(gpu_name=["RTX4090"], max_gpu_count=1))
json.dump({"vast": rows(vast), "runpod": rows(runpod.RunpodProvider().get())}, sys.stdout)
