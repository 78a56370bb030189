"""`vlm export`: a run's weights for other programs."""

from collections.abc import Callable
from pathlib import Path

from vlm.errors import unknown_name
from vlm.runner.checkpoints import restore_params
from vlm.runner.model_file import Serving
from vlm.runner.program_export import export_program
from vlm.runner.run_dir import RunDir
from vlm.runner.state import flat_names
from vlm.weights.hugging_face_export import export_hugging_face, unrolled
from vlm.weights.own_files import export as export_own


def export(run_dir: str, kind: str, output: str | None) -> int:
    """Writes the latest parameters of a run (the averaged ones where there are)."""
    if kind not in FORMATS:
        raise unknown_name('format', kind, FORMATS, '--format')
    run = RunDir.existing(run_dir)
    folder = Path(output).expanduser() if output else run.path / 'export' / kind
    step, written = FORMATS[kind](run, folder)
    for path in written:
        print(f'step {step:,}: {path}')
    return 0


def _own(run: RunDir, folder: Path) -> tuple[int, list[Path]]:
    step, params = restore_params(run)
    return step, [export_own(flat_names(params), run.model, run.vocabulary, folder)]


def _hugging_face(run: RunDir, folder: Path) -> tuple[int, list[Path]]:
    step, params = restore_params(run)
    network = Serving.from_json(run.read_json(run.model)).network
    return step, export_hugging_face(unrolled(flat_names(params)), network, folder)


def _stablehlo(run: RunDir, folder: Path) -> tuple[int, list[Path]]:
    step, params = restore_params(run)
    return step, export_program(flat_names(params), run.model, run.vocabulary, folder)


def _t5x(run: RunDir, folder: Path) -> tuple[int, list[Path]]:
    # The optimizer's state is shaped by the run's configuration, and that needs TensorFlow.
    from vlm.runner.quiet_import import import_tensorflow_quietly

    import_tensorflow_quietly()
    from vlm.runner.t5x_command import export_t5x

    step, path = export_t5x(run, folder)
    return step, [path]


FORMATS: dict[str, Callable[[RunDir, Path], tuple[int, list[Path]]]] = {
    'safetensors': _own,
    'hf': _hugging_face,
    'stablehlo': _stablehlo,
    't5x': _t5x,
}
