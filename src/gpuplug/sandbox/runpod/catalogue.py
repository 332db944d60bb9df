"""What RunPod's make-believe shelf has: GPU types, CPU flavours and data centers, as the service spells them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One GPU type: `memory` GB as listed, `vram` MiB as the driver says, prices in dollars per GPU and hour (0: not there)."""

    id: str
    name: str
    memory: int
    vram: int
    secure: float
    community: float
    max_secure: int = 8
    max_community: int = 8
    pool: str | None = None

    @property
    def maker(self) -> str:
        """NVIDIA or AMD."""
        return "AMD" if self.id.startswith("AMD") else "NVIDIA"


GPUS: tuple[GpuModel, ...] = (
    GpuModel("NVIDIA GeForce RTX 4090", "RTX 4090", 24, 24564, 0.69, 0.34, 8, 8, "ADA_24"),
    GpuModel("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 24576, 0.46, 0.22, 8, 8, "AMPERE_24"),
    GpuModel("NVIDIA GeForce RTX 5090", "RTX 5090", 32, 32607, 0.99, 0.69, 8, 8, "ADA_32_PRO"),
    GpuModel("NVIDIA GeForce RTX 4080 SUPER", "RTX 4080 SUPER", 16, 16376, 0.0, 0.28, 0, 4),
    GpuModel("NVIDIA GeForce RTX 3070", "RTX 3070", 8, 8192, 0.0, 0.13, 0, 4),
    GpuModel("NVIDIA RTX A4000", "RTX A4000", 16, 16376, 0.25, 0.17, 8, 8, "AMPERE_16"),
    GpuModel("NVIDIA RTX A5000", "RTX A5000", 24, 24564, 0.27, 0.16, 8, 8, "AMPERE_24"),
    GpuModel("NVIDIA RTX A6000", "RTX A6000", 48, 49140, 0.49, 0.33, 8, 8, "AMPERE_48"),
    GpuModel("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48, 49140, 0.77, 0.74, 8, 8, "ADA_48_PRO"),
    GpuModel("NVIDIA L4", "L4", 24, 23034, 0.39, 0.0, 8, 0, "ADA_24"),
    GpuModel("NVIDIA L40S", "L40S", 48, 46068, 0.86, 0.79, 8, 4, "ADA_48_PRO"),
    GpuModel("NVIDIA A40", "A40", 48, 46068, 0.40, 0.35, 8, 8, "AMPERE_48"),
    GpuModel("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, 81920, 1.39, 1.19, 8, 8, "AMPERE_80"),
    GpuModel("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, 81920, 1.49, 1.39, 8, 8, "AMPERE_80"),
    GpuModel("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 81559, 2.69, 2.59, 8, 8, "ADA_80_PRO"),
    GpuModel("NVIDIA H100 PCIe", "H100 PCIe", 80, 81559, 2.39, 1.99, 8, 8, "ADA_80_PRO"),
    GpuModel("NVIDIA H200", "H200 SXM", 141, 143771, 3.59, 0.0, 8, 0, "HOPPER_141"),
    GpuModel("NVIDIA B200", "B200", 180, 183359, 5.19, 0.0, 8, 0, "BLACKWELL_180"),
    GpuModel("Tesla V100-SXM2-32GB", "V100 SXM2 32GB", 32, 32768, 0.0, 0.29, 0, 8),
    GpuModel("AMD Instinct MI300X OAM", "MI300X", 192, 196592, 2.49, 0.0, 8, 0),
)
BY_ID = {model.id: model for model in GPUS}
# What the driver of a machine with the wrong GPU says, by the names of the other dialect and of this one.
CUDA_VERSIONS = ("12.4", "12.6", "12.8", "13.0")
DRIVERS = {"12.4": "550.127.05", "12.6": "560.35.03", "12.8": "570.133.20", "13.0": "580.95.05"}


@dataclass(frozen=True, slots=True)
class DataCenter:
    """One data center; a network volume lives in it and holds its pods there."""

    id: str
    name: str
    region: str
    country: str
    volumes: tuple[str, ...] = ("STANDARD",)
    global_network: bool = True


DATA_CENTERS: tuple[DataCenter, ...] = (
    DataCenter("EU-RO-1", "EU-RO-1", "EUROPE", "RO", ("STANDARD", "HIGH_PERFORMANCE")),
    DataCenter("EU-CZ-1", "EU-CZ-1", "EUROPE", "CZ"),
    DataCenter("EUR-IS-1", "EUR-IS-1", "EUROPE", "IS"),
    DataCenter("EU-SE-1", "EU-SE-1", "EUROPE", "SE", ()),
    DataCenter("US-KS-2", "US-KS-2", "NORTH_AMERICA", "US", ("STANDARD", "HIGH_PERFORMANCE")),
    DataCenter("US-TX-3", "US-TX-3", "NORTH_AMERICA", "US"),
    DataCenter("US-CA-2", "US-CA-2", "NORTH_AMERICA", "US"),
    DataCenter("CA-MTL-1", "CA-MTL-1", "NORTH_AMERICA", "CA"),
    DataCenter("AP-JP-1", "AP-JP-1", "ASIA", "JP", (), global_network=False),
)
CENTER_BY_ID = {center.id: center for center in DATA_CENTERS}


@dataclass(frozen=True, slots=True)
class CpuFlavor:
    """One kind of CPU pod, priced in dollars per vCPU and hour."""

    id: str
    name: str
    group: str
    ram_per_vcpu: float
    price: float
    least: int = 2
    most: int = 32


CPUS: tuple[CpuFlavor, ...] = (
    CpuFlavor("cpu3c", "Compute-Optimized", "CPU 3", 2.0, 0.03),
    CpuFlavor("cpu3g", "General Purpose", "CPU 3", 4.0, 0.04),
    CpuFlavor("cpu5c", "Compute-Optimized", "CPU 5", 2.0, 0.035),
)
CPU_BY_ID = {flavor.id: flavor for flavor in CPUS}
