"""A chain asks the questions: what its guard sees is calibrated by kind of conversation, and used by the same chain's guard."""

from __future__ import annotations

import json

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda

import guardrail
from guardrail import Guard, IsotonicCalibrator, Policy
from guardrail.datasets.questions import QuestionRow
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation.said import said_of
from guardrail.grading import get_grader
from guardrail.langchain import read_metadata
from guardrail.retrieval import reference_text
from guardrail.runs.asking import RunOptions
from guardrail.runs.chains import chain_of
from guardrail.runs.through import collect_through
from guardrail.scoring import gradient_pass
from guardrail.testing import tiny_model, tiny_tokenizer
from tests.helpers.tiny_chain import FITTED, HELD_OUT, LENGTH, PROMPT, SYSTEM, chat, either, rows, saved_model

pytestmark = pytest.mark.timeout(900)

GIVEN = """
version: 1
name: given
rules:
  - {name: with passages, when: {evidence: present}, then: answer}
  - {name: rest, then: abstain}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="module")
def local(folder):
    return guardrail.load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def fit(local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    chain = either(local)
    data = rows(folder / "data.jsonl", chain, FITTED)
    return guardrail.calibrate_chain(chain, data, folder / "c.json", scorer="hybridgrad"), folder, data


def test_each_kind_of_conversation_has_its_curve(fit):
    found, folder, _ = fit
    contexts = IsotonicCalibrator.load(folder / "c.json").contexts
    assert sorted(contexts) == ["plain", "system"]
    assert sum(own.n for own in contexts.values()) == found.n
    source = contexts["system"].source
    assert (source["system"], source["user"]) == ([SYSTEM], ["Question: ", "\nAnswer:"])
    assert (source["max_new_tokens"], source["temperature"]) == (LENGTH, 0.0)
    assert contexts["plain"].source["system"] == [""]
    assert found.calibrator.provenance.source["through"] == "RunnableLambda"
    assert set(contexts["system"].metrics) == {"accuracy", "auroc", "aurc", "brier", "ece"}


def test_the_conversation_picks_the_curve(local, fit):
    chain = PROMPT | chat(local, fit[1] / "c.json")
    told = read_metadata(chain.invoke("What is number 156?"))
    assert told["basis"] == "calibrated", told
    number = told["score"]["hybridgrad"]
    calibrator = IsotonicCalibrator.load(fit[1] / "c.json")
    assert told["confidence"] == pytest.approx(calibrator.predict(number, told["familiarity"], "system").p_correct)
    plain = read_metadata(chat(local, fit[1] / "c.json").invoke("What is number 159?"))
    assert (plain["basis"], plain["basis_reason"]) == ("calibrated", "")


def test_passages_of_a_chain_are_a_kind_of_conversation(local, tmp_path):
    passages = RunnableLambda(lambda question: f"{reference_text([f'Note on {question[:-1]}.'])}{question}")
    chain = passages | chat(local) | StrOutputParser()
    data = rows(tmp_path / "data.jsonl", chain, range(60))
    found = guardrail.calibrate_chain(chain, data, scorer="hybridgrad")
    (own,) = found.calibrator.contexts.items()
    assert (own[0], own[1].source["passages"], own[1].source["user"]) == ("evidence", 1, ["", ""])
    guard = Guard(model=local, calibrator=found.calibrator, policy="observe")
    for texts, reason in (
        (["Note."], ""),
        (["Note.", "Another."], "given with 2 passages, the calibration's limit was 1"),
    ):
        verdict = guard.answer(reference_text(texts) + "What is number 12?")
        assert verdict.confidence.reason == reason
        assert verdict.confidence.p_correct is not None
        assert [passage.text for passage in verdict.evidence] == texts
        record = {"messages": [{"role": "user", "content": "What is number 12?"}], "passages": texts}
        setting = {"temperature": 0.0, "tools": [], "constrained": False, "thinking": False}
        assert ("more passages" in said_of(found.calibrator, 0.1, record | setting).reason) == bool(reason)
    policy = Policy.from_text(GIVEN, "given.yaml")
    measured = guardrail.evaluate_chain(chain, rows(tmp_path / "o.jsonl", chain, HELD_OUT), found.calibrator, [policy])
    assert measured.policies[0].actions["answer"] == len(HELD_OUT), (
        "as in use, where an answer with passages is answered"
    )
    given = (passages | chat(local, found.calibrator, policy)).invoke(f"What is number {HELD_OUT[0]}?")
    assert read_metadata(given)["action"] == "answer"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([("system", "You are long-winded."), ("human", "Question: Who?\nAnswer:")], "another system message"),
        ([("system", SYSTEM), ("human", "Who?")], "other words around the question"),
        ([("system", SYSTEM), ("human", "Hi"), ("ai", "Hello"), ("human", "Question: Who?\nAnswer:")], "several turns"),
        ([("human", "Hi"), ("ai", "Hello"), ("human", "Who?")], "has seen too little"),
    ],
)
def test_what_was_not_calibrated_says_so(local, fit, messages, reason):
    told = read_metadata(chat(local, fit[1] / "c.json").invoke(messages))
    assert told["basis"] == "extrapolated"
    assert reason in told["basis_reason"]


def test_another_temperature_is_another_decoding(local, fit):
    told = read_metadata(chat(local, fit[1] / "c.json").invoke("What is number 156?", temperature=0.5, seed=1))
    assert told["basis"] == "extrapolated"
    assert "temperature 0.5, not the 0 of the calibration" in told["basis_reason"]


def test_it_is_measured_through_the_chain_and_not_without(local, fit, tmp_path):
    chain = either(local)
    data = rows(tmp_path / "other.jsonl", chain, HELD_OUT)
    found = guardrail.evaluate_chain(chain, data, fit[1] / "c.json", ["observe"])
    assert found.n == len(HELD_OUT)
    assert found.ece_calibrated.n > 30  # one in twenty is called unlike the calibration's
    with pytest.raises(CalibrationError, match="--through"):
        guardrail.evaluate(local, data, fit[1] / "c.json")
    with pytest.raises(DataError, match="used for calibration"):
        guardrail.evaluate_chain(chain, fit[2], fit[1] / "c.json", ["observe"])


def test_a_stopped_run_goes_on(local, fit, tmp_path):
    asked = []
    chain = either(local)

    def counted(question):
        asked.append(question)
        if len(asked) == 20:
            raise KeyboardInterrupt
        return chain.invoke(question)

    with pytest.raises(KeyboardInterrupt):
        guardrail.calibrate_chain(counted, fit[2], tmp_path / "c.json", scorer="hybridgrad")
    again = guardrail.calibrate_chain(counted, fit[2], tmp_path / "c.json", scorer="hybridgrad", resume=True)
    assert len(asked) <= len(FITTED) + 2  # the one that was stopped, and the one that tells the model again
    assert again.calibrator.contexts["system"].blocks == fit[0].calibrator.contexts["system"].blocks


def test_what_a_chain_may_do(local, fit, tmp_path):
    """It raises, returns nothing, makes its answer up, asks twice, returns parts of what was said, or a verdict."""
    guard = Guard(model=local, policy="observe")

    def chain(question):
        n = int(question[15:-1])
        if n % 10 == 0:
            raise ValueError("no such number")
        if n % 10 == 1:
            return None
        if n % 10 == 2:
            return "I made this up"
        first = guard.answer(question, max_new_tokens=LENGTH)
        if n % 10 == 3:
            return first
        if n % 10 == 4:
            return {"n": {"text": first.answer}}
        return guard.answer(f"{question} {first.answer}", max_new_tokens=LENGTH).text

    kept = [n for n in FITTED if n % 10 > 2]
    data = rows(tmp_path / "data.jsonl", RunnableLambda(chain), kept)
    with data.open("a") as file:
        for n in set(FITTED) - set(kept):
            file.write(json.dumps({"question": f"What is number {n}?", "answers": ["nothing"]}) + "\n")
    found = guardrail.calibrate_chain(chain, data, scorer="hybridgrad")
    assert {why: n for why, n in found.left_out.items() if n and why != "unscored"} == {
        "the chain raised": 8,
        "the chain returned nothing": 8,
        "its model did not say what it returned": 8,
    }
    assert found.n == len(FITTED) - 24 - found.left_out["unscored"]


def test_chains_that_cannot_be_calibrated(local, fit):
    data = fit[2]
    with pytest.raises(DataError, match="no answer that a guarded model gave"):
        guardrail.calibrate_chain(lambda question: "Paris", data)
    with pytest.raises(DataError, match="it raised ValueError: oh"):
        guardrail.calibrate_chain(_raises, data)
    with pytest.raises(DataError, match="neither invoked nor called"):
        guardrail.calibrate_chain(3, data)
    other = Guard(
        model=guardrail.LocalModel(tiny_model(vocab_size=261, hidden_size=32), tiny_tokenizer()), policy="observe"
    )
    guards = [Guard(model=local, policy="observe"), other]

    def two(question):
        said = [guard.answer(question, max_new_tokens=LENGTH) for guard in guards]
        return said[0]

    with pytest.raises(DataError, match="two guarded models"):
        guardrail.calibrate_chain(two, data)


def _raises(question):
    raise ValueError("oh")


def test_a_guard_needs_no_calibrator_in_a_file_that_names_one_to_come(folder, fit, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        "from guardrail.langchain import ChatGuarded\nimport words\n"
        f"model = ChatGuarded(model={str(folder)!r}, policy='strict', calibrator='to_come.json', max_tokens={LENGTH})\n"
        "def chain(question):\n    return (words.PROMPT | model).invoke(question)\n"
    )
    (tmp_path / "words.py").write_text(
        "from langchain_core.prompts import ChatPromptTemplate\n"
        "PROMPT = ChatPromptTemplate([('system', 'Be brief.'), ('human', '{question}')])\n"
    )
    with pytest.raises(CalibrationError, match="few|wrong|right"):  # of so few questions: it was built, and it ran
        guardrail.calibrate_chain(f"{app}:chain", fit[2], limit=8)
    with pytest.raises(DataError, match="has no 'chian'"):
        guardrail.calibrate_chain(f"{app}:chian", fit[2])
    with pytest.raises(DataError, match="there is no file"):
        guardrail.calibrate_chain(f"{tmp_path}/none.py:chain", fit[2])
    with pytest.raises(DataError, match=r"app\.py:chain"):
        guardrail.calibrate_chain("app.py", fit[2])


def test_nothing_is_held_back_and_nobody_is_told(local, fit):
    """A policy that would abstain on everything does not, while it is being calibrated."""
    policy = Policy.from_text("version: 1\nname: p\nrules:\n- {name: never, then: abstain}\n", "p.yaml")
    heard = []
    guard = Guard(model=local, policy=policy, observers=[heard.append])
    found = guardrail.calibrate_chain(lambda q: guard.answer(q, max_new_tokens=LENGTH), fit[2], scorer="hybridgrad")
    assert (found.n + found.left_out["unscored"], heard) == (len(FITTED), [])
    assert guard.answer("What is number 3?", max_new_tokens=LENGTH).action == "abstain"
    assert len(heard) == 1


def test_each_answer_is_read_once(local, monkeypatch):
    """By whoever collects: the guard leaves its own score away."""
    seen, read = [], gradient_pass.read_gradients

    def counted(module, anatomy, rows, **options):
        seen.extend(rows)
        return read(module, anatomy, rows, **options)

    monkeypatch.setattr(gradient_pass, "read_gradients", counted)
    guard, verdicts = Guard(model=local, policy="observe"), []

    def chain(question):
        verdicts.append(guard.answer(question, max_new_tokens=LENGTH))
        return verdicts[-1]

    asked = [QuestionRow(f"What is number {n}?", ("nothing",)) for n in (3, 4, 5)]
    found = collect_through(chain_of(chain), asked, get_grader("alias"), RunOptions(cache=False))
    assert len(seen) == len(found.answers.scored) == 3
    assert {(v.score.unscored, v.action) for v in verdicts} == {("calibrating", "answer")}
    assert chain("What is number 3?").score.unscored is None
    assert len(seen) == 4


def test_rows_of_messages(local, tmp_path):
    def row(i, answer):
        said = [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": "No."}]
        return {"messages": [*said, {"role": "user", "content": "And now?"}], "answers": [answer]}

    model = chat(local) | StrOutputParser()
    said = [model.invoke(row(i, "x")["messages"]) for i in range(40)]
    data = tmp_path / "messages.jsonl"
    lines = [row(i, text if i % 2 and any(c.isalnum() for c in text) else "nothing") for i, text in enumerate(said)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = guardrail.calibrate_chain(model, data, scorer="hybridgrad")
    assert list(found.calibrator.contexts) == ["turns"]
    own = found.calibrator.contexts["turns"]
    assert (own.blocks, own.towards) == (found.calibrator.blocks, None)  # there is no other to be drawn to
    assert {name: (m.value, m.low, m.high) for name, m in own.metrics.items()} == {
        name: (e.value, e.low, e.high) for name, e in found.metrics.items()
    }
    assert found.calibrator.contexts["turns"].source["user"] == ["", ""]
    guard = Guard(model=local, calibrator=found.calibrator, policy="observe")
    assert guard.answer(row(99, "x")["messages"], max_new_tokens=LENGTH).confidence.basis == "calibrated"
    assert guard.answer("And now?", max_new_tokens=LENGTH).confidence.basis == "extrapolated"


def test_what_raised_is_asked_again_when_the_run_goes_on(local, tmp_path):
    chain, broken = chat(local) | StrOutputParser(), [True]
    data = rows(tmp_path / "data.jsonl", chain, FITTED)

    def now_and_then(question):
        if broken[0] and int(question[15:-1]) % 4 in (0, 3):
            raise OSError("the network is down")
        return chain.invoke(question)

    first = guardrail.calibrate_chain(now_and_then, data, tmp_path / "c.json", scorer="hybridgrad")
    assert first.left_out["the chain raised"] == len(FITTED) // 2
    broken[0] = False
    again = guardrail.calibrate_chain(now_and_then, data, tmp_path / "c.json", scorer="hybridgrad", resume=True)
    assert (again.n + again.left_out["unscored"], again.left_out.get("the chain raised")) == (len(FITTED), None)
