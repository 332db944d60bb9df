"""A stand-in for `nvidia-smi` that shows the rented GPU."""

from __future__ import annotations

import re
import shlex
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuplug.sandbox.machine.spec import MachineSpec

_SCRIPT = r"""#!/bin/sh
# Stands in for the program of this name: this machine's GPU is make-believe.
name=@name@
count=@count@
memory=@memory@
driver=@driver@
cuda=@cuda@
uuids=@uuids@

uuid() { printf %s "$uuids" | cut -d' ' -f"$(($1 + 1))"; }

table() {
    echo "+-----------------------------------------------------------------------------------------+"
    printf '| NVIDIA-SMI %-20s Driver Version: %-16s CUDA Version: %-8s |\n' "$driver" "$driver" "$cuda"
    echo "|-----------------------------------------+------------------------+----------------------|"
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        printf '| %3d  %-34s | %22s | %20s |\n' "$gpu" "$name" "0MiB / ${memory}MiB" "0%"
        gpu=$((gpu + 1))
    done
    echo "+-----------------------------------------------------------------------------------------+"
}

list() {
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        printf 'GPU %s: %s (UUID: %s)\n' "$gpu" "$name" "$(uuid "$gpu")"
        gpu=$((gpu + 1))
    done
}

value() {
    unit=
    case $1 in
        index) value=$gpu ;;
        name | gpu_name) value=$name ;;
        uuid | gpu_uuid) value=$(uuid "$gpu") ;;
        count) value=$count ;;
        driver_version) value=$driver ;;
        memory.total | memory.free) value=$memory unit=MiB ;;
        memory.used) value=0 unit=MiB ;;
        utilization.gpu | utilization.memory) value=0 unit=% ;;
        temperature.gpu) value=35 ;;
        power.draw) value=20.00 unit=W ;;
        *) return 1 ;;
    esac
    [ -n "$units" ] && [ -n "$unit" ] && value="$value $unit"
    return 0
}

row() {
    line= separator=
    for field in $fields; do
        if ! value "$field"; then
            echo "Field \"$field\" is not a valid field to query."
            exit 2
        fi
        line="$line$separator$value" separator=", "
    done
    printf '%s\n' "$line"
}

query() {
    fields=$(printf %s "$1" | tr ',' ' ') units=yes header=yes
    case ,$2, in *,nounits,*) units= ;; esac
    case ,$2, in *,noheader,*) header= ;; esac
    [ -n "$header" ] && printf '%s\n' "$1" | sed 's/,/, /g'
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        row
        gpu=$((gpu + 1))
    done
}

if [ "$count" -eq 0 ]; then
    echo "No devices were found"
    exit 6
fi
asked= format= listed=
for argument in "$@"; do
    case $argument in
        -L | --list-gpus) listed=yes ;;
        --query-gpu=*) asked=${argument#*=} ;;
        --format=*) format=${argument#*=} ;;
        *)
            echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help."
            exit 1
            ;;
    esac
done
if [ -n "$listed" ]; then list
elif [ -n "$asked" ]; then query "$asked" "$format"
else table
fi
"""


def marketing_name(gpu_name: str) -> str:
    """Return what the driver calls a GPU that the market calls `gpu_name`."""
    if re.match(r"(NVIDIA|Tesla|AMD)\b", gpu_name):
        return gpu_name
    line = "GeForce " if re.match(r"(RTX|GTX) \d{4}(?!\s*Ada)", gpu_name) else ""
    return f"NVIDIA {line}{gpu_name}"


def nvidia_smi(spec: MachineSpec) -> str:
    """Return the text of an `nvidia-smi` (POSIX sh) that answers for the GPU of `spec`."""
    made = [uuid.uuid5(uuid.NAMESPACE_OID, f"{spec.id}/{gpu}") for gpu in range(spec.gpu_count)]
    values = {
        "name": marketing_name(spec.gpu_name),
        "count": str(spec.gpu_count),
        "memory": str(spec.vram_mb),
        "driver": spec.driver,
        "cuda": spec.cuda,
        "uuids": " ".join(f"GPU-{one}" for one in made),
    }
    script = _SCRIPT
    for key, value in values.items():
        script = script.replace(f"{key}=@{key}@", f"{key}={shlex.quote(value)}")
    return script
