"""A value's way to the other end and back, headers through JSON as on the wire."""

from __future__ import annotations

import json
from typing import Any

from gpuplug.agent import values


def round_trip(value: object) -> Any:  # noqa: ANN401 - any value
    """Return what the other end sees of `value`."""
    header, payload = values.encode(value)
    assert len(json.dumps(header)) < 1000, "the header stays small whatever the value"
    return values.decode(json.loads(json.dumps(header)), payload)
