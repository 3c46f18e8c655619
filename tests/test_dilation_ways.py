"""The ways to compute the dilation layer are equal: on a CPU, and on a GPU where there is one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.dilation_ways import WAYS
from besnet.models.dilation import TemporalPadding, Terms

ROOT = Path(__file__).resolve().parents[1]
TERMS: list[Terms] = [[(1, 1.0)], [(2, 1.0)], [(1, 0.5), (2, 0.5)], [(1, 0.2), (3, 0.3), (9, 0.5)]]


def by_definition(x: Tensor, weight: Tensor, terms: Terms, padding: TemporalPadding) -> Tensor:
    """Tap by tap and moment by moment."""
    frames, side = x.shape[2], weight.shape[-1] // 2
    found = []
    for t in range(frames):
        total = torch.nn.functional.conv2d(x[:, :, t], weight[:, :, 1], padding=side)
        for d, a in terms:
            for tap, other in ((0, t - d), (2, t + d)):
                if padding == "replicate":
                    other = min(max(other, 0), frames - 1)
                if 0 <= other < frames:
                    total = total + a * torch.nn.functional.conv2d(x[:, :, other], weight[:, :, tap], padding=side)
        found.append(total)
    return torch.stack(found, 2)


def check(way: str, device: str, kernel_size: int, dtype: torch.dtype = torch.float32) -> None:
    """A way against the definition, for layers that narrow and that do not, with and without an average."""
    torch.manual_seed(0)
    for inputs, outputs in ((5, 9), (9, 5), (6, 6)):
        for padding in ("zeros", "replicate"):
            for terms in TERMS:
                x = torch.randn(2, inputs, 6, 4, 3, device=device, dtype=dtype)
                weight = torch.randn(outputs, inputs, 3, kernel_size, kernel_size, device=device, dtype=dtype)
                found = WAYS[way](x, weight, terms, padding)  # type: ignore[arg-type]
                wanted = by_definition(x, weight, terms, padding)  # type: ignore[arg-type]
                torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "gathered"])
def test_a_way_follows_the_definition(way: str, kernel_size: int) -> None:
    check(way, "cpu", kernel_size)


def test_the_kernel_follows_the_definition_under_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    program = (
        "import os; os.environ['TRITON_INTERPRET'] = '1'\n"  # read when triton is loaded
        "from tests.test_dilation_ways import check\n"
        "check('gathered', 'cpu', 1)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["*bf16", "*fp32"])
def test_the_kernel_compiles_for_a_gpu(kind: str, count: int) -> None:
    """The interpreter takes programs that the compiler does not; compiling needs no GPU."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from benchmarks.dilation_triton import _kernel

    arrays = {"x": kind, "weight": kind, "y": kind, "dilations": "*i32", "shares": "*fp32"}
    numbers = dict.fromkeys(("rows", "frames", "pixels", "outputs"), "i32")
    fixed = {"inputs": 24, "count": count, "replicate": True, "block_rows": 64, "block_outputs": 64, "block_inputs": 32}
    signature = arrays | numbers | dict.fromkeys(fixed, "constexpr")
    compiled = triton.compile(
        ASTSource(_kernel, signature=signature, constexprs=fixed), target=GPUTarget("cuda", 90, 32)
    )
    assert compiled.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.parametrize("way", list(WAYS))
def test_a_way_follows_the_definition_on_a_gpu(way: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    check(way, "cuda", 1)
