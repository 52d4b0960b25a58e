"""Experiment trackers: Weights & Biases and TensorBoard behind one small interface.

Trackers only watch: whatever goes wrong in one is said once, that tracker is switched off, and
the training goes on. W&B's key comes from WANDB_API_KEY or `wandb login`, never from a setting.
"""

import contextlib
import json
import os
import secrets
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import flags
import utils
from faces.image import read_image

Say = Callable[[str], None]


class Tracker(Protocol):
    """What a run tells a tracker; any method may raise, `Trackers` guards it."""

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """The numbers of one epoch, under their own names (`train_loss`, `valid_loss`, `lr`)."""

    def summary(self, values: dict[str, float | int]) -> None:
        """Numbers of the whole run (`best_epoch`)."""

    def picture(self, name: str, path: Path) -> None:
        """A picture file, shown under `name` beside the epoch that was logged last."""

    def close(self) -> None:
        """Write everything out; the tracker takes no more calls."""


def start(
    settings: flags.Tracking,
    run_dir: Path,
    name: str,
    config: dict[str, Any],
    say: Say,
    resume: bool = False,
) -> "Trackers":
    """Open the trackers that `settings` names, with all their files under `run_dir`.

    name: the run's name in W&B. config: the resolved configuration, as plain values. say: takes
    each sentence meant for a person. resume: continue the run that `run_dir` holds.
    Raises nothing of a tracker's own: one that does not open is said and left out.
    """
    trackers = Trackers(say)
    rest = (run_dir.resolve(), config, resume)
    if settings.wandb != "off":
        trackers.add("W&B", "wandb", lambda: WandbTracker(settings, name, say, *rest))
    if settings.tensorboard == "on":
        trackers.add("TensorBoard", "tensorboard", lambda: TensorBoardTracker(*rest))
    return trackers


