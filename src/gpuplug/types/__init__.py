"""The nouns of the domain: money, offers, instances, keys, clocks. No input or output happens here."""

from __future__ import annotations

from gpuplug.types.injected import Clock, Secret, SystemClock
from gpuplug.types.instances import (
    LABEL_PREFIX,
    Account,
    Billed,
    Endpoint,
    Identity,
    Instance,
    InstanceState,
    SelfStop,
    Spec,
    SshTarget,
    StartParams,
    Traits,
)
from gpuplug.types.money import SECONDS_PER_HOUR, ZERO, Money
from gpuplug.types.offers import Cloud, GpuWish, Offer, OfferList, Query, cuda_version, gpu_key, within

__all__ = [
    "LABEL_PREFIX",
    "SECONDS_PER_HOUR",
    "ZERO",
    "Account",
    "Billed",
    "Clock",
    "Cloud",
    "Endpoint",
    "GpuWish",
    "Identity",
    "Instance",
    "InstanceState",
    "Money",
    "Offer",
    "OfferList",
    "Query",
    "Secret",
    "SelfStop",
    "Spec",
    "SshTarget",
    "StartParams",
    "SystemClock",
    "Traits",
    "cuda_version",
    "gpu_key",
    "within",
]
