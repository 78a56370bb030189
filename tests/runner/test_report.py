"""The report page: what it shows, what it survives, and that nothing in it can run or load."""

import base64
import io
import json
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from vlm.errors import UNANSWERED, UserError
from vlm.runner.report import files, write_report

ATTACK = '</p><script>alert(1)</script><img src=x onerror=alert(2)>"\'>'
VOID = {'meta', 'link', 'img', 'input', 'br'}


def picture_bytes(colour: str, box: list[float], size: tuple[int, int] = (64, 64)) -> bytes:
    """A PNG of a coloured ellipse that fills `box`, [y0, x0, y1, x1] in [0, 1]."""
    image = Image.new('RGB', size, '#ececf4')
    y0, x0, y1, x1 = box
    corners = (x0 * size[0], y0 * size[1], x1 * size[0] - 1, y1 * size[1] - 1)
    ImageDraw.Draw(image).ellipse(corners, fill=colour)
    out = io.BytesIO()
    image.save(out, 'PNG')
    return out.getvalue()


def digit_strip(text: str) -> bytes:
    """A 96 x 24 strip of digits, small and grey as those of the demo."""
    image = Image.new('L', (96, 24), 0)
    ImageDraw.Draw(image).text((6, 2), ' '.join(text), fill=230, font_size=18)
    out = io.BytesIO()
    image.save(out, 'PNG')
    return out.getvalue()


def jsonl(rows) -> str:
    return ''.join(json.dumps(row) + '\n' for row in rows)


def train_rows(steps: int = 600, every: int = 10):
    """A falling noisy loss, a rising accuracy, a warm-up and decay, a steady speed."""
    noise = random.Random(0)
    for step in range(every, steps * every + 1, every):
        done = step / (steps * every)
        loss = 6.5 * math.exp(-9 * done) + 0.28 + 0.12 * noise.gauss(0, 1) * (0.3 + (1 - done))
        values = {
            'loss': max(loss, 0.05),
            'accuracy': min(1.0, 0.97 - 0.8 * math.exp(-7 * done) + 0.02 * noise.gauss(0, 1)),
            'learning_rate': 2e-3 * min(done / 0.1, math.cos(max(0, done - 0.1) * math.pi / 1.9)),
            'examples_per_second': 640 + 25 * noise.gauss(0, 1) - (90 if step < 100 else 0),
            'grad_norm': 1.2 + 0.4 * noise.random(),
        }
        yield {'step': step, 'time': 1.7e9 + step, 'kind': 'train', 'values': values}


def score(task, metric, value, n, prompt, definition):
    return {'task': task, 'metric': metric, 'value': value, 'n': n, 'prompt': prompt,
            'version': '1', 'definition': definition}  # fmt: skip


def scores():
    vqa, aref = 'answer en {question}', 'locate {caption}'
    rows = [
        score('easy_vqa', 'vqa_accuracy', 0.9117, 9673, vqa,
              'Share of answers equal to the reference after VQA normalisation.'),
        score('easy_vqa_caption', 'exact_match', 0.845, 1000, 'caption en', 'Equal strings.'),
        score('easy_vqa_locca_aref', 'accuracy_iou_50', 0.7312, 1000, aref,
              'Share of boxes that overlap the reference with an IoU of at least 0.5.'),
        score('easy_vqa_locca_aref', 'mean_iou', 0.6409, 1000, aref, 'Mean IoU; no box is 0.'),
        score('easy_vqa_locca_aref', 'unreadable_boxes', 12, 1000, aref, 'Answers without a box.'),
        score('digits_ocr', 'exact_match', 0.62, 500, 'ocr', 'Equal strings.'),
        score('digits_ocr', 'character_error_rate', 0.0931, 500, 'ocr', 'Edits over length.'),
        score('spoken', 'cider', 1.2861, 3, ATTACK, ATTACK),
    ]  # fmt: skip
    return {'step': 6000, 'examples': 13676, 'seconds': 48.2, 'scores': rows,
            'undecodable': {'easy_vqa': ['test/17', '<b>18</b>']}}  # fmt: skip


