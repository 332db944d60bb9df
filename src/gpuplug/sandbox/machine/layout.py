"""Turns a MachineSpec into what is on disk and what is started: paths, environments, configurations."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine import init, isolation, openssh
from gpuplug.sandbox.machine.disk import Disk, shell_path
from gpuplug.sandbox.machine.spec import MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.sandbox.machine.spec import MachineSpec

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MARK = "SANDBOX_MACHINE"
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
_GUNZIP = "import gzip, shutil, sys; shutil.copyfileobj(gzip.open(sys.stdin.buffer), sys.stdout.buffer)"


class Layout:
    """One machine's layout on disk, and the command and environment of its first process.

    Raises:
        MachineError: the spec asks for what cannot be had here.
    """

    def __init__(self, spec: MachineSpec, mode: str) -> None:
        if spec.sshd not in ("asyncssh", "openssh"):
            msg = f"sshd {spec.sshd!r} does not exist; it is asyncssh or openssh"
            raise MachineError(msg)
        if spec.sshd == "openssh":
            openssh.check(mode)
        self._spec = spec
        self._port = 0
        self._isolated = mode == isolation.BUBBLEWRAP
        self.disk = Disk(spec)
        # A key can be added while the machine is prepared in a thread: who writes last must know them all.
        self._writing_keys = threading.Lock()
        self.mark = f"{_MARK}={spec.id}-{secrets.token_hex(8)}"

    def prepare(self, port: int, added_keys: list[str]) -> None:
        """Write what a boot needs, with sshd on `port`; the image and its host key at the first boot only."""
        self._port = port
        with self.disk.writing:
            if self.disk.make():
                self._build_image()
            if self._isolated:
                self.disk.make_mount_points()
            self.disk.write_programs()
            self._write_stand_ins()
            self.write_keys(added_keys)
            self._write_sshd(port)
            environ = "".join(f"{name}={value}\0" for name, value in self.first_env().items())
            self.disk.write_control("environ", environ)
            self.disk.write_json("init.json", self._init_config())

    def write_keys(self, added: list[str]) -> None:
        """Write the keys that the market lets in; before there is a disk, `prepare` will do it."""
        with self._writing_keys:
            if self.disk.control.is_dir():
                keys = [*self._spec.authorized_keys, *added]
                self.disk.write_control("authorized_keys", "".join(f"{key.strip()}\n" for key in keys))

    def command(self) -> list[str]:
        """Return the command of the first process."""
        program = [sys.executable, "-I", "-S", self._program("init.py"), self._control("init.json")]
        if not self._isolated:
            return program
        return [*isolation.bubblewrap_prefix(self.disk, zero_uid=self._zero_uid), *program]

    def first_env(self) -> dict[str, str]:
        """Return the environment of the first process and of the start command."""
        return {**self._spec.env, **self._session_env()}

    @property
    def _zero_uid(self) -> bool:
        """OpenSSH of an ordinary user lets in nobody but that user, who is then called root in the view."""
        return os.geteuid() == 0 or self._spec.sshd != "openssh"

    def _build_image(self) -> None:
        # Imported here: the market itself needs no SSH library until it makes a machine.
        import asyncssh  # noqa: PLC0415

        if not self._isolated:
            self.disk.link_mounts()
        else:
            uid, gid = (0, 0) if self._zero_uid else (os.getuid(), os.getgid())
            self.disk.write_accounts(uid, gid)
        key = asyncssh.generate_private_key("ssh-ed25519", comment="root@image")
        text = key.export_private_key("openssh").decode()
        self.disk.write_control("image_host_key", text)
        private = self.disk.root / _HOST_KEY
        private.touch(mode=0o600)
        private.write_text(text)
        private.with_suffix(".pub").write_bytes(key.export_public_key("openssh"))

    def _session_env(self) -> dict[str, str]:
        """Return what every process of the machine knows, however it was started."""
        search = [self._control("bin"), str(Path(sys.executable).parent), _SYSTEM_PATH]
        name, _, value = self.mark.partition("=")
        env = {
            "HOME": self._inside("root"),
            "PATH": ":".join(search),
            "SHELL": shell_path(),
            "USER": "root",
            "LOGNAME": "root",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            name: value,
        }
        if sys.prefix != sys.base_prefix:
            env["VIRTUAL_ENV"] = sys.prefix
        return {**env, **self._path_variables()}

    def _path_variables(self) -> dict[str, str]:
        """Return the variables that stand for system paths where the real ones are this computer's."""
        port = {"GP_SSH_PORT": str(self._port)}  # the network is shared with this computer, whose port 22 is not ours
        # Whoever runs the market may have the switches of its machines look more often.
        port |= {name: os.environ[name] for name in ("GP_PERIOD",) if name in os.environ}
        sshd = {"GP_SSHD": self._sshd}
        if self._isolated:
            return port if self._spec.sshd_enabled else port | sshd
        return (
            port
            | sshd
            | {
                "TMPDIR": self._inside("tmp"),
                "GP_HOME": self._inside("root"),
                "GP_ETC_SSH": self._inside("etc/ssh"),
                "GP_INIT_ENVIRON": self._control("environ"),
                "GP_UPTIME": self._uptime_file or "/proc/uptime",
                "GP_SSHD_PID": self._inside("run/sshd.pid"),
                "GP_VOLUME": self._inside("workspace"),
                "GP_IMAGE_START": self._inside("start.sh"),
            }
        )

    @property
    def _sshd(self) -> str:
        """Where the image has its SSH server, or will have it once it is installed."""
        return self._control("bin/sshd") if self._spec.sshd_installed else self._inside("var/sshd")

    @property
    def _uptime_file(self) -> str:
        """Where the first process keeps the uptime; empty where the kernel does it."""
        return "" if init.ON_LINUX else self._inside("run/uptime")

    def _init_config(self) -> init.InitConfig:
        env = self._session_env()
        return {
            "start_command": self._spec.start_command,
            "start_delay": self._spec.start_delay,
            "auth_lag": self._spec.auth_lag,
            "sshd": [self._control("bin/sshd"), "-D"] if self._spec.sshd_enabled else [],
            "sshd_env": env,
            "sshd_log": self._inside("var/log/sshd.log"),
            "sshd_pid": self._inside("run/sshd.pid"),
            "accounts": self._inside("run/accounts"),
            "account_files": {
                "home": self._inside("root/.ssh/authorized_keys"),
                "market": self._control("authorized_keys"),
            },
            "uptime_file": self._uptime_file,
        }

    def _write_sshd(self, port: int) -> None:
        fixed = self._control("image_host_key")
        paths = openssh.SshdPaths(
            port=port,
            host_key=fixed if self._spec.fixed_host_key else self._inside(_HOST_KEY),
            pid_file=self._inside("run/sshd.pid"),
            authorized_keys_files=(
                self._inside("run/accounts/home"),
                self._inside("run/accounts/market"),
            ),
        )
        env = self._session_env()
        if self._spec.sshd == "openssh":
            text = openssh.configuration(paths, env, change_home=not self._isolated)
            self.disk.write_control("sshd_config", text)
            command = [openssh.program(), "-f", self._control("sshd_config"), "-e"]
            script = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
        else:
            self.disk.write_json("sshd.json", {**vars(paths), "env": env, "keeps_host_key": self._spec.fixed_host_key})
            script = self._asyncssh_script(env, paths.pid_file)
        if self._spec.sshd_installed:
            self.disk.write_control("bin/sshd", script, 0o755)
        else:
            self.disk.write_control("openssh-server", script, 0o755)
            self.disk.write_control("bin/apt-get", self._installer(), 0o755)

    def _installer(self) -> str:
        """Return a stand-in for `apt-get` that knows one package: nothing is fetched, and this computer stays as it is."""
        package, program = shlex.quote(self._control("openssh-server")), shlex.quote(self._sshd)
        return (
            "#!/bin/sh\n"
            'case " $* " in *" install "*" openssh-server "*) ;; *) exit 0 ;; esac\n'
            'echo "Setting up openssh-server (sandbox) ..."\n'
            f"cp {package} {program} && chmod 755 {program}\n"
        )

    def _write_stand_ins(self) -> None:
        """Put the programs that an instance always has, and this computer has not, on the machine's PATH."""
        stand_ins = {
            "ssh-keygen": [sys.executable, "-I", self._program("keygen.py")],
            "gunzip": [sys.executable, "-I", "-S", "-c", _GUNZIP],
        }
        for name, command in stand_ins.items():
            if shutil.which(name, path=_SYSTEM_PATH) is None:
                self.disk.write_control(f"bin/{name}", f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', 0o755)

    def _asyncssh_script(self, env: Mapping[str, str], pid_file: str) -> str:
        """Return a program that behaves as sshd does: in the background unless told -D, ready when it returns."""
        words = [f"{name}={value}" for name, value in env.items()]
        words += [sys.executable, "-I", self._program("sshd.py"), self._control("sshd.json")]
        pid = shlex.quote(pid_file)
        return (
            "#!/bin/sh\n"
            f"serve() {{ exec env -i {shlex.join(words)}; }}\n"
            'case " $* " in *" -D "*) serve ;; esac\n'
            f"rm -f {pid}\n"
            "serve </dev/null >/dev/null 2>&1 &\n"
            f"for _ in $(seq 200); do [ -s {pid} ] && exit 0; sleep 0.05; done\n"
            "exit 255\n"
        )

    def _inside(self, path: str) -> str:
        """Return `path` of the machine's disk as the machine sees it."""
        return f"/{path}" if self._isolated else str(self.disk.root / path)

    def _control(self, name: str) -> str:
        folder = isolation.CONTROL_INSIDE if self._isolated else self.disk.control
        return str(folder / name)

    def _program(self, name: str) -> str:
        folder = isolation.PROGRAM_INSIDE if self._isolated else isolation.PROGRAM_FOLDER
        return str(folder / name)
