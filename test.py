"""Test a checkpoint: numbers with intervals, scores.csv, heatmaps and one HTML report.

    python test.py --config_file configs/ResNet.yaml
    python test.py --config_file configs/ResNet.yaml --cam
    python test.py --config_file configs/ResNet.yaml --cam --cams.path samples/fake.jpg
    python test.py --config_file configs/ResNet.yaml --test_checkpoint FILE.pth

Writes into test/ of the run folder: scores.csv (python metrics.py computes the same numbers from
it), metrics.json, report.html, left_out.csv, and cam/ with one picture a heatmap.
"""

import contextlib
import copy
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import checkpoint
import dataset
import manifest
import metrics
import scores
import utils
from dataset import EpochBatches, Failure
from faces.image import write_image
from flags import Config, dump, parse
from metrics import Summary, Thresholds
from networks import Detector
from report import heatmaps, page, plots
from utils import UserError

MISTAKES = 12
"""So many of the worst mistakes are shown in the report."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """The scored rows, their numbers at 0.5 and the values at the stored threshold."""

    rows: pd.DataFrame
    values: np.ndarray
    summary: Summary
    at_stored: dict[str, float]
    thresholds: Thresholds
    failures: list[Failure]


# ----------------------------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    config = parse(Config, argv, __doc__)
    device = utils.pick_device(config.device)
    # Scores are computed in float32 unless asked otherwise: bfloat16 rounds them to 3 digits.
    wanted = "fp32" if config.precision == "auto" else config.precision
    precision, why = utils.pick_precision(wanted, device)
    run = Path(config.prefix)
    file = Path(config.test_checkpoint or run / "checkpoints" / "best.pth")
    state = checkpoint.load(file)
    if against := checkpoint.contradictions(state, config):
        raise UserError(f"{file} contradicts the configuration:\n  " + "\n  ".join(against))
    explaining = config.cam and config.cams.path
    rows, home = pictures_to_explain(config) if explaining else rows_to_test(config, file)
    network = checkpoint.network_of(state)

    out = run / "test"
    log = utils.console(out / "log.txt")
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}")
    log.info("WARNING: THIS IS TEST MODE!!\n")
    log.info(utils.environment_block(device, config.seed, why))
    log.info(
        f"[+] Network\n Type: {config.network}\n Checkpoint: {file}\n"
        f" Model parameters: {network.parameter_count():,}\n"
    )
    if not explaining:
        log.info(layer_table(network, config))
    network = to_device(network, device, config)

    pictures = rows["path"].nunique()
    rows, left_out = faces_to_score(rows, config, device)
    samples = samples_of(rows, config)
    values, failures = scored(network, samples, config, device, precision)
    failures = left_out + failures
    unreadable = [f for f in failures if f.reason != dataset.NO_FACE]
    dataset.check_share(unreadable, pictures, config.data.max_bad)
    if explaining:
        explain(network, samples, rows, values, failures, config, device, out, log.info)
        return 0

    scores.write_scores(out / "scores.csv", rows, values, home)
    result = evaluated(rows, values, failures, checkpoint.thresholds_of(state), config, out)
    log.info(metrics.block(result.summary))
    log.info(stored_threshold_block(result))
    if failures:
        log.info(f" Left out : {len(failures)} pictures, listed in {out / 'left_out.csv'}")
    drawn = []
    if config.cam:
        drawn = drawn_heatmaps(network, samples, result, config, device, out / "cam")
        log.info(f" Heatmaps : {len(drawn)} pictures in {out / 'cam'}")
    write_report(result, state, file, samples, drawn, config, out)
    log.info(f" Report   : {out / 'report.html'}")
    return 0


# ------------------------------------------------------------------------------- the rows


def pictures_to_explain(config: Config) -> tuple[pd.DataFrame, Path]:
    """Rows of `cams.path`, and the folder that their names are relative to."""
    return manifest.pictures(config.cams.path), Path.cwd()


def rows_to_test(config: Config, file: Path) -> tuple[pd.DataFrame, Path]:
    """The manifest's test rows, or all rows of one without splits; and the manifest's folder.

    Rows that the checkpoint was trained or validated on are refused.
    """
    data = config.data
    if config.tmp_data:
        labels = dataset.RandomFaces(config.tmp_data, config.seed + 2).labels
        return scores.of_random(len(labels), labels).assign(file=""), Path.cwd()
    if not data.test:
        raise UserError("data.test is empty: name the CSV or folder to test on")
    whole = manifest.read(data.test, data.fake_label)
    rows = whole.split("test") if whole.has_splits else whole.rows
    if len(rows) == 0:
        raise UserError(f"{data.test}: has splits, but no row of split `test`")
    try:
        seen = checkpoint.overlap(file, rows)
    except FileNotFoundError:
        seen = []
        print(
            f"WARNING: {file.parent / checkpoint.ROWS_FILE} is missing, so nobody can tell whether "
            "this checkpoint was trained on these rows",
            file=sys.stderr,
        )
    if seen:
        raise UserError(
            f"{data.test}: {file} was trained or validated on some of these rows:\n  "
            + "\n  ".join(seen)
            + "\ntest on other people: a number from rows that were learned says nothing"
        )
    return rows, whole.home


def faces_to_score(
    rows: pd.DataFrame, config: Config, device: torch.device
) -> tuple[pd.DataFrame, list[Failure]]:
    if config.tmp_data and "file" in rows:
        return rows, []
    rows, left_out = dataset.locate_faces(rows, config.data, config.face, device)
    if len(rows) == 0:
        reasons = "\n  ".join(f"{f.path}: {f.reason}" for f in left_out[: manifest.SHOWN])
        raise UserError(f"nothing is left to score:\n  {reasons}")
    return rows, left_out


def samples_of(rows: pd.DataFrame, config: Config) -> Dataset:
    if config.tmp_data and not (config.cam and config.cams.path):
        return dataset.RandomFaces(config.tmp_data, config.seed + 2)
    return dataset.evaluation_set(rows, config)


# ----------------------------------------------------------------------------- the scores


def to_device(network: Detector, device: torch.device, config: Config) -> Detector:
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    return network.to(device=device, memory_format=layout)  # type: ignore[call-overload]


def scored(
    network: Detector,
    samples: Dataset,
    config: Config,
    device: torch.device,
    precision: torch.dtype,
) -> tuple[np.ndarray, list[Failure]]:
    count = len(samples)  # type: ignore[arg-type]
    order = EpochBatches(count, config.batch_size, config.seed, shuffle=False)
    loader: DataLoader = dataset.make_loader(samples, order, config.num_workers)
    with tqdm(total=len(order), disable=not sys.stderr.isatty()) as bar:
        return scores.score(
            network, loader, count, device, precision, config.channels_last, bar.update
        )


def evaluated(
    rows: pd.DataFrame,
    values: np.ndarray,
    failures: list[Failure],
    thresholds: Thresholds,
    config: Config,
    out: Path,
) -> Result:
    """Numbers from the scores.csv that was written; metrics.json and left_out.csv beside it."""
    frame = metrics.read_scores(out / "scores.csv")
    summary = metrics.summarise(frame, 0.5, config.bootstrap)
    at_stored = {}
    if np.isfinite(thresholds.threshold):
        labels, numbers = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
        at_stored = metrics.evaluate(labels, numbers, thresholds.threshold)
    content = {
        "data": config.data.test or "random pictures",
        "n": summary.n,
        "real": summary.real,
        "fake": summary.fake,
        "left_out": len(failures),
        "threshold": summary.threshold,
        "values": summary.values,
        "intervals": summary.intervals,
        "intervals_by": summary.grouped_by,
        "groups": summary.groups,
        "confusion": summary.confusion,
        "stored_thresholds": vars(thresholds),
        "at_stored_threshold": {k: at_stored[k] for k in metrics.AT_THRESHOLD if at_stored},
    }
    utils.write_atomic(out / "metrics.json", json.dumps(without_nan(content), indent=2))
    table = pd.DataFrame([vars(f) for f in failures], columns=["path", "reason"])
    utils.write_atomic(out / "left_out.csv", table.to_csv(index=False, lineterminator="\n"))
    return Result(rows, values, summary, at_stored, thresholds, failures)


# --------------------------------------------------------------------------- the pictures


def drawn_heatmaps(
    network: Detector,
    samples: Dataset,
    result: Result,
    config: Config,
    device: torch.device,
    folder: Path,
) -> list[page.Heatmap]:
    """Grad-CAM of the most wrong, the most certain and random faces, one PNG each."""
    for old in folder.glob("*.png"):
        old.unlink()
    labels = result.rows["label"].to_numpy(int)
    chosen = heatmaps.choose(labels, result.values, config.cams.count, config.seed)
    drawn = draw_all(network, samples, [c.row for c in chosen], labels, result.values, device)
    entries = []
    for number, (choice, picture) in enumerate(zip(chosen, drawn, strict=True), 1):
        score = result.values[choice.row]
        name = Path(result.rows["path"].iloc[choice.row]).stem[:40]
        file = folder / f"{number:03d}_{choice.group.split()[-1]}_{score:.3f}_{name}.png"
        write_image(file, picture)
        text = heatmaps.caption(labels[choice.row], score).replace("\n", ", ")
        entries.append(page.Heatmap(file, text, choice.group))
    return entries


def draw_all(
    network: Detector,
    samples: Dataset,
    rows: list[int],
    labels: np.ndarray,
    values: np.ndarray,
    device: torch.device,
) -> list[np.ndarray]:
    if not rows:
        return []
    pictures = torch.stack([samples[(0, row)][0] for row in rows])
    maps = heatmaps.heatmaps(network, pictures.to(device), values[rows])
    return [
        heatmaps.draw(as_picture(picture), one, int(labels[row]), float(values[row]))
        for picture, one, row in zip(pictures, maps, rows, strict=True)
    ]


def explain(
    network: Detector,
    samples: Dataset,
    rows: pd.DataFrame,
    values: np.ndarray,
    failures: list[Failure],
    config: Config,
    device: torch.device,
    out: Path,
    say: Say,
) -> None:
    """Heatmaps of one picture or a folder of them, whose labels nobody knows."""
    good = [int(i) for i in np.flatnonzero(np.isfinite(values))]
    labels = rows["label"].to_numpy(int)
    drawn = draw_all(network, samples, good, labels, values, device)
    for old in (out / "cam_path").glob("*.png"):
        old.unlink()
    say("[+] Heatmaps")
    for number, (row, picture) in enumerate(zip(good, drawn, strict=True), 1):
        source = Path(rows["path"].iloc[row])
        file = out / "cam_path" / f"{number:03d}_{source.stem[:40]}.png"
        write_image(file, picture)
        called = "FAKE" if values[row] >= 0.5 else "REAL"
        say(f" {source.name}: called {called}, fake score {values[row]:.4f} -> {file}")
    if len(drawn) > 1:
        write_image(out / "cam_path" / "sheet.png", heatmaps.sheet(drawn))
        say(f" All on one sheet: {out / 'cam_path' / 'sheet.png'}")
    for failure in failures:
        say(f" {failure.path}: {failure.reason}")


def as_picture(sample: torch.Tensor) -> np.ndarray:
    """A sample's uint8 [channels, height, width] -> RGB [height, width, 3]."""
    return np.ascontiguousarray(sample.expand(3, -1, -1).permute(1, 2, 0).numpy())


