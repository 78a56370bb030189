"""Public benchmarks as their authors publish them, one row each; importing registers all.

Names of splits are the benchmarks' own. Nothing is read before the data are: a benchmark whose
files are absent then says which are missing and where they come from. docs/benchmarks.md lists the
rows.
"""

from vlm.tasks.benchmarks import (  # noqa: F401
    captions,
    choices,
    classification,
    detection,
    reading,
    referring,
    remote_sensing,
    text_vqa,
    video,
    vqa,
)
