"""One change at a time: what each part of a recipe is worth on sources that it never saw.

    python ablation.py --config_file configs/release.yaml --data.train data/all/manifest.csv \\
        --only ffhq_stylegan2 --num_epochs 2 --prefix log/ablation

`changes` is a YAML, name of a row -> the settings in which it differs from `config_file`; the first
row changes nothing. Each row is leave_one_out.py's own runs, with the same seed and rows, in a
folder of its name within `prefix`; ablation.csv, .tex and .html there hold one table: each row's
numbers on each source that was left out, and by how much they differ from the first row's, with
paired intervals; rows that `rows` does not ask for are not in it. The same command goes on where it
was stopped.
"""

import contextlib
from pathlib import Path
from typing import Any

import leave_one_out
import processes as several
import utils
from flags import Ablation
from processes import Processes
from report import ablated, card
from report.cross import plain_names
from report.result import Result
from settings import changed, flat, parse, read_yaml
from utils import UserError


def main(argv: list[str]) -> int:
    config = parse(Ablation, argv, __doc__)
    with contextlib.closing(several.join(config.device)) as processes:
        return ablation(config, processes)


def ablation(config: Ablation, processes: Processes) -> int:
    """All rows one after another, and the table of what is done so far after each of them."""
    card.refuse_unmarked(config.card)
    rows = chosen(config)
    configs = {folder: own for folder, (own, _) in rows.items()}  # all are read before one runs
    about = {folder: text for folder, (_, text) in rows.items()}
    worst = 0
    results: dict[str, dict[str, Result]] = {}
    failed: dict[str, leave_one_out.Failed] = {}
    for number, (folder, own) in enumerate(configs.items(), 1):
        if processes.first:
            print(f"\n[+] Row {number} of {len(rows)}: {folder}: {about[folder]}", flush=True)
        status, results[folder], failed[folder] = leave_one_out.leave_one_out(own, processes)
        if status not in (0, leave_one_out.SOME_FAILED):
            return status  # stopped by a signal
        worst = max(worst, status)
        if processes.first:
            text, tables = ablated.write(Path(config.prefix), about, results, failed, config)
    if processes.first:
        print("\n" + text)
        card.write(config.card, tables)
    return worst


def chosen(config: Ablation) -> dict[str, tuple[Ablation, str]]:
    """Folder -> configuration of a row, and what is different about it in words.

    Raises UserError for a file that holds no such rows, and for settings that none has.
    """
    rows = {str(name): values for name, values in read_yaml(config.changes).items()}
    wrong = [name for name, values in rows.items() if not isinstance(values, dict)]
    if wrong or not rows:
        raise UserError(
            f"{config.changes}: {', '.join(wrong) or 'no rows'}: expected lines as "
            "`no EMA: {model.ema: 0}`, the first with {}"
        )
    first, *others = rows
    if rows[first]:
        raise UserError(f"{config.changes}: the first row, {first}, changes nothing: give it {{}}")
    if unknown := [name for name in config.rows if name not in rows]:
        raise UserError(f"rows: no {unknown[0]!r} in {config.changes}; there are {', '.join(rows)}")
    names = [first, *(name for name in others if name in config.rows or not config.rows)]
    folders = plain_names(names)
    return {
        folder: (_row(config, rows[name], Path(config.prefix) / folder, name), _told(rows[name]))
        for folder, name in zip(folders, names, strict=True)
    }


def _row(config: Ablation, changes: dict[str, Any], out: Path, name: str) -> Ablation:
    where = f"{config.changes}: {name}"
    made = changed(config, changes, where)
    if changes and made == config:
        raise UserError(f"{where}: the same as the first row: {_told(changes)}")
    return changed(made, {"prefix": str(out), "card": []}, where)


def _told(changes: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in flat(changes).items()) or "as it is"


if __name__ == "__main__":
    utils.run_command(main)
