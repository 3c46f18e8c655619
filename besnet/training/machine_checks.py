"""Checks of a machine before a training; each problem is one line that ends with the fix."""

import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from besnet.data.cache import cache_folder
from besnet.data.cache_room import cache_bytes
from besnet.data.loading import PREFETCHED

OTHER_FILES = 200  # of a rank: libraries, shards, checkpoints, logs, its connections
FILES_A_WORKER = 8  # its queues and the ends of its pipes
BYTES_A_PARAMETER = 16  # a checkpoint's weights, their moving average and two moments


@dataclass(frozen=True)
class Finding:
    """The result of one check: `fix` is empty where there is no problem."""

    name: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + (f": {self.fix}" if self.fix else "")


@dataclass(frozen=True)
class Needs:
    """What a training needs on each of its machines."""

    out: Path
    workers: int  # of each rank
    batch_bytes: int  # frames of one micro-batch, uint8
    parameters: int
    checkpoints: int  # kept at a time
    local_ranks: int
    nodes: int
    shards: "RemoteShards | None" = None


@dataclass(frozen=True)
class RemoteShards:
    """Remote training shards, as a machine's ranks read them. Counts of shards, and bytes."""

    mixed: bool  # few are open at a time; else every video may need any of them
    count: int
    videos: int
    bytes: int  # of those that the machine needs in an epoch
    open: int  # with those that are fetched ahead
    bytes_open: int


def machine(needs: Needs) -> list[Finding]:
    """All checks of this machine."""
    findings = [shared_memory(needs), open_files(needs), cores(needs), disk(needs), network(needs.nodes, os.environ)]
    return [*findings, *(cache(needs.shards) if needs.shards else [])]


def cache(shards: RemoteShards) -> list[Finding]:
    """The cache of remote shards holds the open ones, its disk holds the cache, and what an epoch fetches."""
    bound, folder = cache_bytes(), cache_folder()
    fits = shards.bytes <= bound
    missed = shards.bytes if shards.mixed else (1 - bound / shards.bytes) * shards.videos * shards.bytes / shards.count
    fetched = "nothing after the first epoch" if fits else f"about {gigabytes(round(missed))} an epoch"
    found = f"{gigabytes(bound)} for {gigabytes(shards.bytes)} of shards, fetches {fetched}"
    fix = ""
    if shards.mixed:
        found += f"; {shards.open} shards are open at a time, up to {gigabytes(shards.bytes_open)}"
        if shards.bytes_open > bound:
            fix = f"export BESNET_CACHE_GB={shards.bytes_open / 1e9:.2g}, or lower --data.shuffle_window"
    elif not fits:
        fix = f"export BESNET_CACHE_GB={shards.bytes / 1e9:.2g}, or --data.shuffle=shards"
    disk = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    held = sum(path.stat().st_size for path in folder.glob("besnet-*.tar")) if folder.is_dir() else 0
    free, wanted = psutil.disk_usage(str(disk)).free + held, min(bound, shards.bytes)
    room = f"{gigabytes(free)} free for it in {folder}, up to {gigabytes(wanted)} needed"
    lack = "" if free > wanted else "lower BESNET_CACHE_GB, or choose another disk with BESNET_CACHE"
    return [Finding("cache", found, fix), Finding("disk of the cache", room, lack)]


def shared_memory(needs: Needs, folder: Path = Path("/dev/shm")) -> Finding:
    """Loader workers send their frames through shared memory; a container has 64 MB of it by default."""
    batches = needs.local_ranks * (needs.workers * (PREFETCHED + 1) + 1) if needs.workers else 0
    wanted, free = batches * needs.batch_bytes, psutil.disk_usage(str(folder)).free
    found = f"{gigabytes(free)} free in {folder}, about {gigabytes(wanted)} needed"
    if wanted <= free:
        return Finding("shared memory", found)
    size = -(-2 * wanted // 2**30)
    return Finding(
        "shared memory",
        found,
        f"start the container with --shm-size={size}g, or mount -o remount,size={size}G {folder}",
    )


def open_files(needs: Needs, limit: int | None = None) -> Finding:
    """Every batch that waits for a rank is a file that it holds open; a container may allow few."""
    batches = needs.workers * (PREFETCHED + 1)
    pinned = needs.shards.open if needs.shards else 0
    wanted = OTHER_FILES + FILES_A_WORKER * needs.workers + batches + pinned
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    found = f"a process may open {allowed}, about {wanted} needed"
    fix = "" if wanted <= allowed else f"ulimit -n {2 * wanted}, or --ulimit nofile={2 * wanted} for a container"
    return Finding("open files", found, fix)


def cores(needs: Needs) -> Finding:
    """Each rank and each of its workers needs a core."""
    have, wanted = usable_cores(), needs.local_ranks * (needs.workers + 1)
    found = f"{needs.local_ranks} x ({needs.workers} workers + 1) processes on {have} cores"
    fitting = max(1, have // needs.local_ranks - 1)
    if wanted <= have + needs.local_ranks or fitting >= needs.workers:
        return Finding("cores", found)
    return Finding("cores", found, f"--data.workers={fitting}")


def usable_cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: those of its affinity, at most the quota of its container."""
    bound = len(os.sched_getaffinity(0))
    try:
        quota, period = limit.read_text().split()
        return min(bound, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return bound


def disk(needs: Needs) -> Finding:
    """Space for the checkpoints that are kept, and one more while it is written."""
    folder = next(parent for parent in (needs.out, *needs.out.resolve().parents) if parent.is_dir())
    wanted, free = (needs.checkpoints + 1) * needs.parameters * BYTES_A_PARAMETER, psutil.disk_usage(str(folder)).free
    found = f"{gigabytes(free)} free for {needs.out}, about {gigabytes(wanted)} needed"
    return Finding("disk", found, "" if free > wanted else "free some space, or choose another disk with --out")


def network(nodes: int, environment: Mapping[str, str]) -> Finding:
    """Ranks on other machines must reach this one by the address of its host name, or by a named interface."""
    if nodes == 1:
        return Finding("network", "one machine: not needed")
    up = [name for name, state in psutil.net_if_stats().items() if state.isup and name != "lo"]
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        named = environment.get(variable, "").lstrip("=^")
        if named and variable.startswith("GLOO") and named not in psutil.net_if_stats():
            return Finding("network", f"{variable}={named} is not an interface of this machine", export(up))
    if environment.get("GLOO_SOCKET_IFNAME"):
        return Finding("network", f"interface {environment['GLOO_SOCKET_IFNAME']}")
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return Finding("network", f"the host name {socket.gethostname()} has no address", export(up))
    if address.startswith("127."):
        found = f"the host name {socket.gethostname()} has the address {address}, which other machines cannot reach"
        return Finding("network", found, export(up))
    return Finding("network", f"address {address}")


def export(interfaces: list[str]) -> str:
    """The command that sets the interface to use."""
    name = interfaces[0] if interfaces else "NAME"
    return f"export GLOO_SOCKET_IFNAME={name} NCCL_SOCKET_IFNAME={name}"


def gigabytes(count: int) -> str:
    """Bytes in GB."""
    return f"{count / 1e9:.1f} GB"
