"""Classification as text: a record in, texts and metric out."""

from vlm.errors import UNANSWERED
from vlm.tasks.classification import add_classification_task


def test_the_name_of_the_class_is_wanted(new_task, image, asked, score):
    records = [{'id': label, 'images': [image], 'label': label} for label in ('cat', 'dog')]
    name = new_task(add_classification_task, records)
    found = asked(name)
    assert [(prompt, answer) for prompt, answer, _ in found] == [
        ('classify', 'cat'),
        ('classify', 'dog'),
    ]
    metas = [meta for _, _, meta in found]
    assert score(name, metas, ['cat', 'cat']) == {'exact_match': 0.5}
    assert score(name, metas, [UNANSWERED] * 2) == {'exact_match': 0}
