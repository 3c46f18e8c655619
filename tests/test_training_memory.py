"""besnet.training.memory: pages that the system has to hand out again in every step."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from besnet.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    maps = [torch.ones(12, 2**20) for _ in range(3)]  # 48 MB each
    return sum(float(x[0, 0]) for x in maps)
for _ in range(12):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step(), step(), step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(mode: str) -> int:
    """Pages that the system hands to a process in three steps, once its memory lies as it stays."""
    done = subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_a_step_uses_the_memory_of_the_one_before() -> None:
    assert new_pages("keep") < new_pages("plain") / 10  # plain: every page of nine blocks
