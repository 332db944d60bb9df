"""Clients come and go; the journal is one stream of bytes, and each takes it from where it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from agent_kit import Agent, Closed, Control, Event, end_process, installed, lives, wait_until

from gpuplug.agent import wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def machine(tmp_path: object) -> Iterator[Agent]:
    with installed(tmp_path / "home") as found:  # type: ignore[operator]
        yield found


def test_a_relay_killed_in_mid_output_loses_and_doubles_nothing(machine: Agent) -> None:
    kills, count, journal = 8, 4000, b""
    source = (
        f"import os, time\nfor k in range({kills}):\n    while not os.path.exists(f'go{{k}}'): time.sleep(0.001)\n"
        f"    for i in range({count}): print(k, i, flush=i % 7 == 0)"
    )
    for kill in range(kills):
        link = machine.control(offset=len(journal))
        assert link.welcome["offset"] == len(journal)
        link.start(source, cell="once")
        (machine.home / "gpuplug" / "k" / f"go{kill}").touch()
        while len(link.raw) < 10_000:
            link.more()
        os.kill(link.child.pid, signal.SIGKILL)
        with contextlib.suppress(Closed):
            while True:
                link.more()
        journal += link.raw
    link = machine.control(offset=len(journal))
    while b'"kind":"done"' not in journal[-400:] + link.raw:
        link.more()
    events = [Event(*frame) for frame in wire.Decoder().feed(journal + link.raw)]
    assert [event.header["seq"] for event in events] == list(range(1, len(events) + 1))
    text = b"".join(event.payload for event in events if event.kind == "stream")
    assert text == b"".join(b"%d %d\n" % (k, i) for k in range(kills) for i in range(count))
    assert [event.kind for event in events].count("started") == 1


def test_any_offset_gives_the_same_bytes(machine: Agent) -> None:
    first = machine.control()
    first.cell("for i in range(100): print(i); display(i)")
    whole = bytes(first.raw)
    for offset in (0, 1, len(whole) // 3, len(whole) // 2 + 1, len(whole) - 1, len(whole)):
        with machine.control(offset=offset) as link:
            while len(link.raw) < len(whole) - offset:
                link.more()
            assert link.raw == whole[offset:]


def test_an_offset_beyond_the_end_is_refused(machine: Agent) -> None:
    with machine.open(Control) as link:
        assert link.attach(role="control", kernel="k", offset=1)["op"] == "refused"
        with pytest.raises(Closed):
            link.receive()


@pytest.mark.parametrize(
    "header",
    [
        {"op": "hello"},
        {"op": "attach", "role": "control"},
        {"op": "attach", "role": "control", "kernel": "../up"},
        {"op": "attach", "role": "control", "kernel": ".."},
        {"op": "attach", "role": "control", "kernel": "k" * 81},
        {"op": "attach", "role": "other", "kernel": "k"},
        {"op": "attach", "role": "control", "kernel": "k", "offset": -1},
        {"op": "attach", "role": "control", "kernel": "k", "offset": "0"},
    ],
)
def test_what_is_no_attach_is_refused(machine: Agent, header: dict[str, object]) -> None:
    with machine.open(Control) as link:
        link.load()
        link.send(header)
        assert link.receive()[0]["op"] == "refused"
        with pytest.raises(Closed):
            link.receive()


def test_bytes_that_are_no_frame_end_the_stream_and_nothing_else(machine: Agent) -> None:
    cells = machine.control()
    with machine.open(Control) as link:
        link.load()
        link.write(b"\xff" * 64)
        with pytest.raises(Closed):
            link.receive()
    assert cells.cell("print(1)").text() == "1\n"


def test_two_kernels_do_not_mix(machine: Agent) -> None:
    one, two = machine.control("one"), machine.control("two")
    one.cell("x = 1")
    assert two.cell("print('x' in globals())").text() == "False\n"
    assert one.welcome["work"] != two.welcome["work"]
    assert one.welcome["journal"] != two.welcome["journal"]
    assert len(machine.daemon_pids()) == 1


def test_many_clients_at_once_start_one_daemon(machine: Agent) -> None:
    links = [machine.open(Control) for _ in range(6)]
    for link in links:
        link.attach(role="control", kernel="k", offset=0)
    assert {link.welcome["op"] for link in links} == {"welcome"}
    assert len({link.welcome["journal"] for link in links}) == 1
    assert len(list(machine.state.glob("daemon-*.lock"))) == 1


def test_every_client_sees_every_event(machine: Agent) -> None:
    one, two = machine.control(), machine.control()
    cell = one.start("print('both')")
    assert one.finish(cell).text() == two.finish(cell).text() == "both\n"


def test_a_cell_goes_on_when_all_clients_are_gone(machine: Agent) -> None:
    with machine.control() as link:
        cell = link.start("import os, time\nwhile not os.path.exists('go'): time.sleep(0.005)\nprint('went')")
        link.until(lambda event: event.kind == "started")
        os.killpg(link.child.pid, signal.SIGHUP)
    (machine.home / "gpuplug" / "k" / "go").touch()
    with machine.control() as link:
        assert link.finish(cell).text() == "went\n"


def test_a_client_that_does_not_read_holds_up_nobody(machine: Agent) -> None:
    slow, fast = machine.control(), machine.control()
    big = fast.cell("print('z' * (8 << 20))")
    assert len(big.text()) == (8 << 20) + 1
    cell = fast.start("print('after')")
    assert fast.finish(cell).text() == "after\n"
    assert slow.finish(cell).text() == "after\n"


def test_a_client_that_ends_its_input_gets_what_is_there_and_the_end(machine: Agent) -> None:
    with machine.control() as link:
        link.cell("print(1)")
        assert link.child.stdin is not None
        link.child.stdin.close()
        with pytest.raises(Closed):
            link.receive()
        link.child.wait(10)


def test_the_daemon_ignores_hangups_and_ends_on_term_with_its_kernels(machine: Agent) -> None:
    cells = machine.control()
    kernel = int(cells.cell("import os; print(os.getpid())").text())
    (daemon,) = machine.daemon_pids()
    os.kill(daemon, signal.SIGHUP)
    os.kill(daemon, signal.SIGINT)
    assert cells.cell("print(1)").text() == "1\n"
    end_process(daemon)
    wait_until(lambda: not lives(kernel))
    assert list(machine.state.glob("daemon-*.pid")) == []
    assert list(machine.state.glob("*.sock")) == []


def test_a_daemon_whose_folder_is_removed_ends_with_its_kernels(machine: Agent) -> None:
    kernel = int(machine.control().cell("import os; print(os.getpid())").text())
    (daemon,) = machine.daemon_pids()
    shutil.rmtree(machine.state)
    wait_until(lambda: not lives(daemon) and not lives(kernel))


def test_what_is_acknowledged_is_forgotten_when_the_journal_is_large(machine: Agent) -> None:
    cells = machine.control()
    for _ in range(4):
        cells.cell("import sys\nsys.stdout.write('x' * (17 << 20)); None")
    acknowledged = len(cells.raw)
    cells.send({"op": "ack", "offset": acknowledged})
    after = cells.cell("print('after')")
    with machine.control() as late:
        assert late.welcome["offset"] == acknowledged
        assert late.finish(after.events[0].cell).text() == "after\n"
    (file,) = next((machine.state / "kernels" / "k").glob("journal-*")).iterdir()
    assert file.stat().st_size < 10_000


def test_after_the_death_of_the_daemon_the_journal_goes_on_and_the_cell_is_told_dead(machine: Agent) -> None:
    cells = machine.control()
    cells.cell("print('before')")
    cell = cells.start("print('tail', flush=True)\nimport time\ntime.sleep(600)")
    cells.until(lambda event: event.kind == "stream")
    kernel = int((machine.state / "kernels" / "k" / "pid").read_text())
    (daemon,) = machine.daemon_pids()
    end_process(daemon, signal.SIGKILL)
    wait_until(lambda: not lives(kernel))
    again = machine.control(offset=len(cells.raw))
    assert again.welcome["journal"] == cells.welcome["journal"]
    again.start("print('again')", cell=cell)
    done = again.finish(cell)
    assert (done.kinds(), done.status, done.done["restarted"]) == (["done"], "died", True)
    after = again.cell("print('after')")
    assert (after.text(), after.done["restarted"]) == ("after\n", False)
    (fresh,) = machine.daemon_pids()
    assert fresh != daemon


def test_a_very_long_path_of_the_state_is_no_hindrance(tmp_path: object) -> None:
    home = tmp_path / ("long" * 30)  # type: ignore[operator]
    with installed(home) as machine:
        assert machine.control().cell("print(1)").text() == "1\n"
