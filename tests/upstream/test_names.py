"""docs/gin.md says of every name in T5X's run files what it is here."""

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.t5x
DOCS = Path(__file__).parents[2] / 'docs' / 'gin.md'


@pytest.mark.parametrize('file', ['pretrain', 'finetune', 'eval', 'infer'])
def test_every_macro_and_binding_has_its_row(file):
    (package,) = importlib.util.find_spec('t5x').submodule_search_locations
    text = (Path(package) / 'configs' / 'runs' / f'{file}.gin').read_text()
    names = set(re.findall(r'^ *([A-Z_]+|[a-z_]+) =', text, re.MULTILINE))
    assert len(names) > 10
    section = DOCS.read_text().partition("## T5X's names")[2].partition('\n## ')[0]
    documented = set(re.findall(r'\w+', ' '.join(re.findall(r'`([^`]*)`', section))))
    assert not names - documented
