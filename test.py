"""Test a checkpoint: numbers with intervals, scores.csv, heatmaps and one HTML report.

    python test.py --config_file configs/ResNet.yaml
    python test.py --config_file configs/ResNet.yaml --cam
    python test.py --config_file configs/ResNet.yaml --cam --heatmaps.path samples/fake.jpg
    python test.py --config_file configs/ResNet.yaml --test_checkpoint FILE.pth
    python test.py --config_file configs/ResNet.yaml --subgroups source,method
    python test.py --config_file configs/ResNet.yaml --robustness --perturb.kinds jpeg,h264
    python test.py --config_file configs/ResNet.yaml --data.test a.csv --data.test b.csv
    python test.py --config_file configs/ResNet.yaml --card weights/README.md#own
    python test.py --compare log/A log/B --out log/compare

Writes into test/ of the run folder: scores.csv (python metrics.py computes the same numbers from
it) and video_scores.csv, metrics.json, report.html, left_out.csv; with --robustness robustness.csv;
with --cam one picture a heatmap in cam/. Of several collections each has its own folder in test/,
beside cross.csv, cross.tex and cross.html. --compare writes compare.csv and compare.html.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

import checkpoint
import dataset
import processes as several
import scores
import thresholds
import utils
from failures import SHOWN, Failure, check_share, summary, write_failures
from flags import Compare, Config
from networks import Detector
from processes import Processes
from report import (
    card,
    compare,
    cross,
    page,
    pictures,
    result,
    robustness,
    subgroups,
    tables,
    tracking,
)
from report.layers import layer_table
from report.result import Result, Tested
from report.robustness import Perturbed, Robustness
from settings import dump, parse
from splits import UNSAFE, UNSAFE_NOTE
from testing import perturb
from testing.rows import Collection, to_explain, to_test
from training.resume import not_heeded
from utils import UserError

ACROSS = ("cross.csv", "cross.tex", "cross.html")
SINGLE = (
    "scores.csv", "video_scores.csv", "metrics.json", "report.html", "left_out.csv",
    "robustness.csv",
)  # fmt: skip
"""Files of a test of several collections, and of one."""


@dataclass(frozen=True)
class Scored:
    """Rows whose faces were found, their samples and scores [n], NaN where a row has failed."""

    rows: pd.DataFrame
    samples: Dataset
    values: np.ndarray
    failures: list[Failure]

    @property
    def names(self) -> list[str]:
        return self.rows["path"].tolist()

    @property
    def labels(self) -> np.ndarray:
        return self.rows["label"].to_numpy(int)


def main(argv: list[str]) -> int:
    if any(word.split("=")[0] == "--compare" for word in argv):
        compare.compare(parse(Compare, argv, __doc__))
        return 0
    config = parse(Config, argv, __doc__)
    with contextlib.closing(several.join(config.device)) as processes:
        return test(config, processes)


def test(config: Config, processes: Processes) -> int:
    """One test from its configuration to its report, in one of its processes."""
    device = processes.device
    precision, why = scores.scoring_precision(config, device)
    run = Path(config.prefix)
    out = run / "test"
    file = Path(config.test_checkpoint or run / "checkpoints" / "best.pth")
    state = checkpoint.load(file)
    if against := checkpoint.contradictions(state, config):
        raise UserError(f"{file} contradicts the configuration:\n  " + "\n  ".join(against))
    explaining = config.cam and bool(config.heatmaps.path)
    wanted = [to_explain(config)] if explaining else to_test(config, file, state)
    if not explaining:
        subgroups.refuse_unknown(config.subgroups, [collection.rows for collection in wanted])
    network = checkpoint.network_of(state)
    state, notes = scored_otherwise(network, state, config.tta)

    log = utils.console(out / "log.txt" if processes.first else None, processes.first)
    log.info("-" * 32 + f"\nRunning {config.network} on device {device.type}")
    log.info("WARNING: THIS IS TEST MODE!!\n")
    log.info(utils.environment_block(device, config.seed, why, processes.world))
    log.info(
        f"[+] Network\n Type: {config.network}\n Checkpoint: {file}\n"
        f" Model parameters: {network.parameter_count():,}\n"
    )
    if config.layer_table and processes.first and not explaining:
        log.info(layer_table(network, config))
    for note in [*notes, *(note for collection in wanted for note in collection.notes)]:
        log.info(f"WARNING: {note}")
    for note in not_heeded(state, config):
        log.info(f"WARNING: {note}")
    tester = Tester(config, file, state, network, processes, precision, log.info, notes)
    if not processes.first:
        for collection in wanted:
            scored = tester.score(collection)
            if config.robustness and not explaining:
                tester.perturbed(scored)
        return 0
    if explaining:
        tester.explain(wanted[0], out / "cam_path")
        return 0
    trackers = tracking.join(
        config.tracking, run, file, state["epoch"], config.model_dump(), log.info
    )
    try:
        test_all(tester, wanted, trackers, out)
    finally:
        trackers.close()
    return 0


def scored_otherwise(
    network: Detector, state: dict[str, Any], tta: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The checkpoint for a test by another `tta` than its validation's, and what to say of it.

    The thresholds and the temperature are those of other scores then, and are left out.
    """
    own = network.tta
    if tta in ("", own):
        return state, ()
    network.tta = tta
    none = dict(vars(thresholds.NO_THRESHOLDS)) | {"data": f"validation was scored by tta {own}"}
    kept = {key: value for key, value in state.items() if key != "video_thresholds"}
    note = (
        f"tta: {tta} is used, the checkpoint's validation was scored by {own}: its thresholds and "
        "temperature do not fit and are left out"
    )
    return kept | {"thresholds": none, "tta": tta}, (note,)


