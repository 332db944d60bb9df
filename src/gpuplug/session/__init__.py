"""One agent over one connection: cells, their events, and requests, over as many lost links as there may be."""

from __future__ import annotations

from gpuplug.session.client import Session
from gpuplug.session.messages import CellRequest, Event, Reply, Timing, Welcome

__all__ = ["CellRequest", "Event", "Reply", "Session", "Timing", "Welcome"]
