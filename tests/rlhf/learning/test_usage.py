import subprocess
import sys
import time

from rlhf.learning.usage import measure_usage


def test_what_was_held_and_let_go_again_counts():
    program = (
        "from rlhf.learning.usage import peak_memory_bytes\n"
        "before = peak_memory_bytes(); held = bytearray(100 * 2**20); del held\n"
        "print((peak_memory_bytes() - before) // 2**20)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert 95 <= int(done.stdout) <= 105


def test_a_forked_child_counts_from_its_fork():
    program = (
        "import os; from rlhf.learning.usage import peak_memory_bytes\n"
        "held = bytearray(200 * 2**20); del held\n"
        "parent = peak_memory_bytes()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if peak_memory_bytes() < parent / 2 else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "0\n"


def test_usage_is_told_in_seconds_and_bytes_of_this_host():
    usage = measure_usage(time.monotonic() - 3)

    assert 3 <= usage["seconds"] < 60
    assert 0 < usage["peak_memory_bytes"] < usage["total_memory_bytes"]
