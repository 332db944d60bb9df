"""What is installed: the wheel is whole and enough, and a computer with hardly any program can run the first notebook."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gpuplug
from gpuplug.sandbox.machine import isolation

ROOT = Path(__file__).parent.parent
LIMIT_S = 120
# None of these is needed; a computer with python3, make, sh, coreutils, sed and grep is enough.
UNNEEDED = [
    "bash",
    "bwrap",
    "curl",
    "git",
    "gunzip",
    "gzip",
    "rsync",
    "scp",
    "setsid",
    "ssh",
    "ssh-keygen",
    "ssh-keyscan",
    "sshd",
    "wget",
    "zcat",
]
NO_BUBBLEWRAP = isolation.why_no_bubblewrap()


def run(command: list[str], folder: Path, expected: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAST", "GPUPLUG", "PYTHON"))}
    done = subprocess.run(
        command,
        env={**kept, "HOME": str(folder), "GPUPLUG_HOME": str(folder / "gp"), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done


FRONT_END = ["src/gpuplug/labextension/package.json", "src/gpuplug/static/panel.js", "src/gpuplug/static/panel.css"]
NO_FRONT_END = "" if all((ROOT / name).is_file() for name in FRONT_END) else "the front end is not built (make front)"


def built(kind: str, source: Path, folder: Path, path: str = os.environ["PATH"]) -> Path:
    """Build from `source`; what is built in it already is taken as it is, and where nothing is, nothing is built."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    environ = {**os.environ, "PATH": path, **({"HATCH_BUILD_NO_HOOKS": "true"} if NO_FRONT_END else {})}
    subprocess.run(command, check=True, cwd=source, timeout=LIMIT_S, capture_output=True, env=environ)
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_package_and_the_licence(wheel: Path) -> None:
    found = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src" / "gpuplug").rglob("*") if file.is_file()}
    sources = {name for name in sources if "__pycache__" not in name and not name.startswith("gpuplug/labextension/")}
    assert {name for name in found if ".dist-info/" not in name and ".data/" not in name} == sources
    assert {"gpuplug/py.typed", "gpuplug/agent/deadman.sh", "gpuplug/agent/bootstrap.sh"} <= sources
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in found)
    # Where there is a Jupyter server, installing is all that is to be done.
    assert any(name.endswith(".data/data/etc/jupyter/jupyter_server_config.d/gpuplug.json") for name in found)


@pytest.mark.skipif(bool(NO_FRONT_END), reason=NO_FRONT_END)
def test_an_sdist_carries_the_front_end_and_a_wheel_of_it_needs_no_node(tmp_path: Path) -> None:
    sdist = built("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as content:
        content.extractall(tmp_path, filter="data")
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    found = zipfile.ZipFile(built("wheel", source, tmp_path / "wheel", path="/nowhere")).namelist()
    data = f"{source.name}.data/data/share/jupyter/labextensions/gpuplug"
    assert {"gpuplug/static/panel.js", "gpuplug/static/panel.css"} <= set(found)
    assert {f"{data}/package.json", f"{data}/install.json", f"{data}/static/style.js"} <= set(found)
    assert [name for name in found if name.startswith("gpuplug/labextension")] == []
    assert not any("node_modules" in name or "/lib/" in name for name in [*found, *map(str, source.rglob("*"))])


def test_the_front_end_has_the_version_of_the_package() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((ROOT / "labextension" / name).read_text())["version"] == gpuplug.__version__


def test_the_lock_file_of_the_front_end_names_no_host_to_fetch_from() -> None:
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []


def test_a_cell_runs_with_nothing_but_the_wheel_and_its_requirements(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site), str(wheel)]
    run(pip, tmp_path)
    program = (
        "import gpuplug\n"
        "from IPython.core.interactiveshell import InteractiveShell as S\n"
        "shell = S.instance()\n"
        "shell.run_line_magic('load_ext', 'gpuplug')\n"
        "shell.run_cell_magic('remote_gpu', '-p local -o answer', 'answer = 6 * 7\\nprint(f\"there {answer}\")')\n"
        "print(gpuplug.__file__, shell.user_ns['answer'])\n"
        "shell.run_line_magic('gpu', 'down')\n"
    )
    shown = run([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(site)).stdout
    assert "there 42\n" in shown
    assert f"{site}/gpuplug/__init__.py 42\n" in shown
    version = run([sys.executable, str(site / "bin" / "gpuplug"), "--version"], tmp_path, PYTHONPATH=str(site))
    assert wheel.name.startswith(f"gpuplug-{version.stdout.strip()}-")


@pytest.mark.parametrize(
    ("absent", "named"), [(["aiohttp", "asyncssh"], "aiohttp and asyncssh"), (["asyncssh"], "asyncssh")]
)
def test_the_sandbox_without_its_extra_says_what_to_install(absent: list[str], named: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from gpuplug.frontends.cli import main; sys.exit(main(['sandbox', 'run', '--', 'true']))"
    )
    done = run([sys.executable, "-c", program], tmp_path, expected=1, PYTHONPATH=str(ROOT / "src"))
    assert done.stderr == f"error: the sandbox needs {named}\n\nhint: pip install 'gpuplug[sandbox]'\n"


def test_every_requirement_is_met_by_a_hosted_notebook_or_new_to_it(wheel: Path) -> None:
    lines = (ROOT / "tests" / "colab" / "pip-freeze.txt").read_text().splitlines()
    hosted = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    with zipfile.ZipFile(wheel) as content:
        metadata = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        text = content.read(metadata).decode()
    requirements = [Requirement(line) for line in re.findall(r"^Requires-Dist: ([^;\n]+)$", text, re.MULTILINE)]
    assert {requirement.name for requirement in requirements} >= {"ipython", "httpx", "nh3"}
    for requirement in requirements:
        version = hosted.get(canonicalize_name(requirement.name))
        assert version is None or requirement.specifier.contains(version), (str(requirement), version)


@pytest.mark.bubblewrap
@pytest.mark.skipif(bool(NO_BUBBLEWRAP), reason=NO_BUBBLEWRAP)
def test_the_first_notebook_runs_where_hardly_any_program_is_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    folders = {Path(name).resolve() for name in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")}
    present = [str(folder / name) for folder in folders for name in UNNEEDED if (folder / name).is_file()]
    hidden = [word for path in present for word in ("--ro-bind", "/dev/null", path)]
    bare = ["bwrap", "--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc", "--die-with-parent", *hidden]
    market = [sys.executable, "-m", "gpuplug.frontends.cli", "sandbox", "run", "--seed", "7", "--pull", "0", "--"]
    show = [sys.executable, "notebooks/show.py", "notebooks/01_first_cell.ipynb"]
    done = run([*bare, *market, *show], tmp_path, PYTHONPATH=str(ROOT / "src"), PATH="/usr/bin:/bin")
    assert "gone (verified)" in done.stdout
    assert json.loads(done.stderr.splitlines()[-1])["billing_now"] == 0
