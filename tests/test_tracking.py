"""Trackers: what they write is read back, and no trouble of theirs stops a run."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import checkpoint
import curves
import flags
import metrics
import networks
import settings
import utils
from report import charts, heatmaps, offline, tracking
from report.page import Heatmap, Mistake
from report.tensorboard_tracker import hyperparameters
from report.wandb_tracker import kept, own_run_id
from thresholds import NO_THRESHOLDS

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef" * 2 + "01234567"
NAMES = [f"{part}_{name}" for part in ("train", "valid") for name in ("loss", "accuracy")] + ["lr"]
CONFIG = {"network": "ResNet", "seed": 7, "optimizer": {"lr": 1e-4}, "input": [3, 8, 8]}


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """W&B without anybody's key or settings, and without what an earlier test left in memory."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    path = tmp_path / "curve.png"
    Image.new("RGB", (6, 4), (200, 10, 10)).save(path)
    return path


def numbers(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, **{name: epoch + place / 10 for place, name in enumerate(NAMES)}}


def read_wandb(folder: Path) -> offline.Part:
    """What an offline part holds."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # W&B's service may still be writing
    return offline.read_part(folder)


def epochs(rows: list[dict]) -> list[dict]:
    """Rows that hold an epoch's numbers (a picture has a row of its own)."""
    return [row for row in rows if "train_loss" in row]


def texts_under(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------ W&B


def test_offline_run_holds_every_number_and_resumes(tmp_path, no_account, picture, capfd):
    pytest.importorskip("wandb")
    run_dir, said = tmp_path / "a run", []

    def run(first: int, resume: bool) -> None:
        trackers = tracking.start(
            flags.Tracking(project="faces"), run_dir, "ResNet", CONFIG, said.append, resume
        )
        for epoch in range(first, first + 3):
            trackers.log(epoch, numbers(epoch))
        trackers.picture("curves", picture)
        trackers.summary({"best_epoch": first + 1})
        trackers.close()
        assert trackers.failed == {}

    run(1, resume=False)
    run_id = (run_dir / "wandb_run_id").read_text().strip()
    (part,) = run_dir.glob("wandb/offline-run-*")
    assert said[0].endswith(f"wandb sync '{part}'")
    assert said[-1].endswith(f"wandb sync '{part}'")
    held = read_wandb(part)
    assert (held.run.run_id, held.run.job_type, held.run.host) == (run_id, "train", "")
    assert [{k: row[k] for k in numbers(1)} for row in epochs(held.rows)] == [
        numbers(e) for e in (1, 2, 3)
    ]
    assert [row["_step"] for row in epochs(held.rows)] == [1, 2, 3]
    assert {key: held.config[key] for key in CONFIG} == CONFIG
    assert held.summary["best_epoch"] == 2
    assert held.summary["train_loss"] == numbers(3)["train_loss"]
    (copy,) = part.glob("files/media/images/curves_*.png")
    assert copy.read_bytes() == picture.read_bytes()

    said.clear()
    run(4, resume=True)
    (later,) = set(run_dir.glob("wandb/offline-run-*")) - {part}
    held = read_wandb(later)
    assert held.run.run_id == run_id  # `wandb sync` joins files of one id
    assert [row["epoch"] for row in epochs(held.rows)] == [4, 5, 6]
    assert [row["_step"] for row in epochs(held.rows)] == [4, 5, 6]
    assert held.summary["best_epoch"] == 5
    assert said[-1].endswith(f"wandb sync '{part}' '{later}'")

    # Nothing of the machine, the code or the command line, and no word of W&B's own.
    names = {path.name for path in run_dir.rglob("*") if path.is_file()}
    assert not names & {"requirements.txt", "wandb-metadata.json", "diff.patch", "output.log"}
    assert capfd.readouterr() == ("", "")


def test_an_epoch_trained_again_is_not_dropped(tmp_path, no_account):
    pytest.importorskip("wandb")
    trackers = tracking.start(flags.Tracking(), tmp_path, "n", {}, lambda _: None)
    for epoch in (1, 2, 3, 2, 3):
        trackers.log(epoch, numbers(epoch))
    trackers.close()
    (part,) = tmp_path.glob("wandb/offline-run-*")
    assert [row["epoch"] for row in epochs(read_wandb(part).rows)] == [1, 2, 3, 2, 3]


@pytest.mark.parametrize("kept", [0, 7, 0.5, 0.99])
def test_a_run_that_was_cut_off_is_read_to_there(tmp_path, capsys, kept):
    from wandb.proto import wandb_internal_pb2

    content = bytes(offline.HEADER)  # of the file
    for notes in ("", "x" * 400):
        made = wandb_internal_pb2.Record()
        made.run.run_id, made.run.project, made.run.notes = "abc", "made", notes
        record = made.SerializeToString()
        content += struct.pack("<IHB", 0, len(record), 1) + record
    folder = tmp_path / "wandb/offline-run-1-a"
    folder.mkdir(parents=True)
    size = int(kept * len(content)) if isinstance(kept, float) else kept
    (folder / "run-a.wandb").write_bytes(content[:size])
    assert offline.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert ("project made" if isinstance(kept, float) else "nothing was recorded") in said


def test_online_without_a_key_goes_on_offline_and_says_so(tmp_path, no_account, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("W&B asked a question"))
    said: list[str] = []
    trackers = tracking.start(flags.Tracking(wandb="online"), tmp_path, "n", CONFIG, said.append)
    trackers.log(1, numbers(1))
    trackers.close()
    assert "OFFLINE" in said[0] and "wandb login" in said[0]
    (part,) = tmp_path.glob("wandb/offline-run-*")
    assert said[1].endswith(f"wandb sync {part}")
    assert epochs(read_wandb(part).rows)[0]["train_loss"] == numbers(1)["train_loss"]


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_online_without_a_key_asks_nothing_at_a_terminal(tmp_path, no_account):
    pytest.importorskip("wandb")
    import pty

    ours, terminal = pty.openpty()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True
    ) as program:
        out, _ = program.communicate(timeout=120)
    os.close(ours)
    os.close(terminal)
    assert program.returncode == 3
    assert "OFFLINE" in out


