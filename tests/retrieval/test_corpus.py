"""Names counted in a corpus, by hand and against a slow count, and the rules of a policy that look at them."""

import re
import threading
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Guard, Policy
from guardrail.data import passages_path
from guardrail.errors import PolicyError, RetrievalError
from guardrail.retrieval import load_retriever
from guardrail.retrieval.corpus import Corpus, names_in
from guardrail.retrieval.passages import Passage, read_passages
from guardrail.testing import tiny_local_model
from guardrail.types import NameCounts
from guardrail.types.names import MOST_COUNTED
from tests.pipeline.test_guard import SURE, Fixed, Passages, calibrator

TEXTS = (
    "Burkina Faso is a country in Africa. Its capital is Ouagadougou.",
    "Ouagadougou has a film festival.",
    "The Côte d'Ivoire borders BURKINA  FASO.",
    "Burkina was its short name; Faso is no place.",
)
POLICY = """
version: 1
name: counting
rules:
  - {name: rare, when: {rare: {below: 2}, evidence: absent}, then: retrieve, because: the model has hardly read of it}
  - {name: apart, when: {never_together: true}, then: hedge}
  - {name: rest, then: answer}
"""


@pytest.fixture(scope="module")
def corpus():
    return Corpus.build(Passage(text, "") for text in TEXTS)


def test_by_hand(corpus):
    assert [corpus.count(name) for name in ("Burkina Faso", "burkina", "Ouagadougou", "Faso is", "cote d’ivoire", "Mali")] == [
        2, 3, 2, 2, 1, 0,
    ]  # fmt: skip
    assert corpus.together("Burkina Faso", "Ouagadougou") == 1
    assert corpus.count("Co\u0302te d'Ivoire") == 1
    assert corpus.together("Côte d'Ivoire", "Ouagadougou") == 0
    assert corpus.counts("Is Ouagadougou in Burkina Faso or in Mali?") == NameCounts(
        (("Ouagadougou", 2), ("Burkina Faso", 2), ("Mali", 0)), (("Ouagadougou", "Mali"), ("Burkina Faso", "Mali"))
    )


@pytest.mark.parametrize(
    "name", ["", "?!", '"', "NEAR(", "a OR b", "text:Africa", "Africa*", "-Africa", "(", "^Africa"]
)
def test_nothing_that_a_name_holds_is_an_operator(corpus, name):
    said = " ".join(re.findall(r"\w+", name)).casefold()
    plain = [" ".join(re.findall(r"\w+", text)).casefold() for text in TEXTS]
    assert corpus.count(name) == (sum(f" {said} " in f" {text} " for text in plain) if said else 0)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4).map(" ".join), min_size=1, max_size=6))
def test_against_a_slow_count(texts):
    corpus = Corpus.build(Passage(text, "") for text in texts)
    for first, second in combinations(("a", "b c", "c", "a a"), 2):
        has = [[f" {name} " in f" {text} " for text in texts] for name in (first, second)]
        assert corpus.count(first) == sum(has[0])
        assert corpus.together(first, second) == sum(a and b for a, b in zip(*has, strict=True))


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("In which year did Apollo 11 land on the Moon?", ("Apollo 11", "Moon")),
        ("Who wrote The Count of Monte Cristo?", ("The Count of Monte Cristo",)),
        ('Who sang "here comes the sun" first?', ("here comes the sun",)),
        ("Is Paris's river the Seine of France?", ("Paris", "Seine of France")),
        ("Mozart was born where?", ("Mozart",)),
        ("What's the capital of France?", ("France",)),
        ("Isn’t Rome older? How old is Elizabeth I?", ("Rome", "Elizabeth I")),
        ("Can I visit Paris? I'm in Rome. It is near.", ("Paris", "Rome")),
        ("Did Goethe and Schiller meet?", ("Goethe", "Schiller")),
        ("Who's Ada Lovelace?", ("Ada Lovelace",)),
        ("Is Zu\u0308rich big?", ("Zürich",)),
        ("what is the capital of peru", ()),
        ("法国的首都是哪里？", ()),
        ("", ()),
    ],
)
def test_names(question, names):
    assert names_in(question) == names


