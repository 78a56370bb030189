"""The threads that pipelines run on: as many as there are cores, fewer beside steps on the CPU."""

import contextlib
import os

import tensorflow as tf

_fewer = 0  # 0: TensorFlow's own choice, a thread for each core


def leave_cores_to_steps() -> None:
    """Gives pipelines a quarter of the cores from now on: for a process of steps on the CPU.

    Steps want every core, and threads that wait for each other and for Python's lock take more of
    the cores than they bring examples (`benchmarks/pipeline_threads.py`).
    """
    global _fewer
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    _fewer = max(1, cores // 4)
    # Where TensorFlow has been used already, it keeps the threads that it has.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(_fewer)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset`, and every pipeline made of it, without tf.data's search for better parallelism.

    As many calls are made at once as there are cores, at most 16, and Python gains nothing from
    more; fewer after `leave_cores_to_steps`. The search takes a core for seconds again and again,
    and whoever lets go of an iterator waits until it has come to its end: at the end of a training
    run for a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    if _fewer:
        options.threading.private_threadpool_size = _fewer
        options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options)
