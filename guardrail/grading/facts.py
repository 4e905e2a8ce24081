"""Is a claim right? Rules on its text, against facts: what a claim about one thing may say.

Three outcomes, not two: a claim that is about none of the facts is neither right nor wrong, and is left out.
"""

from collections.abc import Sequence
from typing import Literal

from guardrail.datasets.claims import Fact
from guardrail.grading.alias import COPULAS, LONGEST, MONTHS, equal, negations_of, occurrences, says
from guardrail.plain_text import Token, is_number, tokens, words

GRADED_BY = "facts and labels"
"""What says whether a claim is right: the rules here, and above them what people labelled."""

_JOINS = frozenset(words("and while but whereas with"))
_RELATIVES = frozenset(words("which where who whose because since although though whereas while"))
_STARTS = COPULAS | frozenset(words("it its he his she her they their this that these there has have had also uses"))
_GENERIC = _STARTS | frozenset(
    words(
        "country nation state republic kingdom island element metal gas atom book novel play poem story work film movie"
    )
    + words("planet person man woman scientist author city us our your which same")
)
_STOP = _GENERIC | frozenset(
    words(
        "a an the of in on at by for to from as with and or not official officially known currently usually typically one"
    )
)
_PREPOSITIONS = frozenset(words("of for"))


def grade_claim(claim: str, facts: Sequence[Fact], *, question: str = "") -> bool | None:
    """True: right. False: wrong. None: about none of the facts, or it says nothing that they settle.

    question: what was asked; it names the subject, so that a claim about another one ("the capital of Germany") is left out.
    A claim about several facts is taken apart at "and", commas and the like; it is right when every part that can be judged
    is, and wrong when one is wrong. An accepted value counts as in `AliasGrader`: "Paris or Lyon", "not Paris" and "New
    Paris" are wrong. A claim that denies something else ("Lyon is not the capital") is left out. A hedged one ("may be
    Paris") is graded for what it says.

    Calls right what is wrong: a value in a sentence that has the right word in another sense ("Paris is where capital
    flows"); a value of the right fact with a false addition ("the capital is Paris, founded by Napoleon"); double
    negation; a wrong subject behind a pronoun ("Its capital is Paris", said of Germany).
    Calls wrong what is right: forms not listed; something true but beside the point that has the fact's word and a name or
    a number in it ("the capital lies on the Seine"); an unusual order ("Paris and Brasília are the capitals of ...").
    Leaves out what could be judged: a value without the fact's word ("France pays in euros", unless "pays" is in `about`).

        grade_claim("Its capital is Paris.", [Fact(("capital",), ("Paris",))])  # True
    """
    said = tokens(claim)[:LONGEST]
    if not said or claim.rstrip().endswith("?"):
        return None
    asked = [t.text for t in tokens(question)]
    grades = [_matches(said, fact) for fact in facts]
    grades += [_grade(part, hit, facts[i], asked, said) for i, hit, part in _parts(said, facts)]
    if False in grades:
        return False
    return True if True in grades else None


Kind = Literal["number", "name", "word"]
Hit = tuple[int, int]
"""Where a fact's word stands in a part: from, to."""


def _matches(said: list[Token], fact: Fact) -> bool | None:
    """Whether the claim is an accepted statement, word by word; None where that settles nothing."""
    accepted = [form for form in map(tokens, fact.statements) if form]
    if any(equal(said, form) for form in accepted):
        return True
    return False if fact.about and not fact.values and _hits(said, fact) else None


def _hits(said: list[Token], fact: Fact) -> list[Hit]:
    forms = [form for form in map(tokens, fact.about) if form]
    return [(start, start + len(form)) for form in forms for start in occurrences(said, form)]


def _parts(said: list[Token], facts: Sequence[Fact]) -> list[tuple[int, Hit, list[Token]]]:
    """The claim by facts: the fact's index, where its word stands in the part, and the part's words."""
    found = sorted(
        ((start, -stop, i) for i, f in enumerate(facts) if f.values for start, stop in _hits(said, f)),
        key=lambda x: (x[0], x[1]),
    )
    hits: list[
        tuple[int, int, int]
    ] = []  # start, stop, fact; a hit inside another one ("capital" in "capital city") is none
    for start, minus_stop, i in found:
        if not hits or start >= hits[-1][1]:
            hits.append((start, -minus_stop, i))
        elif (start, -minus_stop) == hits[-1][:2] and i != hits[-1][2]:
            hits.append((start, -minus_stop, i))  # two facts of one name: the part must satisfy both
    out: list[tuple[int, Hit, list[Token]]] = []
    for k, (start, stop, i) in enumerate(hits):
        others = [h for h in hits if h[2] != i and h[:2] != (start, stop)]
        low = max((_boundary(said, h[1], start) for h in others if h[1] <= start), default=0)
        high = min((_boundary(said, stop, h[0]) for h in others if h[0] >= stop), default=len(said))
        if any(h[2] == i and low <= h[0] < start for h in hits[:k]):
            continue  # the fact's second word in one part
        low, high = _trimmed(said, low, high, start, stop)
        out.append((i, (start - low, stop - low), said[low:high]))
    return out


