"""What the offline W&B runs of a run folder hold, read back from their files.

    python -m report.offline log/quickstart

Needs no account and no network; `wandb sync` uploads the same files.
"""

import json
import struct
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils import UserError, run_command

BLOCK, HEADER = 32768, 7
"""Bytes of LevelDB's log format, in which a .wandb file is written behind a header of its own."""


@dataclass
class Part:
    """One offline part of a run: what W&B recorded from a start to its end.

    rows: what was logged together, one dict a step. artifacts: name -> (type, aliases, metadata,
    files with their bytes).
    """

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, tuple[str, list[str], dict[str, Any], dict[str, int]]] = field(
        default_factory=dict
    )

    @property
    def charts(self) -> list[str]:
        """W&B's interactive charts."""
        return sorted(self.config.get("_wandb", {}).get("visualize", {}))

    def media(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logged things of one kind, by name, the last of each."""
        found = {name: value for row in self.rows for name, value in row.items()}
        return {n: v for n, v in found.items() if isinstance(v, dict) and v.get("_type") == kind}


def read_part(folder: Path) -> Part:
    """Read the folder of one offline part, `offline-run-DATE-ID`."""
    part = Part(folder)
    for file in sorted(folder.glob("run-*.wandb")):
        for record in records(file):
            _add(part, record)
    return part


def records(file: Path) -> Iterator[Any]:
    """The records of a .wandb file, up to where it ends or was cut off."""
    from wandb.proto import wandb_internal_pb2

    data, position, whole = file.read_bytes(), HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # a block's end that is too short for a header is padding
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        if position + HEADER + length > len(data):
            return
        whole += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):  # a full record, or the last piece of one
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(whole)
            yield record
            whole = b""


def described(part: Part) -> str:
    """What a part holds, for a person."""
    run = part.run
    if run is None:
        return f"{part.folder.name}\n nothing was recorded, or it was cut off"
    settings = [key for key in part.config if key != "_wandb"]
    logged = sorted({k for row in part.rows for k, v in row.items() if not isinstance(v, dict)})
    pictures = part.media("image-file") | part.media("images/separated")
    about = [
        f"{name} {value}"
        for name, value in (
            ("project", run.project), ("entity", run.entity), ("name", run.display_name),
            ("group", run.run_group), ("job", run.job_type), ("tags", ", ".join(run.tags)),
            ("sweep", run.sweep_id),
        )
        if value
    ]  # fmt: skip
    behind = "Custom Chart Tables/"  # W&B's name for the tables behind its charts
    lines = {
        "Run": [run.run_id, *about],
        "Settings": [f"{len(settings)} at the top level"],
        "Numbers": [f"{len(part.rows)} steps", *(name for name in logged if name[0] != "_")],
        "Summary": list(_numbers(part.summary)),
        "Charts": part.charts,
        "Tables": [
            f"{name} ({table['nrows']} x {table['ncols']})"
            for name, table in part.media("table-file").items()
            if not name.startswith(behind)
        ],
        "Pictures": [f"{name} ({one.get('count', 1)})" for name, one in sorted(pictures.items())],
        "Artifacts": [
            f"{name} ({kind}; {', '.join(aliases)}; {sum(files.values()) / 1e6:.1f} MB)"
            for name, (kind, aliases, _, files) in part.artifacts.items()
            if kind != "run_table"  # W&B's own second copy of each table
        ],
    }
    text = [part.folder.name]
    for name, items in lines.items():
        text += textwrap.wrap(
            ", ".join(items) or "none", 100, initial_indent=f" {name:<10}: ",
            subsequent_indent=" " * 13, break_long_words=False,
        )  # fmt: skip
    return "\n".join(text)


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print("usage: python -m report.offline log/NAME   (says what its offline W&B runs hold)")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    parts = sorted(Path(argv[0]).glob("wandb/offline-run-*"))
    if not parts:
        raise UserError(f"{argv[0]}: no offline W&B run: was tracking.wandb `offline`?")
    print("\n\n".join(described(read_part(part)) for part in parts))
    return 0


# --------------------------------------------------------------------------- small pieces


def _add(part: Part, record: Any) -> None:
    if record.HasField("run"):
        part.run = record.run
        _update(part.config, record.run.config.update)
    if record.HasField("config"):
        _update(part.config, record.config.update)
    if record.HasField("history"):
        row: dict[str, Any] = {}
        _update(row, record.history.item)
        part.rows.append(row)
    if record.HasField("summary"):
        _update(part.summary, record.summary.update)
    if record.HasField("artifact"):
        one = record.artifact
        files = {entry.path: entry.size for entry in one.manifest.contents}
        metadata = json.loads(one.metadata or "{}")
        part.artifacts[one.name] = (one.type, list(one.aliases), metadata, files)


def _update(values: dict[str, Any], items: Any) -> None:
    """Put items with their nested keys into nested dicts."""
    for item in items:
        *parents, leaf = list(item.nested_key) or [item.key]
        inner = values
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[leaf] = json.loads(item.value_json)


def _numbers(values: dict[str, Any]) -> Iterator[str]:
    """Numbers with their names, and with their intervals where they have one."""
    known = {n: v for n, v in values.items() if isinstance(v, int | float) and n[0] != "_"}
    for name, value in sorted(known.items()):
        low, high = known.get(f"{name}_low"), known.get(f"{name}_high")
        if low is not None and high is not None:
            yield f"{name}={value:.4g} [{low:.4g}, {high:.4g}]"
        elif not name.endswith(("_low", "_high")):
            yield f"{name}={value:.4g}"


if __name__ == "__main__":
    run_command(main)
