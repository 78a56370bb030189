"""A process that fails while a pipeline calls Python ends as any other that fails."""

import subprocess
import sys

# Calls are under way all the time, in several threads: the buffer is never full.
PROGRAM = """
import time
import tensorflow as tf
from vlm.data.python_calls import numpy_function

def slow(number):
    time.sleep(0.2)
    return number

def call(number):
    return numpy_function(slow, [number], tf.int64)

numbers = tf.data.Dataset.range(10**9).map(call, num_parallel_calls=4)
iterator = iter(numbers.batch(2).prefetch(100))
assert next(iterator).numpy().tolist() == [0, 1]
print('read', flush=True)
raise ValueError('mine')
"""


def test_a_failing_process_ends_while_its_pipeline_runs():
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == 'read\n'
        _, errors = process.communicate(timeout=20)  # it took half a second, or for ever
    finally:
        process.kill()
    assert process.returncode == 1
    assert errors.splitlines()[-1] == 'ValueError: mine'
