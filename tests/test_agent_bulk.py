"""Requests beside the cells: files, values, probe, lease."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from agent_kit import Agent, Bulk, Control, Ran, installed

from gpuplug.agent import switch, values, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with installed(tmp_path_factory.mktemp("bulk") / "home") as found:
        yield found


@pytest.fixture(scope="module")
def cells(machine: Agent) -> Control:
    return machine.control()


@pytest.fixture(scope="module")
def bulk(machine: Agent) -> Bulk:
    return machine.bulk()


def work(machine: Agent) -> Path:
    return machine.home / "gpuplug" / "k"


def ship(bulk: Bulk, path: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    rows = json.dumps([[path, len(content), False, digest]]).encode()
    header, lacking = bulk.ask("manifest", rows)
    assert (header["ok"], json.loads(lacking)) == (True, [[0, 0]])
    assert bulk.ask("put", content, pieces=[[digest, len(content), 0, len(content)]])[0]["ok"]
    assert bulk.ask("commit", rows)[0]["ok"]


def put(bulk: Bulk, name: str, value: object, piece: int = 1 << 20) -> None:
    blob = wire.pack_value(*values.encode(value))
    for offset in range(0, len(blob), piece):
        part = blob[offset : offset + piece]
        assert bulk.ask("value_put", part, name=name, offset=offset, total=len(blob))[0]["ok"]


def fetch(bulk: Bulk, ran: Ran) -> dict[str, Any]:
    found = {}
    for event in ran.only("output"):
        name, blob = event.header["name"], b""
        while len(blob) < event.header["size"]:
            header, piece = bulk.ask("value_get", cell=event.cell, name=name, offset=len(blob), length=1000)
            assert header["ok"]
            blob += piece
        found[name] = values.decode(*wire.unpack_value(blob))
    return found


def changed(ran: Ran) -> list[str]:
    return [row[0] for event in ran.only("files") for row in json.loads(event.payload)]


def test_files_go_there_and_the_cell_reads_them(machine: Agent, bulk: Bulk, cells: Control) -> None:
    ship(bulk, "data/in.txt", b"some content")
    ran = cells.cell("print(open('data/in.txt').read())")
    assert ran.text() == "some content\n"
    assert changed(ran) == []
    assert (work(machine) / "data" / "in.txt").read_bytes() == b"some content"


def test_files_that_a_cell_makes_or_changes_are_named_before_done(bulk: Bulk, cells: Control) -> None:
    ship(bulk, "data/edit.txt", b"first")
    ran = cells.cell(
        "import os\nos.makedirs('out', exist_ok=True)\nopen('out/a', 'w').write('new')\n"
        "open('data/edit.txt', 'a').write('!')\nNone"
    )
    assert changed(ran) == ["data/edit.txt", "out/a"]
    assert ran.kinds()[-2:] == ["files", "done"]
    (row,) = [row for row in json.loads(ran.only("files")[0].payload) if row[0] == "out/a"]
    assert (row[1], row[3]) == (3, False)
    assert changed(cells.cell("1")) == []
    header, content = bulk.ask("get", pieces=[["out/a", 0, 3]])
    assert (header["ok"], header["lengths"], content) == (True, [3], b"new")


def test_files_are_named_after_a_death_too(cells: Control) -> None:
    ran = cells.cell("import os\nopen('last', 'w').write('words')\nos._exit(1)")
    assert (ran.status, changed(ran), ran.kinds()[-2:]) == ("died", ["last"], ["files", "done"])


def test_files_written_between_cells_come_with_the_next(machine: Agent, cells: Control) -> None:
    cells.cell("1")
    (work(machine) / "late").write_text("late")
    assert changed(cells.cell("1")) == ["late"]


def test_a_refused_request_says_why_and_the_next_is_answered(bulk: Bulk) -> None:
    rows = json.dumps([["../up", 0, False, "0" * 64]]).encode()
    header, _ = bulk.ask("manifest", rows)
    assert (header["ok"], header["error"]) == (False, "path")
    header, _ = bulk.ask("commit", json.dumps([["x", 1, False, "0" * 64]]).encode())
    assert (header["error"], header["paths"]) == ("mismatch", ["x"])
    assert bulk.ask("nonesuch")[0]["error"] == "bad_request"
    assert bulk.ask("ping")[0]["ok"]


@pytest.mark.parametrize(
    "header",
    [
        {"op": "value_put", "name": "../x", "offset": 0, "total": 1},
        {"op": "value_put", "name": "x", "offset": 5, "total": 6},
        {"op": "value_put", "name": "x", "offset": -1, "total": 6},
        {"op": "value_put", "name": "x", "offset": 0, "total": 0},
        {"op": "value_put"},
        {"op": "value_get", "cell": "..", "name": "x", "offset": 0, "length": 1},
        {"op": "value_get", "cell": "c", "name": "x/y", "offset": 0, "length": 1},
        {"op": "value_get", "cell": "c", "name": "x", "offset": 0, "length": 1 << 30},
        {"op": "terms", "lease_s": "soon"},
        {"op": None},
    ],
)
def test_nonsense_is_refused(bulk: Bulk, header: dict[str, Any]) -> None:
    answer, _ = bulk.ask(payload=b"1", **header)
    assert (answer["ok"], answer["error"]) == (False, "bad_request")


def test_requests_sent_ahead_are_answered_in_order(bulk: Bulk) -> None:
    for number in range(200):
        bulk.send({"op": "hash" if number % 3 else "ping", "id": number}, b"[]")
    assert [bulk.receive()[0]["id"] for _ in range(200)] == list(range(200))


def test_a_client_that_asks_without_reading_is_made_to_wait(machine: Agent, cells: Control) -> None:
    (work(machine) / "big").write_bytes(bytes(1 << 20))
    with machine.bulk() as greedy:
        for number in range(40):
            greedy.send({"op": "get", "id": number, "pieces": [["big", 0, 1 << 20]]})
        assert cells.cell("print('free')").text() == "free\n"
        assert [len(greedy.receive()[1]) for _ in range(40)] == [1 << 20] * 40


def test_values_go_in_and_come_out(bulk: Bulk, cells: Control) -> None:
    put(bulk, "x", {"a": [1, 2.5, None]}, piece=7)
    ran = cells.cell("y = {'got': x}", inputs=["x"], outputs=["y"])
    assert fetch(bulk, ran) == {"y": {"got": {"a": [1, 2.5, None]}}}
    assert ran.kinds() == ["started", "output", "done"]


def test_a_value_stays_for_later_cells_and_is_fixed_when_the_cell_is_sent(bulk: Bulk, cells: Control) -> None:
    put(bulk, "v", 1)
    blocker = cells.start("input()")
    first = cells.start("print(v)", inputs=["v"])
    cells.until(lambda event: event.kind == "input_request")
    assert bulk.ask("ping")[0]["busy"] == 2
    put(bulk, "v", 2)
    second = cells.start("print(v)", inputs=["v"])
    third = cells.start("print(v)", inputs=["v"])
    cells.send({"op": "input", "cell": blocker, "text": ""})
    assert [cells.finish(cell).text() for cell in (first, second, third)] == ["1\n", "2\n", "2\n"]


def test_a_value_that_was_not_sent_is_the_cells_error(cells: Control) -> None:
    ran = cells.cell("print('not reached')", inputs=["unsent"])
    assert (ran.status, ran.kinds()) == ("error", ["started", "error", "done"])
    assert "unsent" in ran.only("error")[0].header["evalue"]


def test_modules_are_imported_under_their_names(cells: Control) -> None:
    modules = [["j", "json"], ["join", "os.path:join"]]
    assert cells.cell("print(j.__name__, join('a', 'b'))", modules=modules).text() == "json a/b\n"
    ran = cells.cell("1", modules=[["n", "nonesuch"]])
    assert ran.only("error")[0].header["ename"] == "ModuleNotFoundError"
    ran = cells.cell("1", modules=[["n", "json:nonesuch"]])
    assert ran.only("error")[0].header["ename"] == "ImportError"


def test_what_cannot_come_out_says_why_and_the_cell_is_fine(cells: Control) -> None:
    ran = cells.cell("f = lambda: 0\ng = 3", outputs=["f", "missing", "g"])
    errors = {event.header["name"]: event.header.get("error") for event in ran.only("output")}
    assert ran.status == "ok"
    assert errors["missing"] == "name 'missing' is not defined"
    assert errors["f"]
    assert errors["g"] is None


def test_a_failed_cell_gives_nothing_out(cells: Control) -> None:
    assert cells.cell("z = 1\n1/0", outputs=["z"]).kinds() == ["started", "error", "done"]


def test_probe_says_what_the_machine_is(machine: Agent, bulk: Bulk) -> None:
    answer, _ = bulk.ask("probe")
    assert answer["python"] == bulk.welcome["python"]
    assert answer["ipython"].split(".")[0].isdigit()
    assert answer["disk_free"] > 0
    assert isinstance(answer["gpus"], list)
    assert answer["environment"] == f"{machine.python}: the active virtual environment"


def test_without_a_switch_ping_says_none_and_writes_nothing(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine, machine.bulk() as bulk:
        answer, _ = bulk.ask("ping")
        assert (answer["switch"], answer["lease_left"], answer["busy"]) == ("none", None, 0)
        assert abs(answer["uptime"] - switch.uptime()) < 60
        assert bulk.ask("terms", lease_s=60, budget_s=None)[0]["ok"]
        assert not (machine.state / "switch").exists()


def test_ping_renews_the_contact_and_terms_set_lease_and_budget(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".gpuplug" / "switch"
    folder.mkdir(parents=True)
    for name, word in (("contact", "1"), ("lease", "900"), ("state", "armed"), ("beat", f"{switch.uptime():.0f}")):
        (folder / name).write_text(word + "\n")
    with installed(tmp_path / "home") as machine, machine.bulk() as bulk:
        answer, _ = bulk.ask("ping")
        assert answer["switch"] == "armed"
        assert 890 < answer["lease_left"] <= 900
        assert abs(float((folder / "contact").read_text()) - switch.uptime()) < 60
        bulk.ask("terms", lease_s=120, budget_s=1000)
        assert float((folder / "lease").read_text()) == 120
        assert abs(float((folder / "budget").read_text()) - switch.uptime() - 1000) < 60
        bulk.ask("terms", lease_s=120, budget_s=None)
        assert not (folder / "budget").exists()
        (folder / "beat").write_text("1\n")
        assert bulk.ask("ping")[0]["switch"] == "silent"
        assert not [file for file in folder.iterdir() if file.suffix]
        assert machine.daemon_pids()


def test_a_cells_budget_holds_while_it_runs_and_is_lifted_when_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".gpuplug" / "switch"
    folder.mkdir(parents=True)
    with installed(tmp_path / "home") as machine, machine.control() as cells:
        wait = "import os, time\nwhile not os.path.exists(path): time.sleep(0.01)\n"
        cell = cells.start(f"path = {str(folder / 'budget')!r}\n{wait}print(open(path).read())", budget_s=1000)
        ran = cells.finish(cell)
        assert abs(float(ran.text()) - switch.uptime() - 1000) < 60
        assert not (folder / "budget").exists()


def test_a_hard_end_can_be_put_off_and_not_lifted(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".gpuplug" / "switch"
    folder.mkdir(parents=True)
    with installed(tmp_path / "home") as machine, machine.bulk() as bulk:
        bulk.ask("terms", hard_s=5000)
        assert abs(float((folder / "hard").read_text()) - switch.uptime() - 5000) < 60
        bulk.ask("terms", hard_s=None)
        assert (folder / "hard").exists()


def test_the_end_of_a_cell_is_a_contact(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".gpuplug" / "switch"
    folder.mkdir(parents=True)
    with installed(tmp_path / "home") as machine, machine.control() as cells:
        (folder / "contact").write_text("1\n")
        cells.cell("1")
        assert float((folder / "contact").read_text()) > 1