SCRIPT = """
import sys
from pathlib import Path
import flags
from report import tracking

settings = flags.Tracking(wandb="online", timeout=2)
hooks = sys.exit, sys.excepthook
trackers = tracking.start(settings, Path(sys.argv[1]), "n", {"seed": 7}, print)
assert (sys.exit, sys.excepthook) == hooks
trackers.log(1, {"epoch": 1, "train_loss": 0.5})
trackers.summary({"best_epoch": 1})
trackers.close()
assert not trackers.failed, trackers.failed
sys.exit(3)
"""


@pytest.mark.parametrize("server", ["closed", "silent"])
def test_online_without_a_network_goes_on_offline_in_time(tmp_path, no_account, server):
    pytest.importorskip("wandb")
    import socket

    run_dir = tmp_path / "run"
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        port = silent.getsockname()[1] if server == "silent" else 9
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
            "WANDB_API_KEY": KEY,
        }
        environment.pop("WANDB_ERROR_REPORTING")
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(run_dir)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=90,  # W&B alone: 100 s and more
        )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    (part,) = run_dir.glob("wandb/offline-run-*")
    offline, sync, at_the_end = done.stdout.splitlines()
    assert "OFFLINE" in offline and "tracking.timeout is 2 s" in offline
    assert sync.endswith(f"wandb sync {part}") and at_the_end.endswith(f"wandb sync {part}")
    held = read_wandb(part)
    assert [row["train_loss"] for row in epochs(held.rows)] == [0.5]
    assert held.config["seed"] == 7 and held.summary["best_epoch"] == 1
    assert held.run.run_id == (run_dir / "wandb_run_id").read_text().strip()
    assert KEY.encode() not in texts_under(run_dir)


def test_a_run_without_its_id_is_said(tmp_path, no_account):
    said: list[str] = []
    first = own_run_id(tmp_path, said.append, resume=True)
    assert len(said) == 1 and "new W&B run" in said[0]
    assert own_run_id(tmp_path, said.append, resume=True) == first
    assert own_run_id(tmp_path, said.append, resume=False) != first
    assert len(said) == 1


def test_what_a_person_wrote_about_a_run(tmp_path, no_account):
    pytest.importorskip("wandb")
    wanted = flags.Tracking(
        name="smaller crops", group="crops", tags=["warp", "lite0"], notes="As in the paper.",
        entity="us", project="faces",
    )  # fmt: skip
    tracking.start(wanted, tmp_path, "n", CONFIG, lambda _: None).close()
    (part,) = tmp_path.glob("wandb/offline-run-*")
    run = read_wandb(part).run
    assert (run.display_name, run.run_group, list(run.tags)) == (
        "smaller crops", "crops", ["warp", "lite0"],
    )  # fmt: skip
    assert (run.notes, run.entity, run.project) == ("As in the paper.", "us", "faces")


