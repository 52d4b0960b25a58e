"""faces/decoded.py: the same pixels from memory, from a file of ours, and from another process."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from faces import decoded
from faces.image import UnreadableImage, read_image, write_image
from utils import UserError


@pytest.fixture
def files(tmp_path) -> list[str]:
    random = np.random.default_rng(0)
    names = []
    for number, shape in enumerate([(20, 30), (7, 5), (64, 64)]):
        names.append(str(tmp_path / f"{number} ä.png"))
        write_image(names[-1], random.integers(0, 256, (*shape, 3), dtype=np.uint8))
    return names


@pytest.fixture(params=["ram", "file"])
def store(request, files, tmp_path) -> decoded.Decoded:
    if request.param == "ram":
        return decoded.in_memory(files)
    return decoded.in_file(files, tmp_path / "cache")


def test_pixels_are_those_of_the_file(store, files):
    assert len(store) == 3
    for file in [*files, *reversed(files)]:
        assert np.array_equal(store.read(file), read_image(file))


def test_a_picture_may_be_written_into(store, files):
    store.read(files[0])[:] = 0
    assert np.array_equal(store.read(files[0]), read_image(files[0]))


def test_it_travels_to_another_process(store, files):
    store.read(files[1])
    size = len(pickle.dumps(store))
    assert np.array_equal(pickle.loads(pickle.dumps(store)).read(files[2]), read_image(files[2]))
    if isinstance(store.__getstate__()["_buffer"], Path):
        assert size < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply(store.read, (files[0],))
    assert np.array_equal(other, read_image(files[0]))


def test_what_cannot_be_decoded_fails_when_it_is_read(files, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for store in (
        decoded.in_memory([*files, str(broken)]),
        decoded.in_file([str(broken), *files, "nowhere.png"], tmp_path / "cache"),
    ):
        assert len(store) == 3
        with pytest.raises(UnreadableImage):
            store.read(str(broken))


def test_a_later_run_finds_the_file_and_changed_pictures_are_decoded_again(
    files, tmp_path, monkeypatch
):
    decoded.in_file(files, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "read_image", lambda _: pytest.fail("decoded again"))
        again = decoded.in_file(reversed(files), tmp_path / "cache")
    assert len(again) == 3
    write_image(files[0], np.full((9, 9, 3), 7, np.uint8))
    assert decoded.in_file(files, tmp_path / "cache").read(files[0]).shape == (9, 9, 3)


def test_memory_that_does_not_suffice_is_said_before_it_is_full(files, monkeypatch):
    monkeypatch.setattr(decoded, "LARGEST_SHARE", 1e-9)
    with pytest.raises(UserError, match=r"data\.memory to file"):
        decoded.in_memory(files)
