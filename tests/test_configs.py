"""Every shipped configuration loads, trains an epoch on tiny data, and can be explained."""

from pathlib import Path

import numpy as np
import pytest
import torch

import checkpoint
import networks
import train
from flags import Config, InputSize, Model
from report.heatmaps import heatmaps
from settings import load

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
SIDE = 96

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
        "--optimizer.type=SGD", "--optimizer.momentum=0", "--scheduler.type=none",
    ]  # fmt: skip
    assert train.main(arguments) == 0
    state = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pth")
    assert np.isfinite(state["history"][0]["train_loss"])
    network = checkpoint.network_of(state)
    pictures = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    maps = heatmaps(network, pictures, np.array([0.1, 0.9]))
    assert maps.shape == (2, SIDE, SIDE)
    assert maps.min() >= 0 and maps.max() <= 1


def test_every_network_has_a_configuration() -> None:
    named = {load(Config, str(ROOT / "configs" / f"{name}.yaml")).network for name in CONFIGS}
    assert named == set(networks.known_networks())


@pytest.mark.parametrize("known", PARAMETERS, ids=lambda known: f"{known[0]}-{known[1]}")
def test_parameter_counts(known: tuple[str, str, int, int]) -> None:
    name, variant, outputs, side = known
    size = InputSize(height=side, width=side)
    network = networks.build(name, Model(variant=variant), outputs, 0.0, size)
    assert network.parameter_count() == PARAMETERS[known]


@pytest.mark.parametrize("name", ["NASNet", "MesoNet"])
def test_networks_without_weights_say_so(name: str) -> None:
    with pytest.raises(networks.UserError, match=r"set model\.pretrained to False"):
        networks.build(name, Model(pretrained=True), 2, 0.0)
