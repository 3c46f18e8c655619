"""Trains and evaluates action-recognition networks on video. `besnet.load(path)` gives a network that predicts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from besnet.predict.model import load as load

__version__ = "0.2.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load` at its first use: torch takes seconds."""
    if name == "load":
        from besnet.predict.model import load

        return load
    raise AttributeError(f"module 'besnet' has no attribute {name!r}")
