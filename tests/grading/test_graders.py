import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.grading import get_grader
from guardrail.grading.protocol import says_something
from guardrail.plain_text import normalise

FRANCE = "What is the capital of France?"
GOLD = "What is the chemical symbol for gold?"
RULES = ("alias", "exact", "f1")
alias, exact, f1 = (get_grader(kind) for kind in RULES)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  The CAPITAL,\tis: Paris!  ", "capital is paris"),
        ("São Tomé & Príncipe", "sao tome and principe"),
        ("Ångström, Łódź, Ørsted, Straße", "angstrom lodz orsted strasse"),
        ("H₂O", "h2o"),
        ("U.S.A.", "usa"),
        ("the U.S. dollar", "us dollar"),
        ("J. R. R. Tolkien", "jrr tolkien"),
        ("J.R.R. Tolkien", "jrr tolkien"),
        ("It’s O'Brien’s", "its obriens"),
        ("twenty-one", "21"),
        ("Forty two", "42"),
        ("one hundred", "100"),
        ("a hundred", "100"),
        ("two hundred", "2 hundred"),
        ("zero", "0"),
        ("1,000,000", "1000000"),
        ("3.14", "3.14"),
        ("-40 degrees", "-40 degrees"),
        ("−40", "-40"),
        ("1939–1945", "1939 1945"),
        ("50%", "50 percent"),
        ("C++ and C#", "c++ and c#"),
        ("Vitamin A", "vitamin a"),
        ("A vitamin", "vitamin"),
        ("**Paris**", "paris"),
        ("“1984”", "1984"),
        ("?!…", ""),
    ],
)
def test_normalise(text, plain):
    assert normalise(text) == plain


@given(st.text())
def test_normalise_twice_is_normalise_once_for_words(text):
    words = normalise(text).split()
    assert all(word == word.casefold() for word in words if word.isascii())


RIGHT = [
    (FRANCE, "Paris", "Paris"),
    (FRANCE, "paris.", "Paris"),
    (FRANCE, "**Paris**", "Paris"),
    (FRANCE, "Paris, France", "Paris"),
    (FRANCE, "Paris (France)", "Paris"),
    (FRANCE, "The capital of France is Paris.", "Paris"),
    (FRANCE, "The capital of France is Paris. It lies on the Seine, not the Rhine.", "Paris"),
    (FRANCE, "Paris is the capital and largest city of France.", "Paris"),
    (FRANCE, "Paris, the capital and largest city of France", "Paris"),
    (FRANCE, "It's Paris!", "Paris"),
    (FRANCE, "Sure! The answer is: Paris", "Paris"),
    (FRANCE, "Answer:\n\nParis", "Paris"),
    (FRANCE, "What is the capital of France? Paris.", "Paris"),
    (FRANCE, "1. Paris", "Paris"),
    (FRANCE, "Paris, not London", "Paris"),
    (FRANCE, "Not London, but Paris", "Paris"),
    (FRANCE, "Not London but Paris", "Paris"),
    (FRANCE, "I don't know. Paris?", "Paris"),
    (FRANCE, "I'm not sure, but I think it is Paris.", "Paris"),
    (FRANCE, "No: Paris", "Paris"),
    (FRANCE, "I'm not sure: Paris", "Paris"),
    (FRANCE, "It is not Lyon; it is Paris", "Paris"),
    (FRANCE, "It is not Lyon, it is: Paris", "Paris"),
    (FRANCE, "Lyon it is not, it is Paris", "Paris"),
    (FRANCE, "Paris (not Lyon)", "Paris"),
    (FRANCE, "Nein: Paris", "Paris"),
    ("Capital of the USA?", "Washington, D.C.", "Washington DC"),
    ("Capital of the USA?", "The capital is Washington D.C. since 1800.", "Washington, D.C."),
    ("What is the capital of Luxembourg?", "Luxembourg", "Luxembourg"),
    ("What is the capital of Luxembourg?", "The capital of Luxembourg is Luxembourg City.", "Luxembourg City"),
    ("Which is larger, the Moon or Mars?", "Mars is larger than the Moon.", "Mars"),
    ("Which is larger, the Moon or Mars?", "It is Mars.", "Mars"),
    ("Who wrote Hamlet?", "William Shakespeare", "Shakespeare"),
    ("Who wrote Hamlet?", "Shakespeare wrote Hamlet.", "Shakespeare"),
    ("Who wrote Hamlet?", "Shakespeare did.", "Shakespeare"),
    (
        "Who wrote Pride and Prejudice?",
        "The well known novel Pride and Prejudice of 1813 was written in the south of England by Jane Austen.",
        "Jane Austen",
    ),
    ("Who wrote Harry Potter?", "J. K. Rowling wrote it.", "J.K. Rowling"),
    ("Which city did Peter the Great found?", "St. Petersburg.", "St. Petersburg"),
    ("What is the currency of Japan?", "The Japanese yen.", "yen"),
    ("Which is the largest ocean?", "Pacific Ocean", "Pacific"),
    ("When did people land on the Moon?", "July 20, 1969", "1969"),
    ("When was independence declared?", "July 4 1776", "1776"),
    ("When did the war end?", "World War II ended in 1945.", "1945"),
    ("How many days has a week?", "Seven days", "7"),
    ("How many minutes has an hour?", "There are sixty minutes in an hour.", "60"),
    ("At what temperature does water boil?", "100°C", "100 °C"),
    (GOLD, "Au", "Au"),
    (GOLD, "Au (gold)", "Au"),
    (GOLD, "The chemical symbol for gold is Au.", "Au"),
    (GOLD, "Au is the symbol for gold.", "Au"),
    (GOLD, "Symbol: Au", "Au"),
    ("Which letter is the ratio?", "Pi", "pi"),
    ("What is the symbol for iodine?", "The symbol is I.", "I"),
    ("Is the Earth flat?", "No, the Earth is not flat.", "No"),
    ("Is the Earth flat?", "No.", "no"),
    ("Is it?", "Yes. It is.", "Yes"),
    ("Who found DNA?", "Watson and Crick", "Watson and Crick"),
    ("Colours of the flag?", "Red, white, and blue", "red, white and blue"),
    ("Capital of Bolivia?", "La Paz or Sucre", ("La Paz", "Sucre")),
]