def _boundary(said: list[Token], after: int, before: int) -> int:
    """Where a part ends and the next begins, between two facts' words: at the last "and", else the last comma."""
    between = range(after, before + 1)
    strong = [i for i in between if i < before and (said[i].text in _JOINS or said[i].before == ";")]
    weak = [i for i in between if i < len(said) and said[i].clause != said[i - 1].clause]
    return (strong or weak or [before])[-1]


def _trimmed(said: list[Token], low: int, high: int, start: int, stop: int) -> tuple[int, int]:
    """Without what another verb says: "..., and died in 1934", "France lies in Europe and its ..."."""

    def opens(i: int) -> bool:
        if said[i].text in _RELATIVES:
            return True
        following = said[i + 1].text if i + 1 < high else ""
        return said[i].text in _JOINS and (following in _STARTS or following.endswith("ed"))

    if said[low].text in _JOINS:
        low += 1
    low = max([i + 1 for i in range(low, start) if opens(i)], default=low)
    high = min([i for i in range(stop, high) if opens(i)], default=high)
    return low, high


def _grade(part: list[Token], hit: Hit, fact: Fact, asked: list[str], said: list[Token]) -> bool | None:
    forms = [form for form in map(tokens, fact.values) if form]
    values = {t.text for form in forms for t in form}
    if asked and _is_of_another(part, hit, values, asked):
        return None
    standing = [(form, start) for form in forms for start in occurrences(part, form)]
    standing = [(form, start) for form, start in standing if not hit[0] <= start < hit[1]]
    if any(
        says(part, start, form, forms, asked) and not _has_second_number(part, start, form) for form, start in standing
    ):
        return True
    if standing:
        return False
    if any(t.text in negations_of(said) for t in part):
        return None
    return False if _states_something(part, hit, _kind(forms), asked, said) else None


def _is_of_another(part: list[Token], hit: Hit, values: set[str], asked: list[str]) -> bool:
    """ "the capital of Germany", "Germany's capital", where the question names something else."""
    start, stop = hit
    known = {*asked, *values, *_GENERIC}
    if stop + 1 < len(part) and part[stop].text in _PREPOSITIONS and part[stop].clause == part[stop - 1].clause:
        return part[stop + 1].text not in known and not is_number(part[stop + 1])
    owner = part[start - 1] if start else None
    owned = owner is not None and owner.raw[0].isupper() and owner.text.endswith("s")
    return owner is not None and owned and not {owner.text, owner.text[:-1]} & known


def _has_second_number(part: list[Token], start: int, form: list[Token]) -> bool:
    """Whether a number of as many digits stands next to an accepted one: "in 1897 or rather 1899" states neither."""
    if len(form) != 1 or not is_number(form[0]):
        return False
    return any(
        i != start and t.text != form[0].text and is_number(t) and len(t.text) == len(form[0].text) > 1
        for i, t in enumerate(part)
    )


def _kind(forms: list[list[Token]]) -> Kind:
    if all(is_number(t) for form in forms for t in form):
        return "number"
    return "name" if all(form[0].raw[0].isupper() for form in forms) else "word"


def _states_something(part: list[Token], hit: Hit, kind: Kind, asked: list[str], said: list[Token]) -> bool:
    """Whether the part says a value of that kind at all, so that it is wrong and not merely beside the point."""
    for i, token in enumerate(part):
        if hit[0] <= i < hit[1]:
            continue
        told = i > 0 and part[i - 1].text in COPULAS  # "the capital of Peru is Peru"
        if token.text in _STOP or token.text in MONTHS or (token.text in asked and not told):
            continue
        if kind == "number":
            if any(c.isdigit() for c in token.text):
                return True
            continue
        if kind == "word":
            return True
        opens = token is said[0] and not (i + 1 < len(part) and (part[i + 1].text in COPULAS or i + 1 == hit[0]))
        if token.raw[0].isupper() and not opens:
            return True
    return False
