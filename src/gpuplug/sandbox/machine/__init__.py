"""Rented instances as real SSH machines on loopback: own disk, own processes, own sshd, breakable network.

Example:
    machine = Machine(MachineSpec(folder=folder, id="1", start_command="echo hello", ...))
    await machine.boot(timeout=10)
    ...  # ssh -p machine.direct_port root@127.0.0.1
    await machine.destroy()
"""

from __future__ import annotations

from gpuplug.sandbox.machine.machine import Machine
from gpuplug.sandbox.machine.spec import MachineError, MachineSpec

__all__ = ["Machine", "MachineError", "MachineSpec"]
