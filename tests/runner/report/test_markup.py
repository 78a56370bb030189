"""Text and numbers as the report writes them."""

from vlm.runner.report import markup


def test_numbers_by_hand():
    assert [markup.score(v) for v in (0.9117, 1.0, 12, 12.0, 128.60576, 1.2861, 9673)] == [
        '0.912', '1.000', '12', '12', '128.606', '1.286', '9,673']  # fmt: skip
    assert [markup.compact(v) for v in (0, 0.25, 1500, 12_000, 2.5e6, 3e-5, -4e-5, 0.1 + 0.2)] == [
        '0', '0.25', '1,500', '12k', '2.5M', '3e-5', '-4e-5', '0.3']  # fmt: skip
    assert [markup.duration(v) for v in (0.42, 42, 59.7, 500, 11_100)] == [
        '0.4 s', '42 s', '1 min 00 s', '8 min 20 s', '3 h 05 min']  # fmt: skip
    assert [markup.many(v) for v in (950, 48_248, 1_423_104, 2.9e9)] == [
        '950', '48,248', '1.42 million', '2.9 billion']  # fmt: skip


def test_folding_does_not_cut_a_location_token():
    text = 'a' * (markup.SHORT_TEXT - 4) + '<loc0123><loc0456>'
    folded = markup.block(text)
    assert folded.count('<span class="loc">') == 2


def test_escape_leaves_nothing_that_html_forbids():
    assert markup.escape('<a b="c">&\'') == '&lt;a b=&quot;c&quot;&gt;&amp;&#x27;'
    assert markup.escape('a\x00b\x1bc\ud800d\r\ne\tf') == 'a\ufffdb\ufffdc\ufffdd\ne\tf'
