"""What several tests share: real faces out of installed packages, nothing downloaded."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """NASA's public-domain portrait of Eileen Collins: uint8 RGB [512, 512, 3], one face."""
    from skimage import data

    return data.astronaut()


@pytest.fixture
def faces_csv(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a small labelled set of JPEGs with its CSV, and returns the CSV.

    `people` real portraits of as many people, and of each a fake (the middle of the picture
    blurred). With `splits`, people take these in turn.
    """
    package = importlib.util.find_spec("admin_tabler")
    folder = Path(package.origin).parent / "static" / "static" / "avatars"
    portraits = [f for f in sorted(folder.glob("*.jpg")) if _is_large_and_coloured(f)]

    def write(
        people: int = 8, splits: tuple[str, ...] = (), folder: Path = tmp_path / "faces"
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for number, file in enumerate(portraits[:people]):
            real = Image.open(file).convert("RGB")
            side = min(real.size)
            middle = (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
            fake = real.copy()
            fake.paste(real.crop(middle).filter(ImageFilter.GaussianBlur(3)), middle)
            names = (f"real/{file.stem}.jpg", f"fake/{file.stem}.jpg")
            for label, (name, picture) in enumerate(zip(names, (real, fake), strict=True)):
                (folder / name).parent.mkdir(exist_ok=True)
                picture.save(folder / name, quality=95, subsampling=0)
                row = {"path": name, "label": label, "identity": file.stem}
                row |= {"split": splits[number % len(splits)]} if splits else {}
                rows.append(row | {"source_path": names[0] if label else ""})
        pd.DataFrame(rows).to_csv(folder / "faces.csv", index=False)
        return folder / "faces.csv"

    return write


@pytest.fixture
def networks_with_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of networks/ in which a user has dropped a file of their own, Tiny.py."""
    import networks

    folder = tmp_path / "networks"
    shutil.copytree(Path(networks.__file__).parent, folder)
    shutil.copy(Path(__file__).parent / "Tiny.py", folder)
    monkeypatch.setattr(networks, "__file__", str(folder / "__init__.py"))
    monkeypatch.setattr(networks, "__path__", [str(folder), *networks.__path__])


def _is_large_and_coloured(file: Path) -> bool:
    with Image.open(file) as picture:
        if picture.mode != "RGB" or min(picture.size) < 160:
            return False
        red, _, blue = np.asarray(picture.resize((32, 32)), int).transpose(2, 0, 1)
        return bool(np.abs(red - blue).mean() > 5)
