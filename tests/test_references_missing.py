"""Files that a cell reads and that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from references_kit import plant

from gpuplug.references import Missing, Request, find

if TYPE_CHECKING:
    from pathlib import Path

DISK = "train.csv data/test.csv data/labels.csv make.py"

NOT_THERE = {
    "open('tarin.csv')": ("tarin.csv", 1, "open", "train.csv"),
    "\npd.read_csv('data/tset.csv')": ("data/tset.csv", 2, "read_csv", "data/test.csv"),
    "np.load('zzz.npy')": ("zzz.npy", 1, "np.load", None),
    "torch.load('model.pt')": ("model.pt", 1, "torch.load", None),
    "Image.open('cat.png')": ("cat.png", 1, "Image.open", None),
    "Path('tran.csv').read_text()": ("tran.csv", 1, "read_text", "train.csv"),
    "Path('tran.csv').open()": ("tran.csv", 1, "open", "train.csv"),
    "open(Path('dat') / 'test.csv', 'rb')": ("dat/test.csv", 1, "open", "data"),
    "P = 'tran.csv'\nopen(P)": ("tran.csv", 2, "open", "train.csv"),
    "def f():\n    open('tran.csv')": ("tran.csv", 2, "open", "train.csv"),
    "json.load(open('x.json', mode='r'))": ("x.json", 1, "open", None),
    "open('tran.csv')\nopen('tran.csv', 'w')": ("tran.csv", 1, "open", "train.csv"),
    "open('./data/../tran.csv')": ("tran.csv", 1, "open", "train.csv"),
    "!pip install x\nopen('tran.csv')": ("tran.csv", 2, "open", "train.csv"),
    "gzip.open('x.gz')": ("x.gz", 1, "gzip.open", None),
    "%run mak.py": ("mak.py", 1, "%run", "make.py"),
    "if True:\n    !python mak.py": ("mak.py", 2, "!python", "make.py"),
}


@pytest.mark.parametrize(("cell", "expected"), NOT_THERE.items())
def test_a_file_that_the_cell_reads_and_nobody_has_is_missing(
    tmp_path: Path, cell: str, expected: tuple[str, int, str, str | None]
) -> None:
    assert find(cell, Request(plant(tmp_path, DISK))).missing == (Missing(*expected),)


FINE = {
    "is there": "open('train.csv')",
    "written before": "open('new.csv', 'w')\nopen('new.csv')",
    "to_csv before": "df.to_csv('new.csv')\npd.read_csv('new.csv')",
    "savefig before": "plt.savefig('new.png')\nImage.open('new.png')",
    "torch.save before": "torch.save(m, 'm.pt'); torch.load('m.pt')",
    "written through a constant": "P = Path('new.csv')\nP.write_text('x')\nP.read_text()",
    "folder made before": "os.makedirs('new')\nopen('new/x.csv')",
    "downloaded by the shell": "!wget https://x.org/new.csv\nopen('new.csv')",
    "downloaded under its name": "!curl -o new.csv https://x.org/a\nopen('new.csv')",
    "redirected": "!echo 1 > new.csv\nopen('new.csv')",
    "urlretrieve": "urlretrieve(url, 'new.csv')\nopen('new.csv')",
    "some download": "hf_hub_download('a', 'b')\nopen('new.csv')",
    "dataset download": "MNIST('d', download=True)\nopen('d/x.csv')",
    "archive": "zipfile.ZipFile('train.csv').extractall()\nopen('new.csv')",
    "command": "subprocess.run(['make'])\nopen('new.csv')",
    "script": "%run make.py\nopen('new.csv')",
    "%%writefile is a cell of its own": "%%writefile new.csv\nopen('x.csv')",
    "asked for before": "if not os.path.exists('new.csv'):\n    fetch()\nopen('new.csv')",
    "absence is handled": "try:\n    open('new.csv')\nexcept FileNotFoundError:\n    pass",
    "absence is handled by a bare except": "try:\n    x = open('new.csv')\nexcept:\n    pass",
    "function runs after the file is made": "def f():\n    return open('new.csv')\nopen('new.csv', 'w')\nf()",
    "not plain": "open(f'new{x}.csv'); open(name)",
    "one of two": "open('a.csv' if x else 'b.csv')",
    "a parameter": "def f(p='new.csv'):\n    return open(p)\nf('train.csv')",
    "absolute": "open('/data/new.csv')",
    "address": "pd.read_csv('https://x.org/new.csv'); pd.read_csv('s3://b/new.csv')",
    "text that is no path": "pd.read_json('[1, 2]'); pd.read_json('{\"a\": 1}'); pd.read_csv('a,b\\n1,2')",
    "unknown call": "f('new.csv'); x = 'new.csv'",
    "second argument": "pd.read_csv('train.csv', 'new.csv')",
    "written only": "open('new.csv', 'w'); open('new2.csv', 'x'); open('log', 'a')",
    "hub name": "AutoModel.from_pretrained('bert-base')",
    "after chdir": "os.chdir('data')\nopen('new.csv')",
    "copy": "shutil.copy('train.csv', 'new.csv')\nopen('new.csv')",
    "in a shell cell": "%%bash\ncat new.csv",
}


@pytest.mark.parametrize("cell", FINE.values(), ids=FINE.keys())
def test_what_is_there_or_may_come_is_not_missing(tmp_path: Path, cell: str) -> None:
    assert find(cell, Request(plant(tmp_path, DISK))).missing == ()


def test_a_warm_instance_may_have_it(tmp_path: Path) -> None:
    (missing,) = find("open('new.csv')", Request(tmp_path, warm=True)).missing
    assert missing.reason == "open; the instance may have it"
