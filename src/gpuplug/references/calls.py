"""What well-known calls do with the path that they are given."""

from __future__ import annotations

import ast
import enum
import re

from gpuplug.references.values import dotted


class Use(enum.Enum):
    """What a call does with a path."""

    READ = "reads the file, which must be there"
    PATH = "takes a file or a folder"
    LIST = "lists the folder"
    GLOB = "takes a pattern"
    WRITE = "makes the file"
    COMMAND = "runs a command"
    CHDIR = "changes the working folder"
    IMPORT_PATH = "adds a folder to import from"
    MAKES = "makes files that cannot be known"
    OTHER = "may do anything"


_READS = frozenset(
    [
        "read_csv",
        "read_table",
        "read_json",
        "read_parquet",
        "read_excel",
        "read_feather",
        "read_pickle",
        "read_hdf",
        "read_orc",
        "read_stata",
        "read_sas",
        "read_spss",
        "read_xml",
        "read_fwf",
        "read_ipc",
        "read_ndjson",
        "read_avro",
        "read_npy",
        "loadtxt",
        "genfromtxt",
        "fromfile",
        "loadmat",
        "imread",
        "read_image",
        "load_file",
        "safe_open",
        "unpack_archive",
    ]
)
# Names too common alone: only with what they hang on.
_DOTTED_READS = frozenset(
    [
        "np.load",
        "numpy.load",
        "torch.load",
        "joblib.load",
        "Image.open",
        "PIL.Image.open",
        "gzip.open",
        "bz2.open",
        "lzma.open",
        "tarfile.open",
        "io.open",
        "h5py.File",
        "librosa.load",
        "torchaudio.load",
        "sf.read",
        "soundfile.read",
        "torch.jit.load",
        "pq.read_table",
    ]
)
_OPENS = frozenset(
    {
        "open",
        "gzip.open",
        "bz2.open",
        "lzma.open",
        "io.open",
        "tarfile.open",
        "h5py.File",
        "File",
        "ZipFile",
        "zipfile.ZipFile",
    }
)
_LISTS = frozenset({"listdir", "scandir", "walk", "iterdir", "fwalk"})
_GLOBS = frozenset({"glob", "iglob", "rglob", "glob1"})
_WRITES = frozenset(
    [
        "save",
        "savez",
        "savez_compressed",
        "savetxt",
        "savefig",
        "dump",
        "imwrite",
        "imsave",
        "write_csv",
        "write_parquet",
        "write_image",
        "write_html",
        "write_json",
        "write_ipc",
        "save_pretrained",
        "save_model",
        "save_weights",
        "save_to_disk",
        "save_file",
        "save_image",
        "makedirs",
        "mkdir",
        "SummaryWriter",
        "FileHandler",
        "RotatingFileHandler",
        "tofile",
        "export_chrome_trace",
        "write_video",
        "touch",
    ]
)
_COPIES = frozenset(
    {"copy", "copy2", "copyfile", "copytree", "move", "rename", "urlretrieve", "symlink", "unpack_archive"}
)
_COMMANDS = frozenset(
    {"run", "call", "check_call", "check_output", "Popen", "system", "popen", "getoutput", "getstatusoutput"}
)
_COMMAND_OWNERS = frozenset({"subprocess", "os", "sp", "", "get_ipython"})
_MAKES = re.compile(r"download|extractall|unpack_archive|urlretrieve|untar|unzip|snapshot|system_raw")
_PATH_LIKE = re.compile(
    r"read_\w+|scan_\w+|load\w*|open\w*|\w+Folder|Folder\w*|\w*from_directory|from_(?:pretrained|file|files|disk|path|csv)"
    r"|File|Path|PurePath|PosixPath|PurePosixPath|memmap|connect|YOLO|copytree|copy|copy2|copyfile|make_archive|spec_from_file_location"
)
_PATH_NAME = re.compile(
    r"(?:.*_)?(?:path|paths|file|files|dir|dirs|root|folder|filename|fname|fp|filepath_or_buffer|directory)"
)
_OUTPUT_NAME = re.compile(
    r"(?:out|output|outputs|log|logs|logging|save|cache|result|results|dst|dest|target|tmp|temp)_"
)
_SHORT_LABELS = frozenset({"load", "open", "read", "run", "File", "join", "copy", "get", "save", "connect"})

