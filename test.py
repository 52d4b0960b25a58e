"""Test a checkpoint: numbers with intervals, scores.csv, heatmaps and one HTML report.

    python test.py --config_file configs/ResNet.yaml
    python test.py --config_file configs/ResNet.yaml --cam
    python test.py --config_file configs/ResNet.yaml --cam --heatmaps.path samples/fake.jpg
    python test.py --config_file configs/ResNet.yaml --test_checkpoint FILE.pth

Writes into test/ of the run folder: scores.csv (python metrics.py computes the same numbers from
it), metrics.json, report.html, left_out.csv, and cam/ with one picture a heatmap.
"""

import contextlib
import copy
import io
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

import checkpoint
import dataset
import manifest
import metrics
import scores
import utils
from failures import SHOWN, Failure, check_share, summary, write_failures
from flags import Config
from networks import Detector
from report import pictures, result
from settings import dump, parse
from utils import UserError


@dataclass(frozen=True)
class ToScore:
    """Rows to score. home: what their paths are relative to. overlap: were they checked against
    the rows that the checkpoint was trained on?
    """

    rows: pd.DataFrame
    home: Path
    left_out: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    overlap: str = "checked"


def main(argv: list[str]) -> int:
    config = parse(Config, argv, __doc__)
    device = utils.pick_device(config.device)
    precision, why = scores.scoring_precision(config, device)
    run = Path(config.prefix)
    out = run / "test"
    file = Path(config.test_checkpoint or run / "checkpoints" / "best.pth")
    state = checkpoint.load(file)
    if against := checkpoint.contradictions(state, config):
        raise UserError(f"{file} contradicts the configuration:\n  " + "\n  ".join(against))
    explaining = config.cam and bool(config.heatmaps.path)
    wanted = to_explain(config) if explaining else to_test(config, file, state)
    network = checkpoint.network_of(state)

    log = utils.console(out / "log.txt")
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}")
    log.info("WARNING: THIS IS TEST MODE!!\n")
    log.info(utils.environment_block(device, config.seed, why))
    log.info(
        f"[+] Network\n Type: {config.network}\n Checkpoint: {file}\n"
        f" Model parameters: {network.parameter_count():,}\n"
    )
    if config.layer_table and not explaining:
        log.info(layer_table(network, config))
    for note in wanted.notes:
        log.info(f"WARNING: {note}")
    layout = scores.layout(config.channels_last)
    network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]

    rows, samples, left_out = with_samples(wanted, config, device, random=not explaining)
    loader = scores.loader_for(samples, config, device)
    with tqdm(total=len(loader), disable=not sys.stderr.isatty()) as bar:
        values, failures = scores.score(
            network,
            loader,
            rows["path"].tolist(),
            device,
            precision,
            config.channels_last,
            bar.update,
        )
    failures = [*left_out, *failures]
    total = wanted.rows["path"].nunique() + len(wanted.left_out)
    check_share(failures, total, config.data.max_bad)
    names, labels = rows["path"].tolist(), rows["label"].to_numpy(int)
    if explaining:
        log.info("[+] Heatmaps")
        pictures.explained(network, samples, names, values, out / "cam_path", log.info)
        for failure in failures:
            log.info(f" {Path(failure.path).name}: {failure.reason}")
        return 0

    scores.write_scores(out / "scores.csv", rows, values, wanted.home)
    write_failures(out / "left_out.csv", failures, wanted.home)
    outcome = result.evaluated(
        out / "scores.csv", checkpoint.thresholds_of(state), failures, config.bootstrap
    )
    log.info(metrics.block(outcome.summary))
    log.info(result.stored_block(outcome))
    log.info(f" Pictures : {summary(failures, out / 'left_out.csv')}")
    drawn = []
    if config.cam:
        drawn = pictures.chosen_heatmaps(
            network,
            samples,
            names,
            labels,
            values,
            config.heatmaps.count,
            config.seed,
            out / "cam",
        )
        log.info(f" Heatmaps : {len(drawn)} pictures in {out / 'cam'}")
    tested = about(config, file, state, wanted.overlap)
    result.write_json(out / "metrics.json", outcome, tested)
    mistakes = pictures.worst_mistakes(samples, names, labels, values, out / "mistakes")
    result.write_report(out / "report.html", outcome, tested, mistakes, drawn)
    log.info(f" Report   : {out / 'report.html'}")
    return 0


