"""Fetches the shards of the coming batches while a rank trains, and keeps them until their last one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from besnet.data.cache import Fetched, fetched, pinned
from besnet.data.cache_room import Full, cache_bytes
from besnet.data.dataset import Shard
from besnet.data.manifest import Manifest
from besnet.data.order import Key, TrainingOrder
from besnet.data.paths import inside
from besnet.data.streaming import AHEAD
from besnet.data.window import spans

PAUSE_SEC = 0.2


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
        # the rest is for a reader that comes late
        self.room = cache_bytes() - max(shard.size for shard in manifest.about.shards)
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
                while shard not in held and self._wait_for_place(held, shard) and self._is_to_come(shard):
                    try:
                        held[shard] = self._pin(self.manifest.about.shards[shard])
                    except Full:  # of what others hold: perhaps not any more when the position has moved
                        self._pause()
            self._wait_for_place(held, None)
        finally:
            for pin in held.values():
                pin.close()

    def _is_to_come(self, shard: int) -> bool:
        return self.position is not None and self.needs[shard][1] >= self.position

    def _pause(self) -> None:
        with self.moved:
            self.moved.wait(PAUSE_SEC)

    def _wait_for_place(self, held: dict[int, ExitStack], shard: int | None) -> bool:
        """Let go of what is read until a shard may come, None for the end of the epoch; whether the epoch goes on.

        Where the cache is small, what is only in flight gives way, and nothing comes before it is asked for.
        """
        with self.moved:
            while self.position is not None:
                full = shard is not None and self._bytes([*held, shard]) > self.room
                for number in list(held):
                    if self.needs[number][1] + (0 if full else self.in_flight) < self.position:
                        held.pop(number).close()
                if shard is not None:
                    early = sum(self.needs[number][0] > self.position for number in held)
                    fits = early < AHEAD and self._bytes([*held, shard]) <= self.room
                    if fits or self.needs[shard][0] <= self.position:
                        return True
                self.moved.wait()
        return False

    def _bytes(self, numbers: list[int]) -> int:
        return sum(self.manifest.about.shards[number].size for number in numbers)

    def _pin(self, shard: Shard) -> ExitStack:
        pin, address = ExitStack(), inside(self.manifest.root, shard.path, shard.path)
        try:
            pin.enter_context(pinned(address, shard.size, shard.hash, room_sec=0.0))
        except Full:
            raise
        except OSError:
            pass
        return pin
