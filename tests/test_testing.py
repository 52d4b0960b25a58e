"""test.py as a user types it: several collections, videos, parts of a set, and what it refuses."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import checkpoint
import metrics
import rules
import test as test_command
import train
from faces.image import write_image
from flags import Compare, Config
from settings import dump, load, parse
from utils import UserError

SMALL = [
    "--network=MesoNet", "--data.crop=False", "--data.num_classes=1", "--num_workers=0",
    "--input_size.height=32", "--input_size.width=32", "--layer_table=False",
    "--tracking.wandb=off", "--bootstrap=50", "--device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on random pictures, and two collections: videos, and photographs."""
    home = tmp_path_factory.mktemp("testing")
    (home / "clips").mkdir()
    (home / "photos").mkdir()
    random = np.random.default_rng(0)
    rows = []
    for number in range(60):
        name, video = f"{number}.png", number // 6  # 10 videos of 6 frames
        write_image(home / "clips" / name, random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        write_image(home / "photos" / name, random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        row = {"path": name, "label": video % 2, "camera": "old" if video < 4 else "new"}
        clip = {"video": f"v{video}", "identity": f"p{video // 2}", "frame": number % 6}
        rows.append(row | clip | {"method": "swap" if video % 2 else ""})
    table = pd.DataFrame(rows)
    table.to_csv(home / "clips" / "manifest.csv", index=False)
    table[["path", "label", "identity"]].to_csv(home / "photos" / "manifest.csv", index=False)
    arguments = [*SMALL, "--tmp_data=16,3,32,32", "--num_epochs=1", "--batch_size=4"]
    assert train.main([*arguments, f"--prefix={home / 'run'}"]) == 0
    return home


@pytest.fixture
def tested(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """A function: more arguments -> what test.py prints, in a run folder of its own."""
    monkeypatch.chdir(home)

    def run(prefix: str, *more: str) -> str:
        file = home / "run" / "checkpoints" / "best.pth"
        arguments = [*SMALL, f"--test_checkpoint={file}", f"--prefix=log/{prefix}", *more]
        assert test_command.main(arguments) == 0
        return capsys.readouterr().out

    return run


def written(folder: str) -> dict:
    return json.loads(Path(folder, "metrics.json").read_text())


def test_several_collections_have_their_folders_and_one_table(tested):
    out = tested("several", "--data.test", "clips/manifest.csv", "--data.test=photos/manifest.csv")
    names = {path.name for path in Path("log/several/test").iterdir()}
    kept = ("cross.csv", "cross.tex", "cross.html", "log.txt", "config.yaml")
    assert names == {"clips", "photos", *kept}
    for name in ("clips", "photos"):
        folder = Path("log/several/test", name)
        kept = ("scores.csv", "metrics.json", "report.html", "left_out.csv")
        assert all((folder / file).is_file() for file in kept)
        assert written(str(folder))["n"] == 60
    assert "[+] Across collections: faces" in out and "mean of 2" in out
    # What each page says to type tests all of them again.
    page = html.unescape(Path("log/several/test/photos/report.html").read_text())
    (said,) = re.findall(r"python test\.py ([^<\n]*)", page)
    whole = {file: file.read_bytes() for file in Path("log/several/test").rglob("*.csv")}
    Path("log/several/test/photos/scores.csv").unlink()
    assert test_command.main(said.split()) == 0
    assert {f: f.read_bytes() for f in Path("log/several/test").rglob("*.csv")} == whole
    cross = pd.read_csv("log/several/test/cross.csv").set_index(["collection", "unit"])
    assert (
        cross.loc[("clips", "faces"), "auc"] == written("log/several/test/clips")["values"]["auc"]
    )


def test_one_collection_stays_where_it_was(tested):
    tested("one", "--data.test=photos/manifest.csv")
    names = {path.name for path in Path("log/one/test").iterdir()}
    assert names == {
        "scores.csv", "metrics.json", "report.html", "left_out.csv", "log.txt", "mistakes",
        "config.yaml",
    }  # fmt: skip
    assert written("log/one/test")["videos"] is None
    assert "names the video" in Path("log/one/test/report.html").read_text()


@pytest.mark.parametrize("trained_here", [False, True])
def test_what_the_page_says_reproduces_it_does(tested, trained_here):
    folder, empty = Path("log/again/test"), "<!-- one -->\n\n<!-- /one -->\n"
    folder.mkdir(parents=True, exist_ok=True)
    Path("card.md").write_text(empty)
    if trained_here:
        Path("log/again/config.yaml").write_text("network: MesoNet\n")
    tested("again", "--data.test=photos/manifest.csv", "--tta=flip", "--card=card.md#one")
    assert Path("card.md").read_text() != empty
    page = html.unescape((folder / "report.html").read_text())
    named = dict(re.findall(r"python (test|train|metrics)\.py ([^<\n]*)", page))
    assert set(named) == {"test", "metrics"} | ({"train"} if trained_here else set())
    files = [folder / name for name in ("scores.csv", "metrics.json")]
    before = [file.read_bytes() for file in files]
    files[0].unlink()
    Path("card.md").write_text(empty)
    assert test_command.main(named["test"].split()) == 0
    assert [file.read_bytes() for file in files] == before
    assert Path("card.md").read_text() == empty
    assert metrics.main(named["metrics"].split()) == 0


def test_videos_are_judged_by_the_checkpoints_rule(tested):
    out = tested("videos", "--data.test=clips/manifest.csv", "--rule=median")
    assert "Test result by video, rule mean" in out and "10 videos (5 real, 5 fake)" in out
    assert "rule: median is not used: the checkpoint's is mean" in out
    assert "60 of 60 belong to a video" in out and "mean *" in out
    faces = metrics.read_scores("log/videos/test/scores.csv")
    videos = metrics.read_scores("log/videos/test/video_scores.csv")
    expected = faces.groupby("video")["score"].mean()
    assert videos.set_index("video")["score"].to_dict() == pytest.approx(expected.to_dict())
    assert videos["frames"].tolist() == ["6"] * 10
    numbers = written("log/videos/test")["videos"]
    assert numbers["values"] == metrics.summarise(videos, resamples=0, unit="videos").values
    by_rule = {row["rule"].removesuffix(" *"): row["videos"] for row in numbers["by_rule"]}
    assert by_rule == {name: 0 if name == "trimmed" else 10 for name in rules.RULES}
    assert metrics.main(["log/videos/test/video_scores.csv", "--bootstrap=50"]) == 0
    # The videos of an earlier test do not stay beside other scores.
    tested("videos", "--data.test=photos/manifest.csv")
    assert not Path("log/videos/test/video_scores.csv").exists()


def test_a_rule_and_a_threshold_of_videos_come_from_the_checkpoint(home, tested):
    state = checkpoint.load(home / "run" / "checkpoints" / "best.pth")
    limits = {"threshold": 0.25, "t_low": 0.2, "t_high": 0.3, "data": "9 videos", "unit": "video"}
    other = home / "other" / "best.pth"
    checkpoint.save(other, state | {"rule": "trimmed", "video_thresholds": limits})
    out = tested("stored", "--data.test=clips/manifest.csv", f"--test_checkpoint={other}")
    assert "Videos            : 10 without a score: v0: 6 faces, and trimmed needs" in out
    left_out = pd.read_csv("log/stored/test/left_out.csv")
    assert left_out["path"].tolist() == [f"v{i}" for i in range(10)]
    assert set(left_out["kind"]) == {"no_score"}
    assert written("log/stored/test")["videos"]["n"] == 0
    assert "10 videos got no score" in Path("log/stored/test/report.html").read_text()
    checkpoint.save(other, state | {"rule": "median", "video_thresholds": limits})
    out = tested("stored", "--data.test=clips/manifest.csv", f"--test_checkpoint={other}")
    assert "At the threshold 0.2500, from 9 videos:" in out
    assert set(written("log/stored/test")["videos"]["at_stored_threshold"]) == {
        *metrics.AT_THRESHOLD
    }
    checkpoint.save(other, state | {"rule": "guess"})
    with pytest.raises(UserError, match="rule 'guess' is a later version's"):
        tested("stored", "--data.test=clips/manifest.csv", f"--test_checkpoint={other}")


def test_another_tta_than_the_checkpoints_has_no_thresholds(home, tested):
    state = checkpoint.load(home / "run" / "checkpoints" / "best.pth")
    limits = {"threshold": 0.5, "t_low": 0.2, "t_high": 0.6, "data": "9 faces", "temperature": 2.0}
    file = home / "flip" / "best.pth"
    checkpoint.save(file, state | {"tta": "flip", "thresholds": limits})
    arguments = ["--data.test=clips/manifest.csv", f"--test_checkpoint={file}"]
    out = tested("tta", *arguments)
    assert "At the threshold 0.5000, from 9 faces:" in out and "at temperature 2.000" in out
    about = written("log/tta/test")
    assert about["tta"] == "flip" and set(about["at_temperature"]) == {"ece", "brier", "log_loss"}
    assert set(about["at_stored_intervals"]) == {*metrics.AT_THRESHOLD}
    flipped = metrics.read_scores("log/tta/test/scores.csv")["score"].to_numpy()
    assert tested("tta", *arguments, "--tta=flip").count("tta: ") == 0
    out = tested("tta", *arguments, "--tta=none")
    assert "tta: none is used, the checkpoint's validation was scored by flip" in out
    assert "No threshold is stored (validation was scored by tta flip)" in out
    about = written("log/tta/test")
    assert about["tta"] == "none" and about["at_temperature"] == {} and about["notes"]
    once = metrics.read_scores("log/tta/test/scores.csv")["score"].to_numpy()
    assert 0 < np.abs(once - flipped).max() < 0.5


def test_worse_pictures_have_their_table_and_curves(tested):
    more = ["--data.test=clips/manifest.csv", "--robustness", "--perturb.kinds=jpeg,brightness"]
    out = tested("worse", *more, "--perturb.count=20", "--perturb.jpeg=90,40", "--batch_size=8")
    assert "[+] Robustness" in out and "20 faces (10 real, 10 fake)" in out
    table = pd.read_csv("log/worse/test/robustness.csv")
    assert table["kind"].tolist() == ["unchanged", "jpeg", "jpeg", *["brightness"] * 5]
    assert (table["n"] == 20).all() and table["auc"].notna().all()
    assert table["loss"][0] == 0 and table["loss"].notna().all()
    page = Path("log/worse/test/report.html").read_text()
    assert "Loss of AUC" in page and "Not measured" not in page
    again = tested("again", *more, "--perturb.count=20", "--perturb.jpeg=90,40", "--batch_size=5")
    assert "[+] Robustness" in again
    pd.testing.assert_frame_equal(pd.read_csv("log/again/test/robustness.csv"), table, rtol=1e-5)
    tested("worse", "--data.test=clips/manifest.csv")
    assert not Path("log/worse/test/robustness.csv").exists()  # of another test
    assert "Not measured" in Path("log/worse/test/report.html").read_text()


def test_parts_of_the_set_are_in_the_console_the_json_and_the_report(tested):
    out = tested("parts", "--data.test=clips/manifest.csv", "--subgroups", "camera,method")
    assert "[+] By camera" in out and "[+] By method" in out
    parts = written("log/parts/test")["subgroups"]
    assert [row["value"] for row in parts["camera"]] == ["new", "old"]
    (swap,) = parts["method"]
    assert (swap["n"], swap["real"], swap["fake"]) == (60, 30, 30)
    assert swap["auc"] == written("log/parts/test")["values"]["auc"]
    report = Path("log/parts/test/report.html").read_text()
    assert (
        "By camera" in report and "By camera: videos" in report and "[+] By camera: videos" in out
    )
    videos = written("log/parts/test")["videos"]
    cameras = videos["subgroups"]["camera"]
    assert sum(row["n"] for row in cameras) == videos["n"] == 10
    assert {row["mark"] for row in cameras} == {"small"}
    assert videos["subgroups"]["method"][0]["auc"] == videos["values"]["auc"]


def test_the_size_of_faces_makes_no_parts_of_videos(tested):
    out = tested("sizes", "--data.test=clips/manifest.csv", "--subgroups", "face_side")
    assert "[+] By face_side" in out and "By face_side: videos" not in out
    assert written("log/sizes/test")["videos"]["subgroups"] == {}


def test_the_tables_stand_between_the_markers_and_nothing_else_changes(tested):
    card = Path("card.md")
    card.write_text(
        "# A\n<!-- own -->\nbefore\n<!-- /own -->\n\n<!-- far -->\n<!-- /far -->\nend\n"
    )
    clips = "--data.test=clips/manifest.csv"
    for _ in range(2):  # again: what stands there is replaced
        tested("card", clips, "--subgroups", "camera", "--card", "card.md#own")
    text = card.read_text()
    assert text.startswith("# A\n<!-- own -->\n\n**60 faces: 30 real, 30 fake**\n")
    assert text.endswith("<!-- /own -->\n\n<!-- far -->\n<!-- /far -->\nend\n")
    auc = written("log/card/test")["values"]["auc"]
    assert "before" not in text and text.count(f"| {metrics.NAMES['auc'][0]} | {auc:.3f} ") == 1
    assert "**10 videos: 5 real, 5 fake**" in text and "**By camera**" in text
    assert text.index("**By camera**") < text.index("**By camera: videos**")
    tested(
        "card2", clips, "--data.test=photos/manifest.csv", "--card", "card.md#far", "card.md#own"
    )
    assert card.read_text().count("**Across collections: faces**") == 2


def test_a_card_without_markers_is_refused_before_anything_is_scored(tested):
    Path("bare.md").write_text("<!-- own -->\n")
    for place, says in (
        ("bare.md#own", "write the two lines"),
        ("bare.md", "a file and a marker"),
        ("gone.md#own", "gone.md cannot be read"),
    ):
        with pytest.raises(UserError, match=says):
            tested("unmarked", "--data.test=clips/manifest.csv", "--card", place)
    assert not Path("log/unmarked/test/scores.csv").exists()


def test_what_test_refuses(home, tested):
    with pytest.raises(UserError, match="no column sauce; the rows say label, video"):
        tested("no", "--data.test=clips/manifest.csv", "--subgroups", "sauce")
    with pytest.raises(UserError, match=r"data\.test is empty"):
        tested("no")
    with pytest.raises(UserError, match=r"gone\.csv: no such CSV"):
        tested("no", "--data.test", "clips/manifest.csv", "gone.csv")
    assert not Path("log/no").exists()


# ----------------------------------------------------------------------------- settings


def test_a_flag_may_be_repeated_or_take_several_words(tmp_path, capsys):
    def tests(*argv: str) -> list[str]:
        return parse(Config, argv, "").data.tests

    assert tests("--data.test", "a.csv", "--data.test", "b, c.csv") == ["a.csv", "b, c.csv"]
    assert tests("--data.test", "a.csv", "b.csv", "--cam") == ["a.csv", "b.csv"]
    assert tests("--data.test=a.csv") == ["a.csv"] and tests("--data.test=") == tests() == []
    assert parse(Config, ["--data.test=a.csv"], "").data.test == "a.csv"
    file = tmp_path / "a.yaml"
    file.write_text("data:\n  test: [a.csv, b.csv]\nsubgroups: [source]\n")
    config = load(Config, str(file))
    assert config.data.tests == ["a.csv", "b.csv"]
    assert parse(Config, ["--config_file", str(file), "--data.test=c"], "").data.tests == ["c"]
    file.write_text(dump(config))
    assert load(Config, str(file)) == config
    for argv in (["source,method"], ["source", "--subgroups", "method"], ["[source, method]"]):
        assert parse(Config, ["--subgroups", *argv], "").subgroups == ["source", "method"]


@pytest.mark.parametrize(
    ("schema", "argv", "says"),
    [
        (Config, ["--data.test", "a.csv", "a.csv"], "names a.csv twice"),
        (Config, ["--data.test", "a.csv", ""], "is empty"),
        (Config, ["--data.test"], "expected at least one argument"),
        (Config, ["--rule", "best"], "'mean', 'median'"),
        (Compare, ["--out", "x"], "names no run"),
    ],
)
def test_a_wrong_list_is_refused(schema, argv, says, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(schema, argv, "")
    assert ended.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["data:\n  test: [1, 2]", "data:\n  test: {a: b}", "subgroups: x"])
def test_a_yaml_of_other_types_is_refused(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"data\.test|subgroups"):
        load(Config, str(file))