# ------------------------------------------------------------------------------- a test's


LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.7, 0.2, 0.9, 0.05, 0.6])


@pytest.fixture
def found(picture):
    """What a test hands over: its numbers, faces, heatmaps and mistakes."""
    names = [f"{number}.png" for number in range(6)]
    frame = pd.DataFrame({"path": names, "label": LABELS, "score": SCORES})
    frame = frame.assign(source=["here"] * 6, method=["", "", "", "warp", "a|b", "warp"], video="")
    captions = ("a fake, called REAL (wrong)", "a real face, called REAL")
    drawn = [Heatmap(picture, captions[0], "most wrong"), Heatmap(picture, captions[1], "random")]
    wrong = [Mistake(picture, "4.png", 1, 0.05), Mistake(picture, "1.png", 0, 0.7)]
    return metrics.summarise(frame, 0.5, 50), frame, drawn, wrong


@pytest.fixture
def trained(tmp_path, no_account):
    """A run folder as train.py leaves it after two epochs, tracked offline."""
    run_dir = tmp_path / "run"
    config = flags.Config(prefix=str(run_dir), tracking=flags.Tracking(project="faces", group="g"))
    trackers = tracking.start(config.tracking, run_dir, "run", config.model_dump(), lambda _: None)
    for epoch in (1, 2):
        trackers.log(epoch, numbers(epoch))
    trackers.close()
    utils.write_atomic(run_dir / "config.yaml", settings.dump(config))
    utils.write_atomic(run_dir / "metrics.csv", "epoch\n1\n2\n")
    write_checkpoint(run_dir / "checkpoints" / "0001.pth")
    checkpoint.same_file(run_dir / "checkpoints" / "0001.pth", run_dir / "checkpoints" / "best.pth")
    return run_dir


def write_checkpoint(file: Path) -> None:
    config = flags.Config(network="MesoNet", model=flags.Model(variant="Meso4"))
    network = networks.build("MesoNet", config.model, 2, 0.0)
    training = ("optimizer", "scheduler", "scaler", "random", "batch", "lr", "sums")
    state = checkpoint.describe_network(network, config) | {
        "thresholds": vars(NO_THRESHOLDS),
        "weights": network.state_dict(),
        "config": config.model_dump(),
        "epoch": 1,
        "history": [],
        "best": {"epoch": 1, "valid_loss": 0.5},
        "data": {"train": "a.csv", "valid": "a.csv", "rows": ""},
        "training": dict.fromkeys(training, torch.zeros(1)),
        "versions": checkpoint.versions(),
    }
    checkpoint.save(file, state)


def joined(run_dir: Path, said: list[str], **wanted: Any) -> tracking.Trackers:
    best = run_dir / "checkpoints" / "best.pth"
    return tracking.join(flags.Tracking(**wanted), run_dir, best, 1, CONFIG, said.append)


