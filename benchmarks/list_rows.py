"""Prints docs/benchmarks.md, which a test compares with this.

python benchmarks/list_rows.py > docs/benchmarks.md
"""

import re
from collections.abc import Iterator, Mapping

import seqio

from vlm.data.layouts import Published
from vlm.data.sources import Tfds
from vlm.data.tasks import TaskSpec, declared, spec_of
from vlm.tasks import benchmarks  # noqa: F401  (registers the rows)

HEAD = """\
# Public benchmarks

One row each; `vlm.tasks.benchmarks` registers them, `vlm tasks` lists them. Splits have the
benchmarks' own names, prompts are PaliGemma's; `PROMPTS = {'vqav2': '@llava/vqa'}` takes another
paper's (`vlm/data/prompts.py` lists them). Files lie below `VLM_DATA_DIR` (or
`sources.data_dir.path`) as they are published; where they are absent, a line says which are missing
and where they come from. Nothing is downloaded. `{...}` in a place of pictures is a field of the
annotations; of a task a language the table shows one.

Answers of test splits that only a server knows are `<not published>`: `vlm infer` asks such
questions and writes the server's file (column *server*) beside the answers. Scores of them mean
nothing and are left out of evaluations.

This page is printed by `python benchmarks/list_rows.py`.

| task | splits | prompt | metrics | annotations | pictures | server |
| --- | --- | --- | --- | --- | --- | --- |
"""
LANGUAGE = re.compile(r'(coco35l|xm3600|xgqa|marvl|babel_imagenet)_(\w+)')


def rows() -> Iterator[str]:
    """Yields the table's lines, tasks of several languages as one."""
    shown = set()
    for name in declared():
        source = seqio.TaskRegistry.get(name).source
        if not isinstance(source, Published | Tfds):
            continue
        match = LANGUAGE.fullmatch(name)
        group = match[1] if match else name
        if group not in shown:
            shown.add(group)
            title = f'`{name}`, ...' if match else f'`{name}`'
            yield _line(title, spec_of(name), source)


def _line(title: str, spec: TaskSpec, source: Published | Tfds) -> str:
    metrics = ', '.join(f'`{getattr(m, "func", m).__name__}`' for m in spec.metrics)
    prompt = spec.prompt.replace('\n', '\\n').replace('|', '\\|')
    if isinstance(source, Tfds):
        files, pictures = f'TFDS `{source.name}`', ''
    else:
        files, pictures = _places(source)
    server = 'yes' if spec.submission else ''
    splits = ', '.join(source.splits)
    cells = (title, splits, f'`{prompt}`', metrics, files, pictures, server)
    return f'| {" | ".join(cells)} |'.replace('  |', ' |')


def _places(source: Published) -> tuple[str, str]:
    """Annotation files and place of the pictures, of the last split."""
    split = list(source.splits)[-1]
    images = source.images[split] if isinstance(source.images, Mapping) else source.images
    listed = [images] if isinstance(images, str) else images
    return ', '.join(f'`{name}`' for name in source.files[split]), f'`{listed[0]}`'


def page() -> str:
    """The whole of docs/benchmarks.md."""
    return HEAD + '\n'.join(rows()) + '\n'


if __name__ == '__main__':
    print(page(), end='')
