"""One change at a time: each row is trained as it says, and compared with the first."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

import ablation
import manifest
import train
from flags import Ablation, Config, Fakes
from metrics import read_scores, summarise
from report import ablated
from settings import changed, load
from tests import sources_of_three
from tests.sources_of_three import SMALL
from training.rows import Rows, find_their_faces
from utils import UserError

CHANGES = """as it is: {}
twice as wide: {model.variant: "16"}
two more epochs: {num_epochs: 3, optimizer.lr: 1e-2}
"""


@pytest.fixture
def three_sources(tmp_path: Path, networks_with_tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sources_of_three.write(tmp_path)
    Path("changes.yaml").write_text(CHANGES)
    return tmp_path


def run(*more: str, only: str = "alpha,beta") -> int:
    words = [*SMALL, "--data.train=all.csv", "--prefix=log/a", "--changes=changes.yaml"]
    return ablation.main([*words, f"--only={only}", *more])


def test_each_row_is_trained_as_it_says_and_measured_against_the_first(three_sources, capsys):
    Path("card.md").write_text("before\n<!-- ablation -->\n<!-- /ablation -->\nafter\n")
    assert run("--card=card.md#ablation") == 0
    table = pd.read_csv("log/a/ablation.csv").set_index(["left_out", "row"])
    assert table.index.tolist() == [
        (source, row)
        for source in ("alpha", "beta")
        for row in ("as it is", "twice as wide", "two more epochs")
    ]
    wide = load(Config, "log/a/twice_as_wide/alpha/config.yaml")
    long = load(Config, "log/a/two_more_epochs/beta/config.yaml")
    assert (wide.model.variant, wide.num_epochs) == ("16", 1)
    assert (long.model.variant, long.num_epochs, long.optimizer.lr) == ("", 3, 0.01)
    assert wide.seed == long.seed
    for (source, row), values in table.iterrows():
        folder = Path("log/a", row.replace(" ", "_"), source, "test", "scores.csv")
        summary = summarise(read_scores(folder), 0.5, 50)
        assert values["auc"] == pytest.approx(summary.values["auc"])
        first = table.loc[(source, "as it is"), "auc"]
        if row == "as it is":
            assert np.isnan(values["difference"])
        else:
            assert values["difference"] == pytest.approx(values["auc"] - first)
            assert values["difference_low"] <= values["difference"] <= values["difference_high"]
    said, card = capsys.readouterr().out, Path("card.md").read_text()
    assert "Row 2 of 3: twice_as_wide: model.variant 16" in said
    assert card.startswith("before") and card.endswith("after\n")
    assert "two more epochs" in card and "optimizer.lr 0.01" in card
    page = Path("log/a/ablation.html").read_text()
    assert 'href="twice_as_wide/leave_one_out.html"' in page


def test_it_goes_on_where_it_stopped_and_runs_the_rows_that_are_asked_for(
    three_sources, monkeypatch
):
    trained: list[str] = []
    real = train.Trainer.fit
    monkeypatch.setattr(
        train.Trainer, "fit", lambda self, *a: (trained.append(str(self.run)), real(self, *a))[1]
    )
    assert run("--rows", "twice as wide", only="beta") == 0
    assert trained == ["log/a/as_it_is/beta", "log/a/twice_as_wide/beta"]
    trained.clear()
    assert run(only="beta") == 0
    assert trained == ["log/a/two_more_epochs/beta"]


def test_a_row_that_cannot_be_trained_costs_itself_alone(three_sources, capsys):
    Path("changes.yaml").write_text(
        "as it is: {}\nfrom nothing: {model.weights: none.pth}\nwide: {model.variant: '16'}\n"
    )
    assert run(only="beta") == 2
    assert "from nothing has no row: " in capsys.readouterr().out.split("One change at a time")[-1]
    assert pd.read_csv("log/a/ablation.csv")["row"].tolist() == ["as it is", "wide"]
    page = Path("log/a/ablation.html").read_text()
    assert "from nothing has no row: " in page and "none.pth" in page


def test_where_no_row_can_be_trained_the_reasons_are_told_and_the_card_stays(three_sources, capsys):
    text = "<!-- ablation -->\nof the last time\n<!-- /ablation -->\n"
    Path("card.md").write_text(text)
    none = "--model.weights=none.pth"
    assert run("--rows=twice as wide", "--card=card.md#ablation", none, only="beta") == 2
    assert Path("card.md").read_text() == text
    for part in (Path("log/a/ablation.html").read_text(), capsys.readouterr().out):
        assert "as it is has no row: " in part and "twice as wide has no row: " in part
    assert "beta has no row: " in Path("log/a/as_it_is/leave_one_out.html").read_text()


def test_rows_without_a_face_in_common_have_no_difference(three_sources):
    assert run("--rows=twice as wide", only="beta") == 0
    scores = Path("log/a/twice_as_wide/beta/test/scores.csv")
    whole = scores.read_text()
    config = load(Ablation, "log/a/as_it_is/beta/config.yaml", {"bootstrap": 50})
    pair = Path("log/a"), "as_it_is", "twice_as_wide", "beta", config
    assert ablated.difference(*pair)[1] == ""
    lines = whole.splitlines()
    scores.write_text("\n".join([*lines[:9], *(f"moved/{line}" for line in lines[9:])]) + "\n")
    value, note = ablated.difference(*pair)
    assert np.isfinite(value.value) and "over the 8 of 24 faces" in note
    scores.write_text("\n".join([lines[0], *(f"moved/{line}" for line in lines[1:])]) + "\n")
    value, note = ablated.difference(*pair)
    assert np.isnan(value.value) and "no row in common" in note


def test_mistakes_are_said_before_anything_is_trained(three_sources):
    for text, says in (
        ("a: {}\nb: {model.varient: 16}\n", "b: model.varient: unknown key"),
        ("a: {}\nb: {num_epochs: none}\n", "b: num_epochs:"),
        ("a: {num_epochs: 1}\n", "first row, a, changes nothing"),
        ("a: {}\nb: 3\n", "b: expected lines as"),
        ("", "no rows"),
        ("a: {}\nb: {tta.flip: True}\n", r"b: tta\.flip: unknown key"),
        ("a: {}\nb: {3: 3}\n", "b: 3: unknown key"),
        ("a: {}\nb: {seed: 42}\n", "b: the same as the first row: seed 42"),
    ):
        Path("changes.yaml").write_text(text)
        with pytest.raises(UserError, match=says):
            run()
    Path("changes.yaml").write_text(CHANGES)
    with pytest.raises(UserError, match=r"no .wide. in changes\.yaml; there are as it is, twice"):
        run("--rows=wide")
    with pytest.raises(UserError, match="no such file"):
        run("--changes=nowhere.yaml")
    assert not Path("log").exists()


def test_the_rows_that_are_shipped_are_settings_of_the_release():
    config = load(Ablation, "configs/release.yaml")
    rows = ablation.chosen(config)
    assert len(rows) > 8
    first, *others = rows.values()
    assert changed(first[0], {"prefix": config.prefix}, "") == config
    for own, _ in others:
        assert changed(own, {"prefix": config.prefix}, "") != config


def test_a_group_of_settings_keeps_what_it_does_not_name(tmp_path):
    file = tmp_path / "changes.yaml"
    file.write_text("1: {}\n2: {augment: {jpeg: 0}}\n")
    config = load(Ablation, "configs/release.yaml", {"changes": str(file)})
    (_, _), (own, told) = ablation.chosen(config).values()
    assert told == "augment.jpeg 0" and own.augment.jpeg == 0
    assert own.augment == config.augment.model_copy(update={"jpeg": 0.0})


def test_forged_rows_that_shall_not_train_still_validate():
    count = 12
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(count)], "label": [0, 1] * 6})
    table = table.reindex(columns=list(manifest.COLUMNS), fill_value="").assign(box="1 1 9 9")
    rows = Rows(table.iloc[:8], table.iloc[8:], "a.csv")
    config = Config(fakes=Fakes(type="warp", alone=True))
    kept = find_their_faces(rows, config, torch.device("cpu"))
    assert kept.train["label"].tolist() == [0] * 4 and kept.valid["label"].tolist() == [0, 1] * 2
    assert kept.notes == ("fakes.alone: 4 forged rows do not train",)
    assert len(find_their_faces(rows, Config(), torch.device("cpu")).train) == 8
    with pytest.raises(ValidationError, match=r"fakes\.alone leaves no fakes to train on"):
        Fakes(alone=True)
