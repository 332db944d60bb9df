"""Files that hold keys, and folders that are never worth sending."""

from __future__ import annotations

import itertools
import os
import re
from fnmatch import translate

_SECRET_FILES = (
    ".env*", "*.env", "*.pem", "*.key", "*.pfx", "*.p12", "*.ppk", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "*credentials*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".htpasswd", "kaggle.json", ".vast_api_key",
    "*token*.txt", ".token", "service-account*.json", "service_account*.json", "client_secret*.json",
)  # fmt: skip
_SECRET_NAME = re.compile("|".join(translate(rule) for rule in _SECRET_FILES))
_SECRET_FOLDERS = frozenset({".aws", ".ssh", ".kube", ".gnupg", ".docker", ".runpod", ".azure", ".gcloud", ".gpuplug"})
_SECRET_CONFIG_FOLDERS = frozenset({"vastai", "gcloud", "gh", "gpuplug", "rclone"})
# Tokenizer files are data: `tokenizer_vocab.txt`.
_NOT_SECRET = re.compile(r".*tokeni[sz].*\.txt|.*\.pub")
_PRIVATE_KEY = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File)")
_KEY_FILE_MAX = 64 << 10
_HEAD = 96

# Never sent, and so common that listing them would only hide the rest.
SILENT_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints"})
_NEVER_FOLDERS = frozenset({".venv", "node_modules"})
_ENVIRONMENT_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})


def is_secret_path(path: str) -> bool:
    """Tell by its name whether the file at `path` (relative, POSIX) may hold a key."""
    *folders, name = path.casefold().split("/")
    if any(folder in _SECRET_FOLDERS for folder in folders):
        return True
    below = itertools.pairwise(folders)
    if any(outer == ".config" and inner in _SECRET_CONFIG_FOLDERS for outer, inner in below):
        return True
    return bool(_SECRET_NAME.match(name)) and not _NOT_SECRET.fullmatch(name)


def holds_private_key(file: str, size: int) -> bool:
    """Tell by its first bytes whether the regular file is a private key.

    Raises:
        OSError: it cannot be read.
    """
    if not 0 < size <= _KEY_FILE_MAX:
        if not os.access(file, os.R_OK):
            raise PermissionError(file)
        return False
    # A file that became a FIFO meanwhile must not block.
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return bool(_PRIVATE_KEY.match(os.read(handle, _HEAD)))
    finally:
        os.close(handle)


def never_sent(name: str, inside: frozenset[str] | set[str] = frozenset()) -> str:
    """Return why a folder called `name`, which holds `inside`, is never sent, or "" when it may be."""
    if name in SILENT_FOLDERS:
        return "never sent"
    if name == "node_modules":
        return "installed packages"
    if name in _NEVER_FOLDERS or _ENVIRONMENT_MARKS & inside:
        return "virtual environment"
    return ""
