"""What an answer says without claiming anything: greetings, thanks, offers, questions. English here, others in languages.py.

A greeting that no list has counts as a claim: too many claims cost time, a claim taken for a greeting goes unchecked.
"""

from __future__ import annotations

import re

from guardrail.languages import is_greeting

_WORD = (
    r"(?:sure(?: thing)?|of course|certainly|absolutely|no problem|ok(?:ay)?|all ?right"
    r"|hello|hi|hey|greetings|welcome|thanks|cheers|bye|goodbye)"
)
_GLAD = r"(?:i(?:'m| am) )?(?:always )?(?:happy|glad|here) to (?:help|assist)(?: you)?(?: with .{1,60})?"
_GOOD = r"(?:great|good|excellent|interesting|wonderful)"
_ASK = r"(?:let me know|feel free|don't hesitate|do not hesitate)\b"
_ALONE = re.compile(
    rf"{_WORD}(?: (?:there|everyone|again|friend|so much|a lot|for asking))?"
    rf"|{_WORD},? (?:i can help|i(?:'d| would) be (?:happy|glad) to help)(?: you)?(?: with that)?"
    r"|good (?:morning|afternoon|evening|day)"
    rf"|(?:(?:that(?:'s| is) )?an? )?{_GOOD} question"
    r"|thank you(?: (?:so|very) much)?(?: for (?:asking|your (?:question|interest|patience)))?"
    r"|you(?:'re| are) (?:very |most )?welcome"
    rf"|{_GLAD}|(?:my )?pleasure|great|perfect|enjoy|good luck|take care"
)
_OPENING = re.compile(
    r"(?:i )?(?:really )?hope (?:this|that|it|these) (?:\w+ ){0,3}(?:helps?|answers?|clarif|(?:is|was) (?:helpful|useful))"
    rf"|(?:please |just |so |and |but )*{_ASK}"
    rf"|if (?:you|there)\b.*\b(?:{_ASK}|(?:just|please) ask\b|(?:happy|glad) to help\b)"
    r"|i(?:'d| would|'ll| will)(?: be)? (?:more than |very )?(?:happy|glad) to (?:help|assist|answer|explain|provide)"
    rf"|have an? (?:{_GOOD}|nice|lovely) (?:day|evening|time|weekend)"
)
_QUESTION = re.compile(r"""[?？؟\u037e⁇⁈]["'”’»)\]*_~`!！\s]*$""")
_QUOTED = re.compile("[\"'”’»]")
_QUOTATION = re.compile("[^\\w\"'“”„‘’‚«»]*[\"'“”„‘’‚«»]")
_SENTENCE = re.compile(r"[.!…]\s|[。！．।۔]")
_EDGES = re.compile(r"^[^\w]+|(?<=\w)[^\w]+$")


def is_question(sentence: str) -> bool:
    """Whether a sentence ends as a question does, quotation and emphasis marks apart.

    One that quotes a question says that somebody asks it, and a quotation may say something before it asks: neither is one.

    >>> is_question('"Who is Faust?"'), is_question('Goethe wrote "Who is Faust?"'), is_question("“He is old. Why?”")
    (True, False, False)
    """
    found = _QUESTION.search(sentence)
    if found is None or not _QUOTED.search(found[0]):
        return found is not None
    before = sentence[: found.start()]
    return bool(_QUOTATION.match(before)) and not _SENTENCE.search(before)


def is_courtesy(sentence: str) -> bool:
    """Whether a sentence is nothing but a greeting, thanks, praise of the question, or an offer.

    >>> is_courtesy("Sure!"), is_courtesy("Sure, Tokyo is the capital."), is_courtesy("Let me know if you need more.")
    (True, False, True)
    """
    plain = " ".join(_EDGES.sub("", sentence.replace("’", "'").casefold()).split())
    return bool(_ALONE.fullmatch(plain) or _OPENING.match(plain)) or is_greeting(sentence)
