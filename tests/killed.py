"""A training that is killed again and again (kill -9), each time by its parent, at a random moment.

    python tests/killed.py FOLDER KILLS SEED

Imports everything once and forks a child for each try, so that fifty of them take a minute. Prints
one line a kill: the epoch and batch that the files show afterwards. The last child is left alone.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import checkpoint  # noqa: E402
import networks  # noqa: E402
import train  # noqa: E402


def settings(prefix: Path) -> list[str]:
    """Each step is saved, so that about half of all moments lie inside a save."""
    return [
        "--tmp_data=48,3,24,24", "--batch_size=8", "--num_workers=0", "--tracking.wandb=off",
        "--network=Tiny", "--num_epochs=12", "--EARLY_STOPPING_EPOCH=0", "--dropout_rate=0.3",
        "--saving.minutes=1e-9", "--model.ema=0.9", "--precision=fp32", f"--prefix={prefix}",
    ]  # fmt: skip


def child(prefix: Path) -> int:
    """Start a training beside this process."""
    number = os.fork()
    if number == 0:
        try:
            with Path(f"{prefix}.out").open("a") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
                torch.set_num_threads(1)
                os._exit(train.main(settings(prefix)))
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(9)
    return number


def state_of(prefix: Path) -> tuple[int, int]:
    """The epoch and batch to continue from; every file that is there must be whole."""
    for file in (prefix / "checkpoints").glob("*.pth"):
        checkpoint.load(file)
    table = prefix / "metrics.csv"
    lines = len(table.read_text().splitlines()) - 1 if table.exists() else 0
    last = prefix / "checkpoints" / "last.pth"
    if not last.exists():
        return 0, 0
    state = checkpoint.load(last)
    assert lines in (state["epoch"], state["epoch"] + 1), (lines, state["epoch"])
    if state["best"]["epoch"]:
        best = checkpoint.load(prefix / "checkpoints" / "best.pth")
        assert best["epoch"] >= state["best"]["epoch"]
    return state["epoch"], state["training"]["batch"]


def main(folder: Path, kills: int, seed: int) -> int:
    networks.__path__.insert(0, str(Path(__file__).parent))
    networks.__file__ = str(folder / "networks" / "__init__.py")
    chance = random.Random(seed)
    prefix = folder / "broken"
    for _ in range(kills):
        number = child(prefix)
        time.sleep(chance.uniform(0.0, 1.0) ** 2 * 1.2)
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        print(*state_of(prefix), flush=True)
    for prefix in (folder / "broken", folder / "whole"):
        _, status = os.waitpid(child(prefix), 0)
        if status:
            print(Path(f"{prefix}.out").read_text(), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
