"""Texts and calls that name files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from references_kit import ask, left_here, plant, reasons, shipped

from gpuplug.references import Request, find

if TYPE_CHECKING:
    from pathlib import Path

DISK = "train.csv notes data.bin model.pt data/a.csv data/b.csv data/deep/c.csv data/deep/d.txt imgs/1.png imgs/2.png cfg.yaml cfg2.yaml"

SENT = {
    "open": ("open('train.csv')", "train.csv"),
    "read_csv": ("pd.read_csv('data/a.csv')", "data/a.csv"),
    "any text that is a file": ("x = {'file': 'train.csv'}", "train.csv"),
    "plain word that is a file": ("f('notes')", "notes"),
    "list of files": ("for f in ['train.csv', 'cfg.yaml']: open(f)", "train.csv cfg.yaml"),
    "constant": ("P = 'train.csv'\npd.read_csv(P)", "train.csv"),
    "constant unused here": ("P = 'train.csv'", "train.csv"),
    "Path": ("Path('train.csv').read_text()", "train.csv"),
    "Path with parts": ("Path('data', 'a.csv')", "data/a.csv"),
    "Path division": ("Path('data') / 'deep' / 'c.csv'", "data/deep/c.csv"),
    "folder constant is not sent for one file of it": ("D = Path('data')\npd.read_csv(D / 'a.csv')", "data/a.csv"),
    "text constant is not sent for one file of it": ("D = 'data/deep'\nopen(D + '/c.csv')", "data/deep/c.csv"),
    "os.path.join": ("os.path.join('data', 'a.csv')", "data/a.csv"),
    "join with constant": ("D = 'data'\nopen(os.path.join(D, 'a.csv'))", "data/a.csv"),
    "joinpath": ("Path('data').joinpath('deep', 'c.csv')", "data/deep/c.csv"),
    "working folder": ("open(os.getcwd() + '/train.csv'); Path.cwd() / 'cfg.yaml'", "train.csv cfg.yaml"),
    "added texts": ("open('data/' + 'a' + '.csv')", "data/a.csv"),
    "f-string": ("open(f'data/{x}.csv')", "data/a.csv data/b.csv"),
    "f-string with known parts": ("for n in ('a',): open(f'data/{n}.csv')", "data/a.csv"),
    "f-string of a constant": ("D = 'data'\nopen(f'{D}/a.csv')", "data/a.csv"),
    "f-string outside a call": ("p = f'data/{x}.csv'", "data/a.csv data/b.csv"),
    "f-string in the working folder": ("open(f'cfg{i}.yaml')", "cfg.yaml cfg2.yaml"),
    "f-string that may be anything": ("open(f'{x}'); print(f'{x}.csv', f'{a}/{b}')", ""),
    "format": ("open('data/{}.csv'.format(x))", "data/a.csv data/b.csv"),
    "percent": ("open('data/%s.csv' % x)", "data/a.csv data/b.csv"),
    "conditional": ("p = 'train.csv' if x else 'cfg.yaml'\nopen(p)", "train.csv cfg.yaml"),
    "or": ("open(arg or 'train.csv')", "train.csv"),
    "default argument": ("def f(p='train.csv'): open(p)", "train.csv"),
    "keyword": ("f(path='data/a.csv')", "data/a.csv"),
    "glob": ("glob.glob('data/*.csv')", "data/a.csv data/b.csv"),
    "glob recursive": ("glob.glob('data/**/*.csv', recursive=True)", "data/a.csv data/b.csv data/deep/c.csv"),
    "glob joined": ("glob(os.path.join('data', '*.csv'))", "data/a.csv data/b.csv"),
    "glob of folders": ("glob.glob('data/d*')", "data/deep/c.csv data/deep/d.txt"),
    "glob question mark": ("glob.glob('imgs/?.png')", "imgs/1.png imgs/2.png"),
    "Path.glob": ("Path('data').glob('*.csv')", "data/a.csv data/b.csv"),
    "Path.rglob": ("list(Path('data').rglob('*.csv'))", "data/a.csv data/b.csv data/deep/c.csv"),
    "glob of a folder constant": ("D = Path('data')\nD.glob('*.csv')", "data/a.csv data/b.csv"),
    "pattern in a reading call": ("pl.read_parquet('data/*.csv')", "data/a.csv data/b.csv"),
    "pattern with a gap": ("glob.glob(f'data/{x}/*.txt')", "data/deep/d.txt"),
    "listdir": ("os.listdir('imgs')", "imgs/1.png imgs/2.png"),
    "iterdir": ("for p in Path('imgs').iterdir(): pass", "imgs/1.png imgs/2.png"),
    "dataset folder": ("ImageFolder('imgs')", "imgs/1.png imgs/2.png"),
    "dataset keyword": ("Dataset(root='imgs')", "imgs/1.png imgs/2.png"),
    "folder with a slash": ("train('data/deep')", "data/deep/c.csv data/deep/d.txt"),
    "folder by its variable's name": ("data_dir = 'imgs'\ntrain(data_dir)", "imgs/1.png imgs/2.png"),
    "folder by its key": ("cfg = {'data_dir': 'imgs', 'x': 'data'}", "imgs/1.png imgs/2.png"),
    "folder by its attribute": ("args.data_path = 'imgs'; args.x = 'data'", "imgs/1.png imgs/2.png"),
    "default of an option": ("parser.add_argument('--data', default='imgs')", "imgs/1.png imgs/2.png"),
    "where results go": ("f(output_dir='imgs', log_dir='data/deep'); OUT_DIR = 'data/deep'; g(OUT_DIR)", ""),
    "what is only printed": ("print('data/deep', 'train.csv')", "train.csv"),
    "word that is a folder": ("x['data'] = {'imgs': 1}", ""),
    "word in an unknown call": ("f('data')", ""),
    "Path of a folder": ("loader(Path('imgs'))", "imgs/1.png imgs/2.png"),
    "np.load": ("np.load('data.bin')", "data.bin"),
    "in a function": ("def f():\n    return open('train.csv')", "train.csv"),
    "in an f-string": ("f'{open(\"train.csv\").read()}'", "train.csv"),
    "in a lambda": ("lambda: open('train.csv')", "train.csv"),
    "documentation": ("'train.csv'\ndef f():\n    'notes'", ""),
    "comment": ("# open('train.csv')", ""),
    "bytes": ("open(b'train.csv')", ""),
    "writing": ("open('train.csv', 'w'); df.to_csv('data/a.csv'); torch.save(m, 'model.pt')", ""),
    "writing by keyword": ("open('train.csv', mode='wb')", ""),
    "writing to Path": ("Path('train.csv').write_text('notes')", "notes"),
    "writing in a constant": ("OUT = 'model.pt'\ntorch.save(m, OUT)", ""),
    "making a folder": ("OUT = Path('data/deep')\nOUT.mkdir(exist_ok=True)\nos.makedirs('imgs')", ""),
    "writing and reading": ("torch.save(m, 'model.pt')\ntorch.load('model.pt')", "model.pt"),
    "appending needs the file": ("open('train.csv', 'a')", "train.csv"),
    "copy": ("shutil.copy('train.csv', 'model.pt')", "train.csv"),
    "unusual spelling": ("open('./data//a.csv'); open('data/../train.csv')", "data/a.csv train.csv"),
    "working folder as a whole": ("os.listdir('.'); Path('.'); glob.glob('*'); glob.glob('**/*'); os.walk('')", ""),
    "after chdir": ("os.chdir('data')\nopen('a.csv')", "data/a.csv"),
    "after %cd": ("%cd data\nopen('a.csv')", "data/a.csv"),
    "own variable of itself": ("p = 'data'\np = p + '/a.csv'\nopen(p)", "data/a.csv"),
    "address": ("read_csv('https://x.org/train.csv')", ""),
    "not a path": ("open('a\\0b'); open('\\ud800'); open('x' * 9999); open('')", ""),
}  # fmt: skip


@pytest.mark.parametrize(("cell", "expected"), SENT.values(), ids=SENT.keys())
def test_a_cell_sends_the_files_that_it_names(tmp_path: Path, cell: str, expected: str) -> None:
    assert shipped(plant(tmp_path, DISK), cell) == sorted(expected.split())


WHY = {
    "\npd.read_csv('train.csv')": "read_csv, line 2",
    "open('train.csv')": "open, line 1",
    "\n\nx = Path('train.csv')": "Path, line 3",
    "Path('.') / 'train.csv'": "Path, line 1",
    "np.load('train.csv')": "np.load, line 1",
    "PIL.Image.open('train.csv')": "PIL.Image.open, line 1",
    "x = ['a',\n'train.csv']": "string, line 2",
    "P = 'train.csv'\n\npd.read_csv(P)": "read_csv, line 3",
    "P = 'train.csv'": "string, line 1",
    "glob.glob('tr*.csv')": "glob, line 1",
    "Path('train.csv').read_text()": "read_text, line 1",
    "open('train.csv'); pd.read_csv('train.csv')": "open, line 1",
    "!cat train.csv": "!cat, line 1",
    "%pip install -r train.csv": "%pip, line 1",
    "def f():\n  open('train.csv')\nread_csv('train.csv')": "open, line 2",
}


@pytest.mark.parametrize(("cell", "expected"), WHY.items())
def test_the_first_reason_for_a_file_names_the_call_and_the_line(tmp_path: Path, cell: str, expected: str) -> None:
    assert reasons(plant(tmp_path, DISK), cell) == {"train.csv": expected}


ODD_NAMES = [
    "with space.csv",
    "übung/日本.txt",
    "a'b\".csv",
    "new\nline.csv",
    "[1].csv",
    "a*b.csv",
    "{x}.csv",
    "-rf",
    "$HOME",
    "`id`",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_found_as_they_are(tmp_path: Path, name: str) -> None:
    plant(tmp_path, {name: "x", "other.csv": "y"})
    assert shipped(tmp_path, f"open({name!r})") == [name]
    assert shipped(tmp_path, "", name) == [name]


@pytest.mark.parametrize("name", ["with space.csv", "übung/日本.txt", "[1].csv", "a'b.csv"])
def test_odd_names_are_found_in_shell_lines(tmp_path: Path, name: str) -> None:
    plant(tmp_path, {name: "x"})
    assert shipped(tmp_path, f"!cat {shlex.quote(name)}") == [name]


def test_a_gap_beside_glob_characters_matches_only_the_gap(tmp_path: Path) -> None:
    plant(tmp_path, {"d/[a]1.csv": "", "d/a1.csv": ""})
    assert shipped(tmp_path, "open(f'd/[a]{x}.csv')") == ["d/[a]1.csv"]


def test_paths_outside_the_working_folder_stay_here(tmp_path: Path) -> None:
    root = plant(tmp_path / "book", "in.csv")
    plant(tmp_path, "out.csv")
    outside = str(tmp_path / "out.csv")
    cell = f"open('../out.csv'); open({outside!r}); open('/'); open('/nowhere/at/all')"
    assert shipped(root, cell) == []
    assert left_here(root, cell) == dict.fromkeys(["../out.csv", outside], "outside the working folder")


def test_an_absolute_path_inside_stays_here_because_the_instance_has_no_such_path(tmp_path: Path) -> None:
    plant(tmp_path, "data/in.csv")
    cell = f"open({str(tmp_path / 'data/in.csv')!r})"
    assert shipped(tmp_path, cell) == []
    assert "write 'data/in.csv'" in left_here(tmp_path, cell)["data/in.csv"]


def test_no_files_leaves_everything_here_but_what_is_named_by_f(tmp_path: Path) -> None:
    plant(tmp_path, "train.csv net.py extra.csv")
    found = find(
        "import net, torch\nopen('train.csv'); open('nope.csv')", Request(tmp_path, extra=("extra.csv",), no_files=True)
    )
    assert [file.path for file in found.files] == ["extra.csv"]
    assert found.missing == ()
    assert found.modules == ("torch",)


def test_files_carry_what_the_transfer_needs(tmp_path: Path) -> None:
    plant(tmp_path, {"run.sh": "12345"})
    (tmp_path / "run.sh").chmod(0o755)
    (file,) = ask(tmp_path, "open('run.sh')").files
    status = (tmp_path / "run.sh").stat()
    assert (file.size, file.mtime_ns, file.executable) == (5, status.st_mtime_ns, True)
    assert file.source == tmp_path.resolve() / "run.sh"
