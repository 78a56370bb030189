"""Sample answers in TensorBoard's events."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from vlm.data.image_files import encode_png
from vlm.runner.logs import MetricsLog
from vlm.runner.run_dir import RunDir
from vlm.runner.sample_answers import answer_table


def summaries(folder):
    (path,) = folder.glob('events.*')
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            yield event.step, value


def test_pictures_with_boxes_and_texts_are_written_at_the_step(tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / 'a.png').write_bytes(encode_png(np.full((40, 60, 3), 200, np.uint8)))
    row = {'id': 'x/1', 'prompt': 'what | is\nit?', 'references': ['red', 'blue'], 'score': 0.5}
    rows = [
        {**row, 'prediction': 'red', 'image': 'a.png', 'boxes': [[0.25, 0.25, 0.75, 0.75]]},
        {**row, 'prediction': 'not shown', 'image': None},
        {**row, 'prediction': None, 'image': 'a.png'},
    ]
    log = MetricsLog(run)
    log.write_samples(7, 'a_task', rows)
    log.close()
    found = {value.tag: (step, value) for step, value in summaries(tmp_path / 'tensorboard')}
    step, pictures = found['samples/a_task/pictures']
    assert step == 7 and pictures.metadata.plugin_data.plugin_name == 'images'
    width, height, boxed, plain = tf.make_ndarray(pictures.tensor).tolist()
    boxed, plain = (np.asarray(Image.open(io.BytesIO(data))) for data in (boxed, plain))
    assert (int(height), int(width)) == boxed.shape[:2]
    assert (plain == 200).all()
    changed = np.argwhere((boxed != 200).any(axis=2)) / boxed.shape[:2]
    assert 0.0 < changed[:, 1].min() < 0.25 and 0.75 < changed[:, 1].max() < 1.0
    step, text = found['samples/a_task/text']
    assert text.metadata.plugin_data.plugin_name == 'text'
    assert tf.make_ndarray(text.tensor).item().decode().splitlines()[2:] == [
        r'x/1 | what \| is it? | red | red / blue | 0.5',
        r'x/1 | what \| is it? | – | red / blue | 0.5',
    ]


def test_no_picture_no_samples(tmp_path):
    log = MetricsLog(RunDir(tmp_path))
    log.write_samples(1, 'a_task', [{'id': 'x', 'image': None}])
    log.close()
    assert not [value.tag for _, value in summaries(tmp_path / 'tensorboard')]
    assert answer_table([]).count('\n') == 1
