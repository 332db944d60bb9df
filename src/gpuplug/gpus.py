"""The catalogue of GPU models: what each is called, how much memory it has, and what a typed name means.

Memory and architecture are those of the vendors' data sheets. The names are those that the providers use: Vast.ai's
from its list of names and its offers (API notes, section 2), RunPod's from its documentation page "GPU types".
A model that is missing here can still be wished for by the provider's own name.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# One model a line: name | GB | architecture | Vast's names | RunPod's ids | other names, with a ~ those of a family.
# A provider's name can stand for several models, which its memory tells apart; a family's name means any of them.
_TABLE = """
B300               | 288 | Blackwell | B300               | NVIDIA B300 SXM6 AC                | B300 SXM
B200               | 180 | Blackwell | B200               | NVIDIA B200                        | B200 SXM
H200               | 141 | Hopper    | H200               | NVIDIA H200                        | H200 SXM
H200 NVL           | 141 | Hopper    | H200 NVL           | NVIDIA H200 NVL                    | ~H200
H100 SXM           |  80 | Hopper    | H100 SXM           | NVIDIA H100 80GB HBM3              | ~H100, H100 SXM5
H100 PCIE          |  80 | Hopper    | H100 PCIE          | NVIDIA H100 PCIe                   | ~H100
H100 NVL           |  94 | Hopper    | H100 NVL           | NVIDIA H100 NVL                    | ~H100
GH200              |  96 | Hopper    | GH200 SXM          |                                    |
A100 SXM4 80GB     |  80 | Ampere    | A100 SXM4          | NVIDIA A100-SXM4-80GB              | ~A100, A100 SXM
A100 SXM4 40GB     |  40 | Ampere    | A100 SXM4          | NVIDIA A100-SXM4-40GB              | ~A100, A100 SXM
A100 PCIE 80GB     |  80 | Ampere    | A100 PCIE          | NVIDIA A100 80GB PCIe              | ~A100
A100 PCIE 40GB     |  40 | Ampere    | A100 PCIE          | NVIDIA A100-PCIE-40GB              | ~A100
A100X              |  80 | Ampere    | A100X              |                                    |
A800 PCIE          |  80 | Ampere    | A800 PCIE          |                                    |
L40S               |  48 | Ada       | L40S               | NVIDIA L40S                        |
L40                |  48 | Ada       | L40                | NVIDIA L40                         |
L4                 |  24 | Ada       | L4                 | NVIDIA L4                          |
A40                |  48 | Ampere    | A40                | NVIDIA A40                         |
A30                |  24 | Ampere    | A30                | NVIDIA A30                         |
A16                |  16 | Ampere    | A16                |                                    |
A10                |  24 | Ampere    | A10                |                                    | A10G
A2                 |  16 | Ampere    | A2                 |                                    |
T4                 |  16 | Turing    | Tesla T4           | NVIDIA T4                          |
V100 SXM2 32GB     |  32 | Volta     | Tesla V100         | Tesla V100-SXM2-32GB               | ~V100
V100 SXM2 16GB     |  16 | Volta     | Tesla V100         | Tesla V100-SXM2-16GB               | ~V100, V100 SXM2
V100 PCIE 32GB     |  32 | Volta     | Tesla V100         | Tesla V100-PCIE-32GB               | ~V100
V100 PCIE 16GB     |  16 | Volta     | Tesla V100         | Tesla V100-PCIE-16GB               | ~V100
V100 FHHL 16GB     |  16 | Volta     | Tesla V100         | Tesla V100-FHHL-16GB               | ~V100, V100 FHHL
P100               |  16 | Pascal    | Tesla P100         |                                    |
P40                |  24 | Pascal    | Tesla P40          |                                    |
P4                 |   8 | Pascal    | Tesla P4           |                                    |
MI300X             | 192 | CDNA 3    | InstinctMI300X     | AMD Instinct MI300X OAM            |
RTX PRO 6000 WS    |  96 | Blackwell | RTX PRO 6000 WS, RTX PRO 6000 | NVIDIA RTX PRO 6000 Blackwell Workstation Edition | ~RTX PRO 6000
RTX PRO 6000 S     |  96 | Blackwell | RTX PRO 6000 S     | NVIDIA RTX PRO 6000 Blackwell Server Edition | ~RTX PRO 6000
RTX PRO 6000 Max-Q |  96 | Blackwell | RTX PRO 6000 Max-Q | NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition | ~RTX PRO 6000
RTX PRO 5000       |  48 | Blackwell | RTX PRO 5000       | NVIDIA RTX PRO 5000 Blackwell      |
RTX PRO 4500       |  32 | Blackwell | RTX PRO 4500       | NVIDIA RTX PRO 4500 Blackwell      |
RTX PRO 4000       |  24 | Blackwell | RTX PRO 4000       | NVIDIA RTX PRO 4000 Blackwell      |
RTX 6000Ada        |  48 | Ada       | RTX 6000Ada        | NVIDIA RTX 6000 Ada Generation     |
RTX 5880Ada        |  48 | Ada       | RTX 5880Ada        | NVIDIA RTX 5880 Ada Generation     |
RTX 5000Ada        |  32 | Ada       | RTX 5000Ada        | NVIDIA RTX 5000 Ada Generation     |
RTX 4500Ada        |  24 | Ada       | RTX 4500Ada        | NVIDIA RTX 4500 Ada Generation     |
RTX 4000Ada        |  20 | Ada       | RTX 4000Ada        | NVIDIA RTX 4000 Ada Generation     |
RTX 4000Ada SFF    |  20 | Ada       |                    | NVIDIA RTX 4000 SFF Ada Generation | RTX 4000 Ada SFF
RTX 2000Ada        |  16 | Ada       | RTX 2000Ada        | NVIDIA RTX 2000 Ada Generation     |
RTX A6000          |  48 | Ampere    | RTX A6000          | NVIDIA RTX A6000                   |
RTX A5000          |  24 | Ampere    | RTX A5000          | NVIDIA RTX A5000                   |
RTX A4500          |  20 | Ampere    | RTX A4500          | NVIDIA RTX A4500                   |
RTX A4000          |  16 | Ampere    | RTX A4000          | NVIDIA RTX A4000                   |
RTX A2000          |   6 | Ampere    | RTX A2000          | NVIDIA RTX A2000                   |
RTX A2000 12GB     |  12 | Ampere    | RTX A2000          | NVIDIA RTX A2000 12GB              |
Q RTX 8000         |  48 | Turing    | Q RTX 8000         |                                    | Quadro RTX 8000
Q RTX 6000         |  24 | Turing    | Q RTX 6000         |                                    | Quadro RTX 6000
Q RTX 5000         |  16 | Turing    | Q RTX 5000         |                                    | Quadro RTX 5000
Q RTX 4000         |   8 | Turing    | Q RTX 4000         |                                    | Quadro RTX 4000
Titan RTX          |  24 | Turing    | Titan RTX          |                                    |
Titan V            |  12 | Volta     | Titan V            |                                    |
Titan Xp           |  12 | Pascal    | Titan Xp           |                                    |
RTX 5090           |  32 | Blackwell | RTX 5090           | NVIDIA GeForce RTX 5090            |
RTX 5080           |  16 | Blackwell | RTX 5080           | NVIDIA GeForce RTX 5080            |
RTX 5070 Ti        |  16 | Blackwell | RTX 5070 Ti        | NVIDIA GeForce RTX 5070 Ti         |
RTX 5070           |  12 | Blackwell | RTX 5070           | NVIDIA GeForce RTX 5070            |
RTX 5060 Ti 16GB   |  16 | Blackwell | RTX 5060 Ti        | NVIDIA GeForce RTX 5060 Ti         |
RTX 5060 Ti 8GB    |   8 | Blackwell | RTX 5060 Ti        |                                    |
RTX 5060           |   8 | Blackwell | RTX 5060           | NVIDIA GeForce RTX 5060            |
RTX 4090           |  24 | Ada       | RTX 4090           | NVIDIA GeForce RTX 4090            |
RTX 4090D          |  24 | Ada       | RTX 4090D          | NVIDIA GeForce RTX 4090 D          |
RTX 4080S          |  16 | Ada       | RTX 4080S          | NVIDIA GeForce RTX 4080 SUPER      | RTX 4080 SUPER
RTX 4080           |  16 | Ada       | RTX 4080           | NVIDIA GeForce RTX 4080            |
RTX 4070S Ti       |  16 | Ada       | RTX 4070S Ti       | NVIDIA GeForce RTX 4070 Ti SUPER   | RTX 4070 Ti SUPER
RTX 4070 Ti        |  12 | Ada       | RTX 4070 Ti        | NVIDIA GeForce RTX 4070 Ti         |
RTX 4070S          |  12 | Ada       | RTX 4070S          | NVIDIA GeForce RTX 4070 SUPER      | RTX 4070 SUPER
RTX 4070           |  12 | Ada       | RTX 4070           | NVIDIA GeForce RTX 4070            |
RTX 4060 Ti 16GB   |  16 | Ada       | RTX 4060 Ti        | NVIDIA GeForce RTX 4060 Ti         |
RTX 4060 Ti 8GB    |   8 | Ada       | RTX 4060 Ti        |                                    |
RTX 4060           |   8 | Ada       | RTX 4060           | NVIDIA GeForce RTX 4060            |
RTX 3090 Ti        |  24 | Ampere    | RTX 3090 Ti        | NVIDIA GeForce RTX 3090 Ti         |
RTX 3090           |  24 | Ampere    | RTX 3090           | NVIDIA GeForce RTX 3090            |
RTX 3080 Ti        |  12 | Ampere    | RTX 3080 Ti        | NVIDIA GeForce RTX 3080 Ti         |
RTX 3080           |  10 | Ampere    | RTX 3080           | NVIDIA GeForce RTX 3080            |
RTX 3080 12GB      |  12 | Ampere    | RTX 3080           |                                    |
RTX 3070 Ti        |   8 | Ampere    | RTX 3070 Ti        | NVIDIA GeForce RTX 3070 Ti         |
RTX 3070           |   8 | Ampere    | RTX 3070           | NVIDIA GeForce RTX 3070            |
RTX 3060 Ti        |   8 | Ampere    | RTX 3060 Ti        | NVIDIA GeForce RTX 3060 Ti         |
RTX 3060           |  12 | Ampere    | RTX 3060           | NVIDIA GeForce RTX 3060            |
RTX 3060 8GB       |   8 | Ampere    | RTX 3060           |                                    |
RTX 3050           |   8 | Ampere    | RTX 3050           |                                    |
RTX 2080 Ti        |  11 | Turing    | RTX 2080 Ti        | NVIDIA GeForce RTX 2080 Ti         |
RTX 2080S          |   8 | Turing    | RTX 2080S          |                                    | RTX 2080 SUPER
RTX 2080           |   8 | Turing    | RTX 2080           |                                    |
RTX 2070S          |   8 | Turing    | RTX 2070S          |                                    | RTX 2070 SUPER
RTX 2070           |   8 | Turing    | RTX 2070           |                                    |
RTX 2060S          |   8 | Turing    | RTX 2060S          |                                    | RTX 2060 SUPER
RTX 2060           |   6 | Turing    | RTX 2060           |                                    |
GTX 1660 Ti        |   6 | Turing    | GTX 1660 Ti        |                                    |
GTX 1660 S         |   6 | Turing    | GTX 1660 S         |                                    | GTX 1660 SUPER
GTX 1660           |   6 | Turing    | GTX 1660           |                                    |
GTX 1080 Ti        |  11 | Pascal    | GTX 1080 Ti        |                                    |
GTX 1080           |   8 | Pascal    | GTX 1080           |                                    |
GTX 1070 Ti        |   8 | Pascal    | GTX 1070 Ti        |                                    |
GTX 1070           |   8 | Pascal    | GTX 1070           |                                    |
GTX 1060           |   6 | Pascal    | GTX 1060           |                                    |
"""
_MIB = 1024
# What the driver reports lies between a tenth under the size on the box (ECC takes some) and a little over it.
_LEAST, _MOST = 0.9, 1.05
_SIZE = re.compile(r"\s*(\d{1,4})\s*gi?b\s*", re.IGNORECASE)
_SHORT = re.compile(r"(?:RTX|GTX) (?!PRO)(.+)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One model; `vast` and `runpod` are the names that each uses for it, and perhaps for others too."""

    name: str
    vram_gb: int
    architecture: str
    vast: tuple[str, ...]
    runpod: tuple[str, ...]
    others: tuple[str, ...]
    families: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of the model, without its families."""
        return (self.name, *self.vast, *self.runpod, *self.others)

    def named_by(self, platform: str) -> tuple[str, ...]:
        """Return the model's names on `platform`; none when it is not rented out there."""
        return {"vast": self.vast, "runpod": self.runpod}.get(platform, ())