WRONG = [
    (FRANCE, "", "Paris"),
    (FRANCE, " \n", "Paris"),
    (FRANCE, "?!", "Paris"),
    (FRANCE, "Bokassa", "Ouagadougou"),
    (FRANCE, "Parisian", "Paris"),
    (FRANCE, "Not Paris", "Paris"),
    (FRANCE, "It isn’t Paris.", "Paris"),
    (FRANCE, "London, not Paris", "Paris"),
    (FRANCE, "The capital of France is not Paris.", "Paris"),
    (FRANCE, "Paris is not the capital", "Paris"),
    (FRANCE, "I don't know if it is Paris", "Paris"),
    (FRANCE, "It is not: Paris", "Paris"),
    (FRANCE, "It isn't:\n- Paris", "Paris"),
    (FRANCE, "It is not true to say: Paris", "Paris"),
    (FRANCE, "It is not, I think, Paris", "Paris"),
    (FRANCE, "It is not — Paris", "Paris"),
    (FRANCE, "It is not (as many say): Paris", "Paris"),
    (FRANCE, "not (Paris)", "Paris"),
    (FRANCE, "Paris, not", "Paris"),
    (FRANCE, "Paris: no", "Paris"),
    (FRANCE, "Paris is the answer: not", "Paris"),
    (FRANCE, "Paris? Never: Paris", "Paris"),
    (FRANCE, "Es ist nicht: Paris", "Paris"),
    (FRANCE, "nicht: Paris", "Paris"),
    (FRANCE, "Das ist nicht die Antwort: Paris", "Paris"),
    (FRANCE, "Ce n'est pas : Paris", "Paris"),
    (FRANCE, "La respuesta no es: Paris", "Paris"),
    (FRANCE, "no es: Paris", "Paris"),
    (FRANCE, "答案不是：Paris", "Paris"),
    (FRANCE, "答えは違います、Parisではない：Paris", "Paris"),
    (FRANCE, "ليست: Paris", "Paris"),
    (FRANCE, "यह नहीं है: Paris", "Paris"),
    (FRANCE, "Paris or London", "Paris"),
    (FRANCE, "London, or maybe Paris", "Paris"),
    (FRANCE, "Paris and London", "Paris"),
    (FRANCE, "Paris/London", "Paris"),
    (FRANCE, "Paris, London, Rome", "Paris"),
    (FRANCE, "It is Paris, London, or Rome", "Paris"),
    (FRANCE, "1. Paris\n2. London", "Paris"),
    (FRANCE, "Candidates:\n- London\n- Paris", "Paris"),
    (FRANCE, "Paris Hilton", "Paris"),
    (FRANCE, "Lyon. Paris is larger.", "Paris"),
    (FRANCE, "It is a city other than Paris", "Paris"),
    ("What is the capital of Luxembourg?", "The capital of Luxembourg is Brussels.", "Luxembourg"),
    ("Which is larger, the Moon or Mars?", "The Moon is larger than Mars.", "Mars"),
    ("Which city has a minster?", "New York", "York"),
    ("Which country is it?", "Guinea-Bissau", "Guinea"),
    ("Which country is it?", "Papua New Guinea", "Guinea"),
    ("What do plants take up?", "Carbon dioxide", "carbon"),
    ("What do plants take up?", "They take up carbon dioxide.", "carbon"),
    ("Which vitamin is it?", "Vitamin C", "Vitamin A"),
    ("How many people?", "7 million", "7"),
    ("How many people?", "Two hundred", "2"),
    ("How many people?", "One hundred and five", "100"),
    ("How many?", "One of the largest", "1"),
    ("How many?", "17", "7"),
    ("How many?", "7.5", "7"),
    ("How many?", "-7", "7"),
    ("How many?", "7, 8", "7"),
    ("How many?", "7 or 8", "7"),
    ("When did the war end?", "1939-1945", "1945"),
    ("When was it?", "44 BC", "44"),
    ("What is the symbol for cobalt?", "CO", "Co"),
    ("What is the symbol for cobalt?", "The symbol is CO.", "Co"),
    ("What is the symbol for iodine?", "I think it is gold", "I"),
    ("What is the symbol for arsenic?", "As far as I know, gold", "As"),
    (GOLD, "au", "Au"),
    ("Is the Earth flat?", "Yes, not no", "No"),
    ("Which language is it?", "C++", "C"),
]


