"""The rules of a split and the balance: nobody leaks but where it is said, shares are met."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manifest
import splits
from balance import balance
from flags import Split
from manifest import FAKE, REAL
from utils import UserError

SHARES = (0.8, 0.1, 0.1)
FEW = st.sampled_from(["", "", "", *"abcdefgh"])


def table(**columns) -> pd.DataFrame:
    """Rows as manifest.read gives them, from some columns."""
    n = len(next(iter(columns.values())))
    first = {"path": [f"/set/{i:04d}.png" for i in range(n)], "label": [REAL] * n}
    rows = pd.DataFrame(first | columns)
    others = [column for column in rows if column not in manifest.COLUMNS]
    return rows.reindex(columns=[*manifest.COLUMNS, *others], fill_value="")


@st.composite
def any_rows(draw, given_splits=("",)):
    """Rows whose people, clips, originals and near-duplicates link at random."""
    n = draw(st.integers(1, 24))
    paths = [f"/set/{i}.png" for i in range(n)]
    columns = {
        "identity": st.sampled_from([f"p{i}" for i in range(12)] + [""]),
        "video": FEW,
        "near_duplicate_group": FEW,
        "source_path": st.sampled_from(["", "", "", "", *paths]),
        "source_identity": st.sampled_from(["", "", "", "p1", "p2", "p11"]),
        "source_video": FEW,
        "label": st.sampled_from([REAL, FAKE]),
        "split": st.sampled_from(given_splits),
        "method": st.sampled_from(["", "warp", "blend"]),
    }
    return table(path=paths, **{name: [draw(v) for _ in range(n)] for name, v in columns.items()})


def on_two_sides(rows: pd.DataFrame, split: pd.Series) -> set[str]:
    """What stands on two sides, by the rule's own words and not by splits.leaks."""
    seen: dict[tuple[str, str], str] = {}
    found = set()
    for row, side in zip(rows.to_dict("records"), split, strict=True):
        names = [("person", row[c]) for c in ("identity", "source_identity")]
        names += [("clip", row[c]) for c in ("video", "source_video")]
        names += [("near", row["near_duplicate_group"])]
        names += [("picture", row[c]) for c in ("path", "source_path")]
        found |= {what for what, its in names if its and seen.setdefault((what, its), side) != side}
    return found


# ---------------------------------------------------------------------------------- rules


@settings(max_examples=60, deadline=None)
@given(
    any_rows(("", "", "train", "val", "test")),
    st.sampled_from(["ratio", "last_persons", "official"]),
    st.integers(0, 9),
    st.integers(1, 3),
)
def test_no_safe_rule_leaks(rows, rule, seed, persons):
    try:
        split, _ = splits.assign(rows, rule, SHARES, seed, persons)
    except UserError as error:
        assert rule != "ratio" and "ratio" in str(error)
        return
    kept = rows.loc[split.index]
    assert on_two_sides(kept, split) == set()
    assert set(split) <= set(manifest.SPLITS)
    assert rule == "official" or len(split) == len(rows)
    assert split.equals(splits.assign(rows, rule, SHARES, seed, persons)[0])


@settings(max_examples=40, deadline=None)
@given(any_rows(), st.integers(0, 9))
def test_the_unsafe_rule_keeps_its_test_apart(rows, seed):
    how = Split(rule="unsafe_within_person")
    try:
        made, notes = splits.with_splits(rows, how, seed)
    except UserError:
        return
    assert set(made[splits.UNSAFE]) == {splits.WITHIN_PERSON} and "inflated" in notes[0]
    inside = made["split"] == "test"
    assert on_two_sides(made, inside) == set()
    assert set(made["split"]) <= set(manifest.SPLITS) and (made["split"] == "val").any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=20, max_size=60), st.integers(0, 9))
def test_shares_are_met_within_one_person(sizes, seed):
    people = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    split, notes = splits.assign(table(identity=people), "ratio", SHARES, seed)
    for name, share in zip(manifest.SPLITS, SHARES, strict=True):
        off = abs((split == name).sum() - share * len(people))
        assert off <= max(sizes)
        said = any(note.startswith(f"{name} has") for note in notes)
        assert said == (off / len(people) > splits.FAR_OFF) or np.isclose(off / len(people), 0.05)


