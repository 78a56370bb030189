"""Questions and answers as they are published, about photographs, diagrams, documents, charts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.data.examples import HIDDEN
from vlm.data.layouts.published import known_answers, read_json, read_json_lines

Row = dict[str, Any]


def vqa_pairs(questions: Path, annotations: Path | None = None) -> Iterator[Row]:
    """VQA's two files, joined by question (VQAv2, OK-VQA); a test split has the first alone."""
    known = {}
    if annotations is not None:
        known = {a['question_id']: a for a in read_json(annotations)['annotations']}
    for row in read_json(questions)['questions']:
        answers = [a['answer'] for a in known.get(row['question_id'], {}).get('answers', ())]
        yield {**row, 'id': row['question_id'], 'answers': known_answers(answers)}


def gqa(path: Path) -> Iterator[Row]:
    """GQA's and xGQA's `*_questions.json`: questions by id."""
    for number, row in read_json(path).items():
        kept = {'question': row['question'], 'image': row['imageId']}
        yield {'id': number, **kept, 'answer': row.get('answer', HIDDEN)}


def listed(path: Path) -> Iterator[Row]:
    """A list of questions, or one under `data` (TextVQA, DocVQA, InfographicVQA, ST-VQA, VizWiz).

    The id is the question's, or the picture's name where there is one question a picture. Answers
    are texts or {'answer': text}.
    """
    content = read_json(path)
    for row in content['data'] if isinstance(content, dict) else content:
        said = [a['answer'] if isinstance(a, dict) else a for a in row.get('answers') or ()]
        number = row.get('question_id', row.get('questionId', row.get('image')))
        yield {**row, 'id': number, 'answers': known_answers([a for a in said if a])}


def stvqa(path: Path) -> Iterator[Row]:
    """ST-VQA's list; answers in lower case, as PaliGemma does."""
    for row in listed(path):
        answers = [a if a == HIDDEN else a.lower() for a in row['answers']]
        yield {**row, 'answers': answers}


def chartqa(path: Path) -> Iterator[Row]:
    """ChartQA's `*_human.json` and `*_augmented.json`."""
    for number, row in enumerate(read_json(path)):
        yield {
            'id': number,
            'name': row['imgname'],
            'question': row['query'],
            'answer': row['label'],
        }


OCRVQA_SPLITS = {1: 'train', 2: 'val', 3: 'test'}


def ocrvqa(path: Path) -> Iterator[Row]:
    """OCR-VQA's `dataset.json`: books by number, each with all its questions."""
    for number, book in read_json(path).items():
        ending = book['imageURL'].rpartition('.')[2]
        yield {
            'id': number,
            'split': OCRVQA_SPLITS[book['split']],
            'name': f'{number}.{ending}',
            'questions': book['questions'],
            'answers': book['answers'],
        }


def tallyqa(path: Path) -> Iterator[Row]:
    """TallyQA; the test split is scored in two parts, `simple` and `complex`."""
    for row in read_json(path):
        parts = {True: 'simple', False: 'complex', None: 'train'}
        kept = {'image': row['image'], 'question': row['question'], 'answer': str(row['answer'])}
        yield {'id': row['question_id'], 'split': parts[row.get('issimple')], **kept}


def pope(path: Path) -> Iterator[Row]:
    """POPE's lines: is there a thing in the image? yes or no."""
    for row in read_json_lines(path):
        kept = {'name': row['image'], 'question': row['text'], 'answer': row['label']}
        yield {'id': row['question_id'], **kept}


def aokvqa(path: Path) -> Iterator[Row]:
    """A-OKVQA, both ways: `answers` of ten people, and `choices` with the right `answer`."""
    for row in read_json(path):
        right = row.get('correct_choice_idx')
        yield {
            **row,
            'id': row['question_id'],
            'answers': known_answers(row.get('direct_answers')),
            'answer': HIDDEN if right is None else row['choices'][right],
        }


def scienceqa(path: Path) -> Iterator[Row]:
    """ScienceQA's `problems.json`, questions with a picture alone; no hint is 'N/A' there."""
    for number, row in read_json(path).items():
        if row['image']:
            answer, hint = row['choices'][row['answer']], row['hint'] or 'N/A'
            yield {**row, 'id': number, 'answer': answer, 'hint': hint}


def ai2d(test_ids: Path, folder: Path) -> Iterator[Row]:
    """A file a diagram, and the numbers of those that are for testing.

    `lettered` says that the choices name regions that the published evaluation marks with letters
    in the picture.
    """
    tested = set(test_ids.read_text().split())
    for path in sorted(folder.glob('*.json')):
        content = read_json(path)
        split = 'test' if path.name.partition('.')[0] in tested else 'train'
        for question, row in content['questions'].items():
            yield {
                'id': row['questionId'],
                'split': split,
                'name': content['imageName'],
                'question': question,
                'choices': row['answerTexts'],
                'answer': row['answerTexts'][int(row['correctAnswer'])],
                'lettered': bool(row.get('abcLabel')),
            }


def nlvr(path: Path) -> Iterator[Row]:
    """NLVR and NLVR2: a sentence about pictures, `True` or `False` (in NLVR in lower case)."""
    for row in read_json_lines(path):
        base, _, last = row['identifier'].rpartition('-')
        yield {
            **row,
            'id': row['identifier'],
            'base': base,
            'presentation': last,
            'question': row['sentence'],
            'answer': row.get('label', HIDDEN).lower(),
        }


def marvl(path: Path) -> Iterator[Row]:
    """MaRVL: NLVR2 in five languages."""
    for number, row in enumerate(read_json_lines(path)):
        answer = str(row['label']).lower()
        yield {**row, 'id': row.get('id', number), 'question': row['caption'], 'answer': answer}


def rsvqa(questions: Path, answers: Path) -> Iterator[Row]:
    """RSVQA's two files; withdrawn questions are left out, the field `split` is the type."""
    said = {a['id']: a['answer'] for a in read_json(answers)['answers'] if a.get('active')}
    for row in read_json(questions)['questions']:
        if row.get('active'):
            kept = {'name': row['img_id'], 'question': row['question']}
            answer = said[row['answers_ids'][0]].lower()
            yield {'id': row['id'], 'split': row['type'], **kept, 'answer': answer}
