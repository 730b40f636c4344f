"""A continuous-training daemon driven by drift detection."""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load_champion": "ct_daemon.scoring.champion",
    "Champion": "ct_daemon.scoring.champion",
    "TrainingData": "ct_daemon.training.data",
    "profile": "ct_daemon.scan.door",
    "compare": "ct_daemon.scan.door",
    "Comparison": "ct_daemon.scan.comparison",
    "Cluster": "ct_daemon.scan.cluster",
    "Profile": "ct_daemon.drift.profile",
    "save_profile": "ct_daemon.scan.stored",
    "load_profile": "ct_daemon.scan.stored",
}
"""Names for your own programs and where they live. Handed on when asked for: the daemon's own process stays light."""

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """A public name, imported at its first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ct_daemon' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """All names, the public ones among them."""
    return sorted({*globals(), *_PUBLIC})
