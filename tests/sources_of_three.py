"""Three small sources, and a training of seconds on them: what is left out, and what is changed."""

from pathlib import Path

import numpy as np
import pandas as pd

from faces.image import write_image

SMALL = [
    "--network=Tiny", "--data.crop=False", "--num_workers=0", "--input_size.height=16",
    "--input_size.width=16", "--layer_table=False", "--tracking.wandb=off", "--bootstrap=50",
    "--device=cpu", "--num_epochs=1", "--batch_size=8",
]  # fmt: skip


def write(folder: Path) -> None:
    """all.csv: two sources of both classes, and one of reals only, which share one person each."""
    random = np.random.default_rng(0)
    given = []
    for source, labels in (("alpha", (0, 1)), ("beta", (0, 1)), ("reals", (0,))):
        for number in range(24):
            label, name = labels[number % len(labels)], f"{source}/{number}.png"
            (folder / source).mkdir(exist_ok=True)
            image = random.integers(0, 200 + 55 * label, (24, 24, 3), dtype=np.uint8)
            write_image(folder / name, image)
            split = ("train", "train", "val", "test")[number // 6]
            row = {"path": name, "label": label, "split": split, "source": source}
            given.append(row | {"identity": f"p{number}", "method": source if label else ""})
    pd.DataFrame(given).to_csv(folder / "all.csv", index=False)
