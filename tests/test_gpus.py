"""The catalogue of GPUs: what is typed means the same everywhere, and every name of every provider is known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug import gpus
from gpuplug.sandbox.catalogue import MODELS
from gpuplug.types import GpuWish

APIS = Path(__file__).resolve().parent.parent / ".." / "shared" / "apis"


def published(name: str) -> str:
    """Return a provider's published description; skips where it is not at hand."""
    path = APIS / name
    if not path.is_file():
        pytest.skip(f"{name} is not at hand")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "model", "vram_mb"),
    [
        ("RTX_4090", "NVIDIA GeForce RTX 4090", 24564),
        ("rtx4090", "RTX 4090", 0),
        ("4090", "RTX 4090", 24564),
        ("24GB", "RTX 4090", 24564),
        ("24GB", "A10", 23028),
        ("24 gb", "NVIDIA L4", 23034),
        ("A100", "A100 PCIE", 40960),
        ("A100_80GB", "A100 SXM4", 81920),
        ("A100_80GB", "NVIDIA A100 80GB PCIe", 81920),
        ("a100-sxm", "NVIDIA A100-SXM4-80GB", 81920),
        ("H100", "NVIDIA H100 80GB HBM3", 81559),
        ("T4", "Tesla T4", 15360),
        ("V100_32GB", "Tesla V100", 32768),
        ("RTX 4080 SUPER", "RTX 4080S", 16376),
        ("RTX_6000_Ada", "RTX 6000Ada", 49140),
        ("Quadro RTX 8000", "Q RTX 8000", 49152),
        ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887),
        ("Brand_New_1", "NVIDIA Brand New 1", 0),
    ],
)
def test_a_wish_is_met_by_every_spelling_of_every_provider(typed: str, model: str, vram_mb: int) -> None:
    assert GpuWish(typed).matches(model, 1, vram_mb)
    assert not GpuWish(typed, 2).matches(model, 1, vram_mb)


@pytest.mark.parametrize(
    ("typed", "model", "vram_mb"),
    [
        ("RTX_4090", "RTX 4090D", 24564),
        ("RTX_3090", "RTX 3090 Ti", 24564),
        ("A100_80GB", "A100 SXM4", 40960),
        ("H200 NVL", "H200", 143771),
        ("24GB", "RTX A6000", 49140),
        ("24GB", "RTX 4080", 16376),
        ("24GB", "Brand New 1", 24576),
        ("RTX_6000_Ada", "Q RTX 6000", 24576),
        ("", "RTX 4090", 0),
        ("", "", 0),
    ],
)
def test_a_wish_is_not_met_by_a_neighbour(typed: str, model: str, vram_mb: int) -> None:
    assert not GpuWish(typed).matches(model, 1, vram_mb)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_gpu_of_the_sandbox_is_known_with_its_memory(model: Any) -> None:  # noqa: ANN401 - the sandbox's own type
    found = gpus.identify(model.name, model.vram)
    assert found
    assert all(gpus.holds(gpu.vram_gb, model.vram) for gpu in found)
    assert GpuWish(model.name).matches(model.name, 1, model.vram)


def test_every_gpu_that_the_vast_notes_name_is_known_by_that_name() -> None:
    (line,) = [line for line in published("vast.md").splitlines() if line.startswith("- `gpu_name` real spelling")]
    names = re.findall(r"`([^`]+)`", line.partition("has spaces:")[2].partition("(gpuhunt")[0])
    assert len(names) > 15
    assert [name for name in names if not any(name in gpu.vast for gpu in gpus.catalogue())] == []


def test_every_gpu_that_the_vast_description_shows_is_known_but_the_imaginary_one() -> None:
    names = set(re.findall(r"gpu_name:\s*\n?\s*(?:[a-z: ]*\n\s*)?example: (.+)", published("vast-openapi.yaml")))
    names |= set(re.findall(r"\bgpu_name: (?!\{)([A-Z].+)", published("vast-openapi.yaml")))
    names = {name.strip("'\" ") for name in names}
    assert names
    assert {name for name in names if not gpus.meant(name)} <= {"Imaginary RTX 9999"}


def _ids(value: object) -> set[str]:
    """Return every text of a published description that looks like a RunPod GPU id."""
    if isinstance(value, dict):
        return set().union(*map(_ids, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(_ids, value)) if value else set()
    looks = isinstance(value, str) and re.fullmatch(r"(NVIDIA|AMD|Tesla) [A-Za-z0-9 -]{2,60}", value)
    return {str(value)} if looks else set()


def test_every_gpu_that_the_runpod_description_shows_is_known_by_that_id() -> None:
    names = _ids(json.loads(published("runpod-openapi-v2.json")))
    assert "NVIDIA GeForce RTX 4090" in names
    assert {name for name in names if not gpus.identify(name)} == set()


def test_a_runpod_id_with_its_memory_is_one_model() -> None:
    names = [gpus.key(gpu.name) for gpu in gpus.catalogue()]
    assert len(set(names)) == len(names)
    for gpu in gpus.catalogue():
        for name in gpu.runpod:
            assert gpus.identify(name, gpu.vram_gb * 1024) == (gpu,)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_name_that_the_ledger_keeps_meets_the_wish_as_the_offer_did(model: Any) -> None:  # noqa: ANN401 - likewise
    kept = gpus.canonical(model.name, model.vram)
    size = f"{gpus.identify(model.name, model.vram)[0].vram_gb}GB"
    for wish in (model.name, f"{model.name} {size}", size, kept):
        assert GpuWish(wish).matches(model.name, 1, model.vram)
        assert GpuWish(wish).matches(kept, 1)
    assert gpus.canonical("Tesla V100", 16384) == "Tesla V100 16GB"
    assert not GpuWish("V100_32GB").matches("Tesla V100 16GB", 1)


def test_a_typing_error_names_the_nearest_models() -> None:
    assert gpus.nearest("RTX 4900")[0] == "RTX 4090"
    assert gpus.nearest("rtx_9091", ("RTX 9090",))[0] == "RTX 9090"
    assert set(gpus.nearest("7GB")) >= {"6GB", "8GB"}
    assert not gpus.meant("RTX 4900")
    assert not gpus.meant("7GB")
    assert len(gpus.meant("24GB")) > 5


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 1 << 24))
def test_any_two_texts_are_compared_without_a_crash_and_the_same_one_meets_itself(one: str, two: str, mb: int) -> None:
    gpus.satisfies(one, two, mb)
    gpus.nearest(one)
    assert gpus.satisfies(one, one, mb) or not gpus.key(one)