class Trackers:
    """Trackers that cannot stop a run: one that raises is said, switched off and counted.

    failed: trackers switched off, with their errors. missed: calls that they did not record.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.active: dict[str, Tracker] = {}
        self.failed: dict[str, str] = {}
        self.missed: Counter[str] = Counter()

    def add(self, name: str, package: str, open_tracker: Callable[[], Tracker]) -> None:
        """Open a tracker; `package` is what pip installs where it is missing."""
        try:
            self.active[name] = open_tracker()
        except ImportError as error:
            self._switch_off(name, error, f"; to have it: pip install {package}")
        except Exception as error:
            self._switch_off(name, error)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        self._tell(lambda tracker: tracker.log(epoch, values))

    def summary(self, values: dict[str, float | int]) -> None:
        self._tell(lambda tracker: tracker.summary(values))

    def picture(self, name: str, path: Path) -> None:
        self._tell(lambda tracker: tracker.picture(name, path))

    def close(self) -> None:
        for name, count in self.missed.items():
            self.say(f"{name} did not record {count} calls, as it was switched off.")
        self._tell(lambda tracker: tracker.close())
        self.active.clear()
        self.missed.clear()

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.active.items()):
            try:
                call(tracker)
            except Exception as error:
                self._switch_off(name, error)
                with contextlib.suppress(Exception):  # the error is said; this saves what it has
                    tracker.close()
        self.missed.update(self.failed.keys())

    def _switch_off(self, name: str, error: Exception, remedy: str = "") -> None:
        self.active.pop(name, None)
        self.failed[name] = reason = _one_line(error)
        self.say(f"{name} is off for the rest of this run, which goes on: {reason}{remedy}")


class WandbTracker:
    """A W&B run: its files in `run_dir`/wandb, its id in `run_dir`/wandb_run_id."""

    def __init__(
        self,
        settings: flags.Tracking,
        name: str,
        say: Say,
        run_dir: Path,
        config: dict[str, Any],
        resume: bool,
    ) -> None:
        # W&B's reports of its own errors would go out even after a failed start, with 20 s of
        # waiting when the program ends and no server answers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.say = say
        self.picture_of = wandb.Image
        run_id = _run_id(run_dir / "wandb_run_id", say, resume)

        def begin(mode: Literal["online", "offline"]) -> Any:
            # Without informational output W&B also asks for no key at a terminal: it raises. Its
            # errors stay visible, as an upload that ends halfway is reported nowhere else.
            wandb.setup(wandb.Settings(show_info=False, show_warnings=False))
            return wandb.init(
                project=settings.project,
                name=name,
                id=run_id,
                resume="allow" if resume else None,
                config=config,
                dir=str(run_dir),
                mode=mode,
                reinit="create_new",  # another run of this process is not ours to continue
                settings=_wandb_settings(wandb.Settings, settings.timeout),
            )

        self.offline = settings.wandb == "offline"
        hooks = sys.exit, sys.excepthook
        try:
            if not self.offline:
                try:
                    self.run = begin("online")
                except Exception as error:
                    reason = _one_line(error).split(" Consider increasing")[0]
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
        self.run.log({name: self.picture_of(str(path))})

    def close(self) -> None:
        # Closed while an exception passes (a `finally`), the run counts as failed.
        try:
            self.run.finish(exit_code=int(sys.exc_info()[0] is not None))
        except TimeoutError as error:
            raise TimeoutError(f"the upload did not end in time; later: {self.sync}") from error
        if self.offline:
            self.say(f"W&B was offline; to upload the run: {self.sync}")


class TensorBoardTracker:
    """TensorBoard's files in `run_dir`/tensorboard.

    `train_loss` becomes `loss/train`: TensorBoard makes a section of what stands before the slash,
    so training and validation lie side by side, and a card overlays one curve for each run of
    `--logdir log`. The tab Custom Scalars shows both in one chart.
    """

    def __init__(self, run_dir: Path, config: dict[str, Any], resume: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run_dir / "tensorboard"
        self.open = lambda purge_step: SummaryWriter(str(folder), purge_step=purge_step)
        self.writer = self.open(None)
        self.resume = resume
        self.epoch = 0
        names = ("loss", "accuracy", "precision", "recall")
        both = {name: ["Multiline", [f"{name}/train", f"{name}/valid"]] for name in names}
        self.writer.add_custom_scalars({"training and validation": both})
        self.writer.add_text("config", _code(config))

    def log(self, epoch: int, values: dict[str, float]) -> None:
        if self.resume:
            # What earlier files hold from this epoch on comes again: TensorBoard forgets it.
            self.writer.close()
            self.writer = self.open(epoch)
            self.resume = False
        self.epoch = epoch
        for name, value in values.items():
            part, _, rest = name.partition("_")
            if name != "epoch":
                tag = f"{rest}/{part}" if part in ("train", "valid") else name
                self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def summary(self, values: dict[str, float | int]) -> None:
        self.writer.add_text("summary", _code(values), self.epoch)

    def picture(self, name: str, path: Path) -> None:
        self.writer.add_image(name, read_image(path), self.epoch, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


def _wandb_settings(schema: Any, timeout: int) -> Any:
    """A start within `timeout` seconds, and nothing of the console, code, git or machine."""
    wanted = {
        "init_timeout": timeout,
        "finish_timeout": max(timeout, 60),  # an upload that works may take its time
        "finish_timeout_raises": True,
        "silent": True,
        "console": "off",
        "symlink": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        "save_code": False,
        "x_disable_machine_info": True,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_save_requirements": False,
    }
    # Some of these names come and go with W&B's versions.
    return schema(**{key: value for key, value in wanted.items() if key in schema.model_fields})


def _run_id(file: Path, say: Say, resume: bool) -> str:
    """The id in `file` where a run is resumed, else a new one, which `file` then holds."""
    if resume and file.is_file():
        return file.read_text(encoding="utf-8").strip()
    if resume:
        say(f"W&B: {file} is missing, so the training goes on as a new W&B run.")
    run_id = secrets.token_hex(4)  # not from `random`: a seed must not give two runs one id
    utils.write_atomic(file, run_id + "\n")
    return run_id


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _code(values: dict[str, Any]) -> str:
    """Values as the Markdown code block that TensorBoard shows."""
    return "    " + json.dumps(values, indent=2, default=str).replace("\n", "\n    ")
