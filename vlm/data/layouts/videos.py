"""Captions and questions about videos as they are published; the frames come from the files."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.data.examples import Record
from vlm.data.image_files import absent_image
from vlm.data.layouts.published import Published, known_answers, read_json
from vlm.data.sources.files import FileRefused, data_dir
from vlm.data.sources.sharded import Row as NamedRow
from vlm.data.video_files import find_frames

Row = dict[str, Any]


class PublishedVideos(Published):
    """As `Published`, but `images` names a video without its ending: 'msrvtt/videos/{video}'.

    `frames` pictures are taken from the file, evenly over the video (or over `start`..`end`, in
    seconds, where a row says so); or from the folder of that name, where frames lie as files.
    """

    def __init__(self, *arguments: Any, frames: int = 16, **options: Any):
        super().__init__(*arguments, **options)
        self._frames = frames

    def record(self, file: str, row: NamedRow) -> Record:
        where, fields = row
        ((folder, name),) = self._image_entries(file, fields)
        span = fields.get('start'), fields.get('end')
        try:
            frames = find_frames(str(data_dir() / folder), name, self._frames, *span)
        except FileRefused as error:
            frames = [absent_image(str(error))]
        given = {k: v for k, v in fields.items() if k not in ('split', 'start', 'end')}
        return self._mapper.record({**given, 'images': frames}, where, lambda data: (data, None))


def msrvtt(path: Path) -> Iterator[Row]:
    """`*_videodatainfo.json`: videos with their split, and sentences about them."""
    content = read_json(path)
    captions = defaultdict(list)
    for sentence in content['sentences']:
        captions[sentence['video_id']].append(sentence['caption'])
    for video in content['videos']:
        number = video['video_id']
        yield {
            'id': number,
            'video': number,
            'split': video['split'],
            'captions': known_answers(captions[number]),
        }


def msrvtt_qa(path: Path) -> Iterator[Row]:
    """`train_qa.json` and its kin: questions about videos by number."""
    for row in read_json(path):
        kept = {'question': row['question'], 'answer': row['answer']}
        yield {'id': row['id'], 'video': f'video{row["video_id"]}', **kept}


def msvd(descriptions: Path, names: Path) -> Iterator[Row]:
    """`AllVideoDescriptions.txt`, a video and a sentence a line, and the list of a split."""
    captions = defaultdict(list)
    for line in descriptions.read_text(encoding='utf-8').splitlines():
        name, _, caption = line.partition(' ')
        if caption and not line.startswith('#'):
            captions[name].append(caption.strip())
    for name in names.read_text().split():
        yield {'id': name, 'video': name, 'captions': known_answers(captions[name])}


def msvd_qa(path: Path, mapping: Path) -> Iterator[Row]:
    """Questions about videos by number, and `youtube_mapping.txt`: 'NAME vid1'."""
    lines = (line.split() for line in mapping.read_text().splitlines() if line.strip())
    names = {number: name for name, number in lines}
    for row in read_json(path):
        kept = {'question': row['question'], 'answer': row['answer']}
        yield {'id': row['id'], 'video': names[f'vid{row["video_id"]}'], **kept}


def vatex(path: Path) -> Iterator[Row]:
    """VATEX's list; `videoID` names a clip, ten English captions each."""
    for row in read_json(path):
        captions = known_answers(row.get('enCap'))
        yield {'id': row['videoID'], 'video': row['videoID'], 'captions': captions}


def activitynet_captions(path: Path) -> Iterator[Row]:
    """ActivityNet Captions: a row a described part of a video."""
    for video, content in read_json(path).items():
        parts = zip(content['timestamps'], content['sentences'], strict=True)
        for number, ((start, end), caption) in enumerate(parts):
            yield {
                'id': f'{video}/{number}',
                'video': video,
                'start': float(start),
                'end': float(end),
                'caption': caption.strip(),
            }


def activitynet_qa(questions: Path, answers: Path) -> Iterator[Row]:
    """ActivityNet-QA's two files, joined by question."""
    said = {row['question_id']: row['answer'] for row in read_json(answers)}
    for row in read_json(questions):
        number = row['question_id']
        kept = {'question': row['question'], 'answer': said[number]}
        yield {'id': number, 'video': f'v_{row["video_name"]}', **kept}
