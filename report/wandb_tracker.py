"""Weights & Biases: one run of the training, which its tests join, online or offline."""

import contextlib
import json
import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np

import flags
import utils
from report.charts import charts
from report.page import Heatmap

Say = Callable[[str], None]

RUN_ID = "wandb_run_id"
"""The file of a run folder that names its W&B run."""

DESCRIPTION = (
    "format", "network", "labels", "input", "crop", "rule", "thresholds", "epoch", "best", "data",
    "versions",
)  # fmt: skip
"""Keys of a checkpoint that an artifact carries as its metadata."""


@dataclass(frozen=True)
class Which:
    """Which W&B run to open. job: `train` or `test`; empty joins a run that others described.
    step: the first that is free, as W&B drops what comes for an earlier one.
    """

    run_id: str
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    job: str = ""
    resume: bool = False
    step: int = 0


class WandbTracker:
    """A W&B run: its files in `run_dir`/wandb."""

    def __init__(self, settings: flags.Tracking, run_dir: Path, which: Which, say: Say) -> None:
        # W&B's reports of its own errors would go out even after a failed start, with 20 s of
        # waiting when the program ends and no server answers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.wandb, self.say, self.step, self.run_dir = wandb, say, which.step, run_dir
        swept = in_a_sweep()
        about: dict[str, Any] = {
            "name": which.name or None,
            "config": which.config,
            "job_type": which.job,
            "group": settings.group or None,
            "tags": settings.tags or None,
            "notes": settings.notes or None,
        }

        def begin(mode: Literal["online", "offline"]) -> Any:
            # Without informational output W&B also asks for no key at a terminal: it raises. Its
            # errors stay visible, as an upload that ends halfway is reported nowhere else.
            wandb.setup(wandb.Settings(show_info=False, show_warnings=False))
            return wandb.init(
                # A sweep has its own project, and its agent's environment names the run.
                project=None if swept else settings.project,
                entity=None if swept else settings.entity or None,
                id=None if swept else which.run_id,
                resume="allow" if which.resume else None,
                dir=str(run_dir),
                mode=mode,
                reinit="create_new",  # another run of this process is not ours to continue
                settings=_wandb_settings(wandb.Settings, settings),
                **(about if which.job else {}),  # a run that is joined stays what it is
            )

        self.offline = settings.wandb == "offline"
        hooks = sys.exit, sys.excepthook
        try:
            if not self.offline:
                try:
                    self.run = begin("online")
                except Exception as error:
                    reason = one_line(error).split(" Consider increasing")[0]
                    say(
                        f"W&B cannot go online and goes on OFFLINE instead: {reason} "
                        f"(tracking.timeout is {settings.timeout} s; `wandb login` stores a key)"
                    )
                    self.offline = True
                    # The service would still hold the run's id. Its exit status is not ours.
                    with contextlib.suppress(SystemExit):
                        wandb.teardown()
            if self.offline:
                self.run = begin("offline")
        finally:
            sys.exit, sys.excepthook = hooks  # two of W&B's would print each traceback twice
        if which.job == "train":
            # Charts run over epochs, also where a resumed run's own step counter is ahead of them.
            self.run.define_metric("epoch")
            self.run.define_metric("*", step_metric="epoch")
        where = f"offline; to upload the run later: {self.sync}" if self.offline else self.run.url
        say(f"W&B: {where}")

    @property
    def sync(self) -> str:
        """The command that uploads this run, with every part that a resumed run left."""
        here = Path(self.run.dir).parent
        parts = sorted(here.parent.glob(f"offline-run-*-{self.run.id}*")) if self.offline else []
        return shlex.join(["wandb", "sync", *map(str, parts or [here])])

    def log(self, epoch: int, values: dict[str, float]) -> None:
        # W&B drops what comes for a step behind its own: an epoch trained again gets a new step.
        step = max(epoch, self.run.step)
        self.run.log({**values, "epoch": epoch}, step=step, commit=True)

    def summary(self, values: dict[str, float | int]) -> None:
        self.run.summary.update(values)

    def picture(self, name: str, path: Path) -> None:
        self._show({name: self.wandb.Image(str(path))})

    def plots(self, name: str, labels: np.ndarray, scores: np.ndarray, threshold: float) -> None:
        drawn = {}
        for key, chart in charts(labels, scores, threshold).items():
            table = self.wandb.Table(columns=chart.columns, data=chart.rows)
            drawn[f"{name}/{key}"] = self.wandb.plot_table(
                chart.preset, table, chart.fields, chart.words, split_table=True
            )
        self._show(drawn)

    def heatmaps(self, name: str, entries: Sequence[Heatmap]) -> None:
        for group, members in groupby(entries, key=lambda entry: entry.group):
            key = f"{name}/{group}".replace(" ", "_")
            pictures = [self.wandb.Image(str(m.picture), caption=m.caption) for m in members]
            self._show({key: pictures})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        cells = [[self._cell(value) for value in row] for row in rows]
        table = self.wandb.Table(columns=list(columns), data=cells, allow_mixed_types=True)
        self._show({name: table})

    def artifact(self, checkpoint: Path) -> None:
        """An artifact `model-RUN_ID` of type model; W&B counts its versions."""
        file, about = kept(checkpoint, self.run_dir / "wandb" / "artifacts")
        model = self.wandb.Artifact(f"model-{self.run.id}", type="model", metadata=about)
        # No copy in W&B's cache: this name of the file lasts.
        model.add_file(str(file), name=checkpoint.name, policy="immutable", skip_cache=True)
        self.run.log_artifact(model, aliases=[checkpoint.stem, f"epoch-{about['epoch']}"])

    def close(self) -> None:
        # Closed while an exception passes (a `finally`), the run counts as failed.
        try:
            self.run.finish(exit_code=int(sys.exc_info()[0] is not None))
        except TimeoutError as error:
            raise TimeoutError(f"the upload did not end in time; later: {self.sync}") from error
        if self.offline:
            self.say(f"W&B was offline; to upload the run: {self.sync}")

    def _show(self, values: dict[str, Any]) -> None:
        """Media beside the epoch that was logged last; a test's all in one step."""
        with _staged_in(self.run_dir / "wandb"):
            self.run.log(values, step=max(self.step, self.run.step))

    def _cell(self, value: Any) -> Any:
        return self.wandb.Image(str(value)) if isinstance(value, Path) else value


