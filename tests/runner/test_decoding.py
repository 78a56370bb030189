"""How answers are chosen, from the command line to the predictions."""

import json
import shutil

import jax
import numpy as np
import pytest
import tensorflow as tf

from vlm.decoding import DecodingConfig
from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.runner.mesh import MeshConfig
from vlm.runner.predict import BatchPredictor, _LabelPrediction


@pytest.fixture(scope='module')
def run(trained, tmp_path_factory):
    """A copy of the run that evaluations may write to."""
    return shutil.copytree(trained, tmp_path_factory.mktemp('decoding') / 'run')


def predictions(path) -> list[str]:
    return [json.loads(line)['prediction'] for line in path.read_text().splitlines()]


def flags(**options) -> list[str]:
    return [f'--gin.DecodingConfig.{name}={value!r}' for name, value in options.items()]


def test_a_beam_answers_what_the_run_has_learnt(vlm, run):
    assert vlm('eval', str(run), *flags(method='beam', num_decodes=2)) == 0
    assert predictions(run / 'inference' / 'squares-000060.jsonl') == ['red', 'green', 'blue'] * 3


def test_only_allowed_tokens_are_predicted(vlm, run, tmp_path):
    from vlm.vocab import Tokenizer

    ids = tuple(Tokenizer(next((run / 'vocab').iterdir())).encode('green'))
    target = tmp_path / 'out.jsonl'
    arguments = ['infer', str(run), '--task=squares', '--split=test', f'--output={target}']
    assert vlm(*arguments, *flags(allowed_ids=ids)) == 0
    found = predictions(target)
    assert found[1] == 'green' and 'red' not in found and 'blue' not in found


def test_labels_are_scored_and_not_decoded(vlm, run):
    # Two ids can be neither decoded nor scored as one of the labels; decoding them would show.
    flag = "--gin.EVAL_MIXTURE_OR_TASK_NAME='squares_scored'"
    assert vlm('eval', str(run), flag, *flags(allowed_ids=(5, 6))) == 0
    assert predictions(run / 'inference' / 'squares_scored-000060.jsonl') == [
        'red', 'green', 'blue'
    ] * 3  # fmt: skip
    rows = [json.loads(line) for line in (run / 'predictions.jsonl').read_text().splitlines()]
    assert [row['task'] for row in rows] == ['squares_scored'] * 9
    assert {row['score'] for row in rows} == {1.0}


def test_answers_for_a_server(vlm, run, tmp_path, capsys):
    target = tmp_path / 'out.jsonl'
    arguments = ['infer', str(run), '--task=squares_sent', '--split=test', f'--output={target}']
    assert vlm(*arguments) == 0
    assert 'out.submission.json' in capsys.readouterr().out
    sent = json.loads((tmp_path / 'out.submission.json').read_text())
    assert sent[:2] == [
        {'question_id': 0, 'answer': 'red'},
        {'question_id': 1, 'answer': 'green'},
    ]
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert {row['score'] for row in rows} == {None}


def test_scores_without_answers_are_left_out(vlm, run):
    assert vlm('eval', str(run), "--gin.EVAL_MIXTURE_OR_TASK_NAME='squares_sent'") == 0
    assert json.loads((run / 'scores.json').read_text())['scores'] == []
    assert (run / 'inference' / 'squares_sent-000060.submission.json').exists()


def test_more_labels_than_are_scored_at_once():
    class Scorer(VisionTextModel):
        def __init__(self):
            pass

        def score_labels(self, params, batch, labels, max_decode_length):
            assert labels.shape == (64, 2)
            return jax.numpy.tile(labels[:, 0] * -1.0 * (labels[:, 0] != 72), (3, 1))

    labels = [[i, 1] for i in range(3, 103)]
    predict = _LabelPrediction(Scorer(), labels, 4, MeshConfig().build())
    ids, told = predict(None, {}, {'index': np.arange(3)}, None)
    assert ids.tolist() == [[72, 1]] * 3
    assert told['index'].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'options, message',
    [
        ({'method': 'beem'}, "unknown method 'beem' (DecodingConfig.method). Nearest: beam."),
        ({'top_k': 5}, "DecodingConfig.top_k = 5 is read by method = 'sample' only"),
        ({'allowed_ids': (5, 99999)}, 'DecodingConfig.allowed_ids holds 99999; the largest id'),
    ],
)
def test_mistakes_end_with_status_2(vlm, run, capsys, options, message):
    assert vlm('eval', str(run), *flags(**options)) == 2
    assert message in capsys.readouterr().err


class _Drawer(VisionTextModel):
    """A model whose answers are what it draws."""

    def __init__(self):
        pass

    def predict_batch(self, params, batch, rng, max_decode_length, decoding):
        assert decoding == DecodingConfig('sample')
        return jax.random.randint(rng, (len(batch['images']), max_decode_length), 3, 100)


def answers(pairs: list[int]) -> list[list[int]]:
    """What is predicted, two at once, for rows that hold so many pairs each."""
    rows = {
        'images': np.zeros((len(pairs), 1, 8, 8, 3), np.uint8),
        'image_mask': np.ones((len(pairs), 1), bool),
        'decoder_input_tokens': np.zeros((len(pairs), 8), np.int32),
        'decoder_prefix_mask': np.zeros((len(pairs), 8), bool),
        'decoder_segment_ids': np.minimum(np.arange(1, 9), np.array(pairs)[:, None]),
    }
    predictor = BatchPredictor(_Drawer(), MeshConfig().build(), 2, 4, [2], DecodingConfig('sample'))
    dataset = tf.data.Dataset.from_tensor_slices(rows).enumerate()
    return [row.tolist() for _, row in predictor(None, dataset)]


def test_samples_of_an_evaluation_are_the_same_every_time_and_differ_by_batch():
    first, again = answers([1, 1, 1, 1]), answers([1, 1, 1, 1])
    assert first == again
    assert first[:2] != first[2:]


def test_rows_of_several_prompts_are_refused():
    with pytest.raises(UserError, match='row 1 of the batch holds 3 prompts'):
        answers([1, 3])
