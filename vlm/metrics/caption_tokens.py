"""Captions into the tokens that caption metrics count.

The official COCO evaluation runs Stanford's PTBTokenizer (Java) and then drops punctuation. This is
its behaviour on captions in a page of Python. Like the Java program it cuts all 3,980 captions of a
Flickr8k sample and all 4,514 sentences of an NLVR sample, and 4,269 of 4,356 lines of SROIE
receipts. It differs on telephone numbers, prices like RM5.50, 'c++', lower-case b&w (the
program joins A&W alone), and abbreviations that are not in the list here. A score moves only where
a caption and its references hold such words.
"""

import re

# Brackets become words, and stay: lower-casing hides them from the official list of what to drop.
_BRACKETS = {'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'}
_DROPPED = frozenset(('"', "'", '`', '.', '?', '!', ',', ':', ';', '-', '--', '...'))
_SAME = str.maketrans(
    {'‘': "'", '’': "'", '“': '"', '”': '"', '–': '--', '—': '--', '…': '...', '\xa0': ' '}
    | {'€': '$', '£': '#', '¼': ' 1/4', '½': ' 1/2', '¾': ' 3/4'}
)
_SPLIT_WORDS = {
    'cannot': 'can not',
    'gimme': 'gim me',
    'gonna': 'gon na',
    'gotta': 'got ta',
    'lemme': 'lem me',
    'wanna': 'wan na',
}
# Words that keep their period, even at the end of a sentence.
_ABBREVIATIONS = """
    mr mrs ms dr jr sr prof rev hon gen col maj capt lt sgt gov sen rep pres st ave blvd rd mt ft sq
    bldg dept univ assn co inc corp ltd bros bhd plc est tel ext ph adj etc vs
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
"""
_TOKEN = re.compile(
    rf"""
      (?:[a-z]\.){{2,}}                                     # u.s. p.m.
    | \b(?:{'|'.join(_ABBREVIATIONS.split())})\.
    | \bno\.(?=[\s:]*[0-9])                                # no. 5
    | (?<!\w)[a-z]\.(?!\w)                                 # initials: j. smith
    | '(?:(?:s|m|d|re|ll|ve)\b|t(?=(?:is|was)\b))         # clitics apart: dog 's, 'tis
    | \w[\w.+-]*@\w+(?:[.-]\w+)*                          # me@home.com
    | [0-9]+(?:[.,:][0-9]+)+(?=[^\W\d_])                   # 10:45am, 2.5kg; but 9am is one word
    | [#@][^\W\d_]\w*                                     # #hashtag @name
    | (?:(?<!\S)[-+](?=[0-9])|(?<=[0-9])\+(?=[0-9])|[.,:](?=[0-9]))?   # words; numbers: -5 .5 :3
      \w+(?:(?:[-/']|(?<=[^\W\d])[.&](?=[^\W\d])|(?<=[0-9])[.,:](?=[0-9]))\w+)*
    | [?!]+ | \*+ | \.\.\. | --+ | \S
    """,
    re.VERBOSE,
)
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ll|ve))")


def caption_tokens(text: str) -> list[str]:
    """Returns a caption's lower-case tokens without punctuation: "Don't go!" -> do n't go."""
    tokens = []
    for token in _TOKEN.findall(text.translate(_SAME).lower()):
        if token not in _DROPPED:
            tokens += _parts(_BRACKETS.get(token, token))
    return tokens


def _parts(word: str) -> list[str]:
    """Cuts clitics off a word, the last first: couldn't've -> could n't 've."""
    tail = []
    while match := _CLITIC.fullmatch(word):
        word = match[1]
        tail.insert(0, match[2])
    return _SPLIT_WORDS.get(word, word).split() + tail
