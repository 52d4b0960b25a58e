"""Whole faces of nobody, drawn by a generator: to paste into photographs, or to train on as fakes.

    make generator                  # installs OpenVINO and the package that carries the weights
    python -m fakes.generated --count 2000 --out data/generated
    python train.py --config_file configs/SBI.yaml --fakes.type swap \\
        --fakes.swap.donors data/generated/faces.csv

The generator is MobileStyleGAN (Belousov, MobileStyleGAN: A Lightweight Convolutional Neural
Network for High-Fidelity Image Synthesis, 2021): a small copy of StyleGAN2, distilled from NVIDIA's
network of FFHQ. The package random-face carries its weights (Apache-2.0); the network that it was
distilled from, and FFHQ, are for non-commercial use. A detector that was trained with these faces
has seen a relative of StyleGAN2, and who tests it on StyleGAN2's pictures should say so.

The faces stand as in FFHQ, upright in the middle. How far one is from the average face, how it is
shrunk and how much JPEG takes of it are drawn anew for each, so that none of it marks a fake.
Number i is the same face however many are asked for; those that are there already are kept, and
settings.yaml beside them says how they were drawn.
"""

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from flags import Generated
from settings import dump, parse
from utils import UserError, csv_text, run_command, write_atomic

SOURCE, METHOD = "generated", "MobileStyleGAN"
MEAN_OF = 2048
"""The average face is that of so many styles."""
SHRINKING = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
REMEDY = "make generator"


def main(argv: list[str]) -> int:
    config = parse(Generated, argv, __doc__ or "")
    out = Path(config.out)
    names = [f"{number:06d}" for number in range(config.count)]
    files = [out / "faces" / f"{name}.jpg" for name in names]
    refuse_others(out, config)
    missing = [number for number, file in enumerate(files) if not file.is_file()]
    if missing:
        generator = Generator(config.seed)
        for number in tqdm(missing, desc="Drawing", unit="face", disable=None):
            random = np.random.default_rng([config.seed, number])
            low, high = config.truncation
            face = generator.draw(random, random.uniform(low, high))
            write_atomic(files[number], encoded(face, random, config))
    rows = pd.DataFrame({"path": [file.relative_to(out).as_posix() for file in files]})
    known = {"label": "fake", "split": "train", "source": SOURCE, "method": METHOD}
    rows = rows.assign(**known, identity=[f"{config.seed}_{name}" for name in names])
    write_atomic(out / "faces.csv", csv_text(rows))
    print(f"[+] Faces : {len(files)} in {out / 'faces.csv'}, {len(missing)} of them new")
    return 0


def refuse_others(out: Path, config: Generated) -> None:
    """Write down how the faces of a folder are drawn. Raises UserError where some are there that
    were drawn in another way: they would stay, under the names of these.
    """
    file, text = out / "settings.yaml", dump(config.model_dump(exclude={"count", "out"}))
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    if before != text and next((out / "faces").glob("*.jpg"), None):
        how = f"of {file.name} there" if before else "that nobody wrote down"
        raise UserError(
            f"{out} has faces of other settings, {how}: remove them, or name another --out"
        )
    write_atomic(file, text)


def encoded(face: np.ndarray, random: np.random.Generator, config: Generated) -> bytes:
    """A face as the bytes of a JPEG of `config.side` pixels a side; shrinking and quality drawn."""
    how = SHRINKING[random.integers(len(SHRINKING))]
    small = Image.fromarray(face).resize((config.side, config.side), how)
    low, high = config.quality
    quality = int(random.integers(low, high, endpoint=True))
    subsampling = ("4:4:4", "4:2:0")[random.integers(2)]
    content = io.BytesIO()
    small.save(content, "JPEG", quality=quality, subsampling=subsampling)
    return content.getvalue()


class Generator:
    """MobileStyleGAN on a CPU, by OpenVINO. Raises UserError where it is not installed."""

    def __init__(self, seed: int) -> None:
        openvino, weights = runtime(), folder()
        core = openvino.Core()
        self._style, self._picture = (
            core.compile_model(weights / f"{name}Network.xml", "CPU")
            for name in ("Mapping", "Synthesis")
        )
        random = np.random.default_rng([seed, 2**32])  # none of the faces'
        self._mean = np.mean([self._drawn_style(random) for _ in range(MEAN_OF)], axis=0)

    def draw(self, random: np.random.Generator, truncation: float) -> np.ndarray:
        """A face, uint8 RGB [1024, 1024, 3]. truncation: 0 the average face, 1 as it was drawn
        (Karras et al. 2019, section 2).
        """
        style = self._mean + np.float32(truncation) * (self._drawn_style(random) - self._mean)
        picture = self._picture({"style": style})["img"][0]  # [3, height, width], -1..1
        values = (picture.transpose(1, 2, 0) + 1) * 127.5
        return values.round().clip(0, 255).astype(np.uint8)

    def _drawn_style(self, random: np.random.Generator) -> np.ndarray:
        values = random.standard_normal((1, 512), np.float32)
        style: np.ndarray = self._style({"var": values})["style"]
        return style


def runtime() -> ModuleType:
    """OpenVINO."""
    try:
        import openvino
    except ImportError:
        raise UserError(f"faces are drawn by OpenVINO, which is not installed: {REMEDY}") from None
    return openvino


def folder() -> Path:
    """Where pip put the weights."""
    package = importlib.util.find_spec("random_face")  # found, not imported: it wants much else
    if package is None or package.origin is None:
        raise UserError(
            f"the generator's weights are in the package random-face, not installed: {REMEDY}"
        )
    return Path(package.origin).parent / "data"


if __name__ == "__main__":
    run_command(main)