# What declares an option of a command line: the default may be a folder.
_OPTION_CALLS = frozenset({"add_argument", "option", "Option", "argument", "Argument"})
# What may follow a path: `Path("x").read_text()`.
PATH_METHODS = {
    "read_text": Use.READ,
    "read_bytes": Use.READ,
    "open": Use.READ,
    "iterdir": Use.LIST,
    "walk": Use.LIST,
    "glob": Use.GLOB,
    "rglob": Use.GLOB,
    "mkdir": Use.WRITE,
    "touch": Use.WRITE,
    "write_text": Use.WRITE,
    "write_bytes": Use.WRITE,
    "exists": Use.OTHER,
    "is_file": Use.OTHER,
    "is_dir": Use.OTHER,
    "stat": Use.OTHER,
}


def label(call: ast.Call) -> str:
    """Return the name that a person knows the call by: `read_csv`, `np.load`, `open`."""
    name = dotted(call.func).lstrip(".")
    last = name.rpartition(".")[2]
    return name if last in _SHORT_LABELS else last or "call"


def use_of(call: ast.Call) -> Use:
    """Return what `call` does with its first path."""
    name = dotted(call.func)
    owner, _, last = name.rpartition(".")
    if name in _OPENS:
        return mode_use(call, 1)
    special = _special_use(name, owner, last)
    if special is not None:
        return special
    if name in _DOTTED_READS or last in _READS:
        return Use.READ
    if last in _WRITES or last.startswith(("to_", "sink_")):
        return Use.WRITE
    return Use.PATH if _PATH_LIKE.fullmatch(last) else Use.OTHER


def _special_use(name: str, owner: str, last: str) -> Use | None:
    if name in {"os.chdir", "chdir"}:
        return Use.CHDIR
    if name in {"sys.path.append", "sys.path.insert"}:
        return Use.IMPORT_PATH
    if last in _COMMANDS and owner.rpartition(".")[2] in _COMMAND_OWNERS:
        return Use.COMMAND
    if last in _GLOBS:
        return Use.GLOB
    return Use.LIST if last in _LISTS else None


def mode_use(call: ast.Call, position: int) -> Use:
    """Return what an `open` does by its mode, the argument at `position` or `mode=`."""
    given: ast.expr | None = call.args[position] if len(call.args) > position else None
    for keyword in call.keywords:
        if keyword.arg == "mode":
            given = keyword.value
    if given is None:
        return Use.READ
    if not isinstance(given, ast.Constant) or not isinstance(given.value, str):
        return Use.PATH
    if given.value[:1] in {"w", "x"}:
        return Use.WRITE
    return Use.READ if given.value[:1] == "r" else Use.PATH


def makes_files(call: ast.Call) -> bool:
    """Tell whether the call may make files whose names cannot be known: downloads, archives."""
    keywords = {keyword.arg for keyword in call.keywords}
    return bool(_MAKES.search(dotted(call.func).rpartition(".")[2])) or "download" in keywords


def written_argument(call: ast.Call) -> int | None:
    """Return which positional argument a copy-like call makes."""
    return 1 if dotted(call.func).rpartition(".")[2] in _COPIES else None


def use_of_keyword(call: ast.Call, name: str | None, use: Use) -> Use:
    """Return what `call`, whose use is `use`, does with the path that its keyword argument `name` gives."""
    named = use_of_name(name or "")
    if named is Use.WRITE or use is Use.WRITE:
        return Use.WRITE
    option = name == "default" and dotted(call.func).rpartition(".")[2] in _OPTION_CALLS
    return Use.PATH if option else use if named is Use.OTHER else named


def use_of_name(name: str) -> Use:
    """Return what a keyword, key or variable of this name says: `data_dir` takes a path, `output_dir` is made."""
    lowered = name.lower()
    if not _PATH_NAME.fullmatch(lowered):
        return Use.OTHER
    return Use.WRITE if _OUTPUT_NAME.match(lowered) else Use.PATH
