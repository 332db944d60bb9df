"""Whether an instance is still meant to run, and whether it is what was rented."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gpuplug.errors import AgentError, HostError, PreemptedError, WrongHardwareError
from gpuplug.outputs import clean_text
from gpuplug.types import Instance, InstanceState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.ledger import Lease
    from gpuplug.providers import Provider
    from gpuplug.types import Clock

_SEEN_S = 10.0
_POLL_S = 1.0
_LEAST_VRAM = 0.9  # drivers keep some of it for themselves


def check_standing(lease: Lease, instance: Instance) -> None:
    """Return when the provider still means to run `instance`.

    Raises:
        PreemptedError: a spot machine that nobody here stopped has stopped.
        HostError: it failed, or has stopped for another reason.
    """
    if instance.state not in {InstanceState.FAILED, InstanceState.STOPPED}:
        return
    if instance.state is InstanceState.STOPPED and lease.bid.micros:
        raise PreemptedError(
            f"preempted: {lease.gpu} #{lease.instance_id} went to somebody who bids more than {lease.bid}/h",
            hint="run the cell again for another machine, or leave --spot out",
        )
    reason = instance.status or "no reason given"
    raise HostError(f"{lease.gpu} #{lease.instance_id} has {instance.state.value}: {reason}")


def check_not_preempted(lease: Lease, provider: Provider, clock: Clock) -> None:
    """Return when a spot machine whose cell has just died is still ours, as far as the provider says within its notice.

    Where notice is given, the cells die of it before the provider says that the machine has stopped.

    Raises:
        PreemptedError: it was taken away.
        HostError: it failed.
        ProviderError: no usable answer.
    """
    deadline = clock.monotonic() + provider.traits.notice_s + _SEEN_S
    while clock.monotonic() < deadline:
        instance = provider.show(lease.instance_id)
        if instance is not None:
            check_standing(lease, instance)
        clock.sleep(_POLL_S)


def check_hardware(lease: Lease, probe: Mapping[str, Any]) -> None:
    """Compare what the instance shows with what was rented; a provider that is free may have no GPU.

    Raises:
        WrongHardwareError: another model or number, less memory, or an older CUDA.
    """
    if not lease.price.micros:
        return
    shown = _gpus(lease, probe)
    model = _model_number(lease.gpu)
    right = [
        vram
        for name, vram in shown
        if model in re.sub(r"[^a-z0-9]", "", name.casefold()) and vram >= lease.vram_mb * _LEAST_VRAM
    ]
    if len(right) < lease.gpu_count:
        seen = ", ".join(f"{name} with {vram} MiB" for name, vram in shown) or "no GPU"
        wanted = f"{lease.gpu_count} x {lease.gpu}" + (f" with {lease.vram_mb} MiB" if lease.vram_mb else "")
        raise WrongHardwareError(f"{wanted} was rented, #{lease.instance_id} has {seen}")
    cuda = str(probe.get("cuda") or "")
    if _version(cuda) < _version(lease.cuda):
        raise WrongHardwareError(
            f"a driver for CUDA {lease.cuda} was rented, #{lease.instance_id} has {clean_text(cuda)[:20] or 'none'}"
        )


def _gpus(lease: Lease, probe: Mapping[str, Any]) -> list[tuple[str, int]]:
    try:
        return [(clean_text(str(name))[:80], int(vram)) for name, vram in probe.get("gpus", [])]
    except (TypeError, ValueError) as error:
        raise AgentError(f"the agent of #{lease.instance_id} tells of its GPUs in a way that makes no sense") from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _model_number(gpu: str) -> str:
    """Return the part of a GPU's name that all spellings share: `4090` of `RTX 4090`, `a100` of `A100 SXM4`."""
    words = [word for word in re.split(r"[^a-z0-9]+", gpu.casefold()) if any(character.isdigit() for character in word)]
    return words[0] if words else re.sub(r"[^a-z0-9]", "", gpu.casefold())
