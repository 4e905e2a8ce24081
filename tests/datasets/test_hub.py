"""Data sets of the hub: small ones with the documented columns, written to disk and read by the real library."""

import json
import sys

import datasets as library
import pytest
from datasets import Dataset, DatasetDict

from guardrail.datasets import hub
from guardrail.datasets.hub_sets import HUB_SETS
from guardrail.datasets.questions import load_data
from guardrail.errors import DataError, MissingExtraError
from guardrail.grading import get_grader
from guardrail.grading.protocol import AnswerRow

SCIQ = {
    "question": "Q?",
    "distractor1": "x",
    "distractor2": "y",
    "distractor3": "z",
    "correct_answer": "a",
    "support": "s",
}
TRIVIA = {
    "question": "Q?", "question_id": "tc_1", "question_source": "web",
    "entity_pages": {"title": ["t"]}, "search_results": {"title": ["t"]},
    "answer": {"value": "Paris", "aliases": ["Paris", "Lutetia", "?"], "normalized_aliases": ["paris"], "type": "x",
               "matched_wiki_entity_name": "", "normalized_matched_wiki_entity_name": "", "normalized_value": "paris"},
}  # fmt: skip
TRUTHFUL = {
    "type": "Adversarial", "category": "Myths", "question": "Q?", "best_answer": "No.", "correct_answers": ["No.", "Nothing"],
    "incorrect_answers": ["Yes"], "source": "s",
}  # fmt: skip
POPQA = {
    "id": 7, "subj": "s", "prop": "occupation", "obj": "o", "subj_id": 1, "prop_id": 2, "obj_id": 3, "s_aliases": "[]",
    "o_aliases": "[]", "s_uri": "", "o_uri": "", "s_wiki_title": "", "o_wiki_title": "", "s_pop": 1, "o_pop": 2,
    "question": "Q?", "possible_answers": json.dumps(["politician", "political leader"]),
}  # fmt: skip
KALSHI = {
    "id": "KXRAIN", "question": "Will it rain in Oslo on 3 May?", "description": "Settled by the weather service.",
    "category": "Weather", "close_time": "2024-05-03T23:59:00Z", "ground_truth": "no", "market_probability": 0.3,
    "series_ticker": "KXRAIN", "source": "kalshi",
}  # fmt: skip
FOLK = {
    "id": 5, "description": "- The age is: 40 years old.", "instruction": "About a survey respondent.",
    "question": "What is this person's yearly income?", "choices": ["Below $50,000", "Above $50,000"],
    "answer": "Above $50,000", "answer_key": "B", "choice_question_prompt": "p", "numeric_question": "n", "label": 1,
    "numeric_question_prompt": "n", "AGEP": 40,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row", "answers", "extra"),
    [
        ("sciq", SCIQ, ("a",), {}),
        ("trivia_qa", TRIVIA, ("Paris", "Lutetia"), {"id": "tc_1"}),
        ("nq_open", {"question": "Q?", "answer": ["1901", "in 1901"]}, ("1901", "in 1901"), {}),
        ("truthful_qa", TRUTHFUL, ("No.", "Nothing"), {"incorrect_answers": ["Yes"], "kind": "Myths"}),
        ("simpleqa", {"metadata": "{}", "problem": "Q?", "answer": "Ada"}, ("Ada",), {}),
        ("popqa", POPQA, ("politician", "political leader"), {"id": 7, "kind": "occupation"}),
    ],
)
def test_every_adapter_on_its_documented_columns(name, row, answers, extra, tmp_path):
    split = HUB_SETS[name].with_answers[-1]
    Dataset.from_list([row]).to_json(tmp_path / f"{split}.jsonl")
    data = load_data(f"hub:{name}:{tmp_path}@{split}", "calibration")
    assert [(r.question, r.answers, r.extra) for r in data.rows] == [("Q?", answers, extra)]
    assert data.source["split"] == split


@pytest.mark.parametrize(
    ("name", "row", "asked", "right", "wrong", "extra"),
    [
        (
            *("kalshibench", KALSHI),
            "Will it rain in Oslo on 3 May?\n\nSettled by the weather service.\n\nAnswer yes or no.",
            *("No.", "Yes.", {"id": "KXRAIN", "kind": "Weather"}),
        ),
        (
            *("folktexts", FOLK),
            "About a survey respondent.\n\n- The age is: 40 years old.\n\nWhat is this person's yearly income? Answer with "
            "one of these: Below $50,000 or Above $50,000",
            *("Above $50,000.", "It is below $50,000", {"id": 5}),
        ),
    ],
)
def test_questions_of_what_cannot_be_known(name, row, asked, right, wrong, extra, tmp_path):
    Dataset.from_list([row]).to_parquet(tmp_path / "train.parquet")
    (read,) = load_data(f"hub:{name}:{tmp_path}@train", "calibration").rows
    assert (read.question, read.extra) == (asked, extra)
    grader = get_grader("alias")
    assert grader.grade([AnswerRow.of(read.record, text) for text in (right, wrong)]) == [True, False]


