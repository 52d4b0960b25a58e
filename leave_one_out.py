"""Leave one out: train without a source, test on it, for each source, into one table.

    python leave_one_out.py --config_file configs/SBI.yaml --data.train data/all/manifest.csv
    python leave_one_out.py --config_file configs/SBI.yaml --only celeb_df,dfdc
    python leave_one_out.py --config_file configs/SBI.yaml --by method --prefix log/lomo
    python leave_one_out.py --config_file configs/SBI.yaml --members log/a,log/b --prefix log/both

Each run is train.py's and test.py's own, in a folder of its name within `prefix`, on train.csv and
test.csv there: no row of the source trains or validates, nor one that shares a person, a clip or a
picture with it, and all of its rows are tested, whatever their split. Writes leave_one_out.csv,
.tex and .html into `prefix`. The same command goes on where it was stopped: what is trained and
tested is not done again.
"""

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import calibrate as calibration
import checkpoint
import dataset
import manifest
import processes as several
import seen
import test as testing_command
import train as training_command
import utils
from fakes.donors import read_donors
from flags import Calibrate, Config, LeaveOneOut
from manifest import REAL
from processes import Processes
from report import card, left_out, result, subgroups
from report.cross import plain_names
from report.result import Result
from settings import parse
from testing.held_out import HeldOut, held_out, names, sentence
from thresholds import Thresholds
from training.resume import alone_in, not_heeded
from utils import UserError

SOME_FAILED = 2
"""Exit status where a run could not be trained or tested."""


def main(argv: list[str]) -> int:
    config = parse(LeaveOneOut, argv, __doc__)
    with contextlib.closing(several.join(config.device)) as processes:
        return leave_one_out(config, processes)[0]


Failed = dict[str, str]
"""Folder of a run that could not be trained or tested -> why."""


def leave_one_out(
    config: LeaveOneOut, processes: Processes
) -> tuple[int, dict[str, Result], Failed]:
    """All runs one after another, and the table of what is done: the status, what was found, by
    the run's folder, and what failed.

    One that cannot be trained or tested is named in the table, and the others go on; the status
    is 2 then.
    """
    data, out = config.data, Path(config.prefix)
    card.refuse_unmarked(config.card)
    if not data.train:
        raise UserError("data.train is empty: name the CSV whose sources are left out in turn")
    rows = manifest.read(data.train, data.fake_label).rows
    valid = manifest.read(data.valid, data.fake_label).rows if data.valid else rows.iloc[:0]
    subgroups.refuse_unknown(config.subgroups, [rows])  # not after hours of training
    wanted = names(rows, config.by, config.only)
    refuse_donors_of(wanted, config)
    folders = dict(zip(wanted, plain_names(wanted), strict=True))
    alike = rows.get("near_duplicate_group")
    if processes.first and (alike is None or (alike == "").all()):
        print(
            f"{data.train} names no pictures that look alike (near_duplicate_group): either there "
            "are none or nobody looked, and copies of what is tested would train; "
            f"`python prepare.py check {data.train}` looks"
        )
    results: dict[str, Result] = {}
    failed: Failed = {}
    epochs: dict[str, int] = {}
    for number, (name, folder) in enumerate(folders.items(), 1):
        try:
            held = held_out(rows, valid, config.by, name)
            own = config_of(config, rows, held, out / folder)
            if processes.first:
                counts = config.same_steps and not config.members
                said = f"; {own.num_epochs} epochs" if counts else ""
                print(f"\n[+] {number} of {len(folders)}: {sentence(held)}{said}", flush=True)
            run = partial(side_by_side, prefixes=config.members) if config.members else one
            status, found = run(own, held, processes)
        except UserError as error:
            if processes.world > 1:
                raise  # the others may be elsewhere: all of them end
            failed[folder] = str(error).replace("\n", " ")
            if processes.first:
                print(f"{name}: {error}", flush=True)
            continue
        if found is None:
            return status, {}, {}  # stopped by a signal
        results[folder] = found
        epochs[folder] = own.num_epochs
    if processes.first:
        title = f"{config.network}, leaving one {config.by} out"
        note = how_note(config, epochs)
        print("\n" + left_out.write(out, config.by, results, failed, title, note))
        card.write(config.card, [*left_out.across(config.by, results, failed, note).values()])
        print(f" Together : {', '.join(str(out / name) for name in left_out.FILES)}")
    return (SOME_FAILED if failed else 0), results, failed


