"""Is an answer right? Rules on text alone, against a list of accepted forms.

Knows nothing about models, scores or files. Rules err, as docstrings say, and would rather call a right one wrong:
a false "right" teaches confidence. Where no spaces separate words (Chinese, Thai) only a whole answer can match.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from guardrail.errors import DataError

F1_THRESHOLD = 0.5
_SHORT_STATEMENT = (
    16  # tokens; in a longer one a form counts only where an answer stands: first, or after "is", "by", ...
)
_LONGEST = 200  # tokens of the first statement that are read: the rules compare every word with every other
_BARE = 3  # a clause of so few tokens may be one more candidate in a list

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})
_MARKS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "–": "-", "−": "-", "‐": "-", "‑": "-", "—": ","})


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_UNITS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMBERS = {w: i for i, w in enumerate(_UNITS)} | {w: 10 * i for i, w in enumerate(_TENS, start=2)}

_COPULAS = frozenset(_words("is was are were be called named answer"))
_LEADS = _COPULAS | frozenset(_words("by in on at as it became symbol letter"))
_AFTER = _COPULAS | frozenset(_words("did does do has had too also probably likely indeed itself himself herself"))
_NEGATIONS = frozenset(_words("not no never neither nor cannot cant isnt wasnt arent werent dont doesnt didnt wont"))
_CONTRASTS = frozenset(_words("than unlike except without instead"))  # what follows them is not the answer
_QUALIFIERS = frozenset(
    _words("new north south east west northern southern eastern western equatorial democratic non anti minus negative")
)
_SCALES = frozenset(_words("hundred thousand million billion trillion bc bce"))
_MONTHS = frozenset(_words("january february march april may june july august september october november december"))
_FILLERS = frozenset(_words("sure yes no ok okay well certainly absolutely hello hi")) | frozenset(
    ("of course", "great question", "good question", "im not sure", "i am not sure", "i dont know", "i do not know")
)
_ABBREVIATION = re.compile(r"(?:\b(?:st|dr|mr|mrs|ms|mt|jr|sr|vs|prof|gen|ft|no|c|ca)|\b[^\W\d_])\.$", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(?=\S)")
_TOKEN = re.compile(
    r"(?P<word>\d+(?:\.\d+)+|(?<![\w-])-\d+|[^\W_]+(?:[+#]+(?!\w))?|/)|(?P<mark>[,;:()\[\]])|(?P<glue>(?<=\w)-(?=\w))"
)


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
        forms = [form for form in map(_tokens, accepted) if form]
        whole = _tokens(answer)
        if any(_equal(whole, form) for form in forms):
            return True
        statement = _first_statement(answer, forms)[:_LONGEST]
        asked = [t.text for t in _tokens(question)]
        return any(
            _answers(statement, start, form, forms, asked) for form in forms for start in _occurrences(statement, form)
        )


class ExactGrader:
    """Right when answer and form are equal after `normalise` (forms of one or two letters: case too).

    Hardly ever calls a wrong answer right; calls every right sentence wrong ("The capital is Paris.").
    """

    name = "exact"

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool:
        whole = _tokens(answer)
        return any(form and _equal(whole, form) for form in map(_tokens, accepted))


class F1Grader:
    """Right when the words that answer and form share have an F1 of at least 0.5 (SQuAD's measure), for the best form.

    Calls right what is wrong: "not Paris" (0.67), "George Washington" for "George Bush" (0.5). Calls wrong what is
    right: short forms in long sentences. Word order does not matter: for answers of several words.
    """

    name = "f1"

    def __call__(self, question: str, answer: str, accepted: Sequence[str]) -> bool:
        said = Counter(t.text for t in _tokens(answer))
        forms = [Counter(t.text for t in _tokens(form)) for form in accepted]
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


def normalise(text: str) -> str:
    """Words in plain form: NFKC, casefolded, without accents, punctuation and articles; numbers up to 100 as digits.

    An article at the end stays ("Vitamin A"), as do decimals, minus signs and the marks of "C++" and "C#".
    """
    return " ".join(t.text for t in _tokens(text))


@dataclass(frozen=True, slots=True)
class _Token:
    text: str  # normalised
    raw: str  # as written
    before: str  # "-" when glued to the previous token, the mark that opens a clause, or ""
    clause: int


def _tokens(text: str) -> list[_Token]:
    return _without_articles(_with_digits(list(_split(text))))


def _split(text: str) -> Iterator[_Token]:
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" and c not in '*_`"“”«»')
    text = re.sub(r"(?<=\w)'(?=\w)", "", text)  # it's, O'Brien
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,000
    text = re.sub(
        r"\b(?:[^\W\d_]\.\s?){2,}(?=\W|$|[^\W\d_]{2})", lambda m: m[0].replace(".", "").replace(" ", "") + " ", text
    )
    text = text.replace("%", " percent ").replace("&", " and ")
    before, clause = "", 0
    for match in _TOKEN.finditer(text):
        raw = match[0]
        if match.lastgroup == "word":
            plain = unicodedata.normalize("NFKD", raw.casefold()).translate(_LETTERS)
            plain = "".join(c for c in plain if not unicodedata.combining(c))
            if plain == "but":
                clause += 1
            yield _Token(plain, raw, before, clause)
            before = ""
        else:
            before = raw
            clause += match.lastgroup == "mark"


def _with_digits(tokens: list[_Token]) -> list[_Token]:
    """Number words, zero to one hundred, as digits."""
    out: list[_Token] = []
    for token in tokens:
        last = out[-1] if out else None
        adjoins = last is not None and last.clause == token.clause
        if last and adjoins and token.text in _UNITS[1:10] and last.raw.casefold() in _TENS:
            out[-1] = replace(last, text=str(int(last.text) + _NUMBERS[token.text]), raw=f"{last.raw} {token.raw}")
        elif token.text == "hundred" and last and adjoins and last.raw.casefold() in ("one", "a"):
            out[-1] = replace(last, text="100", raw="100")
        elif token.text == "hundred" and not (adjoins and last and _is_number(last)):
            out.append(replace(token, text="100"))
        elif token.text in _NUMBERS:
            out.append(replace(token, text=str(_NUMBERS[token.text])))
        else:
            out.append(token)
    return out


def _without_articles(tokens: list[_Token]) -> list[_Token]:
    # "A" inside a text is a letter (blood type A positive), and so is an article with nothing after it (vitamin A)
    return [
        t
        for i, t in enumerate(tokens)
        if i == len(tokens) - 1 or not (t.raw in ("a", "an", "the", "An", "The", "THE") or (t.raw == "A" and i == 0))
    ]


def _is_number(token: _Token) -> bool:
    return token.text.lstrip("-")[:1].isdigit()


def _first_statement(answer: str, forms: list[list[_Token]]) -> list[_Token]:
    """The first statement that is neither filler nor a question; nothing for a bulleted list of several candidates."""
    lines = [line for line in answer.splitlines() if line.strip()]
    bullets = sum(1 for line in lines if _BULLET.match(line))
    if bullets > 1 and (_BULLET.match(lines[0]) or lines[0].rstrip(" *_").endswith(":")):
        return []
    text = re.sub(r":[*_\s]*\n\s*", ": ", "\n".join(_BULLET.sub("", line) for line in lines))
    statements: list[str] = []
    for line in text.splitlines():
        start = 0
        for gap in re.finditer(r"(?<=[.!?])[\"”*_)]*\s+", line):
            if not _ABBREVIATION.search(line[max(start, gap.start() - 12) : gap.start()]):
                statements.append(line[start : gap.start()])
                start = gap.end()
        statements.append(line[start:])
    told = [(s, _tokens(s)) for s in statements]
    for text, tokens in told:
        filler = " ".join(t.text for t in tokens) in _FILLERS and not any(_equal(tokens, form) for form in forms)
        if tokens and not filler and not text.rstrip().endswith("?"):
            return tokens
    return told[-1][1] if told else []


def _equal(said: list[_Token], form: list[_Token]) -> bool:
    return len(said) == len(form) and 0 in _occurrences(said, form)


def _occurrences(said: list[_Token], form: list[_Token]) -> list[int]:
    """Where the form's words stand in a row."""
    wanted = [t.text for t in form]
    starts = [i for i in range(len(said) - len(form) + 1) if [t.text for t in said[i : i + len(form)]] == wanted]
    if _is_symbol(form):
        # "pi" may open a sentence as "Pi"; "Co" is never "CO"
        raw = form[0].raw
        cases = (raw, raw.capitalize()) if raw.islower() else (raw,)
        starts = [i for i in starts if said[i].raw in cases]
    return starts


def _is_symbol(form: list[_Token]) -> bool:
    return len(form) == 1 and len(form[0].raw) <= 2 and form[0].raw.isalpha()


def _answers(said: list[_Token], start: int, form: list[_Token], forms: list[list[_Token]], asked: list[str]) -> bool:
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
    is_no = all(t.text in _NEGATIONS for t in form)  # the form may itself be "no"
    negated = any(t.text in _NEGATIONS and t.clause in clauses for t in others)
    if (negated and not is_no) or any(t.text in _CONTRASTS and t.clause == run[0].clause for t in said[:start]):
        return False
    if len(form) == 1 and _is_number(form[0]):
        if _is_part_of_number(said, start, before, after, others):
            return False
    elif _is_list(others, clauses) or (len(tail) == 1 and tail[0].text not in _AFTER and tail[0].text not in asked):
        return False  # "carbon dioxide" is no carbon; in English the last noun names the thing
    return _stands_as_answer(said, start, form, before, after, asked)


def _has_rivals(said: list[_Token], start: int, stop: int, forms: list[list[_Token]]) -> bool:
    """Whether "or" anywhere, or "and" or "/" next to the form, joins it to something that is not accepted as well."""
    for i, token in enumerate(said):
        joins = token.text == "or" or (token.text in ("and", "/", "vs", "versus") and i in (start - 1, stop))
        if joins and not start <= i < stop:
            left = any(_equal(said[max(0, i - len(form)) : i], form) for form in forms)
            right = any(_equal(said[i + 1 : i + 1 + len(form)], form) for form in forms)
            if not (left and right):
                return True
    return False


def _is_part_of_number(
    said: list[_Token], start: int, before: _Token | None, after: _Token | None, others: list[_Token]
) -> bool:
    is_date = start > 1 and said[start - 2].text in _MONTHS  # July 4 1776
    if (before and _is_number(before) and not is_date) or (after and (_is_number(after) or after.text in _SCALES)):
        return True
    if after and after.text == "of" and said[start].raw.casefold() == "one":  # "one of the ..."
        return True
    sizes = Counter(t.clause for t in others)
    return any(_is_number(t) and sizes[t.clause] == 1 and t.clause != said[start].clause for t in others)


def _is_list(others: list[_Token], clauses: set[int]) -> bool:
    sizes = Counter(t.clause for t in others if t.clause not in clauses)
    return sum(1 for size in sizes.values() if size <= _BARE) > 1


def _stands_as_answer(
    said: list[_Token], start: int, form: list[_Token], before: _Token | None, after: _Token | None, asked: list[str]
) -> bool:
    follows_colon = said[start].before == ":"
    leads = follows_colon or (before is not None and before.text in _LEADS)
    opens = start == 0 and (after is None or after.text in _COPULAS)
    if _is_symbol(form):
        return opens or (after is None and (before is None or leads))
    wanted = [t.text for t in form]
    if any(asked[i : i + len(wanted)] == wanted for i in range(len(asked))):
        return opens or follows_colon or (before is not None and before.text in _COPULAS)
    return len(said) <= _SHORT_STATEMENT or start == 0 or leads
