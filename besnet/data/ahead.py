"""Fetches the shards of the coming batches while a rank trains, and keeps them until their last one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import numpy as np

from besnet.data.cache import Fetched, fetched, pinned
from besnet.data.dataset import Shard
from besnet.data.manifest import Manifest
from besnet.data.order import Key, TrainingOrder
from besnet.data.paths import inside
from besnet.data.streaming import AHEAD
from besnet.data.window import spans


class ShardsAhead:
    """The batches of an order, for a DataLoader; a thread pins their shards in the cache.

    shards: int (rows of the manifest,), the shard of each training row. in_flight: batches that the loader has asked
    for and the training has not yet had. tells: whether it prints what this machine has fetched in an epoch.
    What cannot be fetched is left to the reader that needs it, which says so.
    """

    def __init__(
        self, order: TrainingOrder, manifest: Manifest, shards: np.ndarray, in_flight: int, tells: bool
    ) -> None:
        self.order = order
        self.manifest = manifest
        self.shards = shards
        self.in_flight = in_flight
        self.tells = tells

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[Key]]:
        batches = list(self.order)
        if not batches:
            return
        read = self.shards[np.array([[key[1] for key in batch] for batch in batches])]
        thread, before, epoch = _Thread(self.manifest, spans(read), self.in_flight), fetched(), self.order.epoch
        thread.start()
        try:
            for number, batch in enumerate(batches):
                thread.reach(number)
                yield batch
        finally:
            thread.reach(None)
            cost = fetched().since(before)
            if self.tells and cost != Fetched():
                print(f"epoch {epoch}: {cost}", flush=True)


class _Thread(threading.Thread):
    """Pins shards in the order of their first batches, few ahead of the position; lets go of them behind it."""

    def __init__(self, manifest: Manifest, needs: dict[int, tuple[int, int]], in_flight: int) -> None:
        super().__init__(name="fetches shards ahead", daemon=True)
        self.manifest, self.needs, self.in_flight = manifest, needs, in_flight
        self.position: int | None = 0
        self.moved = threading.Condition()

    def reach(self, position: int | None) -> None:
        """Say which batch comes next; None ends the thread."""
        with self.moved:
            self.position = position
            self.moved.notify()

    def run(self) -> None:
        held: dict[int, ExitStack] = {}
        try:
            for shard in self.needs:
                if not self._wait_for_place(held):
                    return
                held[shard] = self._pin(self.manifest.about.shards[shard])
            self._wait_for_place(held, 0)  # until the end of the epoch
        finally:
            for pin in held.values():
                pin.close()

    def _wait_for_place(self, held: dict[int, ExitStack], ahead: int = AHEAD) -> bool:
        """Let go of what is read, until fewer than `ahead` shards are here too early; whether the epoch goes on."""
        with self.moved:
            while self.position is not None:
                for shard in [n for n in held if self.needs[n][1] + self.in_flight < self.position]:
                    held.pop(shard).close()
                if sum(self.needs[n][0] > self.position for n in held) < ahead:
                    return True
                self.moved.wait()
        return False

    def _pin(self, shard: Shard) -> ExitStack:
        pin = ExitStack()
        with suppress(OSError):
            pin.enter_context(pinned(inside(self.manifest.root, shard.path, shard.path), shard.size, shard.hash))
        return pin