def refuse_donors_of(wanted: Sequence[str], config: LeaveOneOut) -> None:
    """Raise UserError where faces of what is left out would be pasted while training."""
    if not config.fakes.donors:
        return
    rows = read_donors(config.fakes.donors, config.data.fake_label).rows
    if known := sorted(set(rows[config.by]) & set(wanted)):
        raise UserError(
            f"fakes.swap.donors {config.fakes.donors} has faces of what is left out: "
            + ", ".join(known)
        )


def one(own: Config, held: HeldOut, processes: Processes) -> tuple[int, Result | None]:
    """Train without it, test on it; the status of a training that was stopped, and no result."""
    run = Path(own.prefix)
    if processes.first:
        write_rows(held, run)
    processes.wait()
    best = run / "checkpoints" / "best.pth"
    with alone_in(run, processes.first):
        if status := training_command.train(own, processes):
            return status, None
        processes.wait()  # the first writes best.pth when the others are done
        refuse_other_limits(checkpoint.load(best), own)
        if own.cam or own.robustness or not is_tested(run, best, own.subgroups):
            testing_command.test(own, processes)
            processes.wait()
    return 0, tested(run, best, own)


def refuse_other_limits(state: dict[str, Any], own: Config) -> None:
    """Raise UserError where a run that is finished was fitted by another rule or other limits: one
    table would hold verdicts of both.
    """
    if other := not_heeded(state, own):
        raise UserError(
            f"{own.prefix}: {', '.join(other)}: choose another --prefix, with --members for the "
            "same networks"
        )


def side_by_side(
    own: Config, held: HeldOut, processes: Processes, prefixes: Sequence[str]
) -> tuple[int, Result | None]:
    """Test the networks that earlier calls trained without it, all of them as one; status 0.

    Raises UserError where one is missing, and where one saw what it is tested on.
    """
    if processes.world > 1:
        raise UserError("members are put side by side in one process: start it without torchrun")
    run = Path(own.prefix)
    files = [Path(prefix) / run.name / "checkpoints" / "best.pth" for prefix in prefixes]
    best = run / "calibrated" / "best.safetensors"
    with alone_in(run, processes.first):
        write_rows(held, run)
        for file in files:
            if seen.rows_of(file, checkpoint.load(file)) is None:
                raise UserError(
                    f"{file}: its {seen.ROWS_FILE} is missing or another run's, so nobody can tell "
                    "whether it saw what is tested"
                )
        if not is_of(best, files, own):
            first, *others = map(str, files)
            values = own.model_dump() | {"test_checkpoint": first, "members": others}
            calibration.calibrate(Calibrate.model_validate(values | {"out": str(best)}), processes)
        testing = own.model_copy(update={"test_checkpoint": str(best)})
        if own.cam or own.robustness or not is_tested(run, best, own.subgroups):
            testing_command.test(testing, processes)
    return 0, tested(run, best, own)


def is_of(joined: Path, files: Sequence[Path], own: Config) -> bool:
    """Whether a checkpoint is there, of these members, that scores by this `tta`, or by theirs,
    and has limits by these shares.
    """
    if not joined.is_file():
        return False
    state = checkpoint.load(joined)
    if state.get("checkpoint_sha256") != "+".join(utils.sha256_file(file) for file in files):
        return False
    tta = own.tta or checkpoint.load(files[0]).get("tta", "none")
    limits = Thresholds.of(state["thresholds"])
    wanted = tta, own.limits.alarms, own.limits.misses
    return (state["tta"], limits.alarms, limits.misses) == wanted


