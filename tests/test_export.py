"""Exported files answer as the checkpoint does, say what it says, and run nobody's code."""

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import checkpoint
import export
import networks
import test as test_command
from flags import Config, Data, InputSize, Model
from networks import Detector, build
from scores import fake_score, joined_views, views
from thresholds import NO_THRESHOLDS, Thresholds
from utils import UserError, sha256_file

SIDE = 64
LIMITS = Thresholds(0.41, t_low=0.2, t_high=0.8, data="40 validation faces of here.csv", auc=0.9)
SMALL = "MesoNet"
"""A network of few parameters, with batch norm: exported fast."""

FAST = [("MesoNet", "Meso4", 1, 1), ("ViT", "tiny_patch16", 1, 3)]
SLOW = [
    ("ResNet", "18", 2, 3),
    ("ConvNeXt", "tiny", 2, 3),
    ("DenseNet", "121", 2, 1),
    ("EfficientNet", "deepfake-detect", 1, 3),
    ("EfficientNetLite", "0", 2, 3),
    ("InceptionResNetV2", "flatten", 1, 3),
    ("MobileNetV2", "100", 2, 3),
    ("NASNet", "mobile", 2, 3),
    ("VGG", "16_bn", 2, 3),
    ("Xception", "original", 2, 3),
]
CASES = [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


def config(name: str, variant: str = "", outputs: int = 2, channels: int = 3) -> Config:
    side = 96 if name == "InceptionResNetV2" else SIDE
    return Config(
        network=name,
        input_size=InputSize(height=side, width=side + 16 * (name == SMALL)),
        model=Model(variant=variant, in_channels=channels),
        data=Data(train="faces/manifest.csv", num_classes=outputs),
    )


def state_of(settings: Config, **changes) -> dict:
    """A checkpoint's content of a network that is not as it was born."""
    torch.manual_seed(0)
    outputs, size = settings.data.num_classes, settings.input_size
    network = build(settings.network, settings.model, outputs, 0.0, size)
    channels = settings.model.in_channels
    network.set_normalisation([0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels])
    with torch.no_grad():
        network.train()(pictures_for(settings))  # batch-norm statistics of its own
        for parameter in network.parameters():
            parameter.mul_(1.0 + 0.1 * torch.randn_like(parameter))
        # Scores of a network that has learned nothing are all alike: spread them.
        spread = float(network.eval()(pictures_for(settings)).std(0).min())
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.mul_(min(1000.0, 2 / spread))
        last.bias.sub_(network(pictures_for(settings)).mean(0))
    return checkpoint.describe_network(network, settings) | {
        "thresholds": vars(LIMITS),
        "weights": network.state_dict(),
        "config": settings.model_dump(),
        "epoch": 3,
        "history": [{"epoch": 3, "valid_loss": 0.5, "valid_auc": 0.9, "train_precision": math.nan}],
        "best": {"epoch": 2, "valid_loss": 0.4321},
        "data": {"train": "faces/manifest.csv", "valid": LIMITS.data, "rows": "abc"},
        "training": dict.fromkeys(checkpoint.INNER_KEYS["training"], 0),
        "versions": {"torch": "2.15.0", "timm": "1.0"},
    } | changes  # fmt: skip


def pictures_for(settings: Config, count: int = 5) -> torch.Tensor:
    """Black, white, a ramp, and noise: uint8."""
    size, dice = settings.input_size, torch.Generator().manual_seed(1)
    shape = (count, settings.model.in_channels, size.height, size.width)
    pictures = torch.randint(0, 256, shape, generator=dice, dtype=torch.uint8)
    pictures[0], pictures[1] = 0, 255
    pictures[2] = torch.linspace(0, 255, size.width).to(torch.uint8)
    return pictures


@pytest.fixture(scope="module")
def state() -> dict:
    return state_of(config(SMALL))


@pytest.fixture(scope="module")
def file(state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoints" / "best.pth"
    checkpoint.save(path, state)
    return path


@pytest.fixture(scope="module")
def network(state) -> Detector:
    return checkpoint.network_of(state)


@pytest.fixture(scope="module")
def tensors(file, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("out") / "model.safetensors"
    assert checkpoint.main([str(file), "--export", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def graph(file, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("out") / "model.onnx"
    assert checkpoint.main(["--export", str(path), str(file)]) == 0
    return path


def answers(path: Path, pictures: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return onnxruntime.InferenceSession(path).run(
        ["score", "logits"], {"pictures": pictures.numpy()}
    )


# ----------------------------------------------------------------------------------- ONNX


@pytest.mark.parametrize(("name", "variant", "outputs", "channels"), CASES)
def test_onnx_answers_as_the_checkpoint_does(name, variant, outputs, channels, tmp_path, capsys):
    settings = config(name, variant, outputs, channels)
    checkpoint.save(tmp_path / "best.pth", state_of(settings))
    path = tmp_path / "model.onnx"
    assert checkpoint.main([str(tmp_path / "best.pth"), "--export", str(path)]) == 0
    assert "largest difference" in capsys.readouterr().out
    read = checkpoint.network_of(checkpoint.load(tmp_path / "best.pth"))
    for count in (1, 5):
        pictures = pictures_for(settings)[:count]
        with torch.no_grad():
            expected = read(pictures)
        score, logits = answers(path, pictures)
        assert score.shape == (count,) and logits.shape == (count, outputs)
        assert score.dtype == logits.dtype == np.float32
        assert np.abs(score - fake_score(expected).numpy()).max() < 1e-4
    assert np.ptp(score) > 3e-4  # it sees its pictures


@pytest.mark.parametrize("tta", ["flip", "crops10"])
def test_the_onnx_score_is_that_of_the_thresholds_or_says_that_it_is_not(tta, tmp_path, capsys):
    settings = config(*CASES[0])
    checkpoint.save(tmp_path / "best.pth", state_of(settings) | {"tta": tta})
    path = tmp_path / "model.onnx"
    assert checkpoint.main([str(tmp_path / "best.pth"), "--export", str(path)]) == 0
    said = capsys.readouterr().out
    read = checkpoint.network_of(checkpoint.load(tmp_path / "best.pth"))
    pictures = pictures_for(settings)
    with torch.no_grad():
        each = torch.stack([fake_score(read(view)) for view in views(pictures, tta)])
    score, _ = answers(path, pictures)
    apart = np.abs(score - joined_views(each, tta).numpy()).max()
    if tta == "flip":
        assert apart < 1e-4 < (each[0] - each[1]).abs().max() and "One view" not in said
    else:
        assert "One view       : of a face; the checkpoint's scores are by tta crops10" in said
        assert np.abs(score - fake_score(read(pictures)).detach().numpy()).max() < 1e-4


def test_one_file_holds_all_and_says_what_it_takes(graph):
    assert [p.name for p in graph.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(graph)
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type) == ("pictures", "tensor(uint8)")
    assert taken.shape == ["batch", 3, SIDE, SIDE + 16]
    assert [given.name for given in session.get_outputs()] == ["score", "logits"]


def test_both_files_carry_what_a_deployer_must_know(graph, tensors, file, state):
    from safetensors import safe_open

    with safe_open(tensors, "pt") as opened:
        texts = opened.metadata()
    about = onnxruntime.InferenceSession(graph).get_modelmeta().custom_metadata_map
    for key in ("format", "network", "input", "labels", "crop", "rule", "thresholds", "data"):
        assert json.loads(about[key]) == json.loads(texts[key]) == state[key], key
    assert about["checkpoint_sha256"] == texts["checkpoint_sha256"] == sha256_file(file)
    assert about["normalisation"].startswith("inside")
    assert texts["normalisation"].startswith("not inside")
    assert not {"weights", "config", "training"} & (about.keys() | texts.keys())
    assert "weights_licence" not in about  # random ones have none


def test_the_licence_of_the_weights_travels(network, state):
    network.backbone.pretrained_cfg["license"] = "apache-2.0"
    network.weights_from = "timm's resnet18.a1_in1k"
    about = export.description(network, state, "abc")
    assert about["weights_licence"].startswith("apache-2.0")
    network.weights_from = "random"


@pytest.mark.parametrize("found", [1.1e-4, float("nan")])
def test_a_file_that_answers_otherwise_is_refused_and_removed(found, file, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "difference", lambda *_: found)
    (tmp_path / "model.onnx").write_text("the old one")
    with pytest.raises(UserError, match=r"differ from PyTorch's by .*removed"):
        checkpoint.main([str(file), "--export", str(tmp_path / "model.onnx")])
    assert [p.read_text() for p in tmp_path.iterdir()] == ["the old one"]


def test_a_difference_is_seen(graph, network, state):
    shape = (3, SIDE, SIDE + 16)
    assert export.difference(graph, export.Scored(network).eval(), shape) < 1e-5
    other = checkpoint.network_of(state)
    with torch.no_grad():
        other.backbone[-1].bias[1] += 0.01
    assert export.difference(graph, export.Scored(other).eval(), shape) > 1e-3
    with torch.no_grad():
        other.backbone[-1].bias[1] = math.nan
    assert math.isnan(export.difference(graph, export.Scored(other).eval(), shape))


def test_a_network_that_onnx_cannot_hold_is_said_in_one_sentence(state, tmp_path):
    class Moody(nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            bright = pictures.mean()
            return torch.zeros(len(pictures), 2) if bright > 0 else torch.ones(len(pictures), 2)

    moody = Moody()
    network = Detector(moody, [0.5] * 3, [0.5] * 3, moody, "by hand").eval()
    with pytest.raises(UserError, match="cannot be written as ONNX") as caught:
        export.write(tmp_path / "model.onnx", network, state, "abc")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_missing_libraries_are_named_with_the_remedy(network, state, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime: .*requirements"):
        export.write(tmp_path / "model.onnx", network, state, "abc")


# ---------------------------------------------------------------------------- safetensors


def test_everything_for_use_comes_back(tensors, state):
    read = checkpoint.load(tensors)
    for key in set(checkpoint.KEYS) - {"weights", "config", "training", "history"}:
        assert read[key] == state[key], key
    (mine,), (theirs,) = read["history"], state["history"]
    assert math.isnan(mine.pop("train_precision"))
    assert mine == {key: value for key, value in theirs.items() if key in mine}
    assert read["config"] == read["training"] == {}
    assert Thresholds.of(read["thresholds"]) == LIMITS
    assert checkpoint.contradictions(read, config(SMALL)) == []
    assert len(checkpoint.contradictions(read, config("ViT"))) > 0


def test_the_same_logits_to_the_bit(tensors, network, state):
    pictures = pictures_for(config(SMALL))
    read = checkpoint.network_of(checkpoint.load(tensors))
    size = config(SMALL).input_size
    begun = build(SMALL, Model(weights=str(tensors)), 2, 0.0, size).eval()
    begun.set_normalisation(**network.normalisation)
    with torch.no_grad():
        expected = network(pictures)
        assert torch.equal(read(pictures), expected)
        assert torch.equal(begun(pictures), expected)
    assert read.normalisation == network.normalisation
    assert begun.weights_from == str(tensors)


def test_weights_in_another_layout_and_of_all_types_come_back(network, state, tmp_path):
    first = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    weights = {"a": first, "b": first, "c": torch.tensor(3), "d": torch.tensor([math.nan, 1.0])}
    export.write(tmp_path / "m.safetensors", network, state | {"weights": weights}, "abc")
    back = export.read_safetensors(tmp_path / "m.safetensors")["weights"]
    assert all(torch.equal(back[key], weights[key]) for key in "abc")
    assert back["d"].isnan().tolist() == [True, False]


def test_an_exported_file_is_described_without_what_it_lacks(tensors, file):
    text, whole = checkpoint.describe(tensors), checkpoint.describe(file)
    assert whole.startswith(f"{file}\n") and "Configuration" in whole
    kept = whole[: whole.index(" Configuration")].splitlines()[2:]
    assert text.splitlines()[2:] == kept


def test_before_the_first_validation_there_is_nothing_but_the_weights(network, state, tmp_path):
    early = state | {
        "thresholds": vars(NO_THRESHOLDS),
        "history": [],
        "best": {"epoch": 0, "valid_loss": math.inf},
    }
    path = tmp_path / "m.safetensors"
    export.write(path, network, early, "abc")
    assert math.isnan(Thresholds.of(checkpoint.load(path)["thresholds"]).threshold)
    assert "no validation yet" in checkpoint.describe(path)


def test_thresholds_of_videos_travel_where_there_are_any(network, state, tensors, tmp_path):
    path = tmp_path / "m.safetensors"
    limits = vars(NO_THRESHOLDS) | {"threshold": 0.3, "unit": "video"}
    export.write(path, network, state | {"video_thresholds": limits}, "abc")
    read = checkpoint.load(path)["video_thresholds"]
    assert read["threshold"] == 0.3 and math.isnan(read["t_low"]) and read["unit"] == "video"
    assert "video_thresholds" not in checkpoint.load(tensors)
    assert "video_thresholds" in refused(changed(path, tmp_path, {"video_thresholds": "{}"}))


def test_no_run_goes_on_from_it(tensors, file):
    with pytest.raises(UserError, match=r"not the state of the training: .*--model\.weights"):
        checkpoint.load_to_continue(tensors)
    assert checkpoint.load_to_continue(file)["epoch"] == 3


def test_it_is_tested_as_a_checkpoint_is(tensors, tmp_path, capsys):
    arguments = [
        f"--network={SMALL}", f"--tmp_data=8,3,{SIDE},{SIDE + 16}", f"--prefix={tmp_path / 'run'}",
        f"--input_size.height={SIDE}", f"--input_size.width={SIDE + 16}", "--num_workers=0",
        "--bootstrap=0", f"--test_checkpoint={tensors}", "--layer_table=False", "--device=cpu",
    ]  # fmt: skip
    assert test_command.main(arguments) == 0
    assert (tmp_path / "run" / "test" / "report.html").is_file()
    written = json.loads((tmp_path / "run" / "test" / "metrics.json").read_text())
    assert written["checkpoint_sha256"] == sha256_file(tensors)


def test_an_exported_file_can_be_exported(tensors, tmp_path):
    again = tmp_path / "again.safetensors"
    assert checkpoint.main([str(tensors), "--export", str(again)]) == 0
    first, second = checkpoint.load(tensors), checkpoint.load(again)
    assert second["checkpoint_sha256"] == sha256_file(tensors)
    assert first["thresholds"] == second["thresholds"]


# ----------------------------------------------------------------------------- wrong files


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"a letter", b"\x80\x02.", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"],
    ids=["empty", "text", "pickle", "noise", "a header of a terabyte"],
)
def test_what_is_no_safetensors_is_refused(content, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert "not a .safetensors file that can be read" in refused(path)


def test_a_truncated_file_is_refused(tensors, tmp_path):
    path, whole = tmp_path / "m.safetensors", tensors.read_bytes()
    for share in (0.0001, 0.5, 0.9999):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "not a .safetensors file that can be read" in refused(path)


def test_a_checkpoint_by_another_name_is_not_unpickled(file, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(file.read_bytes())
    assert "not a .safetensors file that can be read" in refused(path)


@pytest.mark.parametrize("about", [None, {"format": "pt"}])
def test_weights_of_others_are_named_as_such(about, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(3)}, path, about)
    assert "no checkpoint of this project; to start from them, set model.weights" in refused(path)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("format", "2", "format 2 is later than this version's 1: update"),
        ("format", "pt", "format 'pt' is later"),
        ("network", None, "do not say what they are"),
        ("network", "{", "wrong in network"),
        ("network", "[" * 100_000, "wrong in network"),
        ("network", '{"name": 3}', "wrong in network"),
        ("thresholds", None, "incomplete or wrong in thresholds"),
        ("thresholds", '{"threshold": "high"}', "wrong in thresholds"),
        ("history", '[{"valid_loss": "low"}]', "wrong in history"),
        ("history", '[["valid_loss"]]', "wrong in history"),
        ("crop", "{}", "wrong in crop"),
        ("rule", "7", "wrong in rule"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(key, text, message, tensors, tmp_path):
    assert message in refused(changed(tensors, tmp_path, {key: text}))


@pytest.mark.parametrize(
    "change",
    [{"mean": [0.5]}, {"mean": "abc"}, {"channels": 2}, {"height": 10**9}, {"std": [None] * 3}],
    ids=str,
)
def test_an_input_that_no_network_has_is_refused(change, tensors, state, tmp_path):
    text = json.dumps(state["input"] | change)
    assert "wrong in input" in refused(changed(tensors, tmp_path, {"input": text}))


def test_a_name_is_a_network_of_the_folder_and_nothing_else(tensors, state, tmp_path):
    text = json.dumps(state["network"] | {"name": "../../evil"})
    read = checkpoint.load(changed(tensors, tmp_path, {"network": text}))
    with pytest.raises(UserError, match="known are ConvNeXt"):
        checkpoint.network_of(read)
    assert "../../evil" not in networks.known_networks()


def changed(tensors: Path, folder: Path, texts: dict[str, str | None]) -> Path:
    """The file with other texts; None: without that one."""
    state = export.read_safetensors(tensors)
    about = {k: json.dumps(v) for k, v in state.items() if k not in ("weights", *texts)}
    about |= {key: text for key, text in texts.items() if text is not None}
    save_file(state["weights"], folder / "m.safetensors", about)
    return folder / "m.safetensors"


# ------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", ["model.pt", "model", "model.ONNX", ".onnx"])
def test_another_suffix_is_refused(name, file, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.onnx or \.safetensors"):
        checkpoint.main([str(file), "--export", str(tmp_path / name)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_a_folder_that_is_not_there_is_refused(name, file, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*gone: create it"):
        checkpoint.main([str(file), "--export", str(tmp_path / "gone" / name)])
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_not_written_over_itself(file, tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.main([str(file), "--export", str(path)])
    before = path.read_bytes()
    with pytest.raises(UserError, match="would be written over"):
        checkpoint.main([str(path), "--export", f"{tmp_path}/./model.safetensors"])
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_what_is_no_checkpoint_is_not_exported(name, tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.main([str(tmp_path / "gone.pth"), "--export", str(tmp_path / name)])
    (tmp_path / "letter.pth").write_text("dear reader")
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        checkpoint.main([str(tmp_path / "letter.pth"), "--export", str(tmp_path / name)])
    assert [p.name for p in tmp_path.iterdir()] == ["letter.pth"]


def test_a_write_that_fails_leaves_the_old_file_whole(file, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_text("the old one")

    def full(_, beside, __):
        Path(beside).write_bytes(b"half a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(export, "save_file", full)
    with pytest.raises(OSError, match="space"):
        checkpoint.main([str(file), "--export", str(path)])
    assert [p.read_text() for p in tmp_path.iterdir()] == ["the old one"]


@pytest.mark.parametrize("arguments", [[], ["--export"], ["a", "--export"], ["a", "b", "c"]])
def test_another_command_line_says_how(arguments, capsys):
    assert checkpoint.main(arguments) == 2
    assert "--export NAME.onnx" in capsys.readouterr().out
