"""METEOR by the official program; what is said where it, or SPICE, cannot run."""

import shutil
import sys
import urllib.error

import pytest

from vlm.errors import UserError
from vlm.metrics import java_captions
from vlm.metrics.java_captions import meteor, spice

TARGETS = [
    ['A cat on a mat.', 'A cat sits on the mat.'],
    ['Two dogs run fast!', 'Dogs running in a field.'],
]
SAID = ['a cat on a mat', 'Two dogs in a field']


def test_meteor_is_the_official_figure():
    pytest.importorskip('pycocoevalcap', reason='needs the extra metrics')
    if shutil.which('java') is None:
        pytest.skip('needs a Java runtime')
    # The data set's figure is computed from summed counts: it is not the mean of 1 and 0.357136.
    assert meteor(TARGETS, SAID) == {'meteor': pytest.approx(0.4796859737)}


@pytest.mark.parametrize('metric', [meteor, spice])
def test_without_the_package_or_java_the_remedy_is_named(metric, monkeypatch):
    monkeypatch.setattr(java_captions, 'import_extra', lambda module, metric: None)
    monkeypatch.setenv('PATH', '')
    with pytest.raises(UserError, match='java'):
        metric(TARGETS, SAID)
    monkeypatch.undo()
    for name in ('meteor.meteor', 'spice.spice'):
        monkeypatch.setitem(sys.modules, f'pycocoevalcap.{name}', None)
    with pytest.raises(UserError, match=r"pip install 'vlm\[metrics\]'"):
        metric(TARGETS, SAID)


def test_a_failure_of_the_program_is_told_in_one_line(monkeypatch):
    class Package:
        @staticmethod
        def Spice():  # noqa: N802
            raise urllib.error.URLError('no network')

    monkeypatch.setattr(java_captions, 'import_extra', lambda module, metric: Package)
    monkeypatch.setattr(java_captions, 'require_java', lambda metric: None)
    with pytest.raises(UserError, match='SPICE: .*no network'):
        spice(TARGETS, SAID)