@pytest.mark.parametrize("rule", ["ratio", "unsafe_within_person"])
def test_a_clip_s_split_does_not_hang_on_where_its_faces_lie(rule):
    """Their files are named by the clip's folder and its time of change."""
    count = range(60)
    named = {"video": [f"v{i // 3}" for i in count], "frame": [str(i % 3) for i in count]}
    rows = table(identity=[f"p{i // 12}" for i in count], track=["0"] * 60, **named)
    moved = rows.assign(path=[f"/elsewhere/{(i * 7) % 60:04d}.png" for i in range(60)])
    one, other = (splits.assign(r, rule, SHARES, 42)[0].tolist() for r in (rows, moved))
    assert one == other and len(set(one)) > 1


@pytest.mark.parametrize("rule", ["official", "last_persons"])
def test_no_validation_is_said_where_the_others_hang_together(rule):
    rows = table(identity=["a"] * 20 + ["z"] * 4, split=[""] * 20 + ["test"] * 4)
    split, notes = splits.assign(rows, rule, SHARES, 42)
    assert set(split) == {"train", "test"}
    assert any("0% of the others are val" in note or "no row is val" in note for note in notes)


def test_the_last_persons_by_name_are_test():
    people = [f"id{i}" for i in range(1, 13) for _ in range(10)]
    rows = table(identity=people)
    split, notes = splits.assign(rows, "last_persons", SHARES, 1, persons=2)
    assert set(rows["identity"][split == "test"]) == {"id11", "id12"}  # and not id9
    assert rows["identity"][split == "val"].nunique() == 1 and notes == []
    with pytest.raises(UserError, match="12 persons"):
        splits.assign(rows, "last_persons", SHARES, 1, persons=12)


def test_a_fake_takes_its_second_person_to_test():
    rows = table(identity=[*"aabbcc", "a"], source_identity=["", "", "", "", "", "", "c"])
    split, notes = splits.assign(rows, "last_persons", SHARES, 1)
    assert list(split == "test") == [True, True, False, False, True, True, True]
    assert "1 more persons" in notes[0]
    chain = table(identity=[*"abc"], source_identity=["b", "c", ""])
    with pytest.raises(UserError, match="nothing is left to train on"):
        splits.assign(chain, "last_persons", SHARES, 1)


def test_within_person_takes_one_in_ten_of_each():
    rows = table(identity=[p for p in "abc" for _ in range(20)])
    split, _ = splits.assign(rows, "unsafe_within_person", SHARES, 3)
    counts = pd.crosstab(rows["identity"], split)
    assert counts.loc["a"].to_dict() == counts.loc["b"].to_dict()
    assert counts.loc["a"].to_dict() == {"test": 0, "train": 18, "val": 2}
    assert counts.loc["c", "test"] == 20


def test_an_official_test_drops_whoever_shares_with_it():
    """Celeb-DF's case: the list names clips whose people are in nearly all others."""
    rows = table(
        identity=["a", "a", "b", *(f"p{i}" for i in range(20))],
        label=[REAL, FAKE, FAKE, *[REAL, FAKE] * 10],
        split=["test", "", "", *[""] * 20],
        source_identity=["", "", "a", *[""] * 20],
    )
    made, notes = splits.with_splits(rows, Split(rule="official"), 1)
    assert len(made) == 21 and "dropped 2 rows (2 fake)" in notes[0]
    assert made["split"].value_counts().to_dict() == {"train": 18, "val": 2, "test": 1}
    with pytest.raises(UserError, match="no row is left"):
        splits.with_splits(rows[:3], Split(rule="official"), 1)


def test_a_whole_official_split_stays_as_it_is():
    rows = table(identity=[*"abc"], split=["train", "val", "test"])
    split, notes = splits.assign(rows, "official", SHARES, 1)
    assert list(split) == ["train", "val", "test"] and notes == ["train has one class only"]
    with pytest.raises(UserError, match="gives no split"):
        splits.assign(table(identity=[*"abc"]), "official", SHARES, 1)


def test_a_look_links_rows_of_all_sources_and_a_name_those_of_one():
    rows = table(
        source=["x", "y", "x", "y"],
        identity=["", "", "a", "a"],
        near_duplicate_group=["00ff", "00ff", "", ""],
    )
    group = splits.groups(rows)
    assert group[0] == group[1] and len(set(group)) == 3
    leaking = splits.leaks(rows[::2], rows[1::2])
    assert len(leaking) == 1 and "near duplicate group" in leaking[0]


