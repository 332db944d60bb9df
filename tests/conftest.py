"""What holds for every test."""

from __future__ import annotations

import signal

# A shell that runs a job in the background lets it ignore SIGINT, and its children with it: then no interrupt could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # `nohup` does the same with SIGHUP; a handler, unlike SIG_IGN, is not passed on to programs.
    signal.signal(signal.SIGHUP, lambda *_: None)
