import pytest

from tests.plots.drawn import watch


@pytest.fixture
def drawn(monkeypatch):
    return watch(monkeypatch)
