"""Frames out of videos, by time; out of folders, by name."""

import numpy as np
import pytest

from vlm.data.image_files import decode_image, encode_png
from vlm.data.sources.files import FileRefused
from vlm.data.video_files import find_frames, middles, video_frames

RATE = 8


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """Four seconds; the gray of each frame is its number times 8."""
    av = pytest.importorskip('av')
    path = tmp_path_factory.mktemp('videos') / 'film.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=RATE)
        stream.width = stream.height = 32
        stream.pix_fmt = 'yuv420p'
        for number in range(4 * RATE):
            pixels = np.full((32, 32, 3), number * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())
    return path


def numbers(frames: list[bytes]) -> list[int]:
    return [round(float(decode_image(data).mean()) / 8) for data in frames]


def test_middles():
    assert middles(4, 0, 8) == [1, 3, 5, 7]
    assert middles(2, 10, 12) == [10.5, 11.5]


def test_frames_are_of_the_middles_of_equal_parts(film):
    # At 0.5, 1.5, 2.5 and 3.5 seconds of 8 frames each.
    assert numbers(video_frames(film, 4)) == [4, 12, 20, 28]


def test_a_part_of_a_video(film):
    assert numbers(video_frames(film, 2, 1.0, 3.0)) == [12, 20]
    assert numbers(video_frames(film, 1, 3.0, 99.0)) == [28]


def test_videos_are_found_by_name_and_damage_is_told(film):
    assert len(find_frames(str(film.parent), 'film', 3)) == 3
    (film.parent / 'broken.mp4').write_bytes(film.read_bytes()[:200])
    with pytest.raises(FileRefused, match='broken.mp4'):
        find_frames(str(film.parent), 'broken', 3)


def test_a_folder_of_frames(tmp_path):
    (tmp_path / 'v').mkdir()
    for number in range(10):
        pixels = np.full((2, 2, 3), number * 8, np.uint8)
        (tmp_path / 'v' / f'{number:02d}.png').write_bytes(encode_png(pixels))
    assert numbers(find_frames(str(tmp_path), 'v', 5)) == [1, 3, 5, 7, 9]
    assert len(find_frames(str(tmp_path), 'v', 99)) == 10
    with pytest.raises(FileRefused, match='neither a folder'):
        find_frames(str(tmp_path), 'w', 5)
    with pytest.raises(FileRefused, match='leaves the folder'):
        find_frames(str(tmp_path), '../v', 5)