@functools.cache
def catalogue() -> tuple[Gpu, ...]:
    """Return every known model."""
    return tuple(_model(line) for line in _TABLE.strip().splitlines())


def _model(line: str) -> Gpu:
    name, size, architecture, vast, runpod, more = (column.strip() for column in line.split("|"))
    others = _parts(more)
    return Gpu(
        name,
        int(size),
        architecture,
        _parts(vast),
        _parts(runpod),
        tuple(part for part in others if not part.startswith("~")),
        tuple(part[1:] for part in others if part.startswith("~")),
    )


def _parts(column: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in column.split(",") if part.strip())


@functools.lru_cache(maxsize=4096)
def key(name: str) -> str:
    """Fold a GPU's name so that all spellings of one model are equal.

    `RTX_4090`, `"RTX 4090"`, `rtx4090` and `NVIDIA GeForce RTX 4090` all give `rtx4090`.
    """
    text = re.sub(r"\b(nvidia|geforce|amd|radeon|tesla|quadro|instinct)\b", "", name.casefold().replace("_", " "))
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\bada generation\b", "ada", text))


@functools.cache
def _wishes() -> dict[str, tuple[Gpu, ...]]:
    """Return what each folded name means when it is typed: also a family, a name without RTX, one with the size added."""
    found: dict[str, list[Gpu]] = {}
    for gpu in catalogue():
        names = {*gpu.names, *gpu.families}
        names |= {match[1] for name in names if (match := _SHORT.fullmatch(name))}
        for one in _keys(names, gpu):
            found.setdefault(one, []).append(gpu)
    return {one: tuple(gpus) for one, gpus in found.items()}


