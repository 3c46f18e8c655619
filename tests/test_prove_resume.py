"""The proof of benchmarks/prove_resume.py, small: four kills, the same bits."""

import subprocess
import sys
from pathlib import Path


def test_four_kills_change_nothing() -> None:
    words = [sys.executable, "-m", "benchmarks.prove_resume", "--kills=4", "--seed=1"]
    root = Path(__file__).resolve().parents[1]
    proof = subprocess.run(words, cwd=root, text=True, capture_output=True)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert "4 kills of 4" in proof.stdout
    assert "0 unreadable checkpoints" in proof.stdout
    assert "0 processes left over" in proof.stdout
