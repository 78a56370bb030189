"""`vlm export`: a run's weights for other programs."""

from pathlib import Path

from vlm.errors import unknown_name
from vlm.runner.checkpoints import restore_params
from vlm.runner.model_file import Serving
from vlm.runner.run_dir import RunDir
from vlm.runner.state import flat_names
from vlm.weights.hugging_face_export import export_hugging_face, unrolled
from vlm.weights.own_files import export as export_own

FORMATS = ('safetensors', 'hf')


def export(run_dir: str, kind: str, output: str | None) -> int:
    """Writes the latest parameters of a run (the averaged ones where there are)."""
    if kind not in FORMATS:
        raise unknown_name('format', kind, FORMATS, '--format')
    run = RunDir.existing(run_dir)
    step, params = restore_params(run)
    folder = Path(output) if output else run.path / 'export'
    names = flat_names(params)
    if kind == 'hf':
        network = Serving.from_json(run.read_json(run.model)).network
        written = export_hugging_face(unrolled(names), network, folder)
    else:
        written = [export_own(names, run.model, run.vocabulary, folder)]
    for path in written:
        print(f'step {step:,}: {path}')
    return 0
