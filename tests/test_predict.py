"""predict.py and verdict.py: the road of test.py, a state for each file, and files for others."""

import csv
import errno
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import ExifTags, Image
from pillow_heif import register_heif_opener

import judging
import predict
import prepare
import test as test_command
import verdict
from faces.encoding import encoding, jpeg_quality
from faces.image import read_image, write_image
from faces.media import describe
from faces.video import open_clip
from flags import Evidence, Frames, Predict
from judging import (
    INCONCLUSIVE,
    NO_FACE,
    NO_SIGNS,
    NOT_ENOUGH,
    SIGNS,
    UNREADABLE,
    Limits,
    ScoredFace,
    Verdict,
)
from report import verdict_page, verdict_text
from report.verdict_files import as_csv
from tests.judges import configuration, face_of, write_checkpoint, write_film
from utils import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Media of each kind below real/ and fake/, and a checkpoint."""
    from skimage import data

    home = tmp_path_factory.mktemp("predict")
    portrait = data.astronaut()
    face = face_of(portrait)
    for folder in ("real", "fake"):
        (home / "media" / folder).mkdir(parents=True)
    media = home / "media"
    write_image(media / "real" / "photo.png", portrait)
    Image.fromarray(portrait[:, ::-1]).save(media / "fake" / "hard.jpg", quality=25)
    write_film(media / "real" / "one.mp4", face)
    write_film(media / "fake" / "two.mp4", face[:, ::-1], faces=2, sound=True)
    write_image(home / "wall.png", np.full((200, 200, 3), 128, np.uint8))
    (home / "text.mp4").write_text("no film\n" * 50)
    write_checkpoint(home / "weights.pth")
    return home


@pytest.fixture(scope="module")
def prepared(home: Path) -> Path:
    """The manifest that prepare.py makes of them, without splits."""
    out = home / "made"
    arguments = ["folder", "--root", str(home / "media"), "--out", str(out), "--workers", "0"]
    assert prepare.main([*arguments, "--face.select", "all", "--frames.count", "16"]) == 0
    rows = pd.read_csv(out / "manifest.csv", dtype=str, keep_default_na=False)
    rows.drop(columns="split").to_csv(out / "all.csv", index=False)
    return out / "all.csv"


@pytest.fixture(scope="module")
def model(home: Path) -> verdict.Model:
    return verdict.load_model(home / "weights.pth", "cpu")


def settings(**more) -> Predict:
    return Predict.model_validate({"frames": {"count": 16}, **more})


# ------------------------------------------------------------------------------ same road


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"rule": "highest_frame", "tta": "crops10"},
        {"rule": "top_third", "tta": "flip"},
        {"rule": "highest_third"},
        {"data": {"crop": False}},
    ],
)
def test_scores_are_those_of_prepare_and_test(home, prepared, monkeypatch, tmp_path, kind):
    monkeypatch.chdir(tmp_path)
    weights = write_checkpoint(tmp_path / "weights.pth", config=configuration(**kind))
    model = verdict.load_model(weights, "cpu")
    Path("test.yaml").write_text(
        "network: MesoNet\ninput_size: {height: 64, width: 64}\nface: {select: all}\n"
        "num_workers: 0\nbootstrap: 0\nlayer_table: False\ntracking: {wandb: off}\n"
    )
    more = ["--config_file", "test.yaml", "--device", "cpu", "--prefix", "run"]
    more += ["--data.test", str(prepared), "--test_checkpoint", "weights.pth"]
    more += [f"--data.crop={model.config.data.crop}"]
    assert test_command.main(more) == 0
    faces = pd.read_csv("run/test/scores.csv", keep_default_na=False)
    films = pd.read_csv("run/test/video_scores.csv").set_index("video")["score"]
    photos = [] if "data" in kind else ["real/photo.png", "fake/hard.jpg"]  # seen whole else
    for name in (*photos, "real/one.mp4", "fake/two.mp4"):
        mine = verdict.of_file(home / "media" / name, model, settings())
        stem = re.escape(Path(name).stem)
        theirs = faces[faces["path"].str.contains(rf"/{stem}_[0-9a-f]")]
        assert len(theirs) == len(mine.faces) > 0
        found = sorted(face.score for face in mine.faces)
        assert np.allclose(found, sorted(theirs["score"]), atol=1e-5)
        if name.endswith(".mp4"):
            assert mine.score == pytest.approx(films[name], abs=1e-5)
            assert len(mine.persons) == (2 if "two" in name else 1)


def test_nothing_is_left_behind_and_the_file_stays(home, model, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    file = home / "media" / "real" / "photo.png"
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    file.chmod(0o444)
    found = verdict.of_file(file, model, settings())
    assert found.score is not None and list(tmp_path.iterdir()) == []
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    assert len(found.sha256) == 64 and found.sha256 == verdict.sha256_file(file)


# --------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [(0, 0.001, SIGNS), (0.999, 1, NO_SIGNS), (0.001, 0.999, INCONCLUSIVE)],
)
def test_the_limits_of_the_checkpoint_decide(home, tmp_path, low, high, state):
    file = write_checkpoint(tmp_path / "c.pth", low, high)
    model = verdict.load_model(file, "cpu")
    for name in ("real/photo.png", "real/one.mp4"):
        found = verdict.of_file(home / "media" / name, model, settings())
        assert found.state == state and 0 < found.score < 1, name


def test_films_take_their_own_limits_where_validation_had_films(home, tmp_path):
    own = {"threshold": 0.5, "t_low": 0.0, "t_high": 0.001, "data": "films", "unit": "video"}
    file = write_checkpoint(tmp_path / "c.pth", 0.999, 1.0, video_thresholds=own)
    model = verdict.load_model(file, "cpu")
    assert verdict.of_file(home / "media/real/one.mp4", model, settings()).state == SIGNS
    assert verdict.of_file(home / "media/real/photo.png", model, settings()).state == NO_SIGNS
    assert "single faces" in verdict.load_model(home / "weights.pth").limits(film=True).note


def test_what_cannot_be_judged_has_no_score(home, model, tmp_path):
    portrait = face_of(np.asarray(Image.open(home / "media/real/photo.png")))
    few = write_film(tmp_path / "few.mp4", portrait, frames=6)
    small = tmp_path / "small.png"
    wall = np.full((300, 300, 3), 128, np.uint8)
    wall[100:180, 100:180] = np.asarray(Image.fromarray(portrait).resize((80, 80)))
    write_image(small, wall)
    cases = {few: NOT_ENOUGH, small: NOT_ENOUGH, home / "wall.png": NO_FACE}
    cases |= {home / "text.mp4": UNREADABLE, tmp_path: UNREADABLE}
    for file, state in cases.items():
        found = verdict.of_file(file, model, settings())
        assert (found.state, found.score) == (state, None) and found.reason, file
    assert "6 faces" in verdict.of_file(few, model, settings()).reason
    assert "px" in verdict.of_file(small, model, settings()).reason


def scored(*values: float, size: float = 90) -> list[ScoredFace]:
    return [ScoredFace((0, 0, size, size), value, frame=n) for n, value in enumerate(values)]


LIMITS = Limits(0.2, 0.8, "face", "made")


@pytest.mark.parametrize(
    ("persons", "state"),
    [
        ({0: [0.1] * 12}, NO_SIGNS),
        ({0: [0.9] * 12}, SIGNS),
        ({0: [0.5] * 12}, INCONCLUSIVE),
        ({0: [0.9] * 11}, NOT_ENOUGH),
        ({0: [0.1] * 12, 1: [0.9] * 12}, SIGNS),
        ({0: [0.1] * 12, 1: [0.9] * 3}, NOT_ENOUGH),  # nobody may call this one harmless
        ({0: [0.1] * 12, 1: [0.1] * 3}, NO_SIGNS),
        ({0: [0.9] * 12, 1: [0.95] * 3}, SIGNS),
        ({0: [0.1] * 12, 1: [None] * 12}, NOT_ENOUGH),
    ],
)
def test_the_most_suspicious_person_decides_where_enough_was_seen(persons, state):
    faces = {number: scored(*values) for number, values in persons.items()}
    found = judging.judged(faces, LIMITS, "mean", Evidence(), film=True)
    assert judging.concluded(found, LIMITS) == state


def test_a_face_too_small_to_count_lends_no_score():
    faces = {0: scored(0.1, size=100), 1: scored(0.99, size=30), 2: scored(0.5, size=100)}
    found = judging.judged(faces, LIMITS, "mean", Evidence(), film=False)
    assert [person.number for person in found] == [2, 0, 1]
    state = judging.concluded(found, LIMITS)
    told = Verdict("a.jpg", state, "made", found[0].score, persons=found)
    assert state == INCONCLUSIVE and told.decisive == found[0]
    assert [verdict_text.person_score(one) for one in found] == [
        "score 0.5000",
        "score 0.1000",
        "no score",
    ]
    nothing = Verdict("a.jpg", NOT_ENOUGH, "made", None, persons=found[2:])
    assert nothing.decisive is None


@pytest.mark.parametrize(
    ("values", "rule", "words"),
    [
        ([0.9] * 11 + [None], "mean", "11 faces of a person could be used, and a film needs 12"),
        ([0.9], "mean", "1 face of a person could be used"),
        ([None] * 12, "mean", "no number for any face of a person"),
        ([0.9] * 8, "trimmed", "8 faces of a person are too few for the rule trimmed"),
    ],
)
def test_too_little_is_said_as_it_is(values, rule, words):
    evidence = Evidence(min_faces=5 if rule == "trimmed" else 12)
    found = judging.judged({0: scored(*values)}, LIMITS, rule, evidence, film=True)
    assert words in judging.why(judging.concluded(found, LIMITS), found)


def test_heatmaps_are_of_the_faces_that_the_verdict_rests_on_first():
    faces = {0: scored(*[0.1, 0.2] * 6), 1: scored(0.99)}
    persons = judging.judged(faces, LIMITS, "mean", Evidence(), film=True)
    listed = [(p.number, face) for p in persons for face in p.faces]
    rows = pd.DataFrame([{"person": n, "frame": f.frame, "media_box": f.box} for n, f in listed])
    values = np.array([face.score for _, face in listed])
    samples = {(0, index): (torch.zeros(3, 4, 4),) for index in range(len(rows))}
    wanted = Predict.model_validate({"heatmaps": {"count": 13}})
    found = verdict._suspicious(rows, samples, values, persons, wanted)
    assert [one.face.score for one in found] == [0.2] * 6 + [0.1] * 6 + [0.99]


def test_a_rule_of_frames_looks_at_those_of_whom_enough_was_seen():
    for seen, state in ((12, SIGNS), (11, NOT_ENOUGH)):
        faces = {0: scored(*[0.1] * 12), 1: scored(*[0.99] * seen)}
        found = judging.judged(faces, LIMITS, "highest_frame", Evidence(), film=True)
        together = judging.by_frames(found, "highest_frame")
        assert (together is None) == (seen == 11)
        assert judging.concluded(found, LIMITS, together) == state


def test_limits_that_cross_leave_a_band_between_them():
    from thresholds import Thresholds

    limits = Limits.of(Thresholds(0.5, t_low=0.9, t_high=0.1, data="made"))
    states = [limits.state(score) for score in (0.05, 0.1, 0.5, 0.9, 0.95)]
    assert states == [NO_SIGNS, INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE, SIGNS]


def test_a_score_is_a_probability_only_where_a_temperature_was_fitted():
    assert judging.calibrated(0.9, LIMITS) is None
    warm = Limits(0.2, 0.8, "face", "made", temperature=2.0)
    assert judging.calibrated(0.9, warm) == pytest.approx(1 / (1 + math.exp(-math.log(9) / 2)))


# ------------------------------------------------------------------------------- cautions


def test_cautions_name_what_weakens_a_verdict(home, model):
    hard = verdict.of_file(home / "media/fake/hard.jpg", model, settings())
    film = verdict.of_file(home / "media/real/one.mp4", model, settings(frames={"count": 8}))
    fine = verdict.of_file(home / "media/real/photo.png", model, settings())
    kinds = [{c.kind for c in one.cautions} for one in (hard, film, fine)]
    assert "compression" in kinds[0] and "few_frames" in kinds[1]
    assert kinds[2] <= {"familiarity_unknown"}
    whole = (home / "media/real/one.mp4").read_bytes()
    (home / "cut.mkv").write_bytes(
        remuxed(home / "media/real/one.mp4", home)[: len(whole) * 2 // 3]
    )
    cut = verdict.of_file(home / "cut.mkv", model, settings(frames={"every": 1}))
    assert cut.state != UNREADABLE and cut.searched.frames < 24


def remuxed(source: Path, home: Path) -> bytes:
    """The same film as Matroska, which can be read up to where it ends."""
    with av.open(str(source)) as film, av.open(str(home / "whole.mkv"), "w") as copy:
        stream = film.streams.video[0]
        out = copy.add_stream_from_template(stream)
        for packet in film.demux(stream):
            if packet.dts is not None:
                packet.stream = out
                copy.mux(packet)
    return (home / "whole.mkv").read_bytes()


def test_a_jpeg_with_a_second_picture_is_a_jpeg(tmp_path, portrait):
    picture = Image.fromarray(portrait)
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture.resize((80, 80))])
    assert describe(tmp_path / "a.jpg").format == "JPEG"
    assert encoding((tmp_path / "a.jpg").read_bytes())[0] == "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_the_size_of_a_photo_is_that_of_the_upright_one(tmp_path, form, orientation):
    register_heif_opener()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (96, 64), "red").save(tmp_path / "a", form, exif=exif)
    media = describe(tmp_path / "a")
    assert (media.height, media.width) == read_image(tmp_path / "a").shape[:2]


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(tmp_path, quality, portrait):
    Image.fromarray(portrait).save(tmp_path / "a.jpg", quality=quality)
    assert abs(describe(tmp_path / "a.jpg").quality - quality) <= 1
    assert jpeg_quality({}) == 0


@pytest.mark.parametrize(("sizes", "told"), [((90, 90), 0), ((90, 20), 1), ((20, 20), 0)])
def test_who_could_not_be_judged_beside_others_is_told(home, sizes, told):
    media = describe(home / "media/real/photo.png")
    faces = {number: scored(0.1, size=size) for number, size in enumerate(sizes)}
    persons = judging.judged(faces, LIMITS, "mean", Evidence(), film=False)
    found = judging.cautions_of(persons, media, judging.Searched(), Evidence(), "")
    texts = [caution.text for caution in found if caution.kind == "not_judged"]
    assert texts == ["of 1 of the 2 persons too little was seen for a judgement"] * told


def test_an_unfamiliar_face_is_told_and_a_familiar_one_is_not(home, tmp_path):
    import familiar

    model = verdict.load_model(home / "weights.pth", "cpu")
    with model.network.features() as seen:
        verdict.of_file(home / "media/real/one.mp4", model, settings())
    usual = np.concatenate([part.numpy() for part in seen])
    dice = np.random.default_rng(0)
    near = usual[dice.integers(len(usual), size=300)]
    near = near + dice.normal(size=near.shape) * (usual.std() + 0.01)
    for shift, told in ((0.0, False), (50.0 * float(usual.std() + 0.1), True)):
        stored = familiar.fit(near + shift, "made")
        file = write_checkpoint(tmp_path / f"{told}.pth", features=stored)
        found = verdict.of_file(
            home / "media/real/one.mp4", verdict.load_model(file, "cpu"), settings()
        )
        assert any(c.kind == "unfamiliar" for c in found.cautions) == told
        assert all((face.distance > 1) == told for face in found.faces)
        assert "familiarity_unknown" not in {c.kind for c in found.cautions}


# ---------------------------------------------------------------------------- the command


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "predict.py"), *arguments],
        cwd=home, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_command_says_one_file_in_a_block_and_many_in_a_table(home, capsys, monkeypatch):
    monkeypatch.chdir(home)
    base = ["--checkpoint", "weights.pth", "--device", "cpu", "--frames.count", "14"]
    assert predict.main(["media/real/photo.png", *base]) == 0
    block = capsys.readouterr().out
    for part in ("media/real/photo.png", "Score", "not a probability", "SHA-256", "weights.pth"):
        assert part in block
    assert "real" not in re.sub(r"media/real|real and manip|5 % of reals", "", block).lower()
    many = ["media", "media/real/photo.png", "text.mp4", "wall.png"]
    assert predict.main([*many, *base, "--json", "a.json", "--csv", "a.csv"]) == 3
    table = capsys.readouterr().out
    assert table.count("photo.png") == 1 and "6 files: 1 cannot be read, 1 no face" in table
    content = json.loads(Path("a.json").read_text())
    assert content["format"] == 1 and len(content["files"]) == 6
    by_path = {one["path"]: one for one in content["files"]}
    assert by_path["text.mp4"]["state"] == UNREADABLE and by_path["text.mp4"]["score"] is None
    film = by_path["media/fake/two.mp4"]
    assert len(film["persons"]) == 2 and film["media"]["sound"] is True
    times = [face["seconds"] for face in film["persons"][0]["faces"]]
    assert times == sorted(times) and len(times) == 14
    rows = list(csv.DictReader(io.StringIO(Path("a.csv").read_text())))
    assert {row["state"] for row in rows} == {one["state"] for one in content["files"]}
    assert predict.main(["text.mp4", *base]) == 4


def test_files_are_each_taken_once_sorted_and_not_hidden(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.mp4", ".hidden.jpg", "note.txt", "sub/c.PNG", ".git/d.jpg", "[x].jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("again.jpg").symlink_to("b.jpg")
    assert predict.files_of(["."]) == ["[x].jpg", "a.mp4", "again.jpg", "sub/c.PNG"]
    assert predict.files_of(["b.jpg", "*.mp4", "./b.jpg", "a.mp4"]) == ["b.jpg", "a.mp4"]
    assert predict.files_of([".hidden.jpg", "note.txt", "[x].jpg"]) == [
        ".hidden.jpg", "note.txt", "[x].jpg",
    ]  # fmt: skip
    for wrong in (["gone.jpg"], [], ["*.gone"], [".git/nothing"], [""], ["b.jpg", " "]):
        with pytest.raises(UserError):
            predict.files_of(wrong)


def test_what_a_folder_holds_besides_is_counted_and_what_is_closed_is_named(
    tmp_path, monkeypatch, capsys
):
    for name in ("in/a.jfif", "in/b.ts", "in/note.txt", "in/closed/c.jpg", "elsewhere/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    scan = os.scandir

    def refused(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refused)
    found = predict.files_of([str(tmp_path / "in")])
    assert [Path(file).name for file in found] == ["a.jfif", "b.ts", "closed"]
    assert "in: 2 other files or linked folders were not looked at" in capsys.readouterr().err


def test_a_folder_that_cannot_be_looked_into_is_unreadable(model, tmp_path):
    assert verdict.of_file(tmp_path, model, settings()).state == UNREADABLE


def test_names_that_begin_with_a_dash_stand_behind_two(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    shutil.copy("wall.png", "-wall.png")
    base = ["--checkpoint", "weights.pth", "--device", "cpu"]
    assert predict.main([*base, "--", "-wall.png", "wall.png"]) == 0
    assert "-wall.png" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        predict.main(["-wall.png", *base])
    assert "command line: -wall.png: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--csv", "media/real/photo.png", "wall.png"],  # --csv *.png
        ["wall.png", "--json", "./wall.png"],
        ["text.mp4", "--json", "linked.json"],
        ["wall.png", "--json", "new.jpg"],
        ["wall.png", "--json", "same", "--csv", "./same"],
        ["media/fake/two.mp4", "--out", "media/fake", "--video"],
    ],
)
def test_nothing_that_is_judged_is_written_over(home, monkeypatch, argv):
    monkeypatch.chdir(home)
    Path("linked.json").unlink(missing_ok=True)
    Path("linked.json").symlink_to("text.mp4")
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    monkeypatch.setattr(verdict, "of_file", lambda *args: pytest.fail("judged"))
    with pytest.raises(UserError, match=r"name (another|two)"):
        predict.main([*argv, "--checkpoint", "weights.pth", "--device", "cpu"])
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_an_animated_picture_has_no_copy_with_boxes_and_it_says_so(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    film = open_clip("media/real/one.mp4", Frames(count=14))
    frames = [Image.fromarray(frame.image) for frame in film]
    frames[0].save("moves.webp", save_all=True, append_images=frames[1:], duration=40)
    argv = ["moves.webp", "--checkpoint", "weights.pth", "--device", "cpu", "--out", "moving"]
    assert predict.main([*argv, "--video"]) == 0
    said = capsys.readouterr()
    assert "moves.webp: no copy with boxes of an animated picture" in said.err
    assert "14 of 14 frames of " in said.out and not list(Path("moving").glob("*.mp4"))


def test_help_and_mistakes_import_nothing_heavy(tmp_path):
    code = (
        "import sys\nsys.argv = ['predict.py', *sys.argv[1:]]\nimport predict\n"
        "try:\n    predict.main(sys.argv[1:])\nexcept BaseException as end:\n    code = end\n"
        "print(sorted({'pandas', 'matplotlib', 'sklearn', 'timm', 'torch', 'wandb', 'torchvision'}"
        " & set(sys.modules)))"
    )
    for arguments in (["--help"], [], ["gone.jpg"], ["a.jpg", "--cam"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.stdout.strip().endswith("[]"), done.stdout[-300:] + done.stderr
    done = run(tmp_path, "--help")
    assert done.returncode == 0 and "Exit status" in done.stdout and "PATH" in done.stdout
    assert run(tmp_path, "gone.jpg").returncode == 2


def test_a_spreadsheet_computes_no_name(model):
    names = ["=1+1.jpg", "+a", "-b", "@c", "\td", "\re", " =f", "plain.jpg", 'quo"te,.jpg', "\n=g"]
    found = [judging.Verdict(name, UNREADABLE, "=cmd") for name in names]
    rows = list(csv.DictReader(io.StringIO(as_csv(found, model), newline="")))
    for name, row in zip(names, rows, strict=True):
        harmless = name in ("plain.jpg", 'quo"te,.jpg')
        assert row["path"] == (name if harmless else f"'{name}") and row["reason"] == "'=cmd"


def test_names_with_control_characters_stay_on_their_line(model):
    from report import verdict_text

    name = "a\x1b[31m\nb\u202e.jpg"
    found = judging.Verdict(name, UNREADABLE, "not a picture")
    for text in (verdict_text.block(found, model), verdict_text.table([found, found])):
        assert "\x1b" not in text and "\u202e" not in text and "a\\x1b[31m\\x0ab" in text


def test_without_a_checkpoint_the_released_one_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verdict, "RELEASED", tmp_path / "weights" / "detector.safetensors")
    monkeypatch.setattr(verdict, "ROOT", tmp_path / "elsewhere")
    with pytest.raises(UserError, match="make quickstart"):
        verdict.find_checkpoint()
    quick = tmp_path / "log" / "quickstart" / "checkpoints" / "best.pth"
    quick.parent.mkdir(parents=True)
    write_checkpoint(quick)
    assert verdict.find_checkpoint() == verdict.QUICKSTART
    assert verdict.load_model(quick, "cpu").good_for == verdict.DEMONSTRATION
    (tmp_path / "weights").mkdir()
    verdict.RELEASED.write_bytes(b"")
    assert verdict.find_checkpoint() == verdict.RELEASED
    assert verdict.find_checkpoint("mine.pth") == Path("mine.pth")
    monkeypatch.setattr(verdict, "RELEASED", quick)
    assert verdict.load_model(quick, "cpu").good_for == verdict.RELEASED_FOR


def test_exported_weights_judge_the_same(home, tmp_path):
    import checkpoint
    import familiar

    stored = familiar.fit(np.random.default_rng(0).normal(size=(40, 16)), "made")
    file = write_checkpoint(tmp_path / "a.pth", features=stored)
    exported = tmp_path / "detector.safetensors"
    assert checkpoint.main([str(file), "--export", str(exported)]) == 0
    one, other = (verdict.load_model(f, "cpu") for f in (file, exported))
    assert other.state["features"] == stored
    found = [verdict.of_file(home / "media/real/photo.png", m, settings()) for m in (one, other)]
    assert found[0].score == found[1].score and found[0].state == found[1].state
    (tmp_path / "README.md").write_text("of whatever else lies here")
    assert "Model card" not in verdict_page.page(found[1], other)
    (tmp_path / "detector.md").write_text("# Made of <nothing>." + "." * 300_000)
    page = verdict_page.page(found[1], other)
    assert "Made of &lt;nothing&gt;." in page and "longer than is shown here" in page


def test_the_released_weights_are_known_by_any_name_and_show_their_whole_card(monkeypatch):
    monkeypatch.chdir(verdict.ROOT)
    model = verdict.load_model("weights/detector.safetensors", "cpu")
    assert model.good_for == verdict.RELEASED_FOR
    card = verdict_page.model_card(model)
    assert card == (verdict.ROOT / "weights/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", ["--json", "--csv", "--out"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_judged(home, monkeypatch, flag):
    monkeypatch.chdir(home)
    Path("taken").write_text("a file")
    monkeypatch.setattr(verdict, "of_file", lambda *args: pytest.fail("judged"))
    with pytest.raises(UserError, match="taken"):
        predict.main(["wall.png", "--checkpoint", "weights.pth", flag, "taken/x"])
    if flag != "--out":
        Path("folder").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="is a folder"):
            predict.main(["wall.png", "--checkpoint", "weights.pth", flag, "folder"])


def test_a_crop_recipe_that_is_not_known_is_an_error_in_words(tmp_path):
    file = write_checkpoint(tmp_path / "a.pth")
    state = torch.load(file, weights_only=True)
    state["crop"]["margin"] = "80%"
    torch.save(state, file)
    with pytest.raises(UserError, match=r"how it reads pictures.*margin"):
        verdict.load_model(file, "cpu")


def test_a_link_that_leads_to_itself_is_a_file_that_cannot_be_read(model, tmp_path):
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert predict.files_of([str(loop)]) == [str(loop)]
    assert verdict.of_file(loop, model, settings()).state == UNREADABLE


# --------------------------------------------------------------------- page, film, heatmaps


def test_pages_need_nothing_else_and_hold_what_was_found(home, monkeypatch):
    monkeypatch.chdir(home)
    base = ["--checkpoint", "weights.pth", "--device", "cpu", "--frames.count", "14"]
    files = ["media/fake/two.mp4", "media/real/photo.png", "text.mp4", "wall.png"]
    assert predict.main([*files, *base, "--out", "pages", "--cam", "--video"]) == 3
    pages = sorted(Path("pages").glob("*.html"))
    assert len(pages) == 5
    for page in pages:
        text = page.read_text()
        assert not re.search(r'(src|href)="(https?:|//|/)', text) and "<script" not in text
        for link in re.findall(r'href="#([^"]+)"', text):
            assert f'id="{link}"' in text
        for link in re.findall(r'href="([^"#][^"]*)"', text):
            assert (Path("pages") / link).is_file()
    film = pages[0].read_text()
    assert film.count("<circle") == 28 and "Person 2" in film and "heatmap" in film
    assert re.search(r"of 100 real faces.*at most 5\s+score above", film, re.DOTALL)
    assert "the sound" in film and "SHA-256 of the weights" in film
    assert "No face found" in pages[3].read_text() and "Cannot be read" in pages[2].read_text()
    assert "of these data, drawn at random" not in film  # an older checkpoint's AUC is not known
    with av.open("pages/0001_two.mp4") as copy:
        stream = copy.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        frames = [frame.to_ndarray(format="rgb24") for frame in copy.decode(stream)]
    assert len(frames) == 24 and frames[0].shape[1] == 480 and frames[0].shape[0] > 240
    orange = np.abs(frames[6][:240].astype(int) - verdict_page.COLOURS[0]).sum(axis=2) < 120
    assert orange.sum() > 100, "the first person's box is drawn"
    content = Path("pages/0001_two.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "a browser can start at once"


def test_a_hostile_name_does_no_harm_on_a_page(home, model, tmp_path):
    name = '<img src=x onerror=alert(1)>".png'
    shutil.copy(home / "wall.png", tmp_path / name)
    found = verdict.of_file(tmp_path / name, model, settings(), pictures=True)
    assert "<img src=x" not in verdict_page.page(found, model)


def test_progress_rises_to_its_end(home, model):
    told: list[float] = []
    verdict.of_file(
        home / "media/real/one.mp4", model, settings(), lambda share, what: told.append(share)
    )
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1 and len(told) > 10


def test_a_network_of_whole_pictures_sees_them_whole(home, tmp_path):
    config = configuration(data={"crop": False})
    file = write_checkpoint(tmp_path / "whole.pth", config=config)
    model = verdict.load_model(file, "cpu")
    found = verdict.of_file(home / "wall.png", model, settings())
    assert found.score is not None and found.faces[0].box == (0, 0, 200, 200)


def test_a_page_says_what_its_limits_were_worth_where_they_were_fitted(home, tmp_path):
    limits = {"threshold": 0.5, "t_low": 0.2, "t_high": 0.8, "data": "made", "temperature": 1.0}
    both = {
        "thresholds": limits | {"unit": "face", "auc": 0.875},
        "video_thresholds": limits | {"unit": "video", "auc": 0.75},
    }
    model = verdict.load_model(write_checkpoint(tmp_path / "c.pth", **both), "cpu")
    for file, said in {
        "real/photo.png": "a real and a manipulated face of these data, drawn at random, the "
        "manipulated one has the higher score in 87.5%",
        "real/one.mp4": "a real and a manipulated film of these data, drawn at random, the "
        "manipulated one has the higher score in 75.0%",
    }.items():
        found = verdict.of_file(home / "media" / file, model, settings())
        assert said in verdict_page.page(found, model)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_features_are_of_one_view_of_each_face(home, tmp_path, tta):
    import familiar

    usual = familiar.fit(np.random.default_rng(0).normal(size=(60, 16)), "made")
    file = write_checkpoint(tmp_path / "c.pth", config=configuration(tta=tta), features=usual)
    model = verdict.load_model(file, "cpu")
    assert model.network.tta == tta
    found = verdict.of_file(home / "media/fake/two.mp4", model, settings())
    assert len(found.faces) == 32 and all(face.distance is not None for face in found.faces)


def test_validation_that_shared_persons_is_told(home, tmp_path):
    data = {"train": "a.csv", "valid": "a.csv", "rows": "", "unsafe_split": "within_person"}
    model = verdict.load_model(write_checkpoint(tmp_path / "c.pth", data=data), "cpu")
    found = verdict.of_file(home / "media/real/photo.png", model, settings())
    assert "unsafe_split" in {caution.kind for caution in found.cautions}


def test_weights_without_limits_are_refused(tmp_path):
    file = write_checkpoint(tmp_path / "c.pth", low=float("nan"))
    with pytest.raises(UserError, match="no thresholds"):
        verdict.load_model(file)
