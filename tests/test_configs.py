"""Every shipped configuration loads, trains an epoch on tiny data, and can be explained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
import timm
import torch
from safetensors.torch import save_file

import checkpoint
import networks
import train
from faces.image import write_image
from flags import Config, InputSize, Model
from report.heatmaps import heatmaps
from settings import load

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml") if path.stem != "sweep")
SIDE = 96
FROM_A_HUB = ("CLIP", "DINO")
"""Configurations that begin from weights that are downloaded."""

PARAMETERS = {
    ("VGG", "16", 2, 224): 134_268_738,
    ("EfficientNet", "b0", 2, 224): 4_010_110,
    ("DenseNet", "121", 2, 224): 6_955_906,
    ("InceptionResNetV2", "flatten", 1, 160): 61_385_377,
    ("MobileNetV2", "100", 2, 224): 2_226_434,
    # Keras counts 4,269,716 before the head: these 4,232,978 and 36,738 running statistics.
    ("NASNet", "mobile", 2, 224): 4_232_978 + 1056 * 2 + 2,
    ("Xception", "original", 2, 299): 20_811_050,
    ("MesoNet", "Meso4", 1, 256): 27_977,
    ("MesoNet", "MesoInception4", 1, 256): 28_615,
    ("ConvNeXt", "tiny", 2, 224): 27_821_666,
    ("ViT", "small_patch16", 2, 224): 21_666_434,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_configuration_trains_and_is_explained(name: str, tmp_path: Path) -> None:
    file = str(ROOT / "configs" / f"{name}.yaml")
    arguments = [
        "--config_file", file, f"--tmp_data=8,3,{SIDE},{SIDE}", f"--prefix={tmp_path / 'run'}",
        f"--input_size.height={SIDE}", f"--input_size.width={SIDE}", "--batch_size=4",
        "--num_epochs=1", "--num_workers=0", "--tracking.wandb=off", "--fakes.type=none",
        "--fakes.alone=False",
        "--optimizer.type=SGD", "--optimizer.momentum=0", "--scheduler.type=none",
    ]  # fmt: skip
    if name in FROM_A_HUB:
        arguments.append("--model.pretrained=False")
    assert train.main(arguments) == 0
    state = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pth")
    assert np.isfinite(state["history"][0]["train_loss"])
    network = checkpoint.network_of(state)
    pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    maps = heatmaps(network, pictures, np.array([0.1, 0.9]))
    assert maps.shape == (2, SIDE, SIDE)
    assert maps.min() >= 0 and maps.max() <= 1


@pytest.mark.parametrize(("name", "recipe"), [("SBI", "blend"), ("FWA", "warp")])
def test_recipes_of_real_faces_train_on_their_own_fakes_alone(
    name: str, recipe: str, tmp_path: Path
) -> None:
    portrait = skimage.data.astronaut()[:256, 100:356]
    marks = "105 102 147 105 125 129 103 150 145 152"
    rows = []
    for number in range(12):
        file = tmp_path / f"{number}.png"
        write_image(file, np.roll(portrait, number % 3, axis=2) // 2 + 8 * number)
        split, label = ("val", number % 2) if number > 7 else ("train", int(number > 5))
        row = {"path": file.name, "label": label, "split": split, "identity": f"p{number}"}
        rows.append(row | {"box": "70 70 160 190", "landmarks": marks})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    run = tmp_path / "run"
    arguments = [
        "--config_file", str(ROOT / "configs" / f"{name}.yaml"), f"--prefix={run}",
        f"--data.train={tmp_path / 'manifest.csv'}", "--input_size.height=64",
        "--input_size.width=64", "--batch_size=4", "--num_epochs=1", "--num_workers=0",
        "--tracking.wandb=off", "--device=cpu",
    ]  # fmt: skip
    assert train.main(arguments) == 0
    state = checkpoint.load(run / "checkpoints" / "best.pth")
    assert np.isfinite(state["history"][0]["train_loss"])
    assert "fakes.alone: 2 forged rows do not train" in (run / "log.txt").read_text()
    # How films and faces are judged travels with the weights.
    tta, rule = {"SBI": ("none", "highest_frame"), "FWA": ("crops10", "highest_third")}[name]
    assert (state["tta"], state["rule"], state["config"]["fakes"]["type"]) == (tta, rule, recipe)
    assert (run / "left_out.csv").read_text().count("\n") == 1


def test_every_network_has_a_configuration() -> None:
    named = {load(Config, str(ROOT / "configs" / f"{name}.yaml")).network for name in CONFIGS}
    assert named == set(networks.known_networks())


@pytest.mark.parametrize("known", PARAMETERS, ids=lambda known: f"{known[0]}-{known[1]}")
def test_parameter_counts(known: tuple[str, str, int, int]) -> None:
    name, variant, outputs, side = known
    size = InputSize(height=side, width=side)
    network = networks.build(name, Model(variant=variant), outputs, 0.0, size)
    assert network.parameter_count() == PARAMETERS[known]


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [
        ("base_patch16_clip", "vit_base_patch16_clip_quickgelu_224.openai"),
        ("large_patch14_clip", "vit_large_patch14_clip_quickgelu_224.openai"),
        ("small_patch14_dinov2", "vit_small_patch14_dinov2.lvd142m"),
        ("base_patch14_dinov2", "vit_base_patch14_dinov2.lvd142m"),
    ],
)
def test_a_vit_of_other_weights_is_timms(variant: str, wanted: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(wanted, num_classes=2, img_size=224)
        built = networks.build("ViT", Model(variant=variant), 2, 0.0, InputSize())
    ours = built.backbone
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.pretrained_cfg["tag"] == wanted.split(".")[1]  # the weights that are meant
    # CLIP was trained with an approximation of GELU: another one spoils what it knows.
    act = type(ours.blocks[0].mlp.act).__name__
    assert act == type(theirs.blocks[0].mlp.act).__name__
    assert ("Quick" in act) == ("clip" in variant)


@pytest.mark.parametrize("name", ["NASNet", "MesoNet"])
def test_networks_without_weights_say_so(name: str) -> None:
    with pytest.raises(networks.UserError, match=r"set model\.pretrained to False"):
        networks.build(name, Model(pretrained=True), 2, 0.0)


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    ours = networks.build("ResNet", Model(), 2, 0.0)
    state = ours.backbone.state_dict()
    torch.save(state, tmp_path / "timm.pth")
    torch.save({"weights": ours.state_dict()}, tmp_path / "ours.pth")
    save_file(state, tmp_path / "same.safetensors")
    for name in ("timm.pth", "ours.pth", "same.safetensors"):
        model = Model(weights=str(tmp_path / name))
        again = networks.build("ResNet", model, 2, 0.0)
        assert again.weights_from.endswith(name)
        assert all(torch.equal(v, state[k]) for k, v in again.backbone.state_dict().items())
    # Another number of classes: the head is new, the rest is not.
    other = networks.build("ResNet", Model(weights=str(tmp_path / "timm.pth")), 1, 0.0)
    assert torch.equal(other.backbone.conv1.weight, ours.backbone.conv1.weight)
    assert other.backbone.fc.weight.shape == (1, 512)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(networks.build("ResNet", Model(), 2, 0.0).state_dict(), tmp_path / "18.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name, message in (
        ("18.pth", "tensors are missing or of another shape"),
        ("text.pth", "not weights that can be read safely"),
        ("nowhere.pth", "no such file"),
    ):
        model = Model(variant="50", weights=str(tmp_path / name))
        with pytest.raises(networks.UserError, match=message):
            networks.build("ResNet", model, 2, 0.0)


def test_only_the_head_may_be_missing(tmp_path: Path) -> None:
    size = InputSize(height=32, width=32)
    vit = networks.build("ViT", Model(variant="tiny_patch16"), 2, 0.0, size)
    state = vit.backbone.state_dict()
    missing = "blocks.3.mlp.fc1.weight"
    torch.save({k: v for k, v in state.items() if k != missing}, tmp_path / "holed.pth")
    model = Model(variant="tiny_patch16", weights=str(tmp_path / "holed.pth"))
    with pytest.raises(networks.UserError, match=missing):
        networks.build("ViT", model, 2, 0.0, size)
    torch.save({k: v for k, v in state.items() if "head." not in k}, tmp_path / "holed.pth")
    networks.build("ViT", model, 2, 0.0, size)
