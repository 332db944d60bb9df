"""What a stranger's stream or adapter can be judged with. Needs pytest (`pip install gpuplug[test]`)."""

from __future__ import annotations

from gpuplug.testing.clock import FakeClock
from gpuplug.testing.streams import StreamSuite

__all__ = ["FakeClock", "StreamSuite"]
