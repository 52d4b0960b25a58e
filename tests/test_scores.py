"""Network and samples -> scores.csv: every digit of each score, and no number for a failure."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import manifest
import metrics
import rules
import scores
from batches import Batch
from failures import NO_SCORE, UNREADABLE, Failure
from flags import Config
from manifest import FAKE, REAL

CPU = torch.device("cpu")
NAMES = [f"{i}.png" for i in range(6)]


class Brightness(nn.Module):
    """The logit of FAKE is the mean brightness; a white picture is too much for it."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.modes: list[bool] = []

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        fake = pictures.float().mean((1, 2, 3)) / 100
        fake = torch.where(fake > 2.5, torch.nan, fake)[:, None]
        return fake if self.outputs == 1 else torch.cat([torch.zeros_like(fake), fake], 1)


def batch(brightness: dict[int, int], *failures: Failure) -> Batch:
    """Rows -> how bright each one's picture is."""
    images = [torch.full((3, 4, 4), value, dtype=torch.uint8) for value in brightness.values()]
    return Batch(
        torch.stack(images) if images else torch.empty(0, dtype=torch.uint8),
        torch.zeros(len(images), dtype=torch.int64),
        torch.tensor(list(brightness), dtype=torch.int64),
        failures,
    )


def sigmoid(brightness: int) -> float:
    return float(1 / (1 + np.exp(-np.float64(np.float32(brightness) / np.float32(100)))))


# ------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("outputs", [1, 2])
def test_each_row_gets_its_own_score(outputs):
    batches = [batch({4: 100, 1: 50}), batch({0: 0})]
    values, failures = scores.score(Brightness(outputs), batches, NAMES, CPU)
    assert values.dtype == np.float64 and failures == []
    expected = [sigmoid(0), sigmoid(50), np.nan, np.nan, sigmoid(100), np.nan]
    np.testing.assert_allclose(values, expected, rtol=1e-7)


@pytest.mark.parametrize("outputs", [1, 2])
def test_an_answer_that_is_no_number_is_a_failure_with_a_name(outputs):
    batches = [batch({0: 10, 3: 255}), batch({5: 255}), batch({1: 20})]
    values, failures = scores.score(Brightness(outputs), batches, NAMES, CPU)
    assert np.isnan(values[[3, 5]]).all() and np.isfinite(values[[0, 1]]).all()
    assert [(f.path, f.kind) for f in failures] == [("3.png", NO_SCORE), ("5.png", NO_SCORE)]
    assert all("not a number" in f.reason for f in failures)


def test_a_large_logit_is_certain_and_no_failure():
    class Sure(nn.Module):
        def forward(self, pictures):
            return torch.tensor([[0.0, torch.inf], [torch.inf, 0.0]])

    values, failures = scores.score(Sure(), [batch({0: 1, 1: 1})], NAMES[:2], CPU)
    assert values.tolist() == [1.0, 0.0] and failures == []


def test_failures_of_the_samples_are_carried_along():
    gone = [Failure(f"{i}.png", UNREADABLE, "gone") for i in (2, 4)]
    batches = [batch({0: 255, 1: 9}, gone[0]), batch({}, gone[1])]
    values, failures = scores.score(Brightness(2), batches, NAMES[:5], CPU)
    assert [f.path for f in failures] == ["2.png", "0.png", "4.png"]
    assert np.flatnonzero(np.isfinite(values)).tolist() == [1]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_evaluated_and_left_in_the_mode_it_had(training):
    network = Brightness(2).train(training)
    calls = []

    def stop():
        calls.append(network.training)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores.score(network, [batch({i: 0}) for i in range(3)], NAMES, CPU, between=stop)
    assert network.modes == [False, False] == calls
    assert network.training is training


def test_float32_on_a_gpu_is_no_tf32():
    before = torch.backends.cudnn.allow_tf32
    full, half = torch.float32, torch.bfloat16
    cases = [("cuda", full, False), ("cuda", half, before), ("cpu", full, before)]
    for device, precision, allowed in cases:
        with scores.in_full(torch.device(device), precision):
            assert torch.backends.cudnn.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is before


def test_scores_are_computed_in_full(monkeypatch):
    entered = []

    def noted(device, precision):
        entered.append((device.type, precision))
        return nullcontext()

    monkeypatch.setattr(scores, "in_full", noted)
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.zeros(2).long(), torch.arange(2))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    scores.score(network, [batch], ["a", "b"], CPU)
    assert entered == [("cpu", torch.float32)]


