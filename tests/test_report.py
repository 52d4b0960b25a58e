"""The page and its plots: one harmless file that says the numbers, and says what is missing."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

import rules
from report import page, plots
from report.page import Checkpoint, Failure, Heatmap, Mistake, Number, Page, Videos
from report.tables import Table, Value

LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
SCORES = [0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.7, 0.9]
ROWS = [
    dict(zip(plots.COLUMNS, values, strict=True))
    for values in (
        (1, 0.7, 0.69, 0.5, 0.5, 1e-3),
        (2, 0.5, 0.41, 0.8, 0.75, 1e-3),
        (3, 0.3, None, 0.9, None, 1e-3),
        (4, 0.1, 0.6, 1.0, 0.7, 1e-4),
    )
]
HOSTILE = "<script>alert('x')</script>\"onerror=1&.png"


def words(svg: str) -> str:
    """What an SVG says to those who cannot see it."""
    assert svg.startswith("<?xml")
    return html.unescape(re.search(r"<title>(.*?)</title>", svg).group(1))


def written(tmp_path, given: Page) -> str:
    page.write_page(tmp_path / "page.html", given)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "face.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


@pytest.fixture(scope="module")
def svgs():
    return {
        "confusion": plots.confusion(3, 1, 1, 3),
        "roc": plots.roc(LABELS, SCORES),
        "precision_recall": plots.precision_recall(LABELS, SCORES),
        "histogram": plots.histogram(LABELS, SCORES),
        "reliability": plots.reliability(LABELS, SCORES),
        "learning_curves": plots.learning_curves(ROWS, 2),
    }


# ---------------------------------------------------------------------------------- plots


def test_each_plot_says_its_numbers(svgs):
    # AUC: of 16 pairs the fakes .4 .6 .7 lose to the real .8 alone.
    assert "area under the curve 0.812" in words(svgs["roc"])
    assert "equal error rate 25.0%" in words(svgs["roc"])
    # Precision at the fakes, best first: 1/1, 2/3, 3/4, 4/5.
    assert f"average precision {np.mean([1, 2 / 3, 3 / 4, 4 / 5]):.3f}" in words(
        svgs["precision_recall"]
    )
    assert "3 of 4 fakes called fake, 1 of 4 reals called fake" in words(svgs["histogram"])
    assert "of 4 reals 1 called fake, of 4 fakes 3 called fake" in words(svgs["confusion"])
    # Eight faces, each alone in its bin: the mean distance of score and label.
    assert "calibration error 0.350" in words(svgs["reliability"])
    curves = words(svgs["learning_curves"])
    assert "Best epoch 2 of 4: validation loss 0.4100, accuracy 75.0%." in curves
    assert "Learning rate 1.0e-03 to 1.0e-04." in curves


def test_the_histogram_counts_from_the_given_threshold_on():
    assert "from 0.7 on, 2 of 4 fakes called fake, 1 of 4 reals" in words(
        plots.histogram(LABELS, SCORES, 0.7)
    )


def test_several_curves_are_named_and_one_without_a_curve_is_said():
    named = [
        ("first", LABELS, SCORES),
        ("$a_b$ <x>", LABELS, SCORES[::-1]),
        ("_reals", [0, 0], [0.1, 0.2]),
    ]
    text = words(plots.rocs(named))
    assert "first: 0.812" in text and "$a_b$ <x>: 0.188" in text
    assert "_reals: no curve, for it needs reals and fakes" in text
    assert "no curve" in words(plots.rocs(named[2:]))
    assert plots.rocs(named) == plots.rocs(named)
    many = plots.rocs([(f"run {i}", LABELS, SCORES) for i in range(30)])
    assert len(set(re.findall(r"run \d+: ", words(many)))) == 30


def test_a_plot_of_videos_says_so():
    assert words(plots.roc(LABELS, SCORES, "video")).startswith("ROC curve of videos")
    assert "every video (2) is real" in words(plots.roc([0, 0], [0.1, 0.2], "video"))


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
@pytest.mark.parametrize(("label", "name", "other"), [(0, "real", "fakes"), (1, "fake", "reals")])
def test_one_class_has_no_curve_and_says_so(draw, label, name, other):
    text = words(draw([label] * 3, [0.2, 0.5, 0.9]))
    assert f"every face (3) is {name}" in text
    assert f"needs {other}" in text


def test_one_class_and_no_scores_are_said_by_the_other_plots():
    assert "no fakes in this test" in words(plots.histogram([0, 0], [0.1, 0.9]))
    assert "no scores" in words(plots.histogram([], []))
    assert "no scores" in words(plots.reliability([], []))
    assert "calibration error 0.500" in words(plots.reliability([0, 0], [0.1, 0.9]))
    assert "of 3 reals 1 called fake, of 0 fakes 0" in words(plots.confusion(2, 1, 0, 0))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1], "one length"),
        ([0, 2], [0.1, 0.2], "0 .real. or 1 .fake."),
        ([0, 1], [0.1, float("nan")], "leave out the pictures that failed"),
        ([0, 1], [0.1, 1.2], "within 0..1"),
    ],
)
def test_what_is_no_label_or_score_is_refused(labels, scores, message):
    for draw in (plots.roc, plots.precision_recall, plots.histogram, plots.reliability):
        with pytest.raises(ValueError, match=message):
            draw(labels, scores)


def test_the_same_input_gives_the_same_bytes(tmp_path, svgs):
    assert plots.roc(LABELS, SCORES) == svgs["roc"]
    assert plots.histogram(LABELS, SCORES) == svgs["histogram"]
    for name in ("a.png", "b.png"):
        plots.save_learning_curves(ROWS, 1, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_plot_is_a_picture_too():
    first, second = (plots.roc(LABELS, SCORES).png() for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).size == (736, 736)
    assert Image.open(io.BytesIO(plots.roc([0], [0.5]).png())).format == "PNG"  # words


def test_learning_curves_are_saved_as_a_picture_with_something_on_it(tmp_path):
    plots.save_learning_curves(ROWS, 1, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as drawn:
        assert drawn.format == "PNG"
        assert drawn.size == (1360, 560)
        # Okabe-Ito's bluish green, in which validation is drawn.
        green = np.all(np.asarray(drawn.convert("RGB")) == (0x00, 0x9E, 0x73), axis=-1)
        assert green.sum() > 200
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "No epoch has been finished"),
        (ROWS[:1], "Best epoch 1 of 1"),
        ([{"epoch": 1, "train_loss": 0.5}], "No validation loss"),
        ([{"epoch": "1", "valid_loss": "0.5", "valid_accuracy": "", "lr": "1e-4"}], "rate 1.0e-04"),
        (
            [{"epoch": 1, "valid_loss": float("nan")}, {"epoch": 2, "valid_loss": 0.5}],
            "epoch 2 of 2",
        ),
    ],
)
def test_learning_curves_bear_short_and_holed_logs(rows, said):
    assert said in words(plots.learning_curves(rows, len(rows)))


def test_the_best_epoch_is_the_one_that_was_kept_and_not_that_of_the_lowest_loss():
    rows = [{"epoch": 1, "valid_loss": 0.30}, {"epoch": 2, "valid_loss": 0.45}]
    assert "Best epoch 2 of 2: validation loss 0.4500" in words(plots.learning_curves(rows, 2))


# ----------------------------------------------------------------------------------- page


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path, picture, svgs):
    text = written(
        tmp_path,
        Page(
            title="A test",
            n=8,
            real=4,
            fake=4,
            mistakes=[Mistake(picture, "a.png", 0, 0.8)],
            heatmaps=[Heatmap(picture, "b.png, score 0.8", "most wrong")],
            **svgs,
        ),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.png", "page.html"]
    sources = re.findall(r'(?:src|srcset|action|data|poster)="([^"]*)"', text)
    assert len(sources) == 8
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"<(script|link|iframe|object|embed|form)\b", text)
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text
    shown = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", text).group(1))
    assert Image.open(io.BytesIO(shown)).size == (8, 8)


def test_every_picture_has_an_alternative_text_with_its_numbers(tmp_path, picture, svgs):
    text = written(tmp_path, Page(title="A", mistakes=[Mistake(picture, "a", 0, 0.8)], **svgs))
    alternatives = [html.unescape(alt) for alt in re.findall(r'<img [^>]*alt="([^"]*)"', text)]
    assert len(alternatives) == text.count("<img ") == 7
    assert {words(svg) for svg in svgs.values()} <= set(alternatives)
    assert "a real face, score 0.800" in alternatives


def test_hostile_names_stay_text(tmp_path, picture):
    text = written(
        tmp_path,
        Page(
            title=HOSTILE,
            verdict=[HOSTILE],
            numbers=[Number(HOSTILE, 0.5, meaning=HOSTILE)],
            mistakes=[Mistake(picture, HOSTILE, 1, 0.1)],
            heatmaps=[Heatmap(picture, HOSTILE, HOSTILE)],
            failures=[Failure(HOSTILE, HOSTILE)],
            data=HOSTILE,
            checkpoint=Checkpoint(HOSTILE, HOSTILE, HOSTILE, 0.5, HOSTILE),
            configuration=f"prefix: {HOSTILE}\n</pre></details>",
            bins=Table({"a": HOSTILE, "b": HOSTILE}, [(HOSTILE, HOSTILE)], HOSTILE, [HOSTILE]),
            videos=Videos(3, HOSTILE, 4, 5, failures=[Failure(HOSTILE, HOSTILE)]),
            commands=[HOSTILE],
            limits=HOSTILE,
        ),
    )
    assert "<script" not in text
    assert '"onerror' not in text
    assert "</pre></details>\n</pre>" not in text
    assert text.count(html.escape("<script>")) >= 26  # each place above shows it


def test_a_name_that_is_no_utf8_costs_nobody_the_page(tmp_path):
    text = written(tmp_path, Page(title="A", failures=[Failure("caf\udce9.png", "truncated")]))
    assert "caf\\udce9.png" in text


def test_the_page_contains_the_numbers(tmp_path):
    text = written(
        tmp_path,
        Page(
            title="A",
            verdict=[page.headline(15, 1, 2, 14, persons=16)],
            n=1032,
            real=1016,
            fake=16,
            persons=16,
            intervals="bootstrap over 16 persons",
            numbers=[
                Number("Accuracy", 0.90625, 0.81, 0.97, 0.875, "share of faces called rightly"),
                Number("AUC", float("nan"), float("nan"), float("nan")),
            ],
            failures=[Failure("broken.png", "the file ends early")],
            data="faces.csv, test rows",
            checkpoint=Checkpoint("best.pth", "7", "ab" * 32, 0.4123, "faces.csv (val)"),
            configuration="network: ResNet",
            commands=["python test.py --config_file a.yaml"],
        ),
    )
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
    for expected in (
        "found 14 of 16 fakes and raised 1 false alarm on 16 reals.",
        "1,032 faces: 1,016 real , 16 fake ; 16 people.",
        "Accuracy 0.906 0.810 to 0.970 0.875 share of faces called rightly",
        "AUC undefined – –",
        "bootstrap over 16 persons",
        "1 picture could not be scored and is in none of the numbers",
        "broken.png the file ends early",
        "faces.csv, test rows",
        "best.pth Epoch 7",
        "ab" * 32,
        "0.412, from faces.csv (val)",
        "network: ResNet",
        "python test.py --config_file a.yaml",
        page.LIMITS,
    ):
        assert expected in said


def said_by(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_says_what_the_faces_say_of_their_videos(tmp_path, svgs):
    columns = {"rule": "Rule", "auc": "AUC"}
    videos = Videos(
        n=8,
        rule="trimmed",
        faces=1200,
        faces_in_all=1234,
        numbers=[Number("AUC", 0.8125, 0.6, 0.9, at_stored=None)],
        intervals="bootstrap over 8 groups by video",
        stored="0.412, from 20 videos",
        roc=svgs["roc"],
        by_rule=Table(columns, [("mean", Value(0.8)), ("trimmed *", Value(0.8125, 0.6, 0.9))]),
        failures=[Failure("clip9", "7 faces, and trimmed needs more than 11")],
    )
    said = said_by(written(tmp_path, Page(title="A", videos=videos)))
    for expected in (
        "8 videos from 1,200 faces of 1,234; the others name no video.",
        "the checkpoint’s rule, trimmed ;",
        "1 video got no score and is in none of these numbers.",
        "AUC 0.812 0.600 to 0.900",
        "The stored threshold of videos is 0.412, from 20 videos.",
        "trimmed * 0.812 0.600 to 0.900",
        "clip9 7 faces, and trimmed needs more than 11",
    ):
        assert expected in said
    alone = said_by(written(tmp_path, Page(title="A", videos=Videos(1, "mean", 9, 9))))
    assert "1 video from 9 faces. The scores" in alone


@pytest.mark.parametrize("rule", rules.BY_FRAME)
def test_of_a_rule_by_frames_the_page_does_not_speak_of_the_highest_track(tmp_path, rule):
    said = said_by(written(tmp_path, Page(title="A", videos=Videos(1, rule, 9, 9))))
    assert "Each frame counts by its highest face" in said and rule in said
    assert "highest track" not in said


def test_the_page_shows_parts_and_bins(tmp_path):
    part = Table({"value": "source", "n": "n"}, [("celeb", 1200), ("", 3)], "By source", ["small"])
    said = said_by(written(tmp_path, Page(title="A", subgroups=[part], bins=part)))
    assert said.count("By source source n celeb 1,200 3 small") == 2


def test_what_is_missing_is_said(tmp_path):
    text = written(tmp_path, Page(title="A", numbers=[Number("AUC", 0.5)]))
    assert "<img" not in text
    for said in (
        "No verdict was written",
        "No faces were scored",
        "No figures at a stored threshold",
        "No confusion matrix",
        "No histogram",
        "No ROC curve",
        "No precision-recall curve",
        "No mistakes to show",
        "No heatmaps were asked for: run test.py with --cam.",
        "No learning curves",
        "No reliability diagram",
        "all numbers are of single faces",
        "name columns of the manifest in",
        "The configuration was not recorded",
        "No commands were recorded",
    ):
        assert said in text


def test_a_picture_that_cannot_be_shown_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(page.LARGEST_PICTURE))
    text = written(
        tmp_path,
        Page(
            title="A",
            mistakes=[
                Mistake(tmp_path / "gone.png", "first.png", 0, 0.9),
                Mistake(tmp_path / "text.png", "second.png", 0, 0.8),
                Mistake(large, "third.png", 0, 0.7),
            ],
        ),
    )
    assert "<img" not in text
    assert all(name in text for name in ("first.png", "second.png", "third.png"))
    assert "no such file" in text
    assert "no picture that a browser can read" in text
    assert "larger than 4 MiB" in text


def test_the_same_page_has_the_same_bytes(tmp_path, svgs):
    assert written(tmp_path, Page(title="A", **svgs)) == written(tmp_path, Page(title="A", **svgs))


@pytest.mark.parametrize(
    ("counts", "unit", "persons", "sentence"),
    [
        ((0, 0, 1, 0), "faces", 1, "On 1 face of 1 person the detector found 0 of 1 fake"),
        ((9, 3, 0, 0), "faces", None, "On 12 faces the detector had no fakes to find and raised 3"),
        (
            (0, 0, 2, 3),
            "videos",
            None,
            "On 5 videos the detector found 3 of 5 fakes and met no reals.",
        ),
    ],
)
def test_the_headline_is_plain_english(counts, unit, persons, sentence):
    assert page.headline(*counts, unit=unit, persons=persons).startswith(sentence)
