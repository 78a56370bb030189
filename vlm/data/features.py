"""The output features every task has, so that any two tasks mix."""

import seqio
import tensorflow as tf

from vlm.data.vocabularies import task_vocabulary


def output_features(vocabulary: seqio.Vocabulary | None = None) -> dict[str, seqio.Feature]:
    """`images` string[n] of encoded files, `inputs` and `targets` int32 ending in EOS.

    An example may hold several pairs about its images: then `inputs` is all prompts and `targets`
    all answers in the same order, each ending in EOS. `vocabulary` defaults to the one that gin
    names (`vocabularies.vocabulary_path.path`).
    """
    vocabulary = vocabulary or task_vocabulary()
    bytes_ = seqio.PassThroughVocabulary(0)
    return {
        'images': seqio.Feature(bytes_, add_eos=False, dtype=tf.string, rank=1),
        'inputs': seqio.Feature(vocabulary, add_eos=True),
        'targets': seqio.Feature(vocabulary, add_eos=True),
    }