def test_all(
    tester: "Tester", wanted: list[Collection], trackers: tracking.Trackers, out: Path
) -> None:
    """Each collection into a folder of its own, and a table across them; one alone into `out`."""
    card.refuse_unmarked(tester.config.card)
    again = {"test_checkpoint": str(tester.file), "card": []}  # what the page says to type
    utils.write_atomic(out / "config.yaml", dump(tester.config.model_dump() | again))
    clear(out, SINGLE if len(wanted) > 1 else ACROSS)
    if len(wanted) == 1:
        tester.test(wanted[0], trackers, out)
        return
    results: dict[str, Result] = {}
    collections = dict(zip(cross.folder_names([c.data for c in wanted]), wanted, strict=True))
    for name, collection in collections.items():
        tester.say(f"\n[+] {name}: {collection.data}")
        results[name] = tester.test(collection, trackers, out / name, name)
    title = f"{tester.config.network} on {len(collections)} collections"
    links = {name: collection.data for name, collection in collections.items()}
    tester.say("\n" + cross.write(out, results, links, title))
    card.write(tester.config.card, [*cross.across(results).values()])
    tester.say(f" Together : {out / 'cross.html'}, cross.csv, cross.tex")


def clear(out: Path, names: tuple[str, ...]) -> None:
    """Remove what an earlier test of the other kind left: nobody should take it for this one's."""
    for name in names:
        (out / name).unlink(missing_ok=True)


