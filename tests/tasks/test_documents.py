"""Documents and charts: a record in, texts and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.documents import add_chart_qa_task, add_document_qa_task


@pytest.fixture
def records(image):
    return [
        {'id': 'a', 'images': [image], 'question': 'total?', 'answers': ['1,234.50', '1234.50']},
        {'id': 'b', 'images': [image], 'question': 'share in 2019?', 'answer': '40%'},
    ]


def test_the_bare_question_is_asked(new_task, records, asked):
    found = asked(new_task(add_document_qa_task, records))
    assert [prompt for prompt, _, _ in found] == ['total?', 'share in 2019?']
    assert found[0][1] in records[0]['answers']
    assert found[0][2]['references'] == records[0]['answers']


def test_documents_are_scored_by_both_conventions_of_anls(new_task, records, asked, score):
    name = new_task(add_document_qa_task, records)
    metas = [meta for _, _, meta in asked(name)]
    # One edit of seven characters; two of four, which is exactly half.
    found = score(name, metas, ['1234.60', '4%%0'])
    assert found['anls'] == pytest.approx((6 / 7) / 2)
    assert found['anls_rrc'] == pytest.approx((6 / 7 + 0.5) / 2)
    assert score(name, metas, [UNANSWERED] * 2) == {'anls': 0, 'anls_rrc': 0}


def test_charts_forgive_five_percent(new_task, records, asked, score):
    name = new_task(add_chart_qa_task, records)
    metas = [meta for _, _, meta in asked(name)]
    assert score(name, metas, ['1200', '0.41']) == {'relaxed_accuracy': 1}
    assert score(name, metas, ['1100', '41']) == {'relaxed_accuracy': 0}
    assert score(name, metas, [UNANSWERED] * 2) == {'relaxed_accuracy': 0}
