"""Tokens as the official Java tokenizer cuts them (these lines were run through it)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.metrics.caption_tokens import caption_tokens, caption_words


@pytest.mark.parametrize(
    ('caption', 'tokens'),
    [
        ('A yellow dog is next to a toilet .', 'a yellow dog is next to a toilet'),
        ("Don't stop, won't you? I can't;", "do n't stop wo n't you i ca n't"),
        ("It's the dog's bone, the dogs' bones.", "it 's the dog 's bone the dogs bones"),
        ("On a man 's shoulders", "on a man 's shoulders"),
        (
            'The two-dogs (a black-and-white pair)',
            'the two-dogs -lrb- a black-and-white pair -rrb-',
        ),
        ('[sic] {x}', '-lsb- sic -rsb- -lcb- x -rcb-'),
        ('100% 0.96 $5.00 at 10:45am', '100 % 0.96 $ 5.00 at 10:45 am'),
        ('A sign reading "STOP". A \'sign\' “STOP.”', 'a sign reading stop a sign stop'),
        ('Wow... and -- woman — dash - en-dash/slash 1/2', 'wow and woman dash en-dash/slash 1/2'),
        ('red/white & blue A&W', 'red/white & blue a&w'),
        ('what?! no!', 'what ?! no'),
        ('yes:no a;b', 'yes no a b'),
        ('cannot gonna rock', 'can not gon na rock'),
        (
            "I'm you're they'll we've he'd couldn't've",
            "i 'm you 're they 'll we 've he 'd could n't 've",
        ),
        ('the U.S. team of Mr. Smith', 'the u.s. team of mr. smith'),
        ("'tis o'clock 90's 1990s", "'t is o'clock 90 's 1990s"),
        ('1,000,000 -5 +3 5-6 2x4 t-shirt', '1,000,000 -5 +3 5-6 2x4 t-shirt'),
        ('No. 5, bus no. 12 and no.7; he said no.', 'no. 5 bus no. 12 and no. 7 he said no'),
        ('J. Smith of Elm Ave. in Feb.', 'j. smith of elm ave. in feb.'),
        ('in kg. or min. or ed.', 'in kg or min or ed'),
        ('2.5kg 5m 9am 5:30pm 1&3', '2.5 kg 5m 9am 5:30 pm 1 & 3'),
        ('score:3 to .5 of TAMPOI,81200 and 5+5', 'score :3 to .5 of tampoi ,81200 and 5 +5'),
        ('*** wow ** * a_b', '*** wow ** * a_b'),
        ('mail me@home.com or see www.cnn.com', 'mail me@home.com or see www.cnn.com'),
        ('£5 €3 ½ cup 1½', '# 5 $ 3 1/2 cup 1 1/2'),
        ('dogs.The cat', 'dogs.the cat'),
        ('café 日本語', 'café 日本語'),
        ('AMT+GST at R&B, but at&t b&w c++', 'amt+gst at r&b but at & t b & w c++'),
        ('RM41.43 2x11.80 v2.0 12:30-1:30', 'rm41 .43 2x11 .80 v2 .0 12:30 -1:30'),
        ('1,000-foot 10.5-inch 9am-5pm +5kg', '1,000-foot 10.5-inch 9am-5pm +5 kg'),
        ('a/b/c/d x-y/z x-9/z 216_01/21', 'a/b/c / d x-y/z x-9 / z 216_01 / 21'),
        ('REF.: NO. : 7 NO.: dogs., J.5', 'ref. no 7 no. dogs. j. 5'),
        ("'90s 'em y'all ph.d. 5¢", "'90s 'em y' all ph.d. 5 cents"),
        ('x.y.z sq-s.berry me@home.com, S@6%', 'x.y.z sq-s berry me@home.com, s@6%'),
        ('https://a.b/c-d/e. www.Foo.co.uk/bar.', 'https://a.b/c-d/e www.foo.co.uk/bar'),
        ('03-41424540/20 TEL:03-4021 10/12', '03-41424540 / 20 tel :03 -4021 10/12'),
        ('', ''),
        (' . ', ''),
    ],
)
def test_tokens_are_the_official_ones(caption, tokens):
    assert caption_tokens(caption) == tokens.split()


@pytest.mark.parametrize(
    ('caption', 'tokens', 'words'),
    [
        ('TEL: +603-3362 4137', ['tel', '+603-3362\xa04137'], 'tel +603-3362 4137'),
        ('(03) 123 4567', ['-lrb-03-rrb-\xa0123\xa04567'], '-lrb-03-rrb- 123 4567'),
        ('1 1/2 cups', ['1\xa01/2', 'cups'], '1 1/2 cups'),
    ],
)
def test_numbers_of_several_parts_are_one_token_and_several_words(caption, tokens, words):
    assert caption_tokens(caption) == tokens
    assert caption_words(caption) == words.split()


@pytest.mark.parametrize(('part', 'token'), [('a,', 'a'), ('(', '-lrb-')])
def test_long_texts_without_spaces_are_cut_in_time(part, token):
    # An address may begin anywhere: looked for without a limit, this would take hours.
    assert caption_tokens(part * 50_000).count(token) == 50_000


@given(st.text())
def test_any_text_is_cut(text):
    assert all(token and not token.isspace() for token in caption_tokens(text))
