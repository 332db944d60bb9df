"""Shell lines, magics and commands that Python runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from references_kit import ask, left_here, plant, reasons, shipped

from gpuplug.references import Request, find

if TYPE_CHECKING:
    from pathlib import Path

DISK = {
    "train.py": "import net\nopen('cfg.yaml')\nif __name__ == '__main__':\n    import late\n",
    "net.py": "",
    "late.py": "",
    "cfg.yaml": "a: 1",
    "run.sh": "#!/bin/sh\npython train.py\ncat data/b.csv # c.csv\n",
    "data/a.csv": "1",
    "data/b.csv": "2",
    "c.csv": "3",
    "requirements.txt": "torch",
    "scripts/job.py": "import helper\nfrom pathlib import Path\nopen(Path(__file__).parent / 'job.json')",
    "scripts/helper.py": "",
    "scripts/job.json": "{}",
    "app/__init__.py": "",
    "app/__main__.py": "from . import core",
    "app/core.py": "",
    "with space.txt": "",
}
SCRIPT = "train.py net.py late.py cfg.yaml"

SENT = {
    "%run": ("%run train.py --data data/a.csv", f"{SCRIPT} data/a.csv"),
    "%run with options": ("%run -i train.py", SCRIPT),
    "!python": ("!python train.py --data data/a.csv --cfg=c.csv", f"{SCRIPT} data/a.csv c.csv"),
    "unbuffered, with environment": ("!CUDA_VISIBLE_DEVICES=0 python3 -u train.py", SCRIPT),
    "torchrun": ("!torchrun --nproc_per_node 2 train.py", SCRIPT),
    "accelerate": ("!accelerate launch train.py", SCRIPT),
    "bash": ("!bash run.sh", f"run.sh {SCRIPT} data/b.csv"),
    "own script": ("!./run.sh", f"run.sh {SCRIPT} data/b.csv"),
    "continued line": ("!python train.py \\\n  --data data/a.csv", f"{SCRIPT} data/a.csv"),
    "assigned": ("out = !cat c.csv", "c.csv"),
    "pipes": ("!cat c.csv|sort && head data/a.csv; wc<data/b.csv", "c.csv data/a.csv data/b.csv"),
    "redirected output is made, not sent": ("!echo 1 > c.csv; echo 2 >> data/a.csv 2>&1", ""),
    "comment": ("!ls # c.csv", ""),
    "folder": ("!ls data", "data/a.csv data/b.csv"),
    "folder of an option": ("!python train.py --data data", f"{SCRIPT} data/a.csv data/b.csv"),
    "making and removing folders": ("!mkdir -p data; rm -rf data; echo data", ""),
    "pattern": ("!cat data/*.csv", "data/a.csv data/b.csv"),
    "quoted": ("!cat 'with space.txt' \"c.csv\"", "with space.txt c.csv"),
    "unbalanced quote": ("!echo it's && cat c.csv", "c.csv"),
    "variable in a path": ("!cat data/{x}.csv data/$y.csv", "data/a.csv data/b.csv"),
    "present folder": ("!cat $PWD/c.csv", "c.csv"),
    "list": ("!tool --files c.csv,data/a.csv", "c.csv data/a.csv"),
    "assignment of a file": ("!DATA=c.csv ./x", "c.csv"),
    "requirements": ("%pip install -r requirements.txt", "requirements.txt"),
    "package words": ("!pip install data app", ""),
    "download target": ("!wget -O c.csv https://x.org/a.csv", ""),
    "copy target": ("!cp c.csv data/a.csv", "c.csv"),
    "module": ("!python -m app", "app/__init__.py app/__main__.py app/core.py"),
    "script in a folder": ("!python scripts/job.py", "scripts/job.py scripts/helper.py scripts/job.json"),
    "cd": ("!cd data && cat a.csv", "data/a.csv"),
    "shell cell": ("%%bash\nset -e\npython train.py\nfor f in data/*.csv; do cat $f; done", f"{SCRIPT} data/a.csv data/b.csv"),
    "%%script": ("%%script bash\ncat c.csv", "c.csv"),
    "%%writefile makes": ("%%writefile c.csv\ntrain.py", ""),
    "foreign python": ("%%python\nopen('c.csv')", "c.csv"),
    "timed shell cell": ("%%time\n%%bash\ncat c.csv", "c.csv"),
    "opaque cell": ("%%html\n<a href='c.csv'>", ""),
    "timed code": ("%time open('c.csv')", "c.csv"),
    "os.system": ("os.system('python train.py')", SCRIPT),
    "subprocess text": ("subprocess.run('cat c.csv', shell=True)", "c.csv"),
    "subprocess list": ("subprocess.check_call([sys.executable, 'train.py', '--cfg', f])", SCRIPT),
    "automagic": ("run train.py", SCRIPT),
    "program with a path": ("!/usr/bin/env python train.py", SCRIPT),
    "the whole folder": ("!ls . ./ ..", ""),
}  # fmt: skip


@pytest.mark.parametrize(("cell", "expected"), SENT.values(), ids=SENT.keys())
def test_commands_send_the_files_among_their_words(tmp_path: Path, cell: str, expected: str) -> None:
    wanted = (
        ["with space.txt", *expected.removeprefix("with space.txt").split()]
        if "with space" in expected
        else expected.split()
    )
    assert shipped(plant(tmp_path, DISK), cell) == sorted(wanted)


def test_a_shell_script_cell_is_read_as_one(tmp_path: Path) -> None:
    request = Request(plant(tmp_path, DISK), shell=True)  # noqa: S604 - no process is started
    found = find("cd data\ncat a.csv\npython ../train.py\ncat c.csv > d", request)
    assert {"data/a.csv", "c.csv"} <= {file.path for file in found.files}


def test_reasons_name_the_command_and_its_line(tmp_path: Path) -> None:
    found = reasons(plant(tmp_path, DISK), "x = 1\n!python train.py --data data/a.csv\n%run scripts/job.py")
    assert found["train.py"] == "!python, line 2"
    assert found["data/a.csv"] == "!python, line 2"
    assert found["scripts/job.py"] == "%run, line 3"
    assert found["net.py"] == "import in train.py, line 1"
    assert found["cfg.yaml"] == "open in train.py, line 2"


def test_a_script_that_is_not_there_is_missing(tmp_path: Path) -> None:
    plant(tmp_path, DISK)
    for cell, path in (("%run trian.py", "trian.py"), ("!python trian.py x", "trian.py")):
        (missing,) = ask(tmp_path, cell).missing
        assert (missing.path, missing.line, missing.nearest) == (path, 1, "train.py")


def test_arguments_of_commands_that_are_not_there_are_not_missing(tmp_path: Path) -> None:
    assert ask(plant(tmp_path, DISK), "!python train.py --out nope.csv other.py\n!cat nope.txt").missing == ()


def test_system_paths_in_commands_are_no_news(tmp_path: Path) -> None:
    assert left_here(plant(tmp_path, DISK), "!/bin/sh -c true > /dev/null\n!nvidia-smi") == {}
