"""Captions into the tokens that caption metrics count.

The official COCO evaluation runs Stanford's PTBTokenizer (Java) and then drops punctuation. This is
its behaviour on captions in a page of Python: all 3,980 captions of a Flickr8k sample and all 989
sentences of an NLVR sample (54,784 tokens) are cut as the Java program cuts them, and of SROIE
receipts 10,273 of 10,278 tokens. It differs on abbreviations that are not in the list here and on
some addresses. A score moves only where a caption and its references hold such words.
"""

import re

# Brackets become words, and stay: lower-casing hides them from the official list of what to drop.
# A telephone number is one token, its spaces no-break ones.
_WRITTEN = str.maketrans(
    {'(': '-lrb-', ')': '-rrb-', '[': '-lsb-', ']': '-rsb-', '{': '-lcb-', '}': '-rcb-'}
    | {' ': '\xa0'}
)
_DROPPED = frozenset(('"', "'", '`', '.', '?', '!', ',', ':', ';', '-', '--', '...'))
_SAME = str.maketrans(
    {'‘': "'", '’': "'", '“': '"', '”': '"', '–': '--', '—': '--', '…': '...', '\xa0': ' '}
    # On a line of its own a fraction is no part of a number before it.
    | {'€': '$', '£': '#', '¢': ' cents ', '¼': '\n1/4', '½': '\n1/2', '¾': '\n3/4'}
)
_SPLIT_WORDS = {
    'cannot': ['can', 'not'],
    'gimme': ['gim', 'me'],
    'gonna': ['gon', 'na'],
    'gotta': ['got', 'ta'],
    'lemme': ['lem', 'me'],
    'wanna': ['wan', 'na'],
}
# Words that keep their period, even at the end of a sentence.
_ABBREVIATIONS = """
    mr mrs ms dr jr sr prof rev hon gen col maj capt lt sgt gov sen rep pres st ave blvd rd mt ft sq
    bldg dept univ assn co inc corp ltd bros bhd plc est tel ext ph adj etc vs
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
"""
# In the order of the official program, which takes the longest; letters stand for both cases.
_TOKEN = re.compile(
    rf"""
      https?://[^\s"<>|()]+[^\s"'<>|.!?(),{{}}-]               # addresses
    | [a-z0-9][^\s"<>|(){{}}]{{,64}}@(?:[^\s"<>|(){{}}.]+\.)*[^\s"<>|(){{}}.]+        # me@home.com
    | (?:www\.(?:[^\s"<>|.!?(){{}},]{{1,64}}\.)+[a-z]{{2,4}}
       |(?:[^\s"`'<>|.!?(){{}},_$-]{{1,64}}\.)+(?-i:com|net|org|edu)\b)
      (?:/[^\s"<>|()]+[^\s"<>|.!?(){{}},-])?
    | (?:\([0-9]{{2,3}}\)[ ]?|\+{{,2}}(?:[0-9]{{2,4}}[- ])?[0-9]{{2,4}}[- ])       # 03-4136 0284
      [0-9]{{3,4}}[- ]?[0-9]{{3,5}}(?!\w)
    | (?:[a-z]\.){{2,}}(?!\w)                               # u.s. p.m.
    | \bph\.d\. | \b(?:{'|'.join(_ABBREVIATIONS.split())})\.
    | \b(?:no|fig)\.(?=\s?[0-9])                           # no. 5
    | (?<!\w)[a-z]\.(?![^\W\d])                            # initials: j. smith
    | [^\W\d]\w*\.(?=[,;:])                               # ref.:
    | (?-i:[A-Z]+(?:[+&][A-Z]+)+)(?!\w) | \bc\+\+          # AT&T, but at & t
    | '(?:(?:s|m|d|re|ll|ve)\b|t(?=(?:is|was)\b))         # clitics apart: dog 's, 'tis
    | '(?:[0-9]{{2}}s|em|cause)\b | \by'(?=[^\W\d])          # '90s; y' all
    | [0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{2,4}}(?!\w)
    | (?:[0-9]{{1,4}}[- ])?[0-9]{{1,4}}/[0-9]{{1,4}}(?![\w/-])           # 1 1/2
    | [a-z0-9]+(?:-[a-z]+){{,2}}(?:/[a-z0-9]+(?:-[a-z]+){{,2}}){{1,2}}    # he/she
    | [0-9]+(?:[.,:][0-9]+)+(?:-[^\W\d_]+)*                 # 1,000-foot; 10:45 am
    | (?:(?<!\S)|(?<=[0-9]))[-+][.,:]?[0-9]+(?:[.,:][0-9]+)*       # -5, 1 +1
    | [.,:][0-9]+(?:[.,:][0-9]+)*                          # .5 :30
    | [#@][^\W\d_]\w*                                     # #hashtag @name
    | [^\W\d_]+(?:\.[^\W\d_]+)+(?!\w)                     # abc.def
    | \w+(?:(?:-|(?<=[^\W\d])'(?=[^\W\d]))\w+)*
    | [?!]+ | \*+ | \.\.\. | --+ | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ll|ve))")


def caption_tokens(text: str) -> list[str]:
    """Returns a caption's lower-case tokens without punctuation: "Don't go!" -> do n't go."""
    tokens = []
    for token in _TOKEN.findall(text.translate(_SAME)):
        if token not in _DROPPED:
            tokens += _parts(token.translate(_WRITTEN).lower())
    return tokens


def caption_words(text: str) -> list[str]:
    """Returns the tokens as CIDEr and BLEU count them: cut at no-break spaces, too."""
    return [word for token in caption_tokens(text) for word in token.split()]


def _parts(word: str) -> list[str]:
    """Cuts clitics off a word, the last first: couldn't've -> could n't 've."""
    tail = []
    while match := _CLITIC.fullmatch(word):
        word = match[1]
        tail.insert(0, match[2])
    return _SPLIT_WORDS.get(word, [word]) + tail