@functools.cache
def _models() -> dict[str, tuple[Gpu, ...]]:
    """Return what each folded name stands for when a provider says it."""
    found: dict[str, list[Gpu]] = {}
    for gpu in catalogue():
        for one in _keys(gpu.names, gpu):
            found.setdefault(one, []).append(gpu)
    return {one: tuple(gpus) for one, gpus in found.items()}


def _keys(names: Iterable[str], gpu: Gpu) -> set[str]:
    """Return the folded names, each also with the size of the memory added."""
    keys = {key(name) for name in names}
    return keys | {f"{one}{gpu.vram_gb}gb" for one in keys}


@functools.lru_cache(maxsize=4096)
def meant(name: str) -> tuple[Gpu, ...]:
    """Return every model that a typed name may stand for: `A100` is four, `24GB` all of that size; none if unknown."""
    size = _SIZE.fullmatch(name.replace("_", ""))
    if size:
        return tuple(gpu for gpu in catalogue() if gpu.vram_gb == int(size[1]))
    return _wishes().get(key(name), ())


@functools.lru_cache(maxsize=4096)
def identify(model: str, vram_mb: int = 0) -> tuple[Gpu, ...]:
    """Return the models that a provider may mean by `model` with `vram_mb` MiB each (0: not told); none if unknown."""
    found = _models().get(key(model), ())
    return tuple(gpu for gpu in found if holds(gpu.vram_gb, vram_mb)) if vram_mb else found


