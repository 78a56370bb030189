"""Mistakes in how to decode are told when it is configured."""

import pytest

from vlm.decoding import DecodingConfig
from vlm.errors import UserError


@pytest.mark.parametrize(
    'options, message',
    [
        ({'method': 'beem'}, r"'beem' \(DecodingConfig\.method\)\. Nearest: beam"),
        ({'num_decodes': 2}, r"num_decodes = 2 must be 1 with method = 'greedy'"),
        ({'method': 'beam', 'num_decodes': 0}, 'num_decodes = 0 must be at least 1'),
        ({'method': 'sample', 'temperature': 0.0}, r'temperature = 0\.0 must be above 0'),
        ({'method': 'sample', 'top_k': 0}, 'top_k = 0 must be at least 1'),
        ({'method': 'sample', 'top_p': 0.0}, r'top_p = 0\.0 must be in \(0, 1\]'),
        ({'method': 'sample', 'top_p': 1.5}, r'top_p = 1\.5 must be in \(0, 1\]'),
        ({'method': 'beam', 'alpha': -1.0}, r'alpha = -1\.0 must be at least 0'),
        ({'allowed_ids': ()}, r'allowed_ids = \(\) must be ids above 0'),
        ({'allowed_ids': (4, 0)}, r'allowed_ids = \(4, 0\) must be ids above 0'),
        # What the method would not read.
        ({'temperature': 0.5}, r"temperature = 0\.5 is read by method = 'sample' only.* 'greedy'"),
        ({'method': 'beam', 'top_k': 3}, r"top_k = 3 is read by method = 'sample' only.* 'beam'"),
        ({'method': 'sample', 'alpha': 0.0}, r"alpha = 0\.0 is read by method = 'beam' only"),
    ],
)
def test_mistakes_name_the_binding_and_the_value(options, message):
    with pytest.raises(UserError, match=message):
        DecodingConfig(**options)


def test_a_configuration_is_hashable_whatever_its_ids_came_in():
    configs = {DecodingConfig(allowed_ids=ids) for ids in ([2, 3], (2, 3), range(2, 4))}
    assert configs == {DecodingConfig(allowed_ids=(2, 3))}
