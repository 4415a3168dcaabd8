"""Corrupted images keep their padding, and what is known of a network survives a stop."""

import numpy as np

from jaxcnn import data, shift
from jaxcnn.claims.corrupted_images import corrupted
from jaxcnn.claims.shifted_digits import Kept, lacking, mnist
from jaxcnn.claims.study import Study
from jaxcnn.sweep import Record


def test_a_corruption_is_applied_inside_the_padding(tmp_path):
    config = mnist(Study(tmp_path, seeds=2, scale="tiny"))
    test = data.load(config, 0).test
    found = corrupted(test, config, "inverse", 5)
    assert found.dtype == np.uint8 and found.shape == (24, 32, 32, 1)
    expected = np.zeros_like(found)
    expected[:, 2:-2, 2:-2] = 255 - np.asarray(test.images)[:, 2:-2, 2:-2]
    assert np.abs(found.astype(int) - expected).max() <= 1
    noisy = [corrupted(test, config, "gaussian_noise", 3) for _ in range(2)]
    np.testing.assert_array_equal(*noisy)
    assert "inverse" in shift.CORRUPTIONS


def test_what_is_known_of_a_network_is_read_again(tmp_path):
    record = Record(None, str(tmp_path / "run"), "diverged")
    first = Kept(record, "found.json")
    assert first.network is None and lacking([first], "fog 3") == [first]
    first["fog 3"] = {"source": 12.5}
    again = Kept(record, "found.json")
    assert "fog 3" in again and again["fog 3"] == {"source": 12.5} and lacking([again], "fog 3") == []
    again["fog 5"] = [1]
    assert Kept(record, "found.json")["fog 3"] == {"source": 12.5}
