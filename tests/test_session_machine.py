"""A session with a rented machine of the sandbox: its SSH, its link with faults, the agent that is sent there."""

from __future__ import annotations

from machine_kit import machine
from session_kit import collect, take_until

from gpuplug.session import CellRequest, Session, Timing
from gpuplug.streams.ssh import SshConnection, connect
from gpuplug.types import Endpoint, Identity, Secret, SystemClock

TIMING = Timing(pause_s=0.02, longest_pause_s=0.1)


def test_a_cell_survives_a_cut_and_a_refused_return() -> None:
    with machine() as rented:
        identity = Identity(Secret(rented.user_key), rented.host_key_line)

        def reach() -> SshConnection:
            return connect(Endpoint(rented.host, rented.port), identity)

        said: list[str] = []
        session = Session(reach, "nb", clock=SystemClock(), on_link=said.append, timing=TIMING)
        session.open(30)
        session.submit(CellRequest("c1", "print(input())"))
        take_until(session, "input_request")
        rented.link.refuse(0.3)
        rented.link.cut()
        session.answer("c1", "back again")
        events = collect(session, "c1")
        assert b"".join(e.payload for e in events if e.kind == "stream") == b"back again\n"
        assert said == ["connection lost, reconnecting", "connected again"]
        session.close()
