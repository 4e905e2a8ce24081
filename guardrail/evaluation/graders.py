"""Is an answer right? Rules on text alone, against a list of accepted forms.

Knows nothing about models, scores or files. Rules err, as docstrings say, and would rather call a right one wrong:
a false "right" teaches confidence. Where no spaces separate words (Chinese, Thai) only a whole answer can match.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from guardrail.errors import DataError
from guardrail.evaluation.alias import LONGEST, equal, first_statement, occurrences, says
from guardrail.evaluation.words import tokens

F1_THRESHOLD = 0.5


class Grader(Protocol):
    """Says whether an answer to a question is right. An empty answer never is."""

    name: str

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool: ...


class AliasGrader:
    """Right when an accepted form is what the answer says: all of it, or a run of whole words where an answer stands.

    Only the first statement counts (fillers such as "Sure!" and repeated questions are skipped). Wrong although a form
    occurs: it is negated ("London, not Paris"); it is one of several candidates ("Paris or London", "Paris and London",
    three or more in commas); it is part of another name or number ("New York" for York, "Guinea-Bissau", "carbon
    dioxide", "7 million", "1939-1945"); it repeats the question ("The capital of Luxembourg is Brussels"). Forms of
    one or two letters are case-sensitive ("Co" is not "CO") and must end a clause.

    Calls right what is wrong: "London, Paris" (taken as place and country); a longer name with the form at its end
    ("Michael Jordan" for Jordan); a form mentioned in passing in a short sentence; what a later sentence takes back.
    Calls wrong what is right: forms not listed; "Galileo Galilei" for Galileo; "Paris, Ile-de-France, France"; "Paris
    France"; an answer in the second sentence; double negation.
    """

    name = "alias"

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool:
        forms = [form for form in map(tokens, accepted) if form]
        whole = tokens(answer)
        if any(equal(whole, form) for form in forms):
            return True
        statement = first_statement(answer, forms)[:LONGEST]
        asked = [t.text for t in tokens(question)]
        return any(
            says(statement, start, form, forms, asked) for form in forms for start in occurrences(statement, form)
        )


class ExactGrader:
    """Right when answer and form are equal after `words.normalise` (forms of one or two letters: case too).

    Hardly ever calls a wrong answer right; calls every right sentence wrong ("The capital is Paris.").
    """

    name = "exact"

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool:
        whole = tokens(answer)
        return any(form and equal(whole, form) for form in map(tokens, accepted))


class F1Grader:
    """Right when the words that answer and form share have an F1 of at least 0.5 (SQuAD's measure), for the best form.

    Calls right what is wrong: "not Paris" (0.67), "George Washington" for "George Bush" (0.5). Calls wrong what is
    right: short forms in long sentences. Word order does not matter: for answers of several words.
    """

    name = "f1"

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool:
        said = Counter(t.text for t in tokens(answer))
        forms = [Counter(t.text for t in tokens(form)) for form in accepted]
        # F1 = 2 shared / (said + form)
        return any(
            2 * (said & form).total() >= F1_THRESHOLD * (said.total() + form.total()) for form in forms if form and said
        )


_GRADERS: dict[str, Grader] = {g.name: g for g in (AliasGrader(), ExactGrader(), F1Grader())}
GRADERS: tuple[str, ...] = tuple(_GRADERS)
"""The kinds that `get_grader` knows."""


def get_grader(kind: str) -> Grader:
    """The grader of that name. Raises `DataError`, which lists the kinds, for another."""
    if kind not in _GRADERS:
        raise DataError(f"no grader {kind!r}; the kinds are {', '.join(GRADERS)}")
    return _GRADERS[kind]