def test_nobody_knows_the_people():
    _, notes = splits.assign(table(path=[f"/s/{i}" for i in range(10)]), "ratio", SHARES, 1)
    assert "no row says who it shows" in notes[0]


def test_a_collection_may_be_for_tests_alone():
    rows = table(label=[REAL, FAKE, FAKE] * 3)
    rows, _ = splits.with_splits(rows, Split(rule="ratio", shares=[0, 0, 1]), 0)
    assert set(rows["split"]) == {"test"} and len(rows) == 9
    with pytest.raises(ValueError, match="leaves nothing to split"):
        Split(rule="official", shares=[0, 0, 1])


@pytest.mark.parametrize("shares", [[0.8, 0.1, 0.2], [0.0, 0.5, 0.5], [1.2, -0.1, -0.1]])
def test_shares_that_are_none(shares):
    with pytest.raises(ValueError, match=r"split\.shares"):
        Split(shares=shares)


# -------------------------------------------------------------------------- unsafe manifests


def test_an_unsafe_manifest_is_read_with_a_warning(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    text = "path,label,split,identity,unsafe_split\n0.png,0,train,a,{0}\n1.png,1,val,a,{0}\n"
    file = tmp_path / "faces.csv"
    file.write_text(text.format("within_person"))
    warnings = manifest.read(str(file)).warnings
    assert "inflated" in warnings[0] and "identity on both sides" in warnings[1]
    file.write_text(text.format("within_person") + "2.png,0,test,a,within_person\n")
    with pytest.raises(UserError, match="train and test: 1 x identity"):
        manifest.read(str(file))  # on purpose is only what train and val share
    for said in ("", "yes"):
        file.write_text(text.format(said))
        with pytest.raises(UserError, match=r"identity on both|unknown unsafe_split"):
            manifest.read(str(file))


# -------------------------------------------------------------------------------- balance


@settings(max_examples=80, deadline=None)
@given(any_rows(("train", "test")), st.sampled_from(["overall", "person"]), st.integers(0, 9))
def test_fakes_are_as_many_as_reals(rows, how, seed):
    kept, dropped, _ = balance(rows, how, seed)
    assert dropped == len(rows) - len(kept)
    assert (kept["label"] == REAL).sum() == (rows["label"] == REAL).sum()
    by = ["split", "identity"] if how == "person" else ["split"]
    for key, part in rows.groupby(by):
        its = kept[(kept[by] == list(key)).all(axis=1)]
        reals, fakes = ((part["label"] == label).sum() for label in (REAL, FAKE))
        assert (its["label"] == FAKE).sum() == min(reals, fakes)
    assert kept.equals(balance(rows, how, seed)[0])


def test_whole_videos_stay_and_methods_keep_their_proportions():
    fakes = [(method, f"{method}{v}") for method in ("x", "y") for v in range(8) for _ in range(5)]
    rows = table(
        label=[REAL] * 40 + [FAKE] * 80,
        method=[""] * 40 + [method for method, _ in fakes],
        video=[""] * 40 + [video for _, video in fakes],
    )
    kept, dropped, notes = balance(rows, "overall", 1)
    left = kept[kept["label"] == FAKE]
    assert dropped == 40 and notes == []
    assert left["method"].value_counts().to_dict() == {"x": 20, "y": 20}
    assert set(left["video"].value_counts()) == {5}
    seen = {tuple(balance(rows, "overall", seed)[0]["path"]) for seed in range(5)}
    assert len(seen) > 1


def test_one_video_at_most_is_cut_and_evenly():
    rows = table(label=[REAL] * 7 + [FAKE] * 20, video=[""] * 7 + [*np.repeat([*"ab"], 10)])
    left = balance(rows, "overall", 1)[0].query("label == 1")
    assert left["video"].nunique() == 1 and len(left) == 7
    places = left.index.to_numpy()
    assert set(np.diff(places)) <= {1, 2}


def test_a_person_without_a_real_keeps_no_fake_and_it_is_said():
    rows = table(label=[REAL, FAKE, FAKE, FAKE], identity=["a", "a", "b", "b"])
    kept, dropped, notes = balance(rows, "person", 1)
    assert list(kept["path"]) == ["/set/0000.png", "/set/0001.png"] and dropped == 2
    assert "1 persons have fakes and no real" in notes[0]
    assert balance(rows, "none", 1)[1] == 0
