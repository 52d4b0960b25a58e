"""Trackers: what they write is read back, and no trouble of theirs stops a run."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flags
from report import tracking

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


def records(file: Path) -> list[Any]:
    """The records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, position, whole, found = file.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # a block's end that is too short for a header is padding
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def read_wandb(file: Path) -> tuple[list[dict], dict, dict, str]:
    """History rows, config, summary and run id of a .wandb file."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # W&B's service may still be writing
    rows, config, summary, run_id = [], {}, {}, ""
    for record in records(file):
        if record.HasField("run"):
            run_id = record.run.run_id
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        if record.HasField("summary"):
            items = record.summary.update
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}
    return rows, config, summary, run_id


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
    rows, config, summary, stored_id = read_wandb(part / f"run-{run_id}.wandb")
    assert stored_id == run_id
    assert [{k: row[k] for k in numbers(1)} for row in epochs(rows)] == [
        numbers(e) for e in (1, 2, 3)
    ]
    assert [row["_step"] for row in epochs(rows)] == [1, 2, 3]
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert summary["best_epoch"] == 2
    assert summary["train_loss"] == numbers(3)["train_loss"]
    (copy,) = part.glob("files/media/images/curves_*.png")
    assert copy.read_bytes() == picture.read_bytes()

    said.clear()
    run(4, resume=True)
    (later,) = set(run_dir.glob("wandb/offline-run-*")) - {part}
    rows, _, summary, stored_id = read_wandb(later / f"run-{run_id}.wandb")
    assert stored_id == run_id  # `wandb sync` joins files of one id
    assert [row["epoch"] for row in epochs(rows)] == [4, 5, 6]
    assert [row["_step"] for row in epochs(rows)] == [4, 5, 6]
    assert summary["best_epoch"] == 5
    assert said[-1].endswith(f"wandb sync '{part}' '{later}'")

    # Nothing of the machine, the code or the command line, and no word of W&B's own.
    held = {path.name for path in run_dir.rglob("*") if path.is_file()}
    assert not held & {"requirements.txt", "wandb-metadata.json", "diff.patch", "output.log"}
    assert capfd.readouterr() == ("", "")


def test_an_epoch_trained_again_is_not_dropped(tmp_path, no_account):
    pytest.importorskip("wandb")
    trackers = tracking.start(flags.Tracking(), tmp_path, "n", {}, lambda _: None)
    for epoch in (1, 2, 3, 2, 3):
        trackers.log(epoch, numbers(epoch))
    trackers.close()
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert [row["epoch"] for row in epochs(read_wandb(file)[0])] == [1, 2, 3, 2, 3]


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
    (file,) = part.glob("run-*.wandb")
    assert epochs(read_wandb(file)[0])[0]["train_loss"] == numbers(1)["train_loss"]


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
            timeout=60,  # W&B alone: 100 s and more
        )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    (part,) = run_dir.glob("wandb/offline-run-*")
    offline, sync, at_the_end = done.stdout.splitlines()
    assert "OFFLINE" in offline and "tracking.timeout is 2 s" in offline
    assert sync.endswith(f"wandb sync {part}") and at_the_end.endswith(f"wandb sync {part}")
    (file,) = part.glob("run-*.wandb")
    rows, config, summary, run_id = read_wandb(file)
    assert [row["train_loss"] for row in epochs(rows)] == [0.5]
    assert config["seed"] == 7 and summary["best_epoch"] == 1
    assert run_id == (run_dir / "wandb_run_id").read_text().strip()
    assert KEY.encode() not in texts_under(run_dir)


def test_a_run_without_its_id_is_said(tmp_path):
    said: list[str] = []
    first = tracking._run_id(tmp_path / "id", said.append, resume=True)
    assert len(said) == 1 and "new W&B run" in said[0]
    assert tracking._run_id(tmp_path / "id", said.append, resume=True) == first
    assert tracking._run_id(tmp_path / "id", said.append, resume=False) != first
    assert len(said) == 1


# ---------------------------------------------------------------------------- TensorBoard


def test_tensorboard_files_hold_every_number_once_after_a_resume(tmp_path, picture):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = flags.Tracking(wandb="off", tensorboard="on")

    def run(some_epochs: range, resume: bool) -> EventAccumulator:
        trackers = tracking.start(settings, tmp_path, "n", CONFIG, pytest.fail, resume)
        for epoch in some_epochs:
            trackers.log(epoch, numbers(epoch) | {"valid_loss": epoch + resume})
        trackers.picture("curves", picture)
        trackers.summary({"best_epoch": 2})
        trackers.close()
        return EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    events = run(range(1, 5), resume=False)
    tags = {"loss/train", "loss/valid", "accuracy/train", "accuracy/valid", "lr"}
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

    def close(self) -> None:
        self.calls.append("close")


def test_a_tracker_that_raises_is_said_once_and_the_others_go_on():
    said: list[str] = []
    broken, sound = Broken(), Sound()
    trackers = tracking.Trackers(said.append)
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


def test_a_failing_close_is_said_once():
    said: list[str] = []
    trackers = tracking.Trackers(said.append)
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
    trackers = tracking.Trackers(pytest.fail)
    trackers.add("Sound", "sound", lambda: sound)
    with pytest.raises(stop):
        trackers.log(1, {})


def test_a_missing_package_is_said_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    settings = flags.Tracking(tensorboard="on")
    trackers = tracking.start(settings, tmp_path, "n", CONFIG, said.append)
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