def forms(accepted):
    return [accepted] if isinstance(accepted, str) else list(accepted)


@pytest.mark.parametrize(("question", "answer", "accepted"), RIGHT)
def test_alias_accepts(question, answer, accepted):
    assert alias(question, answer, forms(accepted))


@pytest.mark.parametrize(("question", "answer", "accepted"), WRONG)
def test_alias_refuses(question, answer, accepted):
    assert not alias(question, answer, forms(accepted))


@pytest.mark.parametrize(
    ("question", "answer", "accepted", "verdict"),
    [
        (FRANCE, "London, Paris", "Paris", True),
        ("Who played basketball?", "Michael Jordan", "Jordan", True),
        (FRANCE, "Paris. No, it is London.", "Paris", True),
        ("Who saw Jupiter's moons?", "Galileo Galilei", "Galileo", False),
        (FRANCE, "Paris, Ile-de-France, France", "Paris", False),
        (FRANCE, "Paris France Europe", "Paris", True),
        (FRANCE, "It is a city. It is called Paris.", "Paris", False),
    ],
)
def test_errors_that_the_docstring_admits(question, answer, accepted, verdict):
    assert alias(question, answer, [accepted]) is verdict


def test_exact():
    assert exact(FRANCE, "the PARIS.", ["Lyon", "Paris"])
    assert not exact(FRANCE, "Paris, France", ["Paris"])
    assert not exact(GOLD, "AU", ["Au"])


def test_f1_at_its_threshold():
    assert f1(FRANCE, "George Washington", ["George Bush"])  # 0.5
    assert not f1(FRANCE, "George Washington Carver", ["George Bush"])  # 0.4
    assert f1(FRANCE, "not Paris", ["Paris"])


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("answer", ["", "  \n", "?!", "\u200b"])
def test_an_empty_answer_is_never_right(kind, answer):
    assert get_grader(kind)("Q?", answer, ["Paris", "", "?!"]) is False


@pytest.mark.parametrize("kind", RULES)
@given(text=st.text(min_size=1), question=st.text())
def test_an_accepted_form_itself_is_right_and_nothing_crashes(kind, text, question):
    assert get_grader(kind)(question, text, [text]) is says_something(text)
    assert get_grader(kind)(question, text, []) is False


@given(st.text())
def test_what_says_something_has_words(text):
    if says_something(text):
        assert normalise(text)
        assert any(c.isalnum() for c in text)
    assert not says_something("".join(c for c in text if not c.isalnum()))
