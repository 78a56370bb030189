"""A task and an id in front of an image's bytes."""

from hypothesis import given
from hypothesis import strategies as st

from vlm.data.envelope import MAGIC, read_tag, tag_image, untag_image
from vlm.data.views import View, attach_view, split_view

# What UTF-8 can hold: no lone surrogates.
names = st.text(st.characters(exclude_categories=['Cs']))


@given(names, names, st.binary())
def test_task_id_and_bytes_come_back(task, name, data):
    assert read_tag(tag_image(data, name, task)) == (task, name, data)
    assert untag_image(tag_image(data, name, task)) == (name, data)


@given(st.binary().filter(lambda data: not data.startswith(MAGIC)))
def test_bytes_without_a_tag_stay_as_they_are(data):
    assert read_tag(data) == ('', '', data)
    assert untag_image(data) == ('', data)


def test_the_layout_written_out():
    tagged = tag_image(b'DATA', 'ab', 'task')
    assert tagged == b'VLMid\x02' + b'\x00\x04' + b'\x00\x02' + b'task' + b'ab' + b'DATA'


def test_data_may_itself_look_tagged():
    inner = tag_image(b'x', 'inner')
    assert untag_image(tag_image(inner, 'outer')) == ('outer', inner)


def test_a_header_cut_short_is_no_tag():
    for cut in (MAGIC, MAGIC + b'\x00', MAGIC + b'\x00\x02\x00'):
        assert untag_image(cut) == ('', cut)
    assert read_tag(MAGIC + b'\x00\x02\x00\x05abc') == ('ab', 'c', b'')


def test_long_ids_are_cut_and_the_image_is_not():
    name, data = untag_image(tag_image(b'DATA', 'x' * 70_000))
    assert (name, data) == ('x' * 65_535, b'DATA')
    name, data = untag_image(tag_image(b'DATA', 'é' * 40_000))  # the cut goes through a character
    assert (name, data) == ('é' * 32_767 + '\ufffd', b'DATA')


def test_lone_surrogates_in_ids():
    assert untag_image(tag_image(b'DATA', 'a\ud800')) == ('a?', b'DATA')


def test_a_view_stays_behind_the_tag():
    view = View((0, 0, 0.5, 1), True)
    _, data = untag_image(tag_image(attach_view(b'DATA', view), 'a'))
    assert split_view(data) == (b'DATA', view)
