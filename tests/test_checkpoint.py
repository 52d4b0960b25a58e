"""A checkpoint says all that is needed to use it, is never half a file, and runs nobody's code."""

import io
import os
import pickle
import random
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

import checkpoint
import manifest
from checkpoint import KEYS, ROWS_FILE, contradictions, network_of, overlap, row_hashes
from flags import Config, Data, Face, InputSize, Model
from manifest import FAKE, REAL
from metrics import Thresholds
from networks import build
from utils import UserError

CONFIG = Config(
    network="EfficientNetLite",
    input_size=InputSize(height=64, width=48),
    model=Model(pretrained=True),
    data=Data(train="faces/manifest.csv"),
    dropout_rate=0.2,
)
PICTURES = torch.randint(
    0, 256, (2, 3, 64, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)
LIMITS = Thresholds(threshold=0.41, t_low=0.2, t_high=0.8, data="40 validation faces of here.csv")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build(CONFIG.network, CONFIG.model, 2, CONFIG.dropout_rate)
    made.set_normalisation([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    with torch.no_grad():
        made.train()(PICTURES)  # batch-norm statistics of its own
    return made.eval()


@pytest.fixture(scope="module")
def state(network) -> dict:
    return checkpoint.describe_network(network, CONFIG) | {
        "thresholds": vars(LIMITS),
        "weights": network.state_dict(),
        "config": CONFIG.model_dump(),
        "epoch": 3,
        "history": [{"epoch": 3, "valid_loss": 0.51234, "valid_auc": 0.91, "lr": 1e-4}],
        "best": {"epoch": 2, "valid_loss": 0.4321},
        "data": {"train": "faces/manifest.csv", "valid": LIMITS.data, "rows": "abc"},
        "training": {"batch": 0, "sums": torch.zeros(5, dtype=torch.float64)},
        "versions": {"torch": "2.15.0", "timm": "1.0"},
    }


@pytest.fixture(scope="module")
def file(state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "best.pth"
    checkpoint.save(path, state)
    return path


def plain(**changes) -> dict:
    """A small state with all keys."""
    return {key: {} for key in KEYS} | {"format": 1, "weights": {"w": torch.ones(3)}} | changes


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


# ---------------------------------------------------------------------------- round trip


def test_everything_comes_back(file, state):
    read = checkpoint.load(file)
    assert set(read) == set(KEYS) == set(state)
    for key in set(KEYS) - {"weights", "training"}:
        assert read[key] == state[key], key
    assert read["weights"].keys() == state["weights"].keys()
    assert all(torch.equal(read["weights"][k], v) for k, v in state["weights"].items())
    assert read["labels"] == {"real": REAL, "fake": FAKE}
    assert checkpoint.thresholds_of(read) == LIMITS
    assert Config.model_validate(read["config"]) == CONFIG


def test_the_network_comes_back_to_the_bit(file, network):
    read = network_of(checkpoint.load(file))
    assert not read.training
    with torch.no_grad():
        assert torch.equal(read(PICTURES), network(PICTURES))
    assert read.normalisation == {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    assert read.weights_from == network.weights_from


def test_a_network_needs_no_pretrained_weights_again(file, monkeypatch):
    import networks.EfficientNetLite as module

    monkeypatch.setattr(module, "packaged_weights", lambda variant: Path("gone.pth"))
    network_of(checkpoint.load(file))


def test_describe_tells_a_person(file, network):
    text = checkpoint.describe(file)
    for needed in (
        str(file),
        "EfficientNetLite",
        f"{network.parameter_count():,} parameters",
        "ImageNet",
        "3 x 64 x 48",
        "[0.4, 0.5, 0.6]",
        "real = 0, fake = 1",
        "mtcnn",
        "margin 30%",
        "faces/manifest.csv",
        "40 validation faces of here.csv",
        "best so far 2",
        "0.4321",
        "0.4100",
        "between 0.2000 and 0.8000",
        "valid_auc 0.91",
        "torch 2.15.0",
        "dropout_rate: 0.2",
    ):
        assert needed in text, needed


def test_describe_before_the_first_validation_and_without_faces(state, tmp_path):
    nan = float("nan")
    limits = {"threshold": nan, "t_low": nan, "t_high": nan, "data": "no validation yet"}
    early = state | {
        "thresholds": limits,
        "history": [],
        "best": {"epoch": 0, "valid_loss": float("inf")},
        "crop": state["crop"] | {"faces": False},
    }
    checkpoint.save(tmp_path / "early.pth", early)
    text = checkpoint.describe(tmp_path / "early.pth")
    assert "no validation yet" in text and "pictures taken whole" in text


def test_the_command_describes_one_file(file, capsys):
    assert checkpoint.main([str(file)]) == 0
    assert "EfficientNetLite" in capsys.readouterr().out
    assert checkpoint.main([]) == 2
    assert checkpoint.main(["--help"]) == 0


# ------------------------------------------------------------------------------- refusals


def test_a_missing_checkpoint_lists_those_that_are_there(file, tmp_path):
    message = refused(file.parent / "0009.pth")
    assert "no such checkpoint" in message and str(file) in message
    assert "holds no .pth file" in refused(tmp_path / "best.pth")
    assert "holds no .pth file" in refused(tmp_path / "nowhere" / "best.pth")
    assert str(file) in refused(file.parent / "a_folder.pth")


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as zipped:
            zipped.writestr("letter.txt", "dear reader")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tarred:
            tarred.addfile(tarfile.TarInfo("letter.txt"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"a letter", b"path,label\na.png,1\n", archive("zip"), archive("tar"), b"\x80\x02."],
    ids=["empty", "text", "csv", "zip", "tar", "pickle"],
)
def test_what_is_no_checkpoint_is_refused(content, tmp_path):
    path = tmp_path / "best.pth"
    path.write_bytes(content)
    assert "not a checkpoint that can be read safely" in refused(path)


def test_a_truncated_or_damaged_checkpoint_is_refused_or_whole(tmp_path):
    path = tmp_path / "best.pth"
    checkpoint.save(path, plain())
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "not a checkpoint" in refused(path)
    dice = random.Random(0)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(4):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of a strange pickle protocol
            try:
                read = checkpoint.load(path)
            except UserError:
                continue
        assert set(read) >= set(KEYS)


class Trap:
    """A pickle that creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("new_form", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, new_form):
    path, proof = tmp_path / "best.pth", tmp_path / "it ran"
    torch.save(plain(config=Trap(proof)), path, _use_new_zipfile_serialization=new_form)
    assert "not a checkpoint that can be read safely" in refused(path)
    path.write_bytes(pickle.dumps(Trap(proof)))
    refused(path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())  # the trap is a real one
    assert proof.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.ones(3)}, "not a checkpoint of this project"),
        ([1, 2], "not a checkpoint of this project"),
        (torch.ones(3), "not a checkpoint of this project"),
        ({"state_dict": {}, "epoch": 3}, "not a checkpoint of this project"),
        (plain(format=checkpoint.FORMAT + 1), "later than this version's 1: update"),
        (plain(format="two"), "'two'"),
        ({"format": 1, "weights": {}}, "incomplete, without network, labels"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "best.pth")
    assert message in refused(tmp_path / "best.pth")


# ---------------------------------------------------------------------------------- files


def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    checkpoint.save(path, plain(epoch=1))

    def full(_, beside):
        Path(beside).write_bytes(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="space"):
        checkpoint.save(path, plain(epoch=2))
    assert checkpoint.load(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


def test_a_first_save_that_fails_leaves_nothing(tmp_path):
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        checkpoint.save(tmp_path / "run" / "last.pth", plain(config=lambda: 0))
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_checkpoint_gets_a_second_name(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise OSError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    first, second, best = (tmp_path / f"{name}.pth" for name in ("0001", "0002", "best"))
    checkpoint.save(first, plain(epoch=1))
    checkpoint.save(second, plain(epoch=2))
    for path in (first, second, second):  # the same again is no harm
        checkpoint.same_file(path, best)
        assert best.read_bytes() == path.read_bytes()
    assert checkpoint.load(first)["epoch"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0001.pth", "0002.pth", "best.pth"]
    # What is saved anew under the first name is another file: best stays what it was.
    checkpoint.save(second, plain(epoch=9))
    assert checkpoint.load(best)["epoch"] == 2


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
def test_others_may_read_a_checkpoint_as_the_umask_says(tmp_path):
    checkpoint.save(tmp_path / "best.pth", plain())
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "best.pth").stat().st_mode) == 0o666 & ~mask


# ------------------------------------------------------------------------- contradictions


def test_the_same_configuration_contradicts_nothing(state):
    assert contradictions(state, CONFIG) == []
    other = CONFIG.model_copy(update={"batch_size": 1, "seed": 5, "device": "cuda"})
    assert contradictions(state, other) == []


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"network": "ResNet"}, ["network: trained with 'EfficientNetLite', configured 'ResNet'"]),
        ({"model": Model(variant="1")}, ["model.variant: trained with '0', configured '1'"]),
        ({"model": Model(variant="0")}, []),
        ({"model": Model(in_channels=1)}, ["model.in_channels: trained with 3, configured 1"]),
        (
            {"data": Data(num_classes=1, crop=False)},
            [
                "data.num_classes: trained with 2, configured 1",
                "data.crop: trained with True, configured False",
            ],
        ),
        (
            {"input_size": InputSize(height=128, width=128)},
            [
                "input_size.height: trained with 64, configured 128",
                "input_size.width: trained with 48, configured 128",
            ],
        ),
        (
            {"face": Face(margin="10%", detector="haar")},
            [
                "face.detector: trained with 'mtcnn', configured 'haar'",
                "face.margin: trained with '30%', configured '10%'",
            ],
        ),
    ],
)
def test_each_contradiction_is_one_line(state, change, lines):
    assert contradictions(state, CONFIG.model_copy(update=change)) == lines


# -------------------------------------------------------------------------------- overlap


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(manifest.COLUMNS), fill_value="").fillna("")


@pytest.fixture
def picture(tmp_path):
    def write(name: str, content: str = "") -> str:
        path = tmp_path / name
        path.write_text(content or name)
        return str(path)

    return write


@pytest.fixture
def beside(tmp_path, picture) -> Path:
    """A checkpoint's place, with the list of the rows that it was trained on."""
    rows = table(
        {"path": picture("a.png"), "label": REAL, "identity": "id0", "video": "v0", "source": "ff"},
        {
            "path": picture("b.png"),
            "label": FAKE,
            "identity": "id1",
            "source": "ff",
            "source_path": picture("original.png"),
        },
        {"path": picture("c.png"), "label": REAL, "identity": "id7"},
    )
    hashes = row_hashes(rows.assign(split=["train", "train", "val"]))
    assert "id0" not in hashes.to_csv() and "a.png" not in hashes.to_csv()
    hashes.to_csv(tmp_path / ROWS_FILE, index=False)
    return tmp_path / "best.pth"


def test_other_people_do_not_overlap(beside, picture):
    rows = table(
        {"path": picture("x.png"), "label": REAL, "identity": "id9", "video": "v9", "source": "ff"},
        {"path": picture("y.png"), "label": FAKE},  # nothing is known of it
    )
    assert overlap(beside, rows) == []


@pytest.mark.parametrize("name", ["a.png", "b.png", "c.png"])
def test_the_same_content_under_another_name(beside, picture, name):
    rows = table({"path": picture("renamed.png", name), "label": REAL})
    (line,) = overlap(beside, rows)
    assert line.startswith("1 rows share a picture or its original") and "renamed.png" in line


def test_the_same_person_within_a_source(beside, picture):
    new = {"path": picture("x.png"), "label": REAL, "identity": "id0"}
    (line,) = overlap(beside, table(new | {"source": "ff"}))
    assert "identity" in line
    assert overlap(beside, table(new | {"source": "celeb"})) == []
    assert overlap(beside, table(new | {"source": ""})) == []
    (line,) = overlap(beside, table(new | {"identity": "id7"}))
    assert "identity" in line


def test_the_same_video_within_a_source(beside, picture):
    new = {"path": picture("x.png"), "label": REAL, "video": "v0"}
    (line,) = overlap(beside, table(new | {"source": "ff"}))
    assert "video" in line
    assert overlap(beside, table(new | {"source": "celeb"})) == []


def test_a_fake_whose_original_was_trained_on_and_the_other_way_round(beside, picture, tmp_path):
    new = {"path": picture("x.png"), "label": FAKE, "source_path": str(tmp_path / "a.png")}
    assert "original" in overlap(beside, table(new))[0]
    sibling = new | {"source_path": str(tmp_path / "original.png")}
    assert "original" in overlap(beside, table(sibling))[0]
    real = {"path": str(tmp_path / "original.png"), "label": REAL}
    assert "original" in overlap(beside, table(real))[0]


def test_every_kind_of_overlap_is_told_with_its_number(beside, picture, tmp_path):
    rows = table(
        {"path": str(tmp_path / "a.png"), "label": REAL, "identity": "id0", "source": "ff"},
        {"path": picture("x.png"), "label": REAL, "identity": "id1", "source": "ff"},
    )
    picture_line, identity_line = overlap(beside, rows)
    assert picture_line.startswith("1 rows") and identity_line.startswith("2 rows")


def test_without_the_list_nobody_knows(tmp_path, picture):
    with pytest.raises(FileNotFoundError):
        overlap(tmp_path / "best.pth", table({"path": picture("x.png"), "label": REAL}))
