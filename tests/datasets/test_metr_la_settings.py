"""What METR-LA refuses, and what it says of a protocol that lets windows reach across the cuts."""

import re
import warnings
from pathlib import Path

import pytest

from datasets.metr_la import MetrLA
from gnet.errors import ConfigError
from tests.datasets.small_traffic import write


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon_in": 0}, "expected horizon_in to be a whole number >= 1, got 0"),
        ({"every": 0}, "expected every to be a whole number >= 1, got 0"),
        ({"every_test": 1.5}, "expected every_test to be a whole number >= 1, got 1.5"),
        ({"missing": "zeros"}, "expected missing to be one of 'mask', 'zero', got 'zeros'; did you mean 'zero'?"),
        ({"graph": "sprase"}, "did you mean 'sparse'?"),
        ({"split": "random"}, "expected split to be one of 'time', 'windows', got 'random'"),
        ({"threshold": 0}, "expected threshold in (0, 1], got 0"),
        ({"threshold": "0.3"}, "expected threshold in (0, 1], got '0.3'"),
        ({"threshold": 0.9}, "graph='full' has no threshold, got 0.9; take graph='sparse', or leave threshold out"),
    ],
)
def test_settings_that_do_not_exist(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        MetrLA(**settings)


def test_the_published_cut_says_how_far_it_reaches_and_the_cut_of_time_says_nothing(tmp_path: Path):
    write(tmp_path)
    options = {"horizon_in": 3, "horizon_out": 2, "root": tmp_path}
    with pytest.warns(UserWarning, match="split='windows', as published: the parts overlap by 4 steps"):
        MetrLA(split="windows", **options).setup()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MetrLA(split="time", **options).setup()