def test_every_data_set_is_tested():
    asked = {"kalshibench", "folktexts"}
    assert set(HUB_SETS) == {"sciq", "trivia_qa", "nq_open", "truthful_qa", "simpleqa", "popqa"} | asked


@pytest.fixture(scope="module")
def sciq(tmp_path_factory):
    """A copy with three splits, whose questions tell which split they are of."""
    folder = tmp_path_factory.mktemp("sciq")
    for split, n in (("train", 5), ("validation", 3), ("test", 2)):
        Dataset.from_list([{**SCIQ, "question": f"{split} {i}?"} for i in range(n)]).to_parquet(
            folder / f"{split}.parquet"
        )
    return folder


@pytest.mark.parametrize(("split", "n"), [("train", 5), ("validation", 3), ("test", 2)])
def test_the_split_that_was_asked_for_is_the_one_that_comes(sciq, split, n):
    data = load_data(f"hub:sciq:{sciq}@{split}", "calibration")
    assert [r.question for r in data.rows] == [f"{split} {i}?" for i in range(n)]
    assert data.source == {
        "kind": "hub", "name": "sciq", "path": str(sciq), "config": None, "split": split, "rows": [0, n], "revision": None,
        "licence": "CC BY-NC 3.0", "fingerprint": data.source["fingerprint"],
    }  # fmt: skip
    assert data.source["fingerprint"]


def test_rows_of_a_split(sciq):
    def questions(spec, limit=None):
        return [r.question for r in load_data(f"hub:sciq:{sciq}@train{spec}", "calibration", limit).rows]

    assert questions("[1:3]") == ["train 1?", "train 2?"]
    assert questions("[:2]") + questions("[2:]") == questions("")
    assert questions("[3:99]") == ["train 3?", "train 4?"]
    (one,) = questions("[1:]", limit=1)
    assert one in questions("[1:]")
    for empty in ("[5:]", "[3:3]", "[3:1]"):
        with pytest.raises(DataError, match="takes no rows: the split has 5"):
            questions(empty)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hub:sciq", "names no split, .* sciq has train, validation, test: write hub:sciq@train"),
        ("hub:squad@train", "no data set 'squad' is known here; known are sciq, trivia_qa"),
        ("hub:trivia_qa@test", "the answers of the split 'test' of trivia_qa are not public; use train, validation"),
        ("hub:", "names no data set of the hub"),
        ("hub:sciq@", "names no data set of the hub"),
        ("hub:sciq@train[a:]", "names no data set of the hub"),
        ("hub:sciq:{}@dev", "sciq has no split 'dev'; it has "),
        ("hub:nq_open:{}@train", "no column 'answer'; its columns are question, "),
    ],
)  # fmt: skip
def test_mistakes(sciq, spec, says):
    with pytest.raises(DataError, match=says):
        load_data(spec.replace("{}", str(sciq)), "calibration")


@pytest.mark.parametrize("wrong", ["name", "size"])
def test_a_loader_that_gives_another_split_is_not_believed(sciq, monkeypatch, wrong):
    real = library.load_dataset

    def load(path, config, *, split, **more):
        other = real(path, config, split="test", **more)
        if wrong == "size":
            other = real(path, config, split=split, **more).select(range(2))
        return other

    monkeypatch.setattr(library, "load_dataset", load)
    with pytest.raises(DataError, match=r"asked for the split 'train' of sciq, and .* came; nothing is used of it"):
        load_data(f"hub:sciq:{sciq}@train", "calibration")


def test_from_the_hub_the_commit_is_looked_up_loaded_and_told(sciq, monkeypatch):
    """The network is not there; what would go through it is asked for with one commit, and comes from the copy."""
    asked = []
    real, names = library.load_dataset, library.get_dataset_split_names

    def load(path, config, *, split, revision):
        asked.append((path, config, revision))
        return real(str(sciq), split=split)

    def split_names(path, config, *, revision):
        asked.append((path, config, revision))
        return names(str(sciq))

    monkeypatch.setattr(hub, "_commit", lambda path: "c0ffee")
    monkeypatch.setattr(library, "load_dataset", load)
    monkeypatch.setattr(library, "get_dataset_split_names", split_names)
    data = load_data("hub:sciq@validation", "calibration")
    assert asked == [("allenai/sciq", None, "c0ffee")] * 2
    assert (data.source["path"], data.source["revision"]) == ("allenai/sciq", "c0ffee")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    def commit(path):
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "_commit", commit)
    with pytest.raises(DataError, match=r"cannot load sciq .*no route\. .*read the copy: hub:sciq:FOLDER@train"):
        load_data("hub:sciq@train", "calibration")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"hybridgrad-guardrail\[datasets\]"):
        load_data("hub:sciq@train", "calibration")


def test_a_copy_that_save_to_disk_made(tmp_path):
    rows = {split: Dataset.from_list([{**SCIQ, "question": f"{split}?"}]) for split in ("train", "test")}
    DatasetDict(rows).save_to_disk(tmp_path / "d")
    for split in rows:
        data = load_data(f"hub:sciq:{tmp_path / 'd'}@{split}", "calibration")
        assert [r.question for r in data.rows] == [f"{split}?"]
