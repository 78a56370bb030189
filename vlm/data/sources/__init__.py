"""Where records come from: files of your own, public formats, or any Python function.

Every source is a `RecordSource`; all but that one are configured by name in gin
(`from vlm.data import sources`, then `my_captions/sources.Jsonl.files = {...}`).
"""

from vlm.data.sources.captions import prefer_synthetic
from vlm.data.sources.coco import Coco
from vlm.data.sources.files import data_dir
from vlm.data.sources.folders import FolderPerClass
from vlm.data.sources.jsonl import Jsonl
from vlm.data.sources.records import RecordSource
from vlm.data.sources.tar import WebDataset
from vlm.data.sources.tfds import Tfds
from vlm.data.sources.tfrecord import TFRecord

__all__ = [
    'Coco',
    'FolderPerClass',
    'Jsonl',
    'RecordSource',
    'TFRecord',
    'Tfds',
    'WebDataset',
    'data_dir',
    'prefer_synthetic',
]