def holds(size_gb: int, vram_mb: int) -> bool:
    """Tell whether `vram_mb` MiB, as the driver reports them, are a GPU sold with `size_gb` GB."""
    return _LEAST * size_gb * _MIB <= vram_mb <= _MOST * size_gb * _MIB


def reported(size_gb: int) -> tuple[int, int]:
    """Return the least and the most MiB that the driver reports for a GPU sold with `size_gb` GB."""
    return int(_LEAST * size_gb * _MIB), int(_MOST * size_gb * _MIB)


def canonical(model: str, vram_mb: int = 0) -> str:
    """Return the catalogue's name of a provider's model; where it may be several, the provider's own with their size.

    So the name alone, as the ledger keeps it, tells whether a wish is met.
    """
    found = identify(model, vram_mb)
    if len(found) == 1:
        return found[0].name
    sizes = {gpu.vram_gb for gpu in found}
    return f"{model} {sizes.pop()}GB" if len(sizes) == 1 and model not in {gpu.name for gpu in found} else model


@functools.lru_cache(maxsize=4096)
def satisfies(wanted: str, model: str, vram_mb: int = 0) -> bool:
    """Tell whether a provider's `model` is what `wanted` names: a model, a family (`A100`), or a size (`24GB`).

    A size means the models of the catalogue that are sold with it: of others the ledger would not know it any more.
    """
    found = identify(model, vram_mb)
    if found:
        return not set(found).isdisjoint(meant(wanted))
    return bool(key(wanted)) and key(wanted) == key(model)


def nearest(name: str, more: tuple[str, ...] = ()) -> list[str]:
    """Return up to three names, of the catalogue and of `more`, that resemble `name`, best first; of a size the next sizes."""
    size = _SIZE.fullmatch(name.replace("_", ""))
    if size:
        sizes = sorted({gpu.vram_gb for gpu in catalogue()}, key=lambda gb: abs(gb - int(size[1])))
        return [f"{gb}GB" for gb in sizes[:3]]
    names = {key(one): one for one in (*(gpu.name for gpu in catalogue()), *more)}
    wanted = key(name)
    parts = [one for one in names if wanted and wanted in one]
    return [names[one] for one in (parts or difflib.get_close_matches(wanted, names, 3, 0.6))[:3]]