def test_a_test_joins_the_run_of_its_training(trained, found, monkeypatch, picture):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_DATA_DIR")  # nothing of the run may lie in somebody's home
    (before,) = trained.glob("wandb/offline-run-*")
    said: list[str] = []
    trackers = joined(trained, said, project="another", tags=["mine"])
    trackers.test(*found)
    trackers.close()
    assert trackers.failed == {}
    (part,) = set(trained.glob("wandb/offline-run-*")) - {before}
    assert said[-1].endswith(f"wandb sync {before} {part}")

    held, run_id = read_wandb(part), (trained / "wandb_run_id").read_text().strip()
    assert (held.run.run_id, held.run.project) == (run_id, "faces")
    # The training's description of the run stays what it is.
    assert set(held.config) == {"_wandb"} and not held.run.tags
    assert (held.run.display_name, held.run.job_type, held.run.run_group) == ("", "", "")
    assert {row["_step"] for row in held.rows} == {3}  # behind the two epochs

    summary = found[0]
    for key, value in summary.values.items():
        assert held.summary[f"test/{key}"] == pytest.approx(value)
    low, high = summary.intervals["accuracy"]
    assert held.summary["test/accuracy_low"] == pytest.approx(low)
    assert held.summary["test/accuracy_high"] == pytest.approx(high)
    assert (held.summary["test/n"], held.summary["test/fake"]) == (6, 3)

    names = ("confusion", "precision_recall", "roc", "scores_fake", "scores_real")
    assert held.charts == [f"test/{name}" for name in names]
    tables = held.media("table-file")

    def content(name: str) -> dict[str, Any]:
        return json.loads((part / "files" / tables[name]["path"]).read_text(encoding="utf-8"))

    false_alarms, hits, _ = curves.roc(LABELS, SCORES)
    points = content("Custom Chart Tables/test/roc_table")["data"]
    assert [point[:2] for point in points] == np.stack([false_alarms, hits], axis=1).tolist()
    assert content("Custom Chart Tables/test/confusion_table")["data"] == [
        ["real", "real", 2], ["real", "fake", 1], ["fake", "real", 1], ["fake", "fake", 2],
    ]  # fmt: skip
    fakes = content("Custom Chart Tables/test/scores_fake_table")["data"]
    assert fakes == [[0.05], [0.6], [0.9]]

    faces = content("test/scores")
    assert faces["columns"] == ["path", "label", "score", "source", "method", "face"]
    assert [row[0] for row in faces["data"]][:2] == ["4.png", "1.png"]  # the worst come first
    assert faces["data"][0][:5] == ["4.png", 1, 0.05, "here", "a|b"]
    # The pictures in it travel as an artifact, which W&B keeps until it is uploaded.
    (stored,) = (one[3] for one in held.artifacts.values() if "test/scores.table.json" in one[3])
    assert [Path(file).name for file in stored if file.startswith("media/")] == ["curve.png"]
    assert [row[5] for row in faces["data"]] == ["Image", "Image", None, None, None, None]

    shown = held.media("images/separated")
    assert set(shown) == {"test/heatmaps/most_wrong", "test/heatmaps/random"}
    wrong = shown["test/heatmaps/most_wrong"]
    assert wrong["captions"] == ["a fake, called REAL (wrong)"]
    assert (part / "files" / wrong["filenames"][0]).read_bytes() == picture.read_bytes()

    kept = [path for path in trained.glob("wandb/artifacts/staging/*") if path.is_file()]
    assert kept and not list((trained.parent / "home").rglob("staging"))


def test_several_test_sets_keep_their_names(trained, found):
    pytest.importorskip("wandb")
    (before,) = trained.glob("wandb/offline-run-*")
    trackers = joined(trained, [])
    for name in ("ours", "theirs"):
        trackers.test(*found, name=name)
    trackers.close()
    (part,) = set(trained.glob("wandb/offline-run-*")) - {before}
    held = read_wandb(part)
    assert held.summary["test/ours/auc"] == held.summary["test/theirs/auc"]
    assert {"test/ours/roc", "test/theirs/roc"} <= set(held.charts)
    assert "test/auc" not in held.summary


@pytest.mark.parametrize(
    ("tracked", "own", "wanted", "parts"),
    [
        (True, True, "offline", 1),
        (True, True, "off", 0),
        (False, True, "offline", 0),  # nobody asked for a run
        (False, True, "online", 1),
        (True, False, "offline", 0),  # another network's numbers do not belong to this run
        (True, False, "online", 1),
    ],
)
def test_which_run_a_test_joins(tmp_path, no_account, tracked, own, wanted, parts):
    pytest.importorskip("wandb")
    run_dir, said = tmp_path / "run", []
    if tracked:
        utils.write_atomic(run_dir / "wandb_run_id", "abcd1234\n")
        utils.write_atomic(run_dir / "config.yaml", settings.dump(flags.Config()))
    file = (run_dir if own else tmp_path / "other") / "checkpoints" / "best.pth"
    trackers = tracking.join(
        flags.Tracking(wandb=wanted), run_dir, file, 1, {"seed": 7}, said.append
    )
    trackers.close()
    assert trackers.failed == {}
    found = sorted(run_dir.glob("wandb/offline-run-*"))
    assert len(found) == parts and bool(said) == bool(parts)
    for part in found:
        run = read_wandb(part).run
        assert (run.run_id == "abcd1234") == (tracked and own)
        assert run.job_type == ("" if tracked and own else "test")
        assert not (run_dir / "wandb_run_id").exists() or tracked


