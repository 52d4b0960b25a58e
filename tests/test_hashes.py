"""Hashes of files: right, remembered while a file stays as it is, and forgotten when it changes."""

import os
from pathlib import Path

import pytest

import hashes
from hashes import DIGITS, content_hashes
from utils import sha256_file


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """200 files, last changed long ago."""
    paths = [tmp_path / f"{number} ü.png" for number in range(200)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
        os.utime(path, (1e9, 1e9))
    return [str(path) for path in paths]


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The files that are read from now on."""
    names: list[str] = []

    def counted(path: str) -> str:
        names.append(path)
        return sha256_file(path)

    monkeypatch.setattr(hashes, "sha256_file", counted)
    return names


@pytest.mark.parametrize("cached", [False, True])
def test_every_file_has_its_hash_and_what_is_no_file_has_none(files, tmp_path, cached):
    cache = tmp_path / "cache" / "hashes.txt" if cached else None
    wanted = {path: sha256_file(path)[:DIGITS] for path in files}
    for _ in range(2):
        found = content_hashes([*files, str(tmp_path), "", "none.png", "\0"], cache)
        assert found == wanted
    assert content_hashes([], cache) == {}


def test_a_file_is_read_once_until_it_changes(files, tmp_path, read):
    cache = tmp_path / "hashes.txt"
    content_hashes(files, cache)
    assert sorted(read) == sorted(files)
    read.clear()
    content_hashes(files[::-1], cache)
    assert read == []
    Path(files[3]).write_bytes(b"more")  # another size
    Path(files[4]).write_bytes(b"x")  # the same size, another time
    os.utime(files[5], (1e9, 1e9 + 1))  # only touched
    found = content_hashes(files, cache)
    assert sorted(read) == sorted(files[3:6])
    assert found == {path: sha256_file(path)[:DIGITS] for path in files}


def test_what_may_still_change_unseen_is_read_again(files, tmp_path, read):
    cache = tmp_path / "hashes.txt"
    Path(files[0]).write_bytes(b"just now")
    content_hashes(files[:2], cache)
    read.clear()
    content_hashes(files[:2], cache)
    assert read == files[:1]


def test_other_collections_are_not_forgotten(files, tmp_path, read):
    cache = tmp_path / "hashes.txt"
    content_hashes(files[:100], cache)
    content_hashes(files[100:], cache)
    read.clear()
    content_hashes(files, cache)
    assert read == []


def test_a_stop_keeps_what_is_done(files, tmp_path, monkeypatch):
    cache = tmp_path / "hashes.txt"

    def stopped(path: str) -> str:
        if path == files[-1]:
            raise KeyboardInterrupt
        return sha256_file(path)

    monkeypatch.setattr(hashes, "sha256_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        content_hashes(files, cache)
    assert len(cache.read_text().splitlines()) >= hashes.GROUP


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe 1 2\n\n", b"0 1 a b"])
def test_a_cache_that_is_none_is_no_harm(files, tmp_path, content):
    cache = tmp_path / "hashes.txt"
    cache.write_bytes(content)
    assert content_hashes(files[:1], cache) == {files[0]: sha256_file(files[0])[:DIGITS]}


def test_names_of_any_kind(tmp_path, read):
    paths = [str(tmp_path / name) for name in ("a b.png", "line\nbreak.png", "r\r.png", "\udcff")]
    for path in paths:
        Path(path).write_bytes(path.encode("utf-8", "surrogateescape"))
        os.utime(path, (1e9, 1e9))
    wanted = {path: sha256_file(path)[:DIGITS] for path in paths}
    for _ in range(2):
        assert content_hashes(paths, tmp_path / "hashes.txt") == wanted
    assert read.count(paths[0]) == read.count(paths[2]) == read.count(paths[3]) == 1
