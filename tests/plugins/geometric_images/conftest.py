"""Filters that tests make are kept in a folder of their own."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A folder for the whole run; the user's cache stays as it is."""
    folder = tmp_path_factory.getbasetemp() / "filters"
    monkeypatch.setenv("GNET_CACHE", str(folder))
    return folder