@pytest.mark.parametrize("kind", ["none", "best", "last"])
def test_a_checkpoint_becomes_an_artifact_where_it_is_asked_for(trained, kind):
    pytest.importorskip("wandb")
    folder = trained / "checkpoints"
    checkpoint.same_file(folder / "0001.pth", folder / "last.pth")
    trackers = tracking.start(
        flags.Tracking(artifact=kind), trained, "n", CONFIG, lambda _: None, resume=True
    )
    trackers.artifact(folder)
    trackers.close()
    assert trackers.failed == {}
    held = read_wandb(max(trained.glob("wandb/offline-run-*"), key=os.path.getmtime))
    if kind == "none":
        assert held.artifacts == {}
        return
    run_id = (trained / "wandb_run_id").read_text().strip()
    (name,) = held.artifacts
    sort, aliases, description, files = held.artifacts[name]
    assert (name, sort) == (f"model-{run_id}", "model")
    assert {kind, "epoch-1"} <= set(aliases)
    assert files == {f"{kind}.pth": (folder / "0001.pth").stat().st_size}
    assert description["network"]["name"] == "MesoNet"
    assert description["thresholds"]["threshold"] is None  # JSON has no NaN
    assert description["sha256"] == utils.sha256_file(folder / "best.pth")


def test_what_is_uploaded_later_is_still_the_same(trained, tmp_path):
    best = trained / "checkpoints" / "best.pth"
    file, about = kept(best, tmp_path / "artifacts")
    assert file.samefile(best)  # a second name and not a second copy
    content = best.read_bytes()
    write_checkpoint(best)  # a later epoch was better
    assert file.read_bytes() == content != best.read_bytes()
    assert about["sha256"] == utils.sha256_file(file)
    assert kept(best, tmp_path / "artifacts")[0] != file


def test_curves_need_both_classes_and_stay_drawable():
    one = charts.charts(np.ones(3, int), np.array([0.1, 0.9, 0.9]), 0.5)
    assert set(one) == {"confusion", "scores_real", "scores_fake"}
    assert one["scores_real"].rows == []
    random = np.random.default_rng(0)
    many = charts.charts(random.integers(0, 2, 50_000), random.random(50_000), 0.5)
    assert all(len(chart.rows) <= charts.LARGEST for chart in many.values())
    assert many["roc"].rows[0] == [0.0, 0.0, "fake"] and many["roc"].rows[-1] == [1.0, 1.0, "fake"]


def test_a_long_table_is_cut_and_said(found):
    said: list[str] = []
    sound = Sound()
    trackers = tracking.Trackers(said.append, flags.Tracking(rows=2))
    trackers.test(*found)
    assert said == []  # nobody watches
    trackers.add("Sound", "sound", lambda: sound)
    trackers.test(*found)
    assert said == ["test/scores: trackers show 2 of 6 (tracking.rows)"]
    assert [row[0] for row in sound.rows] == ["4.png", "1.png"]


def test_the_table_and_the_mistakes_have_one_order():
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 200), random.integers(0, 21, 200) / 20  # with ties
    frame = pd.DataFrame({"path": [str(i) for i in range(200)], "label": labels, "score": scores})
    wrong = heatmaps.mistakes(labels, scores)
    mistakes = [Mistake(f"{row}.png", str(row), 0, 0.0) for row in wrong[:12]]
    columns, rows = tracking.scores_table(frame, mistakes)
    assert columns == ["path", "label", "score", "face"]
    assert [row[0] for row in rows[: len(wrong)]] == [str(row) for row in wrong]
    assert [row[3].stem for row in rows[:12]] == [row[0] for row in rows[:12]]
    assert len(rows) == 200 and rows[12][3] is None


def test_an_offline_run_is_described(trained, found, capsys):
    pytest.importorskip("wandb")
    trackers = joined(trained, [])
    trackers.test(*found)
    trackers.close()
    sys.modules["wandb"].teardown()
    assert offline.main([str(trained)]) == 0
    text = capsys.readouterr().out
    for line in (
        "project faces, name run, group g, job train",
        "2 steps, epoch, lr, train_accuracy",
        "test/confusion, test/precision_recall, test/roc, test/scores_fake, test/scores_real",
        "test/scores (6 x 6)",
        "test/heatmaps/most_wrong (1), test/heatmaps/random (1)",
        "test/accuracy=0.6667",
    ):
        assert line in text
    with pytest.raises(utils.UserError, match="no offline W&B run"):
        offline.main([str(trained / "checkpoints")])


# ---------------------------------------------------------------------------------- sweeps


