"""What holds for every test."""

from __future__ import annotations

import os
import signal

# A shell that runs a job in the background lets it ignore SIGINT, and its children with it: then no interrupt could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # `nohup` does the same with SIGHUP; a handler, unlike SIG_IGN, is not passed on to programs.
    signal.signal(signal.SIGHUP, lambda *_: None)

# No test may reach a real market, or spend what a developer's key opens: who means a market names it.
NOWHERE = "http://127.0.0.1:9"
for variable in ("VAST_URL", "RUNPOD_API_BASE_URL"):
    os.environ[variable] = NOWHERE
for variable in ("VAST_API_KEY", "RUNPOD_API_KEY", "GPUPLUG_BUDGET"):
    os.environ.pop(variable, None)
