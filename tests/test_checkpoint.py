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

import pytest
import torch

import checkpoint
from checkpoint import (
    INNER_KEYS,
    KEYS,
    contradictions,
    network_of,
)
from flags import Config, Data, Face, InputSize, Model
from manifest import FAKE, REAL
from networks import build
from thresholds import NO_THRESHOLDS, Thresholds
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
LIMITS = Thresholds(
    threshold=0.41,
    t_low=0.2,
    t_high=0.8,
    data="40 validation faces of here.csv",
    unit="track",
    temperature=1.5,
    auc=0.9,
)


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
        "training": {
            "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
            "scheduler": {},
            "scaler": {},
            "random": {"torch": torch.get_rng_state()},
            "batch": 0,
            "lr": 1e-4,
            "sums": torch.zeros(5, dtype=torch.float64),
        },
        "versions": {"torch": "2.15.0", "timm": "1.0"},
    }


@pytest.fixture(scope="module")
def file(state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "best.pth"
    checkpoint.save(path, state)
    return path


def plain(**changes) -> dict:
    """A small state with all keys."""
    groups = {group: dict.fromkeys(inner, 0) for group, inner in INNER_KEYS.items()}
    given = {"format": 1, "weights": {"w": torch.ones(3)}} | changes
    return {key: {} for key in KEYS} | groups | given


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


# ---------------------------------------------------------------------------- round trip


def test_everything_comes_back(file, state):
    read = checkpoint.load(file)
    assert set(read) == {*KEYS, "tta"} == set(state)
    for key in set(KEYS) - {"weights", "training"}:
        assert read[key] == state[key], key
    assert all(set(inner) <= set(state[group]) for group, inner in INNER_KEYS.items())
    assert read["training"].keys() == state["training"].keys()
    assert read["weights"].keys() == state["weights"].keys()
    assert all(torch.equal(read["weights"][k], v) for k, v in state["weights"].items())
    assert read["labels"] == {"real": REAL, "fake": FAKE}
    assert Thresholds.of(read["thresholds"]) == LIMITS
    assert Config.model_validate(read["config"]) == CONFIG
    assert read["rule"] == "mean"
    assert {"unit", "temperature"} < set(read["thresholds"])


def test_the_network_comes_back_to_the_bit(file, network):
    read = network_of(checkpoint.load(file))
    assert not read.training
    with torch.no_grad():
        assert torch.equal(read(PICTURES), network(PICTURES))
    assert read.normalisation == {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    assert read.weights_from == network.weights_from


def test_how_a_face_is_scored_travels_and_an_old_checkpoint_scores_it_once(state, tmp_path):
    old = {key: value for key, value in state.items() if key != "tta"}
    assert network_of(old).tta == "none" == network_of(state).tta
    later = tmp_path / "flip.pth"
    checkpoint.save(later, state | {"tta": "flip"})
    assert network_of(checkpoint.load(later)).tta == "flip"
    assert "by tta flip" in checkpoint.describe(later)


def test_thresholds_that_cross_bound_what_is_inconclusive_too(state, tmp_path):
    crossed = state["thresholds"] | {"t_low": 0.7, "t_high": 0.3}
    checkpoint.save(tmp_path / "best.pth", state | {"thresholds": crossed})
    assert "between 0.3000 and 0.7000" in checkpoint.describe(tmp_path / "best.pth")


@pytest.mark.parametrize("config", [{}, {"network": "Gone", "later": {"key": [1]}, "model": 3}])
def test_a_network_is_built_from_the_frozen_description_alone(state, network, config):
    """Keys of a configuration may change their names in later versions."""
    read = network_of(state | {"config": config})
    with torch.no_grad():
        assert torch.equal(read(PICTURES), network(PICTURES))
    assert contradictions(state | {"config": config}, CONFIG) == []


def test_a_network_is_built_for_the_size_it_was_trained_with(state, monkeypatch):
    seen = []

    def build_it(*arguments):
        seen.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(checkpoint, "build", build_it)
    network_of(state)
    ((name, model, outputs, _, size),) = seen
    assert (name, model.variant, model.in_channels, outputs) == ("EfficientNetLite", "0", 3, 2)
    assert not model.pretrained and size == CONFIG.input_size


def test_weights_of_another_network_are_refused_in_one_sentence(state):
    about = state["network"] | {"name": "ResNet", "variant": "18"}
    with pytest.raises(UserError, match=r"do not fit networks/ResNet\.py: ") as caught:
        network_of(state | {"network": about})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_thresholds_of_other_versions(state):
    def limits(**changes):
        return Thresholds.of(vars(LIMITS) | changes)

    assert limits(later_field=[1, 2]) == LIMITS
    older = {key: vars(LIMITS)[key] for key in ("threshold", "t_low", "t_high", "data")}
    read = Thresholds.of(older)
    assert (read.threshold, read.data) == (0.41, LIMITS.data)
    assert (read.unit, read.temperature) == ("face", 1.0)


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


def test_describe_says_what_no_crop_shows(file, state, tmp_path):
    assert "at each edge" not in checkpoint.describe(file)
    checkpoint.save(tmp_path / "c.pth", state | {"crop": state["crop"] | {"trim": 0.04}})
    assert "without 0.04 of the picture at each edge" in checkpoint.describe(tmp_path / "c.pth")


def test_describe_before_the_first_validation_and_without_faces(state, tmp_path):
    early = state | {
        "thresholds": vars(NO_THRESHOLDS),
        "history": [],
        "best": {"epoch": 0, "valid_loss": float("inf")},
        "crop": state["crop"] | {"faces": False},
    }
    checkpoint.save(tmp_path / "early.pth", early)
    text = checkpoint.describe(tmp_path / "early.pth")
    assert "no validation yet" in text and "pictures taken whole" in text


def test_a_configuration_of_a_later_version_is_described_as_it_stands(state, tmp_path):
    later = {"zoo": {"animals": 3}, "network": "EfficientNetLite"}
    checkpoint.save(tmp_path / "later.pth", state | {"config": later})
    assert "zoo:\n     animals: 3" in checkpoint.describe(tmp_path / "later.pth")


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


@pytest.mark.parametrize("key", KEYS)
def test_a_checkpoint_without_a_key_is_refused_with_its_name(key, tmp_path):
    torch.save({k: v for k, v in plain().items() if k != key}, tmp_path / "best.pth")
    message = refused(tmp_path / "best.pth")
    if key not in ("format", "weights"):
        assert f"incomplete, without {key}" in message


@pytest.mark.parametrize(
    ("group", "key"), [(group, key) for group, inner in INNER_KEYS.items() for key in inner]
)
def test_a_group_without_a_key_is_refused_with_its_name(group, key, tmp_path):
    state = plain()
    del state[group][key]
    torch.save(state, tmp_path / "best.pth")
    assert refused(tmp_path / "best.pth").endswith(f"incomplete, without {group}.{key}")


@pytest.mark.parametrize("value", [None, 3, [1, 2], "text", torch.ones(3)], ids=repr)
@pytest.mark.parametrize("group", INNER_KEYS)
def test_a_group_that_is_none_is_refused_with_its_name(group, value, tmp_path):
    torch.save(plain(**{group: value}), tmp_path / "best.pth")
    assert group in refused(tmp_path / "best.pth").split("best.pth", 1)[1]


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


def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file data/3")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"last\.pth cannot be written .*disk full"):
        checkpoint.save(tmp_path / "last.pth", plain())
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("files", "adopted"),
    [
        ({"0002": 2, "0003": 3, "best": 2}, "0002"),
        ({"0003": 3, "best": 2}, "best"),
        ({"0002": 7, "best": 2}, "best"),  # another run's
        ({"0003": 3, "best": 5}, None),  # the run went on since, and found a better one
        ({"0003": 3}, None),
    ],
)
def test_a_run_that_goes_on_elsewhere_takes_its_best_along(tmp_path, files, adopted):
    old, new = tmp_path / "old", tmp_path / "new"
    for name, epoch in ({"0003": 3} | files).items():
        checkpoint.save(old / f"{name}.pth", plain(epoch=epoch))
    new.mkdir()
    state = plain(best={"epoch": 2, "valid_loss": 0.5}, epoch=3)
    checkpoint.adopt(state, old / "0003.pth", new)
    taken = sorted(file.name for file in new.iterdir())
    assert taken == (["last.pth"] if adopted is None else ["best.pth", "last.pth"])
    assert (new / "last.pth").read_bytes() == (old / "0003.pth").read_bytes()
    if adopted:
        assert (new / "best.pth").read_bytes() == (old / f"{adopted}.pth").read_bytes()


def test_a_checkpoint_that_is_named_by_a_link_is_adopted_itself(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    checkpoint.save(old / "0003.pth", plain(epoch=3))
    (old / "latest.pth").symlink_to("0003.pth")
    new.mkdir()
    checkpoint.adopt(plain(best={"epoch": 0, "valid_loss": 1}), old / "latest.pth", new)
    assert not (new / "last.pth").is_symlink()
    assert checkpoint.load(new / "last.pth")["epoch"] == 3


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


def test_what_the_frozen_keys_say_counts_and_not_the_configuration(state):
    other = state | {"input": state["input"] | {"height": 99}, "config": {}}
    assert contradictions(other, CONFIG) == ["input_size.height: trained with 99, configured 64"]
    other = state | {"crop": state["crop"] | {"grow": 3.0, "later_setting": 1}}
    assert contradictions(other, CONFIG) == ["face.grow: trained with 3.0, configured 2.0"]
    # An older checkpoint says nothing of a setting that is new: that is no contradiction.
    older = {key: value for key, value in state["crop"].items() if key != "detect_size"}
    assert contradictions(state | {"crop": older}, CONFIG) == []
    # But it was trained as the setting's default does.
    older = {key: value for key, value in state["crop"].items() if key != "align"}
    turned = CONFIG.model_copy(update={"face": CONFIG.face.model_copy(update={"align": True})})
    assert contradictions(state | {"crop": older}, turned) == [
        "face.align: trained with False, configured True"
    ]


def test_an_unnamed_variant_means_the_checkpoints(state):
    large = state | {"network": state["network"] | {"variant": "4"}}
    assert contradictions(large, CONFIG) == []
    assert contradictions(large, CONFIG.model_copy(update={"model": Model(variant="0")})) == [
        "model.variant: trained with '4', configured '0'"
    ]
