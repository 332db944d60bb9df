"""Runs alone, where a vendor's own client is installed: `python vendors.py PLATFORM`, the key on standard input.

Prints what that client says as one JSON object: `instances` (ids), `balance` (dollars), `offers` (a number). It is
never imported by the rest: some of these clients take seconds to import, and one asks the network while it does.
"""

import json
import sys
from typing import Any


def vast(key: str) -> dict[str, Any]:
    """Ask the `vastai` package."""
    from vastai import VastAI  # noqa: PLC0415 - only this vendor's environment has it

    sdk = VastAI(api_key=key)
    return {
        "instances": sorted(str(row["id"]) for row in sdk.show_instances()),
        "balance": str(sdk.show_user()["credit"]),
        "offers": len(sdk.search_offers(query="rentable=true num_gpus=1")),
    }


def runpod(key: str) -> dict[str, Any]:
    """Ask the `runpod` package."""
    import runpod as sdk  # noqa: PLC0415 - only this vendor's environment has it

    sdk.api_key = key
    return {
        "instances": sorted(str(row["id"]) for row in sdk.get_pods()),
        "balance": str(sdk.get_user().get("clientBalance", "")),
        "offers": len(sdk.get_gpus()),
    }


VENDORS = {"vast": vast, "runpod": runpod}

if __name__ == "__main__":
    answer = VENDORS[sys.argv[1]](sys.stdin.read().strip())
    sys.stdout.write(json.dumps(answer) + "\n")
