"""Lets every test, and every process that a test starts, import one and the same copy of vlm."""

import gc
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Fusions by the older emitters: the same sums, compiled in less than half the time.
QUICK_FLAG = '--xla_cpu_use_fusion_emitters=false'


def pytest_configure(config: pytest.Config) -> None:
    _import_one_copy()
    _compile_quickly(config)


def _import_one_copy() -> None:
    """Takes the checkout off sys.path, unless vlm is importable from nowhere else.

    `python -m pytest` and `python -c` put the working directory first. In the checkout's root that
    hides an installed vlm behind the folder vlm/, which alone has no vlm.tasks and vlm.mixtures.
    """
    os.environ['PYTHONSAFEPATH'] = '1'
    found = list(sys.path)
    sys.path[:] = [entry for entry in found if Path(entry or '.').resolve() != ROOT]
    if importlib.util.find_spec('vlm') is None:
        sys.path[:] = found


def _compile_quickly(config: pytest.Config) -> None:
    """Has every program compiled quickly, as it runs for microseconds, and once a session.

    The environment takes it to pytest-xdist's workers and to every process that a test starts. A
    folder of programs that is named there stays: one session can use what another has compiled.
    """
    if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
        folder = tempfile.mkdtemp(prefix='vlm-tests-compiled-')
        os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    # Single operations are compiled as fast as they are written and read.
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
    os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
    flags = os.environ.get('XLA_FLAGS', '').split()
    if QUICK_FLAG not in flags:
        os.environ['XLA_FLAGS'] = ' '.join([*flags, QUICK_FLAG])


def pytest_collection() -> None:
    gc.disable()  # what is imported stays


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope='session', autouse=True)
def own_cache_folder(tmp_path_factory):
    """Keeps the tests away from what the user's cache folder holds."""
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='session', autouse=True)
def no_autotuning():
    """Lets tf.data keep the parallelism it begins with, for pipelines that run for moments.

    Searching a better one takes a core for seconds, and an iterator is not let go of before a
    search that was begun has come to its end. Nothing is imported for tests that have no data.
    """
    if 'tensorflow' not in sys.modules:
        yield
        return
    import tensorflow as tf

    iterate = tf.data.Dataset.__iter__
    fixed = tf.data.Options()
    fixed.autotune.enabled = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.data.Dataset, '__iter__', lambda data: iterate(data.with_options(fixed)))
        yield


# ---- tasks in miniature; imports are inside, because the hook above comes first ----

SMALL_TEXTS = [
    'answer en what color is the shape? red blue green yellow circle triangle rectangle yes no',
    'caption en a red circle Cap: ARef: a blue triangle : GCap: detect cat ; dog none ocr 0123',
    'answer en how many digits are in the image? is there a gray teal black brown shape present?',
]


@pytest.fixture(scope='session')
def vocabulary_file(tmp_path_factory) -> str:
    """A small model file with location tokens."""
    from vlm.vocab_training import train_vocabulary

    path = tmp_path_factory.mktemp('vocabulary') / 'small.model'
    return str(train_vocabulary(SMALL_TEXTS, path, size=600).path)


@pytest.fixture
def clean_gin():
    """Forgets after the test what it bound."""
    import gin

    yield
    gin.clear_config()


@pytest.fixture
def vocabulary(vocabulary_file, clean_gin):
    """The tokenizer of the small model, which gin names to all tasks during the test."""
    import gin

    from vlm.data import vocabularies  # noqa: F401  (gin knows what has been imported)
    from vlm.vocab import Tokenizer

    gin.parse_config(f'vlm.data.vocabularies.vocabulary_path.path = {vocabulary_file!r}')
    return Tokenizer(vocabulary_file)


@pytest.fixture
def bad():
    """The process-wide count of bad data, empty before and after."""
    from vlm.data.bad_data import bad_data

    bad_data.clear()
    yield bad_data
    bad_data.clear()


@pytest.fixture
def new_task(vocabulary):
    """`new_task(add, records, **options)` registers a task or group for this test; its name."""
    import seqio

    from vlm.data import tasks
    from vlm.data.sources import RecordSource

    names = []

    def make(
        add: Callable,
        records: Sequence[dict],
        *args: Any,
        random_order: bool = False,
        **options: Any,
    ) -> str:
        name = f'a_test_task_{len(names)}'
        names.append(name)
        source = RecordSource(lambda split: iter(records), {'train': len(records)}, random_order)
        add(name, source, *args, **options)
        return name

    yield make
    for name in names:
        seqio.TaskRegistry.remove(name)
        tasks._SPECS.pop(name, None)


@pytest.fixture
def new_mixture():
    """`new_mixture(names)` registers a mixture at equal rates for this test; its name."""
    import seqio

    made = []

    def make(names: Sequence[str]) -> str:
        made.append(f'a_test_mixture_{len(made)}')
        seqio.MixtureRegistry.add(made[-1], list(names), default_rate=1.0)
        return made[-1]

    yield make
    for name in made:
        seqio.MixtureRegistry.remove(name)


@pytest.fixture(autouse=True)
def unlocked_gin():
    """Leaves no configuration, and no lock on it, to the next test."""
    yield
    if 'gin' in sys.modules:
        sys.modules['gin'].clear_config()


LENGTHS = {'images': 1, 'inputs': 64, 'targets': 64}


@pytest.fixture
def dataset(vocabulary):
    """`dataset(name, **options)`: examples of a task or mixture, unshuffled unless asked."""
    import seqio

    def make(name: str, split: str = 'train', **options: Any):
        lengths = {**LENGTHS, **options.pop('lengths', {})}
        options = {'shuffle': False, 'seed': 0, 'num_epochs': 1, **options}
        return seqio.get_mixture_or_task(name).get_dataset(lengths, split, **options)

    return make


@pytest.fixture
def convert():
    """`convert(dataset, lengths, **options)`: its model features as a list of dicts of arrays."""
    from vlm.data.converter import ImageTextFeatureConverter
    from vlm.data.frames import Frame

    def make(examples: Any, lengths: Mapping[str, int] = LENGTHS, **options: Any) -> list[dict]:
        options = {'frame': Frame((16, 16)), **options}
        converter = ImageTextFeatureConverter(**options)
        return list(converter(examples, {**LENGTHS, **lengths}).as_numpy_iterator())

    return make


@pytest.fixture
def score():
    """`score(name, metas, texts)`: all metrics of a task on predicted texts, one a meta."""
    import json

    import seqio

    from vlm.data.tasks import postprocess

    def make(name: str, metas: Sequence[dict], texts: Sequence[str]) -> dict[str, float]:
        task = seqio.get_mixture_or_task(name)
        examples = [{'meta': json.dumps(meta)} for meta in metas]
        targets = [task.postprocess_fn('', example=e, is_target=True) for e in examples]
        predictions = [postprocess(text, {}, is_target=False) for text in texts]
        results = {}
        for metric in task.predict_metric_fns:
            results |= metric(targets, predictions)
        return results

    return make
