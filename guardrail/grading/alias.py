"""Whether an accepted form is what a statement says: the rules behind the alias grader and the grader of claims.

Where a rule errs, it would rather call a right answer wrong.
"""

import re
from collections import Counter

from guardrail.languages import denies, is_filler, negations_in
from guardrail.plain_text import Token, is_number, tokens, words

_SHORT_STATEMENT = (
    16  # tokens; in a longer one a form counts only where an answer stands: first, or after "is", "by", ...
)
LONGEST = 200  # tokens of the first statement that are read: the rules compare every word with every other
_BARE = 3  # a clause of so few tokens may be one more candidate in a list

COPULAS = frozenset(words("is was are were be called named answer"))
_LEADS = COPULAS | frozenset(words("by in on at as it became symbol letter"))
_AFTER = COPULAS | frozenset(words("did does do has had too also probably likely indeed itself himself herself"))
NEGATIONS = frozenset(words("not no never neither nor cannot cant isnt wasnt arent werent dont doesnt didnt wont"))
_CONTRASTS = frozenset(words("than unlike except without instead"))  # what follows them is not the answer
_QUALIFIERS = frozenset(
    words("new north south east west northern southern eastern western equatorial democratic non anti minus negative")
)
_SCALES = frozenset(words("hundred thousand million billion trillion bc bce"))
MONTHS = frozenset(words("january february march april may june july august september october november december"))
_FILLERS = frozenset(words("sure yes no ok okay well certainly absolutely hello hi")) | frozenset(
    ("of course", "great question", "good question", "im not sure", "i am not sure", "i dont know", "i do not know")
)
_ABBREVIATION = re.compile(r"(?:\b(?:st|dr|mr|mrs|ms|mt|jr|sr|vs|prof|gen|ft|no|c|ca)|\b[^\W\d_])\.$", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(?=\S)")


def first_statement(answer: str, forms: list[list[Token]]) -> list[Token]:
    """The first statement that is neither filler nor a question; nothing for a bulleted list of several candidates."""
    lines = [line for line in answer.splitlines() if line.strip()]
    if len(bullets(answer)) > 1 and (_BULLET.match(lines[0]) or lines[0].rstrip(" *_").endswith(":")):
        return []
    return tokens(first_sentence(answer, forms))


def bullets(answer: str) -> list[str]:
    """What the lines with a bullet or a number say."""
    return [line[m.end() :] for line in answer.splitlines() if line.strip() and (m := _BULLET.match(line))]


def first_sentence(answer: str, forms: list[list[Token]]) -> str:
    """As written, the first that is neither filler nor a question; the last one where there is none."""
    lines = [line for line in answer.splitlines() if line.strip()]
    text = re.sub(r":[*_\s]*\n\s*", ": ", "\n".join(_BULLET.sub("", line) for line in lines))
    statements: list[str] = []
    for line in text.splitlines():
        start = 0
        for gap in re.finditer(r"(?<=[.!?])[\"”*_)]*\s+", line):
            before, behind = line[max(start, gap.start() - 12) : gap.start()], line[gap.end() : gap.end() + 1]
            factorial = before[-1:] == "!" and before.rstrip("!")[-1:].isdigit() and (behind.islower() or behind == "=")
            if not factorial and not _ABBREVIATION.search(before):
                statements.append(line[start : gap.start()])
                start = gap.end()
        statements.append(line[start:])
    text = ""
    for text in statements:
        said = tokens(text)
        filler = (" ".join(t.text for t in said) in _FILLERS or is_filler(text)) and not any(
            equal(said, form) for form in forms
        )
        if said and not filler and not text.rstrip().endswith("?"):
            return text
    return text


def negations_of(said: list[Token]) -> frozenset[str]:
    """The words that deny in a statement: the English ones, and those of the language that it is in."""
    return NEGATIONS | negations_in(t.text for t in said)


def equal(said: list[Token], form: list[Token]) -> bool:
    return len(said) == len(form) and 0 in occurrences(said, form)


def occurrences(said: list[Token], form: list[Token]) -> list[int]:
    """Where the form's words stand in a row."""
    starts = [
        i
        for i in range(len(said) - len(form) + 1)
        if all(wanted.is_said_by(token) for wanted, token in zip(form, said[i : i + len(form)], strict=True))
    ]
    if _is_symbol(form):
        # "pi" may open a sentence as "Pi"; "Co" is never "CO"
        raw = form[0].raw
        cases = (raw, raw.capitalize()) if raw.islower() else (raw,)
        starts = [i for i in starts if said[i].raw in cases]
    return starts


def _is_symbol(form: list[Token]) -> bool:
    return len(form) == 1 and len(form[0].raw) <= 2 and form[0].raw.isalpha()


def says(said: list[Token], start: int, form: list[Token], forms: list[list[Token]], asked: list[str]) -> bool:
    """Whether the form that stands at `start` is what the statement says."""
    stop = start + len(form)
    run, others = said[start:stop], [*said[:start], *said[stop:]]
    clauses = {t.clause for t in run}
    before = said[start - 1] if start and said[start - 1].clause == run[0].clause else None
    tail = [t for t in said[stop:] if t.clause == run[-1].clause]
    after = tail[0] if tail else None
    glued = run[0].before == "-" or (after is not None and after.before == "-")
    if glued or (before and before.text in _QUALIFIERS) or _has_rivals(said, start, stop, forms):
        return False
    negations = negations_of(said)
    is_no = all(t.text in negations for t in form)  # the form may itself be "no"
    negated = any(t.text in negations and t.clause in clauses for t in others)
    negated = negated or _is_denied_from_afar(said, start, stop, negations)
    if (negated and not is_no) or any(t.text in _CONTRASTS and t.clause == run[0].clause for t in said[:start]):
        return False
    if len(form) == 1 and is_number(form[0]):
        if _is_part_of_number(said, start, before, after, others):
            return False
    elif _is_list(others, clauses) or (len(tail) == 1 and tail[0].text not in _AFTER and tail[0].text not in asked):
        return False  # "carbon dioxide" is no carbon; in English the last noun names the thing
    return _stands_as_answer(said, start, form, before, after, asked)


def _is_denied_from_afar(said: list[Token], start: int, stop: int, negations: frozenset[str]) -> bool:
    """Whether a clause beside the form's denies it.

    What stands before a colon announces what follows it: "It is not: Paris", "It is not true to say: Paris". Before another
    mark a clause reaches on where it breaks off at its negation, and the form has no verb of its own: "It is not, I think,
    Paris" and "not (Paris)", but "No, Paris" and "It is not; it is Paris". A clause behind the form denies it where it ends
    so: "Paris, not".
    """
    own, last = said[start].clause, said[stop - 1].clause
    first = next(i for i, t in enumerate(said) if t.clause == own)
    before = _clause(said, said[first - 1].clause) if first else []
    opened_by = said[first].before
    if before and (
        (opened_by == ":" and _denies(before, negations)) or (opened_by in ("(", "[") and before[-1].text in negations)
    ):
        return True
    has_verb = any(t.text in COPULAS or t.text == "its" for t in said[first:start])
    broken_off = (_clause(said, n) for n in range(own))
    if not has_verb and any(len(c) > 1 and c[-1].text in negations - {"no"} for c in broken_off):
        return True
    behind = _clause(said, next((t.clause for t in said[stop:] if t.clause != last), -1))
    return bool(behind) and behind[-1].text in negations


def _denies(clause: list[Token], negations: frozenset[str]) -> bool:
    text = " ".join(t.raw for t in clause)
    is_filler_alone = " ".join(t.text for t in clause) in _FILLERS or is_filler(text)
    return not is_filler_alone and (any(t.text in negations for t in clause) or denies(text))


def _clause(said: list[Token], number: int) -> list[Token]:
    return [t for t in said if t.clause == number]


def _has_rivals(said: list[Token], start: int, stop: int, forms: list[list[Token]]) -> bool:
    """Whether "or" anywhere, or "and" or "/" next to the form, joins it to something that is not accepted as well."""
    for i, token in enumerate(said):
        joins = token.text == "or" or (token.text in ("and", "/", "vs", "versus") and i in (start - 1, stop))
        if joins and not start <= i < stop:
            left = any(equal(said[max(0, i - len(form)) : i], form) for form in forms)
            right = any(equal(said[i + 1 : i + 1 + len(form)], form) for form in forms)
            if not (left and right):
                return True
    return False


def _is_part_of_number(
    said: list[Token], start: int, before: Token | None, after: Token | None, others: list[Token]
) -> bool:
    is_date = start > 1 and said[start - 2].text in MONTHS  # July 4 1776
    if (before and is_number(before) and not is_date) or (after and (is_number(after) or after.text in _SCALES)):
        return True
    if after and after.text == "of" and said[start].raw.casefold() == "one":  # "one of the ..."
        return True
    sizes = Counter(t.clause for t in others)
    return any(is_number(t) and sizes[t.clause] == 1 and t.clause != said[start].clause for t in others)


def _is_list(others: list[Token], clauses: set[int]) -> bool:
    sizes = Counter(t.clause for t in others if t.clause not in clauses)
    return sum(1 for size in sizes.values() if size <= _BARE) > 1


def _stands_as_answer(
    said: list[Token], start: int, form: list[Token], before: Token | None, after: Token | None, asked: list[str]
) -> bool:
    follows_colon = said[start].before == ":"
    leads = follows_colon or (before is not None and before.text in _LEADS)
    opens = start == 0 and (after is None or after.text in COPULAS)
    if _is_symbol(form):
        return opens or (after is None and (before is None or leads))
    wanted = [t.text for t in form]
    if any(asked[i : i + len(wanted)] == wanted for i in range(len(asked))):
        return opens or follows_colon or (before is not None and before.text in COPULAS)
    return len(said) <= _SHORT_STATEMENT or start == 0 or leads
