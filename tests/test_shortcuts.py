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
from faces.image import decode_image, read_image, write_image
from flags import Augment, Config, Face, Fakes, InputSize, Prepare
from settings import load

SIDE, PASSES = 160, 26
"""Each of 40 faces so many times: 1,040 pairs."""

OUTSIDE = ("detail", "blocks")
"""What is measured outside of the face alone."""

Measures = dict[str, np.ndarray]


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


def measured(
    rows: pd.DataFrame, recipe: str, config: str, passes: int = PASSES, wide: bool = False
) -> Measures:
    """Measures of the pairs that training sees: name -> [pairs, 2], of the real and of the fake.

    wide: with margins of a fifth of the box and more, so that the strip shows nothing of the face.
    """
    own = shipped(config)
    if wide:
        own = own.model_copy(update={"margin": [20.0, max(own.margin[1], 21.0)]})
    samples = dataset.FaceDataset(
        rows, Face(), InputSize(height=SIDE, width=SIDE), repeat=passes,
        fakes=Fakes(type=recipe, pairs=True), augment=own,
    )  # fmt: skip
    found: dict[str, list[list[float]]] = {"sizes": [], "detail": [], "blocks": []}
    for index in range(len(samples)):
        pair = samples[1, index]
        if not isinstance(pair, list):
            continue  # a face of which no fake can be made
        each = [of_picture(np.ascontiguousarray(p.permute(1, 2, 0).numpy())) for p, _, _ in pair]
        for name, values in found.items():
            values.append([measures[name] for measures in each])
    if recipe == "warp":
        # A warped face is a face at a lower resolution, which takes fewer bytes: the artefact.
        del found["sizes"]
    return {name: np.array(values) for name, values in found.items()}


def of_picture(image: np.ndarray) -> dict[str, float]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=90)
    # Outside the face: a strip along the upper edge.
    strip = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:16].astype(float)
    steps = np.abs(np.diff(strip, axis=1)).mean(0)
    return {
        "sizes": len(file.getvalue()),
        "detail": cv2.Laplacian(strip, cv2.CV_64F).var(),
        "blocks": steps[7::8].mean() / (steps.mean() + 1e-9),
    }


def told(pairs: np.ndarray) -> float:
    """AUC of a measure [pairs, 2], fakes against reals of all pictures."""
    return float(roc_auc_score(np.tile([0, 1], len(pairs)), pairs.ravel()))


def told_within(pairs: np.ndarray) -> float:
    """Share of pairs in which the fake has more of it, equal ones by half: portraits differ so much
    that what is done to every fake hardly shows among all, and shows here.
    """
    real, fake = pairs.T
    return float(((fake > real) + 0.5 * (fake == real)).mean())


@pytest.mark.parametrize(
    ("recipe", "config"),
    [("blend", "SBI"), ("blend", "release"), ("swap", "release"), ("warp", "release")],
)
def test_what_lies_outside_the_face_tells_nothing(rows, recipe, config):
    found = measured(rows, recipe, config)
    assert len(found["detail"]) >= 1000
    among_all = {name: told(pairs) for name, pairs in found.items()}
    assert among_all == {name: pytest.approx(0.5, abs=0.05) for name in among_all}
    # Bytes are of the face too, where a blend is duller than what it covers.
    outside = measured(rows, recipe, config, wide=True)
    within = {name: told_within(outside[name]) for name in OUTSIDE}
    assert within == {name: pytest.approx(0.5, abs=0.05) for name in OUTSIDE}


@pytest.mark.parametrize("trace", ["jpeg", "blur", "noise"])
@pytest.mark.parametrize("config", ["SBI", "release"])
def test_a_trace_on_fakes_alone_would_be_seen(rows, monkeypatch, trace, config):
    """The measures above are worth something: with a shortcut built in they find it."""

    def spoilt(image, *more):
        real, fake = make_pair(image, *more)
        if trace == "jpeg":
            fake = decode_image(cv2.imencode(".jpg", fake[..., ::-1], [1, 50])[1].tobytes())
        elif trace == "blur":
            fake = cv2.GaussianBlur(fake, (0, 0), 0.5)
        else:
            noise = np.random.default_rng(0).normal(0, 3, fake.shape)
            fake = (fake + noise).round().clip(0, 255).astype(np.uint8)
        return real, fake

    make_pair = dataset.make_pair
    monkeypatch.setattr(dataset, "make_pair", spoilt)
    found = measured(rows, "blend", config, passes=5, wide=True)
    assert max(abs(told_within(found[name]) - 0.5) for name in OUTSIDE) > 0.1


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