def swept(monkeypatch, tmp_path: Path, **values: Any) -> None:
    """The environment in which W&B's agent starts a run."""
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps({key: {"value": value} for key, value in values.items()}))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agent123")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(file))
    monkeypatch.setenv("WANDB_PROJECT", "of-the-sweep")


def test_the_agent_of_a_sweep_names_the_run(tmp_path, no_account, monkeypatch, capfd):
    pytest.importorskip("wandb")
    swept(monkeypatch, tmp_path, **{"optimizer.lr": 1e-4, "network": "ResNet"})
    for resume in (False, True):
        trackers = tracking.start(
            flags.Tracking(project="mine"), tmp_path, "n", CONFIG, lambda _: None, resume
        )
        trackers.log(1, numbers(1))
        trackers.close()
        assert trackers.failed == {}
    for part in tmp_path.glob("wandb/offline-run-*"):
        held = read_wandb(part)
        run = held.run
        assert (run.run_id, run.sweep_id, run.project) == ("agent123", "sweep123", "of-the-sweep")
        assert run.display_name == ""  # W&B names the runs of a sweep
        # What the sweep chose stands beside our own, which has the same values.
        assert held.config["optimizer.lr"] == 1e-4 and held.config["network"] == "ResNet"
        assert {key: held.config[key] for key in CONFIG} == CONFIG
    assert (tmp_path / "wandb_run_id").read_text() == "agent123\n"
    assert capfd.readouterr() == ("", "")


def test_the_sweep_fits_our_command_line(monkeypatch, capsys):
    pytest.importorskip("wandb")
    from wandb.sdk.launch.sweeps import utils as sweeps

    sweep = sweeps.load_sweep_config(str(ROOT / "configs" / "sweep.yaml"))
    assert sweep["metric"]["name"] in NAMES and (ROOT / sweep["program"]).is_file()
    for end in ("min", "max"):
        chosen = {
            key: {"value": how[end] if end in how else how["values"][-(end == "max")]}
            for key, how in sweep["parameters"].items()
        }
        words = sweeps.create_sweep_command_args({"args": chosen})["args"]
        ours = [word for word in sweep["command"] if word.startswith("--")]
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("WANDB_RUN_ID", "agent123")
        config = settings.parse(flags.Config, [*ours, *words], "")
        assert config.prefix == "log/sweep/agent123" and config.tracking.wandb == "online"
        assert config.optimizer.lr == chosen["optimizer.lr"]["value"]
        assert config.network == chosen["network"]["value"]
    monkeypatch.delenv("WANDB_RUN_ID")  # no agent: two runs would share a folder
    with pytest.raises(SystemExit):
        settings.parse(flags.Config, [*ours, *words], "")
    assert "$WANDB_RUN_ID is not set" in capsys.readouterr().err


