import pytest

from tests.pictures.drawn import watch


@pytest.fixture
def drawn(monkeypatch):
    return watch(monkeypatch)