def test_precision_is_float32_unless_set_by_name():
    assert scores.scoring_precision(Config(), CPU)[0] is torch.float32
    assert scores.scoring_precision(Config(precision="bf16"), CPU)[0] is torch.bfloat16


# ---------------------------------------------------------------------------------- file


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def rows(home, tmp_path) -> pd.DataFrame:
    paths = [str(home / "a.png"), str(home / "b, c.png"), str(tmp_path / "far.png")]
    known = {
        "path": paths,
        "label": [REAL, FAKE, FAKE],
        "identity": ["007", "NA", "7"],
        "source_path": ["", paths[0], ""],
        "source_identity": ["", "8", ""],
        "box": "1.00 2.00 3.00 4.00",
        "landmarks": " ".join(["1.00"] * 10),
        "media": str(home / "photo.jpg"),
        "media_box": "1.00 2.00 3.00 4.00",
        "media_size": "640 480",
        "camera": ["x", "", "y"],
        "unused": "",
        "file": "crop.png",
        "file_box": "0.00 0.00 9.00 9.00",
        "file_landmarks": "",
    }
    names = [*manifest.COLUMNS, *(c for c in known if c not in manifest.COLUMNS)]
    return pd.DataFrame(known).reindex(columns=names, fill_value="")


def test_scores_csv_holds_the_manifests_keys_and_the_score(home, rows, tmp_path):
    before = rows.copy()
    file = tmp_path / "run" / "scores.csv"
    scores.write_scores(file, rows, np.array([0.25, 0.5, 1.0]), home)
    columns = file.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert columns == [
        "path", "label", "score", "identity", "box", "source_path", "source_identity", "media",
        "camera",
    ]  # fmt: skip
    written = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert written["path"].tolist() == ["a.png", "b, c.png", rows["path"][2]]
    assert written["source_path"].tolist() == ["", "a.png", ""]
    assert written["identity"].tolist() == ["007", "NA", "7"]
    assert set(written["media"]) == {"photo.jpg"}  # whose faces are one draw of the bootstrap
    assert written["label"].tolist() == ["0", "1", "1"]
    pd.testing.assert_frame_equal(rows, before)


def test_a_score_comes_back_to_the_last_digit(home, rows, tmp_path):
    values = np.array([1 / 3, 1e-17, np.nextafter(1, 0)])
    scores.write_scores(tmp_path / "scores.csv", rows, values, home)
    read = metrics.read_scores(tmp_path / "scores.csv")
    assert read["score"].tolist() == values.tolist()
    assert read["label"].tolist() == rows["label"].tolist()


def test_videos_are_written_with_every_digit(tmp_path):
    faces = pd.DataFrame({"video": "v", "label": 1, "score": [0.1, 0.2], "identity": "007"})
    videos, _ = rules.to_videos(faces.assign(path="x", source="", track=""), "mean")
    scores.write_videos(tmp_path / "video_scores.csv", videos)
    first, row = (tmp_path / "video_scores.csv").read_text().splitlines()
    assert first == "video,label,score,frames,tracks,tracks_left_out,identity"
    assert row == "v,1,0.15000000000000002,2,1,0,007"
    assert metrics.read_scores(tmp_path / "video_scores.csv")["score"][0] == np.mean([0.1, 0.2])


def test_a_row_without_a_score_is_not_there(home, rows, tmp_path):
    scores.write_scores(tmp_path / "scores.csv", rows, np.array([0.5, np.nan, 0.25]), home)
    read = metrics.read_scores(tmp_path / "scores.csv")
    assert read["path"].tolist() == ["a.png", rows["path"][2]]
    assert read["score"].tolist() == [0.5, 0.25]


def test_scores_of_random_pictures_are_written_too(tmp_path):
    rows = scores.of_random(4, np.array([0, 1, 0, 1]))
    assert set(manifest.COLUMNS) <= set(rows)
    scores.write_scores(tmp_path / "scores.csv", rows, np.array([0.1, 0.2, 0.3, 0.4]), tmp_path)
    read = metrics.read_scores(tmp_path / "scores.csv")
    assert read["path"].tolist() == [f"random-{i}" for i in range(4)]
    assert list(read) == ["path", "label", "score"]
