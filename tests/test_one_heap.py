"""All threads of a command allocate from one heap."""

import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, os, threading
from smae_jax.one_heap import use_one_heap
use_one_heap()
def work():
    for _ in range(50):
        bytearray(5000)
    barrier.wait()
barrier = threading.Barrier(5)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
barrier.wait()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"heaps.xml", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(open("heaps.xml").read().count("<heap nr="))
"""


@pytest.mark.parametrize(
    ("own", "heaps"), [({}, {1}), ({"MALLOC_ARENA_MAX": "8"}, set(range(2, 9)))]
)
def test_threads_share_one_heap_unless_the_user_says_otherwise(tmp_path, own, heaps):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    environment = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"} | own
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) in heaps


FREED = """
from smae_jax.one_heap import hand_back, use_one_heap
use_one_heap()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
held = [bytes(100_000) for _ in range(1000)]
kept = held[-1:]
del held
before = resident()
hand_back()
print(before - resident())
"""


def test_what_is_free_goes_back_to_the_system(tmp_path):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    command = [sys.executable, "-c", FREED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 50  # of 95 MiB, which lie below what is kept


AGAIN = """
import resource
from smae_jax.one_heap import large_in_heap, use_one_heap
use_one_heap()
def faults(size=2**26):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * size
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
apart = faults()
with large_in_heap():
    with large_in_heap(False):
        pass
    with large_in_heap():
        pass
    faults()
    within = faults()
print(apart, within, faults(2**28))
"""


def test_large_arrays_lie_where_the_last_ones_did_for_as_long_as_is_asked():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", AGAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    apart, within, after = map(int, done.stdout.split())
    assert within < 0.2 * apart
    assert after > apart  # there is no room for so large ones in the heap
