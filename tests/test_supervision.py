"""Processes end with those they serve, and take nobody else along."""

import subprocess
import sys

# A process that adopts orphans starts a stand-in for the fork server, which starts a worker and dies; then the reader
# dies.
ADOPTED = """
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
reader = subprocess.Popen(["sleep", "60"])
worker = "from besnet.supervision import EndWithReader; import time; "
worker += f"EndWithReader({reader.pid})(0); print('on', flush=True); time.sleep(60)"
server = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {worker!r}])"
subprocess.run([sys.executable, "-c", server])
time.sleep(0.2)
print(sys.stdin.readline().strip(), flush=True)
reader.kill()
os.waitpid(-1, 0), os.waitpid(-1, 0)  # the reader and the worker
print("still here")
"""


def test_a_worker_whose_fork_server_is_gone_ends_alone() -> None:
    start = [sys.executable, "-c", ADOPTED]
    with subprocess.Popen(start, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "on\n"
        process.stdin.write("kill the reader\n")
        process.stdin.close()
        assert process.stdout.read() == "kill the reader\nstill here\n"
    assert process.returncode == 0