def test_the_agent_runs_our_command(tmp_path, no_account, monkeypatch):
    """W&B's own agent starts train.py by the file; only its server is missing."""
    pytest.importorskip("wandb")
    from wandb.sdk.launch.sweeps import utils as sweeps
    from wandb.wandb_agent import Agent

    sweep = sweeps.load_sweep_config(str(ROOT / "configs" / "sweep.yaml"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    chosen = {"network": "MesoNet", "optimizer.lr": 3e-4, "dropout_rate": 0.2}
    small = {
        "prefix": f"{tmp_path}/$WANDB_RUN_ID", "tmp_data": "8,3,32,32", "num_epochs": 1,
        "num_workers": 0, "input_size.height": 32, "input_size.width": 32, "fakes.type": "none",
        "model.pretrained": False, "device": "cpu",
    }  # fmt: skip
    agent = Agent(api=None, queue=None, sweep_id="sweep123")
    agent._sweep_command = sweep["command"]
    args = {key: {"value": value} for key, value in (chosen | small).items()}
    for run_id in ("first123", "other123"):
        agent._command_run({"run_id": run_id, "program": sweep["program"], "args": args})
    assert [run.wait(timeout=200) for run in agent._run_processes.values()] == [0, 0]
    monkeypatch.delenv("WANDB_RUN_ID")
    for run_id in ("first123", "other123"):
        run_dir = tmp_path / run_id
        assert (run_dir / "wandb_run_id").read_text().strip() == run_id
        (part,) = run_dir.glob("wandb/offline-run-*")  # as there is no key here
        held = read_wandb(part)
        assert (held.run.run_id, held.run.sweep_id) == (run_id, "sweep123")
        assert held.config["optimizer.lr"] == held.config["optimizer"]["lr"] == 3e-4
        assert [row["epoch"] for row in epochs(held.rows)] == [1]
        assert "valid_loss" in held.summary
        assert settings.load(flags.Config, str(run_dir / "config.yaml")).prefix == str(run_dir)


# ---------------------------------------------------------------------------- TensorBoard


def test_tensorboard_files_hold_every_number_once_after_a_resume(tmp_path, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = flags.Tracking(wandb="off", tensorboard="on")

    def run(some_epochs: range, resume: bool) -> EventAccumulator:
        trackers = tracking.start(wanted, tmp_path, "n", CONFIG, pytest.fail, resume)
        for epoch in some_epochs:
            trackers.log(epoch, numbers(epoch) | {"valid_loss": epoch + resume})
        trackers.picture("curves", picture)
        trackers.summary({"best_epoch": 2})
        trackers.close()
        return EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    events = run(range(1, 5), resume=False)
    tags = {"loss/train", "loss/valid", "accuracy/train", "accuracy/valid", "lr", "best_epoch"}
    assert set(events.Tags()["scalars"]) == tags
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [
        (epoch, pytest.approx(numbers(epoch)["train_loss"])) for epoch in (1, 2, 3, 4)
    ]
    (image,) = events.Images("curves")
    assert (image.width, image.height, image.step) == (6, 4, 4)
    text = events.Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"best_epoch": 2' in text
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"network": "ResNet"' in text

    events = run(range(3, 6), resume=True)  # continued from the checkpoint of epoch 2
    assert [(e.step, e.value) for e in events.Scalars("loss/valid")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 4.0),
        (4, 5.0),
        (5, 6.0),
    ]


def test_tensorboard_compares_runs_by_what_decides(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    config = flags.Config(tracking=flags.Tracking(wandb="off", tensorboard="on"))
    plain = config.model_dump()
    trackers = tracking.start(config.tracking, tmp_path, "n", plain, pytest.fail)
    trackers.summary({"best_valid_loss": 0.25})
    trackers.close()
    assert trackers.failed == {}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    told = metadata.parse_session_start_info_plugin_data(content).hparams
    assert told["optimizer.lr"].number_value == config.optimizer.lr
    assert told["network"].string_value == "ResNet"
    assert told["model.pretrained"].string_value == "False"
    assert set(told) == set(hyperparameters(plain))
    # What decides nothing would only fill the table.
    assert not {key for key in told if key.startswith(("tracking.", "heatmaps.", "prefix"))}
    assert events.SummaryMetadata(metadata.SESSION_END_INFO_TAG)
    assert [e.value for e in events.Scalars("best_valid_loss")] == [0.25]  # in the same run


def test_tensorboard_shows_all_of_a_test(trained, found):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.pr_curve import metadata

    trackers = joined(trained, [], wandb="off", tensorboard="on", artifact="best")
    trackers.test(*found)
    trackers.artifact(trained / "checkpoints")
    trackers.close()
    assert trackers.failed == {}
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    tags = events.Tags()
    summary = found[0]
    for key in ("accuracy", "auc"):
        (event,) = events.Scalars(f"test/{key}")
        assert (event.step, event.value) == (1, pytest.approx(summary.values[key]))
    assert "test/n" in tags["scalars"] and "test/accuracy_low" not in tags["scalars"]
    text = events.Tensors("summary/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert f'"test/accuracy_low": {summary.intervals["accuracy"][0]}' in text
    assert set(tags["images"]) == {
        "test/roc", "test/precision_recall", "test/histogram", "test/confusion",
        "test/heatmaps/01 most wrong", "test/heatmaps/02 random",
    }  # fmt: skip
    (drawn,) = events.Images("test/roc")
    assert min(drawn.width, drawn.height) >= 600
    assert events.Histograms("test/scores/fake")[0].histogram_value.num == 3
    assert events.SummaryMetadata("test/pr_curve").plugin_data.plugin_name == metadata.PLUGIN_NAME
    kinds = [tags[kind] for kind in ("scalars", "images", "histograms", "tensors")]
    assert len({tag for kind in kinds for tag in kind}) == sum(map(len, kinds))
    table = events.Tensors("test/scores/text_summary")[0].tensor_proto.string_val[0].decode()
    first, _, worst, *_ = table.splitlines()
    assert first == "| path | label | score | source | method | face |"
    assert worst == "| 4.png | 1 | 0.0500 | here | a\\|b | curve.png |"
    text = events.Tensors("checkpoint/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"file": "best.pth"' in text and '"name": "MesoNet"' in text


def test_tensorboard_keeps_foreign_weights_apart(tmp_path):
    pytest.importorskip("tensorboard")
    file, wanted = tmp_path / "b" / "best.pth", flags.Tracking(wandb="off", tensorboard="on")
    tracking.join(wanted, tmp_path / "a", file, 1, CONFIG, pytest.fail).close()
    assert list((tmp_path / "a" / "test" / "tensorboard").iterdir())
    assert not (tmp_path / "a" / "tensorboard").exists()


# ------------------------------------------------------------------------------- trouble


class Broken:
    """A tracker that fails at its second epoch."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def log(self, epoch: int, values: dict[str, float]) -> None:
        self.calls.append("log")
        if epoch == 2:
            raise RuntimeError("the disk\nis full")

    def summary(self, values: dict[str, float]) -> None:
        self.calls.append("summary")

    def picture(self, name: str, path: Path) -> None:
        self.calls.append("picture")

    def close(self) -> None:
        self.calls.append("close")
        raise OSError("still full")


class Sound(Broken):
    def log(self, epoch: int, values: dict[str, float]) -> None:
        self.calls.append("log")

    def plots(self, *_: Any) -> None:
        self.calls.append("plots")

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        self.rows = rows

    def heatmaps(self, *_: Any) -> None:
        self.calls.append("heatmaps")

    def close(self) -> None:
        self.calls.append("close")


def test_a_tracker_that_raises_is_said_once_and_the_others_go_on():
    said: list[str] = []
    broken, sound = Broken(), Sound()
    trackers = tracking.Trackers(said.append, flags.Tracking())
    trackers.add("Broken", "broken", lambda: broken)
    trackers.add("Sound", "sound", lambda: sound)
    for epoch in (1, 2, 3):
        trackers.log(epoch, {})
    trackers.summary({"best_epoch": 1})
    assert said == [
        "Broken is off for the rest of this run, which goes on: RuntimeError: the disk is full"
    ]
    assert trackers.failed == {"Broken": "RuntimeError: the disk is full"}
    assert trackers.missed == {"Broken": 3}  # epochs 2 and 3 and the summary
    trackers.close()
    assert said[1:] == ["Broken did not record 3 calls, as it was switched off."]
    assert broken.calls == ["log", "log", "close"]
    assert sound.calls == ["log", "log", "log", "summary", "close"]


def test_numbers_that_cannot_be_told_stop_no_test(found):
    said: list[str] = []
    trackers = tracking.Trackers(said.append, flags.Tracking())
    trackers.add("Sound", "sound", Sound)
    trackers.test(found[0], found[1].drop(columns="score"))
    assert said == ["Sound is off for the rest of this run, which goes on: KeyError: 'score'"]


def test_a_failing_close_is_said_once():
    said: list[str] = []
    trackers = tracking.Trackers(said.append, flags.Tracking())
    trackers.add("Broken", "broken", Broken)
    trackers.close()
    trackers.close()
    assert said == ["Broken is off for the rest of this run, which goes on: OSError: still full"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_person_can_still_stop_the_run(stop, monkeypatch):
    sound = Sound()

    def interrupted(epoch: int, values: dict[str, float]) -> None:
        raise stop

    monkeypatch.setattr(sound, "log", interrupted)
    trackers = tracking.Trackers(pytest.fail, flags.Tracking())
    trackers.add("Sound", "sound", lambda: sound)
    with pytest.raises(stop):
        trackers.log(1, {})


def test_a_missing_package_is_said_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    wanted = flags.Tracking(tensorboard="on")
    trackers = tracking.start(wanted, tmp_path, "n", CONFIG, said.append)
    trackers.log(1, numbers(1))
    trackers.close()
    assert set(trackers.failed) == {"W&B", "TensorBoard"}
    assert said[0].endswith("pip install wandb") and said[1].endswith("pip install tensorboard")


def test_trackers_that_are_off_import_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; import flags; from report import tracking\n"
        "settings = flags.Tracking(wandb='off')\n"
        "trackers = tracking.start(settings, Path(sys.argv[1]), 'n', {}, print)\n"
        "trackers.log(1, {'train_loss': 1.0}); trackers.close()\n"
        "assert not {'wandb', 'tensorboard'} & set(sys.modules)\n"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(run, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120)
    assert not any(tmp_path.iterdir())