class Tester:
    """What testing one checkpoint needs; `test` is the way of one collection."""

    def __init__(
        self,
        config: Config,
        file: Path,
        state: dict[str, Any],
        network: Detector,
        processes: Processes,
        precision: torch.dtype,
        say: Callable[[str], None],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.config, self.file, self.state, self.say = config, file, state, say
        self.notes = notes
        self.processes, self.device, self.precision = processes, processes.device, precision
        layout = scores.layout(config.channels_last)
        self.network = network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]

    def test(
        self, collection: Collection, trackers: tracking.Trackers, out: Path, name: str = ""
    ) -> Result:
        """Numbers and pictures of one collection, written into `out` and said."""
        config, say = self.config, self.say
        scored = self.score(collection)
        scores.write_scores(out / "scores.csv", scored.rows, scored.values, collection.home)
        outcome = result.evaluated(
            out / "scores.csv", self.state, scored.failures, config.bootstrap, config.subgroups,
            collection.home,
        )  # fmt: skip
        result.write_videos(out / "video_scores.csv", outcome)
        write_failures(out / "left_out.csv", outcome.without_score, collection.home)
        say(result.blocks(outcome))
        say(f" Pictures : {summary(scored.failures, out / 'left_out.csv')}")
        robust = self.robustness(scored, outcome, out / "robustness.csv")
        drawn = self.heatmaps(scored, out / "cam") if config.cam else []
        mistakes = pictures.worst_mistakes(
            scored.samples, scored.names, scored.labels, scored.values, out / "mistakes"
        )
        tested = self.about(collection, out)
        result.write_json(out / "metrics.json", outcome, tested)
        result.write_report(out / "report.html", outcome, tested, mistakes, drawn, robust)
        trackers.test(outcome.faces.summary, outcome.faces.frame, drawn, mistakes, name)
        if outcome.videos and outcome.videos.level.summary.n:
            videos = outcome.videos.level
            trackers.test(videos.summary, videos.frame, name=f"{name}/videos".lstrip("/"))
        if not name:  # one of several stands in the table across them
            card.write(config.card, card.of_result(outcome, robust))
        say(f" Report   : {out / 'report.html'}")
        return outcome

    def score(self, collection: Collection) -> Scored:
        """Find the faces and score them; too many bad pictures stop here."""
        config, left_out = self.config, list(collection.left_out)
        rows, samples = collection.rows, collection.samples
        if samples is None:
            rows, without_face = self.processes.first_then_others(
                lambda: dataset.locate_faces(collection.rows, config.data, config.face, self.device)
            )
            left_out += without_face
            if len(rows) == 0:
                reasons = "\n  ".join(f"{f.path}: {f.reason}" for f in left_out[:SHOWN])
                raise UserError(f"nothing is left to score:\n  {reasons}")
            samples = dataset.evaluation_set(rows, config)
        values, failures = self.values(samples, rows)
        total = collection.rows["path"].nunique() + len(collection.left_out)
        check_share([*left_out, *failures], total, config.data.max_bad)
        return Scored(rows, samples, values, [*left_out, *failures])

    def values(
        self, samples: Dataset, rows: pd.DataFrame, what: str = ""
    ) -> tuple[np.ndarray, list[Failure]]:
        """Scores of samples, one a row, and what failed."""
        loader = scores.loader_for(samples, self.config, self.device, self.processes)
        quiet = not (sys.stderr.isatty() and self.processes.first)
        with tqdm(total=len(loader), desc=what or None, disable=quiet) as bar:
            return scores.score(
                self.network,
                loader,
                rows["path"].tolist(),
                self.device,
                self.precision,
                self.config.channels_last,
                bar.update,
                processes=self.processes,
            )

    def perturbed(self, scored: Scored) -> tuple[pd.DataFrame, list[Perturbed]]:
        """Some of the rows with their scores, and scores of the same faces made worse."""
        config, found = self.config, []
        chosen = perturb.chosen(scored.labels, scored.values, config.perturb.count, config.seed)
        rows = scored.rows.assign(score=scored.values).iloc[chosen].reset_index(drop=True)
        for change in perturb.changes(config.perturb):
            samples = dataset.evaluation_set(rows, config, read=change)
            values, _ = self.values(samples, rows, f"{change.kind} {change.strength:g}")
            found.append(Perturbed(change.kind, change.strength, values))
        return rows, found

    def robustness(self, scored: Scored, outcome: Result, file: Path) -> Robustness | None:
        """The table and the curves of the worse pictures, written and said."""
        if not self.config.robustness:
            file.unlink(missing_ok=True)  # an earlier test's
            return None
        limits = outcome.faces.thresholds
        judged = robustness.judged(*self.perturbed(scored), limits, self.config.bootstrap)
        robustness.write(file, judged)
        self.say("\n" + tables.console(judged.table) + "\n")
        return judged

    def heatmaps(self, scored: Scored, folder: Path) -> list[page.Heatmap]:
        """Heatmaps of chosen faces."""
        config = self.config
        drawn = pictures.chosen_heatmaps(
            self.network,
            scored.samples,
            scored.names,
            scored.labels,
            scored.values,
            config.heatmaps.count,
            config.seed,
            folder,
            config.heatmaps.method,
        )
        self.say(f" Heatmaps : {len(drawn)} pictures in {folder}")
        return drawn

    def explain(self, collection: Collection, folder: Path) -> None:
        """A heatmap of each picture that was asked for."""
        scored, method = self.score(collection), self.config.heatmaps.method
        self.say("[+] Heatmaps")
        pictures.explained(
            self.network, scored.samples, scored.names, scored.values, folder, self.say, method
        )
        for failure in scored.failures:
            self.say(f" {Path(failure.path).name}: {failure.reason}")

    def about(self, collection: Collection, out: Path) -> Tested:
        """What the page and metrics.json say of the test itself."""
        config, training = self.config, Path(self.config.prefix) / "config.yaml"
        trained = [f"python train.py --config_file {training}"] if training.is_file() else []
        return Tested(
            title=f"{config.network} on {collection.data}",
            data=collection.data,
            checkpoint=self.file,
            state=self.state,
            overlap=collection.overlap,
            configuration=dump(config),
            commands=(
                *trained,
                f"python test.py --config_file {training.parent / 'test' / 'config.yaml'}",
                f"python metrics.py {out / 'scores.csv'}",
            ),
            notes=(*self.notes, *self.unsafe_notes(collection)),
        )

    def unsafe_notes(self, collection: Collection) -> tuple[str, ...]:
        """What a reader must know of splits that share persons: the checkpoint's, the rows'."""
        chosen = (UNSAFE_NOTE,) if self.state["data"].get(UNSAFE) else ()
        said = [n for n in collection.notes if UNSAFE in n and not (chosen and UNSAFE_NOTE in n)]
        return (*chosen, *said)


if __name__ == "__main__":
    utils.run_command(main)