# ----------------------------------------------------------------------------- the report


def write_report(
    result: Result,
    state: dict[str, Any],
    file: Path,
    samples: Dataset,
    drawn: list[page.Heatmap],
    config: Config,
    out: Path,
) -> None:
    summary, limits = result.summary, result.thresholds
    tn, fp, fn, tp = (summary.confusion[key] for key in ("tn", "fp", "fn", "tp"))
    known = np.isfinite(result.values)
    labels, values = result.rows["label"].to_numpy(int)[known], result.values[known]
    persons = summary.groups if summary.grouped_by == "identity" else None
    seeds = f"bootstrap over {summary.groups} groups by {summary.grouped_by}, "
    config_path = Path(config.prefix) / "config.yaml"
    page.write_page(
        out / "report.html",
        page.Page(
            title=f"{config.network} on {config.data.test or 'random pictures'}",
            verdict=[page.headline(tn, fp, fn, tp, persons=persons)],
            n=summary.n,
            real=summary.real,
            fake=summary.fake,
            persons=persons,
            threshold=summary.threshold,
            intervals=seeds + f"{config.bootstrap} resamples" if summary.intervals else "",
            numbers=[table_row(key, summary, result.at_stored) for key in metrics.NAMES],
            confusion=plots.confusion(tn, fp, fn, tp),
            histogram=plots.histogram(labels, values, summary.threshold),
            roc=plots.roc(labels, values),
            precision_recall=plots.precision_recall(labels, values),
            learning_curves=plots.learning_curves(history(state, file)),
            mistakes=worst_mistakes(result, samples, out / "mistakes"),
            heatmaps=drawn,
            failures=[page.Failure(f.path, f.reason) for f in result.failures],
            data=f"{config.data.test or 'random pictures'}: {summary.n} faces of its test rows",
            checkpoint=page.Checkpoint(
                str(file), state["epoch"], utils.sha256_file(file), limits.threshold, limits.data
            ),
            configuration=dump(config),
            commands=[
                f"python train.py --config_file {config_path}",
                f"python test.py --config_file {config_path} --test_checkpoint {file}"
                + (" --cam" if config.cam else ""),
                f"python metrics.py {out / 'scores.csv'}",
            ],
        ),
    )


