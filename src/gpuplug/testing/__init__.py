"""What a stranger's stream or adapter can be judged with. Needs pytest (`pip install gpuplug[test]`)."""

from __future__ import annotations

from gpuplug.testing.clock import FakeClock
from gpuplug.testing.market import Market, Trouble
from gpuplug.testing.providers import ProviderSuite
from gpuplug.testing.streams import StreamSuite

__all__ = ["FakeClock", "Market", "ProviderSuite", "StreamSuite", "Trouble"]
