"""Named streams of randomness: equal for one seed, different for each name and seed, independent of how others are used."""

import hashlib

import pytest
import torch

from gnet.errors import ConfigError
from gnet.randomness import STREAM_NAMES, derive_seed, streams


def test_has_the_six_names():
    assert set(streams(0)) == set(STREAM_NAMES) == {"split", "mask", "init", "batches", "noise", "draw"}


def test_one_seed_gives_the_same_numbers_again():
    for name in STREAM_NAMES:
        assert torch.equal(torch.rand(5, generator=streams(3)[name]), torch.rand(5, generator=streams(3)[name]))


def test_every_name_and_every_seed_draws_its_own_numbers():
    first = [tuple(torch.rand(3, generator=streams(seed)[name]).tolist()) for seed in range(20) for name in STREAM_NAMES]
    assert len(set(first)) == 20 * len(STREAM_NAMES)


def test_using_one_stream_leaves_the_others_alone():
    used, untouched = streams(1), streams(1)
    torch.rand(100, generator=used["mask"])
    assert torch.equal(torch.rand(5, generator=used["init"]), torch.rand(5, generator=untouched["init"]))


def test_global_randomness_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(9, generator=streams(5)["init"])
    assert torch.equal(torch.rand(3), expected)


def test_seeds_depend_on_every_part_and_its_place():
    seeds = [
        derive_seed(0),
        derive_seed(0, "a"),
        derive_seed(0, "a", "b"),
        derive_seed(0, "b", "a"),
        derive_seed(1, "a"),
        derive_seed(0, "a", 1),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_those_of_every_other_process():
    """Python salts ``hash``; ours is the first 63 bits of SHA-256 of "7/mask/3", taken here with another tool's arithmetic."""
    assert derive_seed(7, "mask", 3) == int(hashlib.sha256(b"7/mask/3").hexdigest()[:16], 16) // 2 == 7911456619271143894


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigError, match=r"expected a seed that is an integer >= 0, got"):
        streams(seed)


def test_other_streams_do_not_exist():
    with pytest.raises(ConfigError, match="there is no stream 'msak'; did you mean 'mask'"):
        streams(0)["msak"]


def test_names_cannot_be_added():
    with pytest.raises(TypeError):
        streams(0)["other"] = torch.Generator()


def test_a_slash_in_a_name_is_no_separator():
    assert derive_seed(0, "a/b") != derive_seed(0, "a", "b")
