"""Graders by rules on text alone: alias, exact, f1.

Know nothing about models, scores or files. Rules err, as docstrings say, and would rather call a right answer wrong:
a false "right" teaches confidence. Where no spaces separate words (Chinese, Thai) only a whole answer can match.
"""

from collections import Counter

from guardrail.folding import points_agree
from guardrail.grading.alias import LONGEST, equal, first_statement, occurrences, says
from guardrail.grading.protocol import AnswerRow, RuleGrader
from guardrail.plain_text import Token, tokens

F1_THRESHOLD = 0.5


class AliasGrader(RuleGrader):
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

    kind = "alias"

    def _right(self, row: AnswerRow) -> bool:
        forms = [form for form in map(tokens, row.accepted) if form]
        whole = tokens(row.answer)
        if any(equal(whole, form) for form in forms):
            return True
        statement = first_statement(row.answer, forms)[:LONGEST]
        asked = [t.text for t in tokens(row.question)]
        return any(
            says(statement, start, form, forms, asked) for form in forms for start in occurrences(statement, form)
        )


class ExactGrader(RuleGrader):
    """Right when answer and form are equal after `words.normalise` (forms of one or two letters: case too).

    Hardly ever calls a wrong answer right; calls every right sentence wrong ("The capital is Paris.").
    """

    kind = "exact"

    def _right(self, row: AnswerRow) -> bool:
        whole = tokens(row.answer)
        return any(form and equal(whole, form) for form in map(tokens, row.accepted))


class F1Grader(RuleGrader):
    """Right when the words that answer and form share have an F1 of at least 0.5 (SQuAD's measure), for the best form.

    Calls right what is wrong: "not Paris" (0.67), "George Washington" for "George Bush" (0.5). Calls wrong what is
    right: short forms in long sentences. Word order does not matter: for answers of several words.
    """

    kind = "f1"

    def _right(self, row: AnswerRow) -> bool:
        said = tokens(row.answer)
        return any(_shares_enough(said, form) for form in map(tokens, row.accepted) if form and said)


def _shares_enough(said: list[Token], form: list[Token]) -> bool:
    wanted = {t.text for t in form}
    left: dict[str, Counter[str]] = {}  # by plain form, as written
    for t in said:
        text = t.text if t.text in wanted or not t.exclaims else t.text.rstrip("!")
        left.setdefault(text, Counter())[t.raw] += 1
    shared = 0
    for t in form:
        spoken = left.get(t.text, Counter())
        raws = (t.raw, *spoken)
        if (raw := next((r for r in raws if spoken[r] and points_agree(r, t.raw)), None)) is not None:
            spoken[raw] -= 1
            shared += 1
    # F1 = 2 shared / (said + form)
    return 2 * shared >= F1_THRESHOLD * (len(said) + len(form))