def answer(prompt, prediction, references, right, image=None, boxes=(), reference_boxes=()):
    return {'id': f'{prompt}/{prediction}'[:40], 'prompt': prompt, 'prediction': prediction,
            'references': references, 'score': right, 'boxes': list(boxes),
            'reference_boxes': list(reference_boxes), 'image': image}  # fmt: skip


SHAPES = [
    ('#c8483c', [0.10, 0.15, 0.60, 0.70], 'red'),
    ('#3c6ec8', [0.30, 0.40, 0.95, 0.95], 'blue'),
    ('#4ba05a', [0.05, 0.05, 0.45, 0.40], 'green'),
]


def add_samples(run: Path) -> None:
    """Predictions of five tasks: questions, captions, boxes, digits, and every odd text."""
    images = run / 'inference' / 'images'
    images.mkdir(parents=True)
    vqa, aref = [], []
    for i in range(12):
        colour, box, name = SHAPES[i % 3]
        (images / f'shape{i}.png').write_bytes(picture_bytes(colour, box))
        file, ok = f'inference/images/shape{i}.png', i % 4 != 3
        said = name if ok else 'teal'
        vqa.append(answer('answer en what color is the shape?', said, [name] * 7, ok * 1.0, file))
        off = [v + (0.02 if ok else 0.2) * (-1) ** j for j, v in enumerate(box)]
        text = ''.join(f'<loc{max(0, min(1023, round(v * 1023))):04d}>' for v in off)
        aref.append(answer(f'locate a {name} circle', text, ['<loc0102>'], 0.81 if ok else 0.3,
                           file, [off], [box]))  # fmt: skip
    vqa += [answer('later', 'x', ['x'], 1.0) for _ in range(30)]
    vqa.append(answer('answer en is it there?', UNANSWERED, ['no'], 0.0))
    folder = run / 'inference'
    (folder / 'easy_vqa-6000.jsonl').write_text(jsonl(vqa))
    (folder / 'easy_vqa-500.jsonl').write_text(jsonl([answer('old', 'STALE', ['x'], 0.0)]))
    (folder / 'easy_vqa_locca_aref-6000.jsonl').write_text(jsonl(aref))
    (folder / 'digits_ocr-6000.jsonl').write_text(jsonl(ocr_rows(images)))
    odd = jsonl(odd_rows()) + '{"prompt": "cut off\n[1]\n'
    (folder / 'spoken-6000.jsonl').write_text(odd)


def ocr_rows(images: Path):
    for i, (text, said) in enumerate((('3141', '3141'), ('27', '27'), ('99801', '99301'))):
        (images / f'digits{i}.png').write_bytes(digit_strip(text))
        yield answer('ocr', said, [text], float(text == said), f'inference/images/digits{i}.png')


def odd_rows():
    yield answer('תאר את התמונה', 'עיגול אדום (גדול) מתחת', ['עיגול כחול', 'ریشه‌ها 12'], 0.2)
    yield answer('caption th', 'วงกลมสีแดง 🐘 \U0001f468‍\U0001f469', ['a b', 'a b', 'c'], 1.0)
    yield answer(ATTACK, ATTACK, [ATTACK], None)
    yield answer('caption en', 'a very long caption ' * 900, ['short'], 0.0)
    yield answer('lone', 'before \ud800 after \x00 \u202e evil', [], None)
    yield answer('x' * 300, 'y' * 700, ['z' * 200], 0.49)
    yield {'prompt': 7, 'prediction': ['a', 1], 'references': 'blue', 'boxes': 'no', 'score': True}
    yield answer('file', 'elsewhere', [], None, '../outside.png')


SUMMARY = {
    'parameters': 1423104, 'device': 'cpu (2 cores)', 'seconds': 512.4, 'share_of_train_step': 0.83,
    'versions': {'vlm': '0.1.0', 'jax': '0.10.2', 'flax': '0.12.8', 'python': '3.11.9'},
    'command': 'vlm train --gin_file=demo.gin --gin.MODEL_DIR="\'demo_run\'"',
    'started': '2024-05-17T09:30:12+00:00',
}  # fmt: skip
CONFIG = '# Macros:\n# =====\nBATCH_SIZE = 128\nprompt = "<script>alert(3)</script>"\n'


