"""The released weights answer right after cloning, and what is said of them is what was printed."""

import json
import re
from pathlib import Path

import pytest

import checkpoint
import predict
import seen
import verdict
from judging import NO_SIGNS, SIGNS
from utils import sha256_file

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "weights" / "detector.safetensors"
CARD = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COUNTED = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def block(text: str, name: str) -> str:
    """What test.py wrote between the marks of `--card FILE#name`."""
    return text.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]


def numbers(text: str, row: str) -> list[float]:
    """All numbers of the first row of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return [float(n) for n in re.findall(r"-?\d+\.\d+", line)]


def short(value: float, digits: int = 3) -> str:
    """As the texts write a share: .985."""
    return f"{value:.{digits}f}".lstrip("0")


def interval(values: list[float], digits: int = 3) -> str:
    """A number and its interval as the texts write them: .985 [.977, .992]."""
    value, low, high = (short(n, digits) if n < 1 else f"{n:.{digits}f}" for n in values[:3])
    return f"{value} [{low}, {high}]"


def flat(text: str) -> str:
    return " ".join(text.replace("\\", "").split())


@pytest.fixture(scope="module")
def state() -> dict:
    return checkpoint.load(WEIGHTS)


def test_they_are_small_whole_and_know_their_rows(state):
    assert WEIGHTS.stat().st_size <= 25_000_000
    rows = seen.rows_of(WEIGHTS, state)
    assert rows is not None and set(rows["split"]) == {"train", "val"} and len(rows) > 5000
    assert state["data"]["rows"] == sha256_file(WEIGHTS.parent / "rows.csv")
    model = verdict.load_model(WEIGHTS, "cpu")
    for film in (False, True):
        limits = model.limits(film)
        assert 0 < limits.low < limits.high < 1
    assert verdict.find_checkpoint() == verdict.RELEASED == WEIGHTS


def test_they_tell_the_samples_apart(tmp_path):
    samples = [str(ROOT / "samples" / name) for name in ("real.jpg", "fake.jpg", "fake2.jpg")]
    assert predict.main([*samples, "--json", str(tmp_path / "all.json"), "--device=cpu"]) == 0
    files = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["files"]
    found = {Path(one["path"]).name: one["state"] for one in files}
    assert found == {"real.jpg": NO_SIGNS, "fake.jpg": SIGNS, "fake2.jpg": SIGNS}


def test_the_tables_are_of_this_file(state):
    limits = state["thresholds"]
    for text, name in ((CARD, "own"), (README, "released"), (CARD, "clips")):
        for one in (limits, state["video_thresholds"])[: 1 + (name == "clips")]:
            own = block(text, name)
            assert f"at {one['threshold']:.3f}, stored" in own
            assert f"Above {one['t_high']:.4f}, between, below {one['t_low']:.4f}" in own
    first = [numbers(block(t, n), "AUC") for t, n in ((CARD, "own"), (README, "released"))]
    assert first[0] == first[1]


def test_the_words_say_what_the_tables_say():
    """After `make release` sentences that quote the tables are old: here are most of them."""
    own, clips = block(CARD, "own"), block(CARD, "clips")
    films = clips[clips.index(" videos:") :]
    alarms, signs = numbers(own, "False alarms"), numbers(own, "Real")[0]
    found = numbers(own, "Fake")[0]
    auc, of_films = numbers(own, "AUC"), numbers(films, "AUC")
    limits = re.search(r"Above (\d\.\d+), between, below (\d\.\d+)", films)
    assert limits is not None
    line = next(line for line in films.splitlines() if line.startswith("| Fake |"))
    fakes, *shares = (float(cell.split()[0]) for cell in line.split("|")[2:-1])
    counts = [COUNTED[round(share * fakes)] for share in shares]
    # The sources of 200 fakes and more: StyleGAN2's and the GAN swaps.
    left_out = block(CARD, "left-out-nobody")
    unseen = [numbers(left_out, row) for row in ("ffhq\\_stylegan2", "openforensics\\_like")]
    aucs, wrong = [one[:3] for one in unseen], [100 * one[6] for one in unseen]
    accused = [100 * one[12] for one in unseen]
    losses = {
        words: numbers(own, row)[3]  # after the AUC and its interval
        for words, row in (("JPEG 50", "jpeg | 50"), ("H.264 at CRF 34", "h264 | 34"))
    }
    said = {
        "weights/README.md": (
            CARD,
            [
                f"| {interval(auc)} |",
                f"{100 * alarms[3]:.1f} % of the reals of its own test split lie above it",
                f"above which {100 * signs:.1f} % of them lie",
                f"| {interval(of_films)} | given |",
                f"| {interval(aucs[0])}, {interval(aucs[1])} | missed |",
                f"reached AUC {interval(aucs[0], 2)} and {interval(aucs[1], 2)} on it",
                f"| {wrong[0]:.1f} %, {wrong[1]:.1f} % | missed |",
                f"| {accused[0]:.1f} %, {accused[1]:.1f} % | missed on one |",
                f"signs in {100 * found:.1f} % of the fakes at home",
                f"this one reached {interval(of_films, 2)}",
            ],
        ),
        "README.md": (
            README,
            [
                f"of {0.99 * signs / (0.01 * found):.1f} real pictures for each forgery",
                f"0.99 x {signs:.3f} against 0.01 x {found:.3f}",
                f"one had {wrong[0]:.0f} % false alarms at the stored threshold, the other "
                f"{wrong[1]:.0f} %, where its own sources have {100 * alarms[3]:.0f} %",
                f"AUC {interval(of_films, 2)}",
                f"Of {fakes:.0f} face-swap films that it was not trained on {counts[0]} shows "
                f"signs, {counts[1]} are inconclusive and {counts[2]} show none",
                f"{short(float(limits[1]))} and {short(float(limits[2]))}",
                *(f"{words} {short(loss)}" for words, loss in losses.items()),
            ],
        ),
    }
    missing = [
        f"{file}: {words}"
        for file, (text, sentences) in said.items()
        for words in sentences
        if words not in flat(text)
    ]
    assert not missing
