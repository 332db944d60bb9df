"""The notebooks and the panel in an environment with a hosted notebook's package versions, and in the newest one.

Installing gpuplug into the first must change none of its packages: a hosted notebook that is downgraded in
mid-session is broken. `pip-freeze.txt` is what the hosted runtime published in 2026-08. The panel is seen there in each
of its forms: first with all that the runtime has, then without anywidget, then without ipywidgets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from interpreters_kit import find_python  # noqa: E402 - found through the path above

FREEZE = Path(__file__).parent / "pip-freeze.txt"
HOSTED = ROOT / ".venv-colab"
NEWEST = ROOT / ".venv"
PRESENT = (
    "ipython ipykernel ipywidgets anywidget traitlets jupyter_client nbclient nbformat numpy matplotlib httpx cryptography "
    "nh3 pillow pandas tornado pyzmq platformdirs typing_extensions"
)
SHOWN = ("ipython", "ipykernel", "ipywidgets", "anywidget", "traitlets", "numpy", "cryptography")
FORMS = ("anywidget", "ipywidgets", "text")  # of the panel; each but the last needs the package of its name
LIMIT_S = 300


def python_of_the_hosted_runtime() -> str:
    """Return a Python 3.13 where there is one, else this one, and say so."""
    if found := find_python("3.13"):
        return found
    sys.stderr.write(f"no Python 3.13 here (set PYTHON313): using {sys.version.split()[0]}\n")
    return sys.executable


def pip(environment: Path, *arguments: str) -> str:
    """Run pip of `environment` and return what it printed."""
    command = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, text=True, capture_output=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"pip {' '.join(arguments[:2])} failed in {environment.name}:\n{done.stdout}{done.stderr}")
    return done.stdout


def packages(environment: Path) -> dict[str, str]:
    """Return the installed packages with their versions."""
    lines = pip(environment, "list", "--format=freeze").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def build_hosted() -> list[str]:
    """Build the hosted environment, install gpuplug, and return what that changed."""
    shutil.rmtree(HOSTED, ignore_errors=True)
    subprocess.run([python_of_the_hosted_runtime(), "-m", "venv", str(HOSTED)], check=True)
    pip(HOSTED, "install", "-q", "-c", str(FREEZE), *PRESENT.split())
    before = packages(HOSTED)
    pip(HOSTED, "install", "-q", str(ROOT))
    pip(HOSTED, "check")
    after = packages(HOSTED)
    added = sorted(set(after) - set(before))
    sys.stdout.write(f"installing gpuplug added {', '.join(added)}\n")
    return [f"{name}: {version} -> {after.get(name)}" for name, version in before.items() if after.get(name) != version]


def run_on_market(environment: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the Python of `environment` in `folder` against a fresh market; what it prints to stdout is returned."""
    market = [str(NEWEST / "bin/gpuplug"), "sandbox", "run", "--seed", "7", "--"]
    command = [*market, str(environment / "bin/python"), *arguments]
    quiet = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # the kernels' debugger warns of Python's own modules
    return subprocess.run(
        command, check=False, cwd=folder, timeout=LIMIT_S, env=quiet, text=True, stdout=subprocess.PIPE
    )


def run_notebooks(environment: Path) -> int:
    """Run every notebook with the Python of `environment`, each against a fresh market; return the failures."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "notebooks", folder, dirs_exist_ok=True)
        for notebook in sorted(Path(folder).glob("*.ipynb")):
            sys.stdout.write(f"== {notebook.name} in {environment.name}\n")
            sys.stdout.flush()
            done = run_on_market(environment, Path(folder), "show.py", notebook.name)
            sys.stdout.write(done.stdout)
            failures += done.returncode != 0
    return failures


def see_panel(environment: Path, form: str) -> str:
    """Use the panel in `environment`, where it must have `form`; return the form with its version and what was seen of it."""
    sys.stdout.write(f"== the panel on {form} in {environment.name}\n")
    sys.stdout.flush()
    version = packages(environment).get(form, "")
    done = run_on_market(environment, ROOT, "tests/colab/panel.py", form)
    sys.stdout.write(done.stdout)
    seen = done.stdout.splitlines()[0] if done.returncode == 0 else "FAILED"
    return f"{form} {version}".strip() + f" {seen}"


def see_forms() -> list[str]:
    """Use the panel in each of its forms in the hosted environment, and in its best in the newest."""
    seen = []
    for form in FORMS:
        seen.append(see_panel(HOSTED, form))
        if form != FORMS[-1]:
            pip(HOSTED, "uninstall", "-q", "-y", form)
    return [*seen, see_panel(NEWEST, FORMS[0])]


def main() -> int:
    """Build, compare, run; 0 only when nothing changed, every notebook ran and every form of the panel worked."""
    subprocess.run(["make", ".venv/test"], check=True, cwd=ROOT)
    changed = build_hosted()
    sys.stderr.writelines(f"CHANGED by installing gpuplug: {line}\n" for line in changed)
    versions = packages(HOSTED)
    failures = run_notebooks(HOSTED) + run_notebooks(NEWEST)
    seen = see_forms()
    pins = ", ".join(f"{name} {versions[name]}" for name in SHOWN)
    sys.stdout.write(f"hosted versions: {pins}; {len(changed)} changed; {failures} notebooks failed\n")
    sys.stdout.write(f"panel: {'; '.join(seen)}\n")
    return 1 if changed or failures or any(each.endswith("FAILED") for each in seen) else 0


if __name__ == "__main__":
    sys.exit(main())
