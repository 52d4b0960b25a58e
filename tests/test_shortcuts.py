"""Nothing but the face tells a real from its fake, as training sees the two."""

import io
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import dataset
import manifest
import sources.portraits
from faces.crop import store
from faces.detector import make_detector
from faces.image import read_image, write_image
from flags import Augment, Config, Face, Fakes, InputSize, Prepare
from settings import load

SIDE, PASSES = 160, 26
"""Each of 40 faces so many times: 1,040 pairs."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> pd.DataFrame:
    """Stored faces of 40 real portraits, as prepare.py leaves them."""
    folder, detect, found = tmp_path_factory.mktemp("stored"), make_detector(Face()), []
    for number, path in enumerate(sources.portraits.index("", Prepare())["path"]):
        image = read_image(path)
        for one in detect(image)[:1]:
            face, file = store(image, one, 2.0, 512), folder / f"{number}.jpg"
            write_image(file, face.image)
            found.append({
                "path": str(file), "file": str(file), "label": 0, "identity": f"p{number}",
                "source": "portraits", "file_box": manifest.cell(face.box),
                "file_landmarks": manifest.cell(face.landmarks),
            })  # fmt: skip
        if len(found) == 40:
            break
    return pd.DataFrame(found)


def shipped(name: str) -> Augment:
    file = Path(dataset.__file__).parent / "configs" / f"{name}.yaml"
    return load(Config, str(file)).augment


@pytest.mark.parametrize(
    ("recipe", "config"),
    [("blend", "SBI"), ("blend", "release"), ("swap", "release"), ("warp", "release")],
)
def test_what_lies_outside_the_face_tells_nothing(rows, recipe, config):
    samples = dataset.FaceDataset(
        rows, Face(), InputSize(height=SIDE, width=SIDE), repeat=PASSES,
        fakes=Fakes(type=recipe, pairs=True), augment=shipped(config),
    )  # fmt: skip
    pairs = 0
    sizes: list[list[int]] = [[], []]
    detail: list[list[float]] = [[], []]
    blocks: list[list[float]] = [[], []]
    for index in range(len(samples)):
        pair = samples[1, index]
        if not isinstance(pair, list):
            continue  # a face of which no fake can be made
        pairs += 1
        for picture, label, _ in pair:
            image = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
            file = io.BytesIO()
            Image.fromarray(image).save(file, "jpeg", quality=90)
            sizes[label].append(len(file.getvalue()))
            # Outside the face: a strip along the upper edge.
            strip = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:16].astype(float)
            detail[label].append(cv2.Laplacian(strip, cv2.CV_64F).var())
            steps = np.abs(np.diff(strip, axis=1)).mean(0)
            blocks[label].append(steps[7::8].mean() / (steps.mean() + 1e-9))
    assert pairs >= 1000
    labels = np.repeat([0, 1], pairs)
    measured = {"detail": detail, "blocks": blocks}
    # A warped face is a face at a lower resolution, which takes fewer bytes: that is the artefact.
    measured |= {} if recipe == "warp" else {"sizes": sizes}
    told = {k: roc_auc_score(labels, np.array(v, float).ravel()) for k, v in measured.items()}
    assert told == {name: pytest.approx(0.5, abs=0.05) for name in told}


@pytest.mark.parametrize("recipe", ["blend", "swap", "warp"])
def test_what_is_done_to_one_of_a_pair_is_done_to_the_other(rows, recipe):
    """The same crop, colours, noise and JPEG: far from the face the two are one picture."""
    samples = dataset.FaceDataset(
        rows, Face(margin="50%"), InputSize(height=SIDE, width=SIDE),
        fakes=Fakes(type=recipe, pairs=True, blend={"ratios": [1.0]}),
        augment=shipped("release").model_copy(update={"margin": [48.0, 50.0]}),
    )  # fmt: skip
    apart = []
    for index in range(len(samples)):
        pair = samples[1, index]
        if isinstance(pair, list):
            real, fake = (picture.numpy().astype(int) for picture, _, _ in pair)
            apart.append(np.abs(real - fake)[:, :8, :8].mean())
            assert (real != fake).any()
    # JPEG carries a change over a block, blend may change the target's colours a little.
    assert len(apart) > 30 and np.median(apart) < 1.0
