"""Claims graded by facts: hand-made sentences, traps among them, and what the docstring admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.grading.facts import Fact, grade_claim

FRANCE = "What are the capital, the currency, the continent and the official language of France?"
COUNTRY = [
    Fact(("capital",), ("Paris",)),
    Fact(("currency",), ("euro", "euros")),
    Fact(("continent",), ("Europe",)),
    Fact(("official language", "language"), ("French",)),
]
TIN = "What are the chemical symbol, the atomic number and the state of tin?"
ELEMENT = [
    Fact(("chemical symbol", "symbol"), ("Sn",)),
    Fact(("atomic number",), ("50", "fifty")),
    Fact(("room temperature",), ("solid",)),
]
CURIE = "In which country and in which year was Marie Curie born?"
PERSON = [Fact(("born",), ("Poland",)), Fact(("born",), ("1867",)), Fact(("field", "worked"), ("physics", "chemistry"))]

RIGHT = [
    (FRANCE, "The capital of France is Paris.", COUNTRY),
    (FRANCE, "Its capital is Paris and the official language is French.", COUNTRY),
    (FRANCE, "France's capital is Paris.", COUNTRY),
    (FRANCE, "PARIS is the capital!", COUNTRY),
    (FRANCE, "The capital is Paris, and the euro is the currency.", COUNTRY),
    (FRANCE, "The currency of France is the Euro (EUR).", COUNTRY),
    (FRANCE, "On the continent of Europe, France is a member of the European Union.", COUNTRY),
    (FRANCE, "The capital city of Paris, France, is a beacon of elegance.", COUNTRY),
    (FRANCE, "The official language of France is French, and it is spoken by many people.", COUNTRY),
    (FRANCE, "The capital is Paris, but the largest port is Marseille.", COUNTRY),
    (FRANCE, "**Capital:** Paris", COUNTRY),
    (FRANCE, "Capital: Paris; currency: euro", COUNTRY),
    (FRANCE, "The capital may be Paris.", COUNTRY),  # a hedged claim is graded for what it says
    (TIN, "The chemical symbol for tin is Sn.", ELEMENT),
    (TIN, "The chemical symbol of tin is Sn and its atomic number is fifty.", ELEMENT),
    (CURIE, "Marie Curie was born in Poland in 1867.", PERSON),
    (CURIE, "She was born in Poland, and she worked in the field of physics.", PERSON),
    (CURIE, "She was born on 7 November 1867 and died in 1934.", PERSON),
]
WRONG = [
    (FRANCE, "The capital of France is Lyon.", COUNTRY),
    (FRANCE, "Paris is not the capital of France.", COUNTRY),
    (FRANCE, "The capital is Paris or Lyon.", COUNTRY),
    (FRANCE, "The capital of France is New Paris.", COUNTRY),
    (FRANCE, "The capital of France is France.", COUNTRY),
    (FRANCE, "French is the capital of France.", COUNTRY),  # the value of another fact
    (FRANCE, "The capital of France is Paris and the official currency is the franc.", COUNTRY),
    (FRANCE, "The capital of France is Marseille, while its official language is French.", COUNTRY),
    (FRANCE, "Capital: Paris; currency: yen", COUNTRY),
    (TIN, "The chemical symbol of tin is SN.", ELEMENT),
    (TIN, "The chemical symbol for tin is Sn and the atomic number is 8.", ELEMENT),
    (TIN, "The atomic number of tin is 150.", ELEMENT),
    (CURIE, "Marie Curie was born in Poland in 1876.", PERSON),
    (CURIE, "Marie Curie was born in Warsaw, France, in 1867.", PERSON),
    (CURIE, "She was born in 1867 or rather 1869.", PERSON),
]
NEITHER = [
    (FRANCE, "", COUNTRY),
    (FRANCE, " \n", COUNTRY),
    (FRANCE, "?!", COUNTRY),
    (FRANCE, "What is the capital of France?", COUNTRY),
    (FRANCE, "France is a nation of vibrant cities.", COUNTRY),
    (FRANCE, "Paris lies on the Seine.", COUNTRY),
    (FRANCE, "Lyon is not the capital of France.", COUNTRY),
    (FRANCE, "The capital of Germany is Paris.", COUNTRY),
    (FRANCE, "Germany's capital is Paris.", COUNTRY),
    (FRANCE, "The capital of France is beautiful.", COUNTRY),
    (TIN, "The symbol of silver is Ag.", ELEMENT),
]
ADMITTED = [  # errors that the docstring admits: they are known, not wanted
    (FRANCE, "The French language academy was founded in 1635.", COUNTRY, True),
    (FRANCE, "The capital lies on the Seine.", COUNTRY, False),
    (FRANCE, "France pays in euros.", COUNTRY, None),
]


@pytest.mark.parametrize(("question", "claim", "facts"), RIGHT)
def test_right(question, claim, facts):
    assert grade_claim(claim, facts, question=question) is True


@pytest.mark.parametrize(("question", "claim", "facts"), WRONG)
def test_wrong(question, claim, facts):
    assert grade_claim(claim, facts, question=question) is False


@pytest.mark.parametrize(("question", "claim", "facts"), NEITHER)
def test_about_no_fact(question, claim, facts):
    assert grade_claim(claim, facts, question=question) is None


@pytest.mark.parametrize(("question", "claim", "facts", "grade"), ADMITTED)
def test_errors_that_the_docstring_admits(question, claim, facts, grade):
    assert grade_claim(claim, facts, question=question) is grade


def test_accepted_statements():
    only = [Fact(statements=("Paris is the capital of France.",))]
    assert grade_claim("paris is the CAPITAL of France", only) is True
    assert grade_claim("Lyon is the capital of France.", only) is None
    about = [Fact(about=("capital",), statements=("Paris is the capital of France.",))]
    assert grade_claim("Lyon is the capital of France.", about) is False


@given(st.text(), st.text())
def test_any_text_is_graded(claim, question):
    assert grade_claim(claim, COUNTRY, question=question) in (True, False, None)
    if not any(c.isalnum() for c in claim):
        assert grade_claim(claim, COUNTRY) is None


@given(
    st.sampled_from(RIGHT + WRONG),
    st.sampled_from([str.upper, lambda s: f"  {s}\n", lambda s: s.replace(" ", "\u00a0")]),
)
def test_white_space_and_case_do_not_matter(case, change):
    question, claim, facts = case
    if change is str.upper and facts is ELEMENT:  # a symbol's case does matter
        return
    if change is str.upper and (grade_claim(claim, facts, question=question) is False or "'" in claim):
        return  # capital letters tell a name; without them a wrong one may only become "about no fact"
    assert grade_claim(change(claim), facts, question=question) == grade_claim(claim, facts, question=question)