def test_a_file_holds_it_and_threads_may_ask(tmp_path, corpus):
    path = tmp_path / "c.db"
    Corpus.build((Passage(text, "") for text in TEXTS), path)
    kept, found = Corpus.load(path), []
    threads = [threading.Thread(target=lambda: found.append(kept.count("Burkina Faso"))) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == [2] * 8
    with pytest.raises(RetrievalError, match=r"c\.db exists"):
        Corpus.build([Passage("x", "")], path)
    (tmp_path / "no.db").write_text("not a database, and long enough to be read as one" * 40)
    for name in ("no.db", "missing.db"):
        with pytest.raises(RetrievalError, match="not a corpus"):
            Corpus.load(tmp_path / name)
    with pytest.raises(RetrievalError, match="no passages"):
        Corpus.build([])


def test_counting_ends_where_a_name_is_no_longer_rare():
    assert Corpus.build(Passage("Paris", "") for _ in range(MOST_COUNTED + 5)).count("Paris") == MOST_COUNTED


@pytest.mark.parametrize(("below", "refused"), [(MOST_COUNTED, False), (MOST_COUNTED + 1, True)])
def test_a_bound_that_no_count_reaches_is_refused(below, refused):
    text = POLICY.replace("below: 2", f"below: {below}")
    if not refused:
        assert Policy.from_text(text, "p.yaml").looks_at_names
        return
    with pytest.raises(
        PolicyError, match=r"p.yaml:5: rules\[0\].when.rare has a bound of 1001, and counting ends at 1000"
    ):
        Policy.from_text(text, "p.yaml")


def test_the_bundled_passages():
    passages = read_passages(passages_path())
    bundled = Corpus.build(passages)
    plain = [" ".join(re.findall(r"\w+", passage.text)).casefold() for passage in passages]
    for name in ("Burkina Faso", "Japan", "Faust"):
        assert bundled.count(name) == sum(f" {name.casefold()} " in f" {text} " for text in plain) > 0


@pytest.fixture(scope="module")
def local():
    model = tiny_local_model(vocab_size=261, max_position_embeddings=1024)
    model.eos_ids = list(range(261))
    return model


def asked(local, question, corpus):
    class Counting(Passages):
        corpus: object = None

    retriever = Counting(found=[], queries=[], corpus=corpus)
    scorer = Fixed(*[SURE] * 2)
    rules = Policy.from_text(POLICY, "p.yaml")
    made = Guard(model=local, scorer=scorer, calibrator=calibrator(local), policy=rules, retriever=retriever)
    return made.answer(question), retriever.queries


@pytest.mark.parametrize(
    ("question", "rule", "explanation"),
    [
        ("Where is Mali?", "rest", "it has retrieved"),
        ("Where is Ouagadougou?", "rest", "rule 'rest' is for every answer"),
        ("Is Ouagadougou in Burkina?", "rest", "rule 'rest' is for every answer"),
        ("where is mali?", "rest", "rule 'rest' is for every answer"),  # no names: unknown, and matched by neither
    ],
)
def test_rules_look_at_the_counts(local, corpus, question, rule, explanation):
    verdict, queries = asked(local, question, corpus)
    assert verdict.rule == rule
    assert explanation in verdict.explanation
    assert queries == ([question] if "Mali" in question else [])


def test_two_frequent_names_that_no_passage_has_together(local):
    corpus = Corpus.build(Passage(text, "") for text in ("Lima", "Lima", "Quito", "Quito"))
    verdict, queries = asked(local, "Is Lima near Quito?", corpus)
    assert (verdict.rule, verdict.action, queries) == ("apart", "hedge", [])
    assert "no passage of the corpus has both 'Lima' and 'Quito'" in verdict.explanation


def test_the_default_retriever_counts_in_its_passages_or_in_another_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("Lima is in Peru.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Quito", encoding="utf-8")
    assert load_retriever(tmp_path / "a.txt").corpus.count("Peru") == 1
    assert load_retriever(tmp_path / "a.txt", corpus=tmp_path / "b.txt").corpus.count("Peru") == 0


def test_a_retriever_without_a_corpus_is_refused_in_words(local):
    verdict, _ = asked(local, "Where is Mali?", None)
    assert verdict.action == "abstain"
    assert "the retriever Counting has no corpus to count in" in verdict.explanation