def tested(run: Path, best: Path, own: Config) -> Result:
    """What the test in a run's folder found, of its checkpoint `best`."""
    state = checkpoint.load(best)
    return result.evaluated(run / "test" / "scores.csv", state, [], own.bootstrap, home=run)


def write_rows(held: HeldOut, run: Path) -> None:
    """train.csv, valid.csv where there is one, and test.csv of a run.

    Raises UserError where a run began with other rows.
    """
    tables = {"train": held.train, "valid": held.valid, "test": held.test}
    for name, rows in tables.items():
        file = run / f"{name}.csv"
        text = manifest.as_csv(rows, run.absolute()) if len(rows) else ""
        before = file.read_bytes() if file.is_file() else b""
        if before == text.encode("utf-8", "surrogateescape"):
            continue
        if (run / "checkpoints" / "last.pth").is_file() and name != "test":
            raise UserError(
                f"{run}: data.train or what is left out of it changed since this run began: choose "
                "another --prefix"
            )
        # What was fitted and found with the rows before: limits of `members`, and the test.
        for old in ("test/metrics.json", "calibrated/best.safetensors", "calibrated/rows.csv"):
            (run / old).unlink(missing_ok=True)
        utils.write_atomic(file, text)


def config_of(config: LeaveOneOut, rows: pd.DataFrame, held: HeldOut, run: Path) -> Config:
    """The configuration of one run, as train.py and test.py read it. rows: all of data.train."""
    values = config.model_dump(include=set(Config.model_fields) - {"card"})
    values["prefix"] = str(run)
    values["subgroups"] = subgroups.filled_by(config.subgroups, held.test)
    if config.same_steps and (left := samples(held.train, config)):
        values["num_epochs"] = max(1, round(config.num_epochs * samples(rows, config) / left))
    values["data"] |= {
        "train": str(run / "train.csv"),
        "valid": str(run / "valid.csv") if len(held.valid) else "",
        "test": str(run / "test.csv"),
    }
    return Config.model_validate(values)


def samples(rows: pd.DataFrame, config: Config) -> float:
    """How many faces an epoch of these rows has: of a pair both, reals as often as `data.balance`
    draws them, and no forged row with `fakes.alone`.
    """
    trains = rows[~rows["split"].isin(["val", "test"])]
    if config.fakes.alone:
        trains = trains[trains["label"] == REAL]
    if len(trains) == 0 or not config.fakes.paired:
        return len(trains)
    cells = dataset.balance_cells(trains, config.data.balance, repeat=1)
    reals = dataset.share_of_reals(trains["label"].to_numpy(), cells, config.data.balance_power)
    return len(trains) * (1 + reals)


def how_note(config: LeaveOneOut, epochs: dict[str, int]) -> str:
    """What the tables say of `same_steps` and of `members`; empty without them."""
    if config.members:
        which = " and ".join(config.members)
        if len(config.members) == 1:
            return f"Each row: the network of {which}, by limits that were fitted anew."
        return f"Each row: networks side by side, those of {which}."
    if not config.same_steps:
        return ""
    each = ", ".join(f"{name} {number}" for name, number in epochs.items())
    return f"About as many steps each as {config.num_epochs} epochs of all rows; epochs: {each}."


def is_tested(run: Path, best: Path, subgroups: Sequence[str]) -> bool:
    """Whether the test in the folder is that of its checkpoint `best`, on its test.csv, and has
    these subgroups.
    """
    try:
        about = json.loads((run / "test" / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not set(subgroups) <= set(about.get("subgroups", {})):
        return False
    return about.get("checkpoint_sha256") == utils.sha256_file(best)


if __name__ == "__main__":
    utils.run_command(main)