# ------------------------------------------------------------------------------ the run's id


def in_a_sweep() -> bool:
    """Whether a W&B agent started this program, as one run of its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def own_run_id(run_dir: Path, say: Say, resume: bool) -> str:
    """The id of the run in `run_dir`, where it is resumed, else a new one, written there.

    WANDB_RUN_ID of the environment, which an agent sets, comes before both.
    """
    file = run_dir / RUN_ID
    given = os.environ.get("WANDB_RUN_ID", "")
    if resume and not given and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    if resume and not given:
        say(f"W&B: {file} is missing, so the training goes on as a new W&B run.")
    run_id = given or new_run_id()
    utils.write_atomic(file, run_id + "\n")
    return run_id


def new_run_id() -> str:
    return secrets.token_hex(4)  # not from `random`: a seed must not give two runs one id


# --------------------------------------------------------------------------- small pieces


def description(file: Path) -> dict[str, Any]:
    """What describes a checkpoint, as plain values; the configuration stands in the run."""
    import checkpoint  # timm, below it, imports wandb: not where no tracker is on

    state = checkpoint.load(file)
    said = {key: state[key] for key in DESCRIPTION} | {"sha256": utils.sha256_file(file)}
    # JSON has no NaN: an undefined threshold becomes null.
    return json.loads(json.dumps(said), parse_constant=lambda _: None)


def kept(file: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A name in `folder` that stays a checkpoint's own, and its description.

    best.pth is another file after the next better epoch, and an offline run is uploaded later.
    """
    import checkpoint  # as in description()

    about = description(file)
    name = folder / f"{about['epoch']:04d}-{about['sha256'][:8]}.pth"
    checkpoint.same_file(file, name)
    return name, about


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextlib.contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Files that W&B keeps for a later upload stay with the run, not in the home folder."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _wandb_settings(schema: Any, settings: flags.Tracking) -> Any:
    """A start within the timeout, and nothing of the console, code, git or machine."""
    # An upload that works may take its time, and a checkpoint's takes minutes.
    patience = 600 if settings.artifact != "none" else 60
    wanted = {
        "init_timeout": settings.timeout,
        "finish_timeout": max(settings.timeout, patience),
        "finish_timeout_raises": True,
        "silent": True,
        "console": "off",
        "symlink": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        "save_code": False,
        "host": "",
        "x_disable_machine_info": True,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
    }
    # Some of these names come and go with W&B's versions.
    return schema(**{key: value for key, value in wanted.items() if key in schema.model_fields})
