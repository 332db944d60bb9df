"""`python -I -S <digest>.pyz attach`, and `python <digest>.pyz kernel ...` for each kernel process."""

import os
import sys


def main() -> None:
    """Do what the first argument says."""
    os.umask(0o077)
    bundle = os.path.abspath(sys.argv[0])
    if sys.argv[1] == "attach":
        from .attach import attach  # noqa: PLC0415 - each process loads its own half

        attach(os.path.abspath(os.environ.get("GPUPLUG_STATE") or os.path.expanduser("~/.gpuplug")), bundle)
    else:
        from .kernel import main as run_kernel  # noqa: PLC0415 - likewise

        run_kernel(sys.argv[2:])