def make_run(run: Path) -> Path:
    """A run directory as `vlm train` leaves it, with trouble mixed in."""
    run.mkdir(parents=True)
    evals = [
        {'step': s, 'time': 0, 'kind': 'eval', 'values': {'easy_vqa/vqa_accuracy': v}}
        for s, v in ((2000, 0.61), (4000, 0.84), (6000, 0.9117))
    ]
    rows = [*train_rows(), *evals]
    rows.append({'step': 6000, 'time': 0, 'kind': 'data', 'values': {'undecodable_images': 4}})
    rows.append({'step': 6010, 'time': 0, 'kind': 'train', 'values': {'loss': math.nan}})
    (run / 'metrics.jsonl').write_text(jsonl(rows) + '{"step": 6020, "val\n\n"text"\nnull\n')
    (run / 'scores.json').write_text(json.dumps(scores()))
    (run / 'summary.json').write_text(json.dumps(SUMMARY))
    (run / 'config.gin').write_text(CONFIG)
    add_samples(run)
    return run


class Page(HTMLParser):
    """Reads a page: its elements with attributes, its text, and whether its elements nest."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {k: v or '' for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {k: v or '' for k, v in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != 'style':
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r'\s+', ' ', ' '.join(self.words))

    def having(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """Elements of a class."""
        return [e for e in self.elements if name in e[1].get('class', '').split()]


@pytest.fixture(scope='module')
def html(tmp_path_factory) -> str:
    return write_report(make_run(tmp_path_factory.mktemp('runs') / 'demo_run')).read_text('utf-8')


@pytest.fixture(scope='module')
def page(html) -> Page:
    return Page(html)


def test_says_what_was_trained(page):
    assert 'A vision-language model of 1.42 million parameters' in page.text
    assert (
        'trained for 6,000 steps in 8 min 32 s on cpu (2 cores) , scored on 5 tasks.' in page.text
    )
    for fact in ('1,423,104', '83%', '17 May 2024', 'jax 0.10.2', '--gin_file=demo.gin'):
        assert fact in page.text, fact


def test_scores_have_value_count_prompt_definition_and_step(page):
    assert 'easy_vqa answer en {question}' in page.text
    assert 'vqa_accuracy v1 Share of answers equal' in page.text
    for cell in ('0.912', '9,673', '0.641', '1.286', '12'):
        assert cell in page.words, cell
    assert '13,676 held-out examples at step 6,000, scored in 48 s.' in page.text
    titles = [attrs.get('title', '') for _, attrs in page.elements]
    assert 'Mean IoU; no box is 0.' in titles
    assert page.text.count('lower is better') == 2  # the error rate and the unreadable boxes


def test_undecodable_images_are_named(page):
    assert '2 undecodable images in easy_vqa , counted as wrong: test/17 , <b>18</b> .' in page.text
    assert '4 undecodable images skipped in training.' in page.text


def test_curves_have_titles_and_readouts(page):
    captions = 'Loss log scale', 'Accuracy', 'Learning rate', 'Examples per second', 'Grad norm'
    for caption in captions:
        assert caption in page.text, caption
    assert 'easy_vqa/vqa_accuracy' in page.text
    assert 'step 4,000: 0.84' in page.text
    labels = [a.get('aria-label', '') for tag, a in page.elements if tag == 'svg']
    assert any(re.fullmatch(r'Loss: .+ at step 10, .+ at step 6,000', label) for label in labels)


def test_samples_are_of_the_latest_step_in_the_order_of_the_scores(page):
    assert 'STALE' not in page.text
    names = ['easy_vqa vqa_accuracy 0.912', 'easy_vqa_locca_aref accuracy_iou_50 0.731']
    assert page.text.index(names[0]) < page.text.index(names[1])
    # 12 with a picture are shown of 43; nine of the twelve and thirty without one are right.
    assert '43 examples at step 6,000, 39 right; 12 shown.' in page.text


def test_boxes_are_drawn_in_pixels_of_the_picture(page):
    predicted = [a for _, a in page.having('predicted')]
    reference = [a for _, a in page.having('reference') if 'x' in a]
    # One swatch in the legend, twelve samples; the first box is [0.10, 0.15, 0.60, 0.70] of 64 px.
    assert len(predicted) == len(reference) == 13
    place = {k: float(reference[1][k]) for k in ('x', 'y', 'width', 'height')}
    assert place == {'x': 9.6, 'y': 6.4, 'width': 35.2, 'height': 32.0}


def test_pictures_are_inlined_pixel_by_pixel(page):
    sources = [a['src'] for tag, a in page.elements if tag == 'img']
    assert len(sources) == 12 + 12 + 3
    data = base64.b64decode(sources[0].removeprefix('data:image/png;base64,'))
    shown = Image.open(io.BytesIO(data))
    original = Image.open(io.BytesIO(picture_bytes(*SHAPES[0][:2])))
    assert shown.tobytes() == original.tobytes()
    assert all('crisp' in a['class'] for tag, a in page.elements if tag == 'img')


def test_right_and_wrong_are_told_in_words(page):
    marks = [w.strip() for w in page.words if re.fullmatch(r'\s*(right|wrong)( [\d.]+)?\s*', w)]
    assert marks.count('right') == 9 + 2 + 2
    assert marks.count('right 0.810') == 9
    assert marks.count('wrong 0.300') == 3
    assert 'none: the image could not be decoded' not in page.text  # it has no picture to show
    assert 'wrong 0.490' in marks


def test_odd_texts_survive(html, page):
    for text in (
        'עיגול אדום (גדול) מתחת',
        'วงกลมสีแดง 🐘',
        'before � after � \u202e evil',
        '["a", 1]',
    ):
        assert text in html.replace('&quot;', '"'), text
    assert 'Show the first 5,000 of 18,000 characters' in page.text
    assert '× 7' in page.text
    assert 'picture not readable' in page.text  # the one that lies outside the run
    assert 'skipped 2 lines that could not be read' in page.text
    said = page.having('said')
    assert said and all(attrs['dir'] == 'auto' for _, attrs in said)


def test_location_tokens_are_set_apart(html):
    assert '<span class="loc">&lt;loc0102&gt;</span>' in html


def test_broken_metrics_are_told(page):
    assert 'metrics.jsonl: skipped 3 lines that could not be read.' in page.text
    assert 'loss was not a finite number 1 times, first at step 6,010.' in page.text


def test_nothing_in_the_page_runs_or_loads(html, page):
    assert not [tag for tag, _ in page.elements if tag in ('script', 'iframe', 'object', 'embed')]
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith('on')], tag
        for name in ('src', 'href', 'xlink:href', 'srcset', 'action'):
            assert attrs.get(name, 'data:').startswith(('data:', '#')), (tag, attrs)
    assert "default-src 'none'" in html
    assert 'url(' not in html and '@import' not in html
    assert html.count('&lt;script&gt;alert(1)') >= 4


def test_config_is_shown_folded(page):
    assert 'config.gin, 4 lines' in page.text
    assert 'prompt = "<script>alert(3)</script>"' in page.text


def test_run_without_evaluation_says_so(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text(jsonl(train_rows(5)))
    page = Page(write_report(tmp_path).read_text('utf-8'))
    assert 'This run has not been evaluated: there is no scores.json.' in page.text
    assert 'Loss' in page.text
    assert 'Predictions' not in page.text and 'Configuration' not in page.text


def test_evaluation_without_training(tmp_path):
    (tmp_path / 'scores.json').write_text(json.dumps(scores()))
    output = write_report(tmp_path, tmp_path / 'sub' / 'page.html')
    assert output == tmp_path / 'sub' / 'page.html'
    assert [p.name for p in output.parent.iterdir()] == ['page.html']
    text = Page(output.read_text('utf-8')).text
    assert '0.912' in text and 'Training' not in text


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(UserError, match=r'neither metrics\.jsonl nor scores\.json'):
        write_report(tmp_path)
    with pytest.raises(UserError, match='no run directory'):
        write_report(tmp_path / 'missing')


@pytest.mark.parametrize(
    'content', ['', '{', '[]', '{"scores": 3}', '[' * 100_000, '{"scores": [{"task": 1}, 2, null]}']
)
def test_broken_scores_never_raise(tmp_path, content):
    for name in ('scores.json', 'summary.json', 'metrics.jsonl'):
        (tmp_path / name).write_text(content)
    assert 'This run has not been evaluated' in Page(write_report(tmp_path).read_text('utf-8')).text


def test_hostile_values_never_raise(tmp_path):
    odd = [None, True, 'text', [], {}, math.nan, math.inf, -1e308, 10**400, -3, 0]
    rows = [{'task': v, 'metric': v, 'value': v, 'n': v, 'prompt': v, 'step': v} for v in odd]
    named = {'a': odd, 'b': 3, '': []}
    (tmp_path / 'scores.json').write_text(json.dumps({'scores': rows, 'undecodable': named}))
    (tmp_path / 'summary.json').write_text(json.dumps({key: [1, {}] for key in SUMMARY}))
    lines = [{'step': v, 'kind': v, 'values': {'loss': v, 'k': v}} for v in odd]
    (tmp_path / 'metrics.jsonl').write_text(jsonl(lines))
    boxes = [[v] * 4 for v in odd] + odd + [[0.9, 0.8, 0.1, 0.2]]
    samples = [answer('p', v, v, v, v, boxes, boxes) for v in odd]
    (tmp_path / 'inference').mkdir()
    (tmp_path / 'inference' / 't-3.jsonl').write_text(
        jsonl(samples).replace('"boxes": ["", ', '"boxes": [')
    )
    Page(write_report(tmp_path).read_text('utf-8'))


def test_hostile_pictures_are_shown_or_called_unreadable(tmp_path):
    hostile = Path(__file__).parents[3] / 'shared' / 'data' / 'hostile'
    if not hostile.is_dir():
        pytest.skip('../shared/data/hostile is not here')
    pictures = sorted(p for p in hostile.iterdir() if p.suffix in ('.png', '.jpg', '.gif', '.webp'))
    images = tmp_path / 'inference' / 'images'
    images.mkdir(parents=True)
    for path in pictures:
        (images / path.name).write_bytes(path.read_bytes())
    rows = [answer(p.name, '', [], None, f'inference/images/{p.name}') for p in pictures]
    (tmp_path / 'inference' / 'hostile-1.jsonl').write_text(jsonl(rows))
    (tmp_path / 'scores.json').write_text('{}')
    page = Page(write_report(tmp_path).read_text('utf-8'))
    # Truncated twice, a wrong checksum, no bytes, a text, a header of 50,000 x 50,000 pixels.
    assert page.text.count('picture not readable') == 6
    assert len([1 for tag, _ in page.elements if tag == 'img']) == len(pictures) - 6


def test_many_score_curves_are_folded(tmp_path):
    values = [{f'task{k}/score': 0.1 * s for k in range(9)} for s in (1, 2)]
    rows = [{'step': s, 'kind': 'eval', 'values': v} for s, v in enumerate(values)]
    (tmp_path / 'metrics.jsonl').write_text(jsonl(rows))
    assert '9 scores as training went on' in Page(write_report(tmp_path).read_text('utf-8')).text


def test_large_pictures_are_shrunk(tmp_path):
    noise = Image.effect_noise((1600, 900), 80)
    noise.save(tmp_path / 'big.png')
    (tmp_path / 'inference').mkdir()
    row = answer('p', 'x', ['x'], 1.0, 'big.png', [[0.5, 0.5, 1, 1]])
    (tmp_path / 'inference' / 't-1.jsonl').write_text(jsonl([row]))
    (tmp_path / 'scores.json').write_text('{}')
    page = Page(write_report(tmp_path).read_text('utf-8'))
    image = next(a for tag, a in page.elements if tag == 'img')
    assert image['src'].startswith('data:image/jpeg') and 'crisp' not in image.get('class', '')
    box = next(a for _, a in page.having('predicted') if float(a['x']) > 3)
    assert (box['x'], box['y'], box['width'], box['height']) == (
        '360.00',
        '202.50',
        '360.00',
        '202.50',
    )


def test_report_needs_no_tensorflow_or_jax():
    code = (
        'import sys\n'
        "for name in ('tensorflow', 'jax', 'seqio', 'gin'): sys.modules[name] = None\n"
        'import vlm.runner.report, vlm.runner.drawing\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=Path(__file__).parents[2])


def test_steps_done_again_count_once():
    points: files.Points = []
    for step, value in ((10, 1.0), (20, 2.0), (30, 3.0), (20, 5.0), (30, 6.0)):
        files._append(points, step, value)
    assert points == [(10, 1.0), (20, 5.0), (30, 6.0)]
