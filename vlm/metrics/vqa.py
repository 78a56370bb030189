"""Visual question answering, as the VQA challenge scores it (Antol et al., arXiv 1505.00468).

Targets are lists of human answers, ten a question in VQA, OK-VQA, TextVQA and VizWiz. Where a
question has fewer answers than can earn the full mark (one, mostly), agreement between people
cannot be measured: the answers are alternatives then, and any of them, normalised, scores 1.
"""

import re
from collections.abc import Sequence

from vlm.errors import UNANSWERED
from vlm.metrics.examples import mean, reference_pairs

FULL_MARK = 3  # so many people saying the same make an answer right

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r'\d,\d')
_FULL_STOP = re.compile(r'\.(?!\d)')
_NUMBERS = 'zero one two three four five six seven eight nine ten'
_NUMERALS = {'none': '0'} | {word: str(i) for i, word in enumerate(_NUMBERS.split())}
_ARTICLES = frozenset(('a', 'an', 'the'))

# The contractions that the official evaluation restores when exactly one apostrophe is missing.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
"""
_RESTORED = {
    word[: mark.start()] + word[mark.end() :]: word
    for word in _CONTRACTIONS.split()
    for mark in re.finditer("'", word)
}
_RESTORED["somebody'd"] = 'somebodyd'  # the official table has this one the wrong way round


def normalise_answer(text: str) -> str:
    """Returns an answer as the official VQA evaluation compares it: 'The two-dogs' -> '2 dogs'.

    Lower case; punctuation gone; number words up to ten as digits; no articles; contractions with
    their apostrophe.
    """
    words = [
        _NUMERALS.get(word, word) for word in _without_punctuation(_plain(text)).lower().split()
    ]
    return ' '.join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean official accuracy, in [0, 1].

    Each person is left out in turn: the mark is min(others who said it / 3, 1), averaged over the
    people. With n of ten: 0, .3, .6, .9, then 1. As in the official program, answers are normalised
    only if the people's are not all identical.
    """
    return {'vqa_accuracy': mean(vqa_accuracy_per_example(targets, predictions))}


def vqa_accuracy_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns the official accuracy of each example, in [0, 1]."""
    return [_leave_one_out(*pair) for pair in reference_pairs(targets, predictions)]


def vqa_accuracy_simple(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the mean of min(people who said it / 3, 1), in [0, 1], as OK-VQA is scored.

    Normalisation is that of `vqa_accuracy`.
    """
    return {'vqa_accuracy_simple': mean(vqa_accuracy_simple_per_example(targets, predictions))}


def vqa_accuracy_simple_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns min(people who said it / 3, 1) for each example."""
    return [_simple(*pair) for pair in reference_pairs(targets, predictions)]


def _leave_one_out(answers: Sequence[str], said: str) -> float:
    people = len(answers)
    agree = _agreeing(answers, said, people > FULL_MARK)
    if people <= FULL_MARK:
        return float(agree > 0)
    with_one_less, with_all = _mark(agree - 1), _mark(agree)
    return (agree * with_one_less + (people - agree) * with_all) / people


def _simple(answers: Sequence[str], said: str) -> float:
    people = len(answers)
    agree = _agreeing(answers, said, people >= FULL_MARK)
    return float(agree > 0) if people < FULL_MARK else _mark(agree)


def _mark(agree: int) -> float:
    return min(agree / FULL_MARK, 1.0)


def _agreeing(answers: Sequence[str], said: str, official: bool) -> int:
    """Counts the people who gave the answer; `official`: compared raw if they are unanimous."""
    if said == UNANSWERED:
        return 0
    answers, said = [_plain(a) for a in answers], _plain(said)
    if not official or len(set(answers)) > 1:
        answers, said = [normalise_answer(a) for a in answers], normalise_answer(said)
    return answers.count(said)


def _plain(text: str) -> str:
    return text.replace('\n', ' ').replace('\t', ' ').strip()


def _without_punctuation(text: str) -> str:
    # A mark that touches a space vanishes, one between two letters becomes a space; but a comma
    # between digits anywhere in the text makes every mark vanish ('2,000 people/day').
    vanish = _THOUSANDS.search(text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        beside_space = f'{mark} ' in text or f' {mark}' in text
        cleaned = cleaned.replace(mark, '' if vanish or beside_space else ' ')
    return _FULL_STOP.sub('', cleaned)