def table_row(key: str, summary: Summary, at_stored: dict[str, float]) -> page.Number:
    name, meaning = metrics.NAMES[key]
    low, high = summary.intervals.get(key, (None, None))
    stored = at_stored.get(key) if key in metrics.AT_THRESHOLD else None
    return page.Number(name, summary.values[key], low, high, stored, meaning)


def worst_mistakes(result: Result, samples: Dataset, folder: Path) -> list[page.Mistake]:
    """The faces furthest from the truth, as the network saw them."""
    for old in folder.glob("*.png"):
        old.unlink()
    labels = result.rows["label"].to_numpy(int)
    distance = np.where(np.isfinite(result.values), np.abs(result.values - labels), -1)
    wrong = [int(i) for i in np.argsort(-distance, kind="stable") if distance[i] >= 0.5]
    mistakes = []
    for number, row in enumerate(wrong[:MISTAKES], 1):
        file = folder / f"{number:03d}.png"
        write_image(file, as_picture(samples[(0, row)][0]))
        path = manifest.relative(result.rows["path"].iloc[row], Path.cwd())
        mistakes.append(page.Mistake(file, path, int(labels[row]), float(result.values[row])))
    return mistakes


def history(state: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    """The run's epochs: of its metrics.csv, which goes on after the best, else the checkpoint's."""
    table = file.absolute().parent.parent / "metrics.csv"
    rows = pd.read_csv(table).to_dict("records") if table.is_file() else []
    return rows if len(rows) >= len(state["history"]) else state["history"]


def stored_threshold_block(result: Result) -> str:
    limits, values = result.thresholds, result.at_stored
    if not values:
        return " No threshold is stored: the validation had one class only"
    figures = ", ".join(
        f"{metrics.NAMES[key][0].lower()} {metrics.show(values[key])}"
        for key in metrics.AT_THRESHOLD
    )
    return f" At the threshold {limits.threshold:.4f} of {limits.data}: {figures}"


def layer_table(network: Detector, config: Config) -> str:
    """torchsummary's table of layers, output shapes and parameters, for one batch."""
    from torchsummary import summary

    size = config.input_size
    shape = (config.model.in_channels, size.height, size.width)
    text = io.StringIO()
    # A copy: its hooks stay away from the network that is tested.
    with contextlib.redirect_stdout(text), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        summary(copy.deepcopy(network.backbone), shape, config.batch_size, device="cpu")
    return text.getvalue()


def without_nan(value: Any) -> Any:
    """JSON has no NaN: an undefined number becomes null."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    logging.captureWarnings(True)
    utils.run_command(main)
