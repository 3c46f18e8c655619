"""The DataLoader arguments shared by training and evaluation."""

import os
from collections.abc import Callable
from typing import Any

import torch

from besnet.data.parcel import Packed, as_it_is
from besnet.supervision import EndWithReader, start_fork_server

PREFETCHED = 2  # batches that each worker prefetches


def loader_settings(workers: int, device: torch.device, collate: Callable[[Any], object] = as_it_is) -> dict[str, Any]:
    """DataLoader arguments that are the same for training and evaluation; collate: what puts a batch together."""
    settings: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    settings["collate_fn"] = Packed(collate)
    if workers:
        start_fork_server()
        # fork would copy the parent's threads and locks, on which decoders hang
        settings |= {"multiprocessing_context": "forkserver", "prefetch_factor": PREFETCHED, "persistent_workers": True}
        settings["worker_init_fn"] = EndWithReader(os.getpid())
    return settings