def to_explain(config: Config) -> ToScore:
    """The pictures of `heatmaps.path`, whose labels nobody knows."""
    return ToScore(manifest.pictures(config.heatmaps.path), Path.cwd())


def to_test(config: Config, file: Path, state: dict[str, Any]) -> ToScore:
    """The manifest's test rows, or all rows of one without splits.

    Rows that the checkpoint was trained or validated on are refused: a number from rows that were
    learned says nothing.
    """
    data = config.data
    if config.tmp_data:
        labels = dataset.RandomFaces(config.tmp_data, config.seed + 2).labels
        return ToScore(scores.of_random(len(labels), labels), Path.cwd())
    if not data.test:
        raise UserError("data.test is empty: name the CSV or folder to test on")
    whole = manifest.read(data.test, data.fake_label)
    rows = whole.split("test") if whole.has_splits else whole.rows
    if len(rows) == 0:
        raise UserError(
            f"{data.test}: has splits, but no row of split `test`: give it some, or "
            "name another CSV by --data.test"
        )
    seen = checkpoint.overlap(file, state, rows)
    if seen:
        raise UserError(
            f"{data.test}: {file} was trained or validated on some of these rows:\n  "
            + "\n  ".join(seen)
            + "\ntest on other people"
        )
    unknown = (
        f"{file.parent / checkpoint.ROWS_FILE} is missing or another run's: nobody can tell "
        "whether this checkpoint was trained on these rows"
    )
    return ToScore(
        rows,
        whole.home,
        whole.left_out("test") if whole.has_splits else whole.left_out(),
        (*whole.warnings, *([unknown] if seen is None else [])),
        "unknown" if seen is None else "checked",
    )


def with_samples(
    wanted: ToScore, config: Config, device: torch.device, random: bool
) -> tuple[pd.DataFrame, Dataset, list[Failure]]:
    """The rows with their faces found, their samples, and the pictures that gave none."""
    if config.tmp_data and random:
        return wanted.rows, dataset.RandomFaces(config.tmp_data, config.seed + 2), []
    rows, left_out = dataset.locate_faces(wanted.rows, config.data, config.face, device)
    left_out = [*wanted.left_out, *left_out]
    if len(rows) == 0:
        reasons = "\n  ".join(f"{f.path}: {f.reason}" for f in left_out[:SHOWN])
        raise UserError(f"nothing is left to score:\n  {reasons}")
    return rows, dataset.evaluation_set(rows, config), left_out


def about(config: Config, file: Path, state: dict[str, Any], overlap: str) -> result.Tested:
    run = Path(config.prefix)
    again = f"python test.py --config_file {run / 'config.yaml'} --test_checkpoint {file}"
    data = "random pictures" if config.tmp_data else config.data.test
    return result.Tested(
        title=f"{config.network} on {data}",
        data=data,
        checkpoint=file,
        state=state,
        overlap=overlap,
        configuration=dump(config),
        commands=(
            f"python train.py --config_file {run / 'config.yaml'}",
            again + (" --cam" if config.cam else ""),
            f"python metrics.py {run / 'test' / 'scores.csv'}",
        ),
    )


def layer_table(network: Detector, config: Config) -> str:
    """torchsummary's table of layers, output shapes and parameters, for one batch."""
    from torchsummary import summary as print_table

    size = config.input_size
    shape = (config.model.in_channels, size.height, size.width)
    text = io.StringIO()
    # A copy: its hooks stay away from the network that is tested.
    with contextlib.redirect_stdout(text), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        print_table(copy.deepcopy(network.backbone), shape, config.batch_size, device="cpu")
    return text.getvalue()


if __name__ == "__main__":
    utils.run_command(main)
