"""Trains and evaluates action-recognition networks on video. `besnet.load(path)` gives a network that predicts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from besnet.predict.model import load as load
    from besnet.predict.model import load_published as load_published

__version__ = "0.2.0"
__all__ = ["load", "load_published"]


def __getattr__(name: str) -> Any:
    """Import what predicts at its first use: torch takes seconds."""
    if name in __all__:
        from besnet.predict import model

        return getattr(model, name)
    raise AttributeError(f"module 'besnet' has no attribute {name!r}")
