"""What is compiled when, and where compiled programs are kept."""

import threading

import jax
import pytest

from vlm.runner import compilation, train
from vlm.runner.compilation import compilation_cache
from vlm.runner.evaluate import Evaluation
from vlm.runner.meter import Meter

COMPILED = '/jax/core/compile/backend_compile_duration'
STEP = 'compiled jit(step)'


@pytest.fixture
def events(monkeypatch):
    """What happens in order: 'compiled NAME', the number of each finished step, 'evaluated'."""
    found: list[object] = []

    def listen(event: str, seconds: float, fun_name: str = '', **_: object) -> None:
        if event == COMPILED:
            found.append(f'compiled {fun_name}')

    def told(owner, name, what):
        real = getattr(owner, name)

        def wrapper(*args, **kwargs):
            result = real(*args, **kwargs)
            found.append(what(*args))
            return result

        monkeypatch.setattr(owner, name, wrapper)

    told(Meter, 'after', lambda self, step, *_: step)
    told(Evaluation, 'run', lambda *_: 'evaluated')
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_nothing_is_compiled_after_the_first_step_but_the_first_evaluation(vlm, tmp_path, events):
    jax.clear_caches()
    options = {'TRAIN_STEPS': 6, 'EVAL_PERIOD': 2, 'LOG_PERIOD': 1, 'CHECKPOINT_PERIOD': 2}
    assert vlm('train', run_dir=tmp_path / 'run', EVAL_EXAMPLES=5, **options) == 0
    first, evaluated = events.index(1), events.index('evaluated')
    assert STEP in events[:first]
    second = events.index(2)
    assert events[first : second + 1] == [1, 2]
    assert any(str(event).startswith('compiled') for event in events[second:evaluated])
    assert events[evaluated:] == ['evaluated', 3, 4, 'evaluated', 5, 6, 'evaluated']


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'MIXTURE_OR_TASK_NAME': 'squares_and_boxes'},
        {'WIRING': 'fusion_encoder', 'TextConfig.num_encoder_layers': 1},
        {
            'MIXTURE_OR_TASK_NAME': 'squares_all',
            'TASK_FEATURE_LENGTHS': {'images': 1, 'inputs': 40, 'targets': 32},
            'WIRING': 'fusion_encoder',
            'TextConfig.num_encoder_layers': 1,
            'ROWS_PER_IMAGE': 2,
        },
    ],
    ids=['task', 'mixture', 'fusion_encoder', 'rows'],
)
def test_a_step_is_compiled_once_for_the_batches_it_will_get(vlm, tmp_path, events, options):
    """It is compiled from shapes, before there is a batch."""
    jax.clear_caches()
    assert vlm('train', run_dir=tmp_path / 'run', TRAIN_STEPS=2, evaluated=False, **options) == 0
    assert events.count(STEP) == 1


def test_a_mistake_in_the_data_is_told_before_the_step_is_compiled(
    vlm, tmp_path, events, monkeypatch
):
    jax.clear_caches()
    failed = threading.Event()

    def feed(*_: object):
        failed.set()
        raise OSError('nothing to read')
        yield

    lower = jax.stages.Traced.lower
    # The examples fail while the step is traced.
    monkeypatch.setattr(jax.stages.Traced, 'lower', lambda *a: failed.wait(60) and lower(*a))
    monkeypatch.setattr(train, 'feed', feed)
    with pytest.raises(OSError, match='nothing to read'):
        vlm('train', run_dir=tmp_path / 'run', TRAIN_STEPS=2, evaluated=False)
    assert STEP not in events


@pytest.fixture
def jax_settings():
    names = ('jax_enable_compilation_cache', 'jax_compilation_cache_dir')
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_in_the_users_folder_unless_jax_was_given_one(
    jax_settings, tmp_path, monkeypatch
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    jax.config.update('jax_compilation_cache_dir', 'own')
    compilation_cache()
    assert jax.config.jax_compilation_cache_dir == 'own'
    jax.config.update('jax_compilation_cache_dir', None)
    compilation_cache(enabled=False)
    assert jax.config.jax_compilation_cache_dir is None
    assert not jax.config.jax_enable_compilation_cache
    compilation_cache()
    expected = tmp_path / 'vlm' / 'jax' / compilation._processor()
    assert jax.config.jax_compilation_cache_dir == str(expected) and expected.is_dir()
    assert jax.config.jax_enable_compilation_cache


def test_a_cache_that_cannot_be_made_is_a_warning(jax_settings, tmp_path, monkeypatch, capsys):
    jax.config.update('jax_compilation_cache_dir', None)
    (tmp_path / 'vlm').write_text('in the way')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    compilation_cache()
    assert 'no compilation cache' in capsys.readouterr().err
    assert jax.config.jax_compilation_cache_dir is None
