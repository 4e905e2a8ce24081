"""What is the same answer and what is another one, in many scripts and for numbers: pairs written by hand.

The table knows nothing of how words are compared: each pair is what a reader of that script would say.
"""

from __future__ import annotations

import unicodedata

import pytest

from guardrail.datasets.claims import Fact
from guardrail.folding import is_point
from guardrail.grading import get_grader
from guardrail.grading.facts import grade_claim
from guardrail.grading.hand_labels import HandLabels, LabelledAnswer
from guardrail.verification.details import backed, missing

GRADERS = {kind: get_grader(kind) for kind in ("alias", "exact", "f1")}

SAME = [
    # Latin
    ("Paris", "PARIS"), ("São Paulo", "Sao Paulo"), ("Straße", "STRASSE"), ("Straße", "strasse"),
    ("ﬁnance", "finance"),
    ("Café", "Cafe\u0301"), ("İstanbul", "Istanbul"), ("Ｐａｒｉｓ", "Paris"), ("œuvre", "oeuvre"),
    ("Pa\u00adris", "Paris"),
    # Greek
    ("Σωκράτης", "ΣΩΚΡΆΤΗΣ"), ("Αθήνα", "Αθηνα"), ("Όμηρος", "όμηροσ"),
    # Cyrillic
    ("Москва", "МОСКВА"), ("Ёлка", "Елка"), ("за́мок", "замок"),
    # Armenian, Georgian
    ("Երևան", "երևան"), ("თბილისი", "თბილისი"),
    # Hebrew, Arabic
    ("שָׁלוֹם", "שלום"), ("كِتَاب", "كتاب"), ("محمّد", "محمد"),
    # Devanagari, Bengali, Tamil
    ("दिल्ली", "दिल्ली"), ("क़लम", "क\u093cलम"), ("कोलकाता।", "कोलकाता"), ("ঢাকা", "ঢাকা"), ("சென்னை", "சென்னை"),
    # Thai, Chinese, Japanese, Korean
    ("กรุงเทพ", "กรุงเทพ"), ("北京。", "北京"), ("ｶﾞｸ", "ガク"), ("が", "か\u3099"),
    ("서울", unicodedata.normalize("NFD", "서울")),
    # numbers
    ("٤٢", "42"), ("४२", "42"), ("৪২", "42"), ("๔๒", "42"), ("４２", "42"), ("𝟒𝟐", "42"), ("1,000", "1000"),
    ("1,00,000", "100000"),
    ("1\u202f000", "1000"), ("1\u00a0000", "1000"), ("٣٫٥", "3.5"), (".5", "0.5"), ("−5", "-5"), ("½", "1/2"),
    ("1½", "1 1/2"), ("x²", "x^2"),
    ("10⁶", "10^6"), ("10⁻³", "10^-3"), ("2**3", "2^3"), ("H₂O", "H2O"), ("Ⅷ", "VIII"), ("①", "1"),
    ("5 €", "€5"), ("50 %", "50%"),
    ("25℃", "25 °C"), ("5️⃣", "5"), ("3 × 4", "3×4"), ("-½", "-1/2"), ("2!", "2!"), ("₂", "2"), ("6!!", "6!!"),
    ("5٪", "5%"), ("2ⁿ", "2^n"),
    ("≈5", "5"), ("∴ 5", "5"), ("฿5", "5 ฿"), ("⋅ 5", "5"),
    # points that one of the two leaves out, in part or whole
    ("שׁלום", "שָׁלוֹם"), ("مُحَمَّد", "محمّد"), ("مُحَمَّد", "مُحمد"),
]  # fmt: skip

OTHER = [
    # Latin
    ("Paris", "Pari"), ("đ", "p"), ("C♯", "C"), ("A♭", "A"), ("C++", "C"), ("P\u0338", "P"),
    # Greek, Cyrillic
    ("Αθήνα", "Αθήναι"), ("мой", "мои"), ("їжа", "іжа"), ("ќе", "ке"), ("ўсё", "усё"),
    # Hebrew, Arabic
    ("ירושלים", "ירושלם"), ("كتاب", "كتب"), ("أمل", "عمل"),
    ("שׁר", "שׂר"), ("סֵפֶר", "סָפַר"), ("חַלָּה", "חָלָה"), ("حَمَام", "حَمَّام"), ("عِلْم", "عَلَم"), ("قَدَمٌ", "قِدَمٌ"),
    # Devanagari, Bengali, Gurmukhi, Gujarati, Tamil, Telugu, Kannada, Malayalam, Sinhala
    ("दिल", "दाल"), ("हिन्दी", "हिन्दू"), ("राम", "रमा"), ("कम", "काम"), ("सज़ा", "सजा"), ("হাত", "হিত"),
    ("ਦਿਲ", "ਦਾਲ"), ("કામ", "કમ"),
    ("கல்", "கால்"), ("పలు", "పాలు"), ("ಕಾಲ", "ಕಲಾ"), ("കര", "കാര"), ("මල", "මාල"),
    # Thai, Lao, Khmer, Myanmar, Tibetan
    ("ไกล", "ใกล้"), ("มา", "ม้า"), ("ขาว", "ข่าว"), ("ມາ", "ມ້າ"), ("កា", "កី"), ("မာ", "မီ"), ("བོད", "བད"),
    # Chinese, Japanese, Korean
    ("北京", "南京"), ("かく", "がく"), ("はし", "ばし"), ("ハリ", "パリ"), ("강", "감"),
    # numbers
    ("10⁶", "106"), ("10⁶", "10"), ("10⁶", "6"), ("√2", "2"), ("√2", "√3"), ("∛8", "8"), ("≠5", "5"),
    ("±5", "5"), ("≤5", "5"), (">5", "<5"),
    ("€5", "$5"), ("€5", "5"), ("£5", "¥5"), ("5 €", "5 $"), ("x²", "x2"), ("x²", "x³"), ("½", "12"),
    ("½", "1"), ("1½", "112"), ("1½", "1"),
    ("¼", "¾"), ("-5", "5"), ("−5", "5"), ("-3.14", "3.14"), ("-½", "½"), ("5‰", "5%"), ("٤٢", "24"),
    ("३", "५"), ("1.5", "15"),
    ("1,5", "15"), ("1.000", "1000"), ("3-5", "35"), ("1st", "1"), ("5′", "5″"), ("5′", "5"), ("10₂", "102"),
    ("10₂", "10"), ("5+3", "5×3"),
    ("5+3", "53"), ("0.3̅", "0.3"), ("Ⅷ", "Ⅶ"), ("5°C", "5°F"), ("10①", "101"), ("2⁵", "25"), ("3!", "6"),
    ("Na⁺", "Na"), (".5", "5"), ("2**3", "23"),
    ("6!", "6"), ("6!!", "6"), ("6!!", "6!"), ("6‼", "6"), ("6!!!", "6"),
    ("∆5", "5"), ("∑5", "5"), ("∂5", "5"), ("≪5", "5"), ("≯5", "5"), ("∝5", "5"),
    ("5‱", "5‰"), ("5؉", "5%"), ("฿5", "5"), ("5 ৳", "5"), ("2ⁿ", "2n"), ("eˣ", "ex"), ("A′", "A"),
    ("¬A", "A"), ("¬ rain", "rain"), ("p ∧ ¬q", "p ∧ q"),
]  # fmt: skip

ONE_WAY = [  # what is accepted, what was said: the mark at the end may be a sentence's, if there is a sentence
    ("2", "2!", False), ("6", "**6！**", False), ("2", "It is 2!", True), ("1969", "In 1969! Yes.", True),
    ("5!", "5", False), ("5!", "5!", True), ("120", "5! is 120", True),
    ("5", "5! is 120", False), ("2", "2!!", False), ("6", "It is 6!!", True), ("6!", "It is 6!!", True),
    ("6!!", "It is 6!", False), ("48", "6!! is 48", True), ("6", "6!! is 48", False),
]  # fmt: skip


def right(grader: str, accepted: str, said: str) -> bool | None:
    return GRADERS[grader]("?", said, [accepted])


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_answer_is_right(one, two):
    for grader in GRADERS:
        assert right(grader, one, two) is True, grader
        assert right(grader, two, one) is True, grader


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_another_answer_is_wrong(one, two):
    for grader in ("alias", "exact"):
        assert right(grader, one, two) is False, grader
        assert right(grader, two, one) is False, grader


@pytest.mark.parametrize(("one", "two"), [pair for pair in [*SAME, *OTHER] if any(map(is_point, "".join(pair)))])
def test_points_count_alike_for_every_grader_and_verifier(one, two):
    same = (one, two) in SAME
    fact = Fact(about=("word",), values=(), statements=(f"The word is {one}",))
    for said, wanted in ((one, two), (two, one)):
        assert right("f1", wanted, said) is same
        assert missing(f"A7 {said}", f"A7 {wanted}") is not same
        assert backed(f"A7 {said}", f"A7 {wanted}", f"A7 {wanted}") is same
    assert grade_claim(f"The word is {two}", [fact]) is same


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_a_label_is_given_to_its_own_answer_alone(one, two):
    labels = HandLabels([LabelledAnswer("?", one, True)])
    assert labels.of("?", one) is True
    assert labels.of("?", two) is None


@pytest.mark.parametrize(
    ("one", "two"), [("A → B", "A ← B"), ("x = y", "x ≈ y"), ("rain ☂", "rain ☀"), ("a < b", "a > b")]
)
def test_a_label_is_bound_to_the_symbols_of_its_answer(one, two):
    assert HandLabels([LabelledAnswer("?", one, True)]).of("?", two) is None


@pytest.mark.parametrize(("accepted", "said", "expected"), ONE_WAY)
def test_an_exclamation_mark_is_a_factorial_where_it_was_accepted_as_one(accepted, said, expected):
    assert right("alias", accepted, said) is expected


@pytest.mark.parametrize(
    ("said", "passage"),
    [
        ("It has 10⁶ cells.", "It has 106 cells."),
        ("The root is √2 here.", "The root is 2 here."),
        ("It costs €5 now.", "It costs $5 now."),
        ("It is −5 degrees in Oslo.", "It is 5 degrees in Oslo."),
        ("Half of it, ½, is in Rome.", "Half of it, 12, is in Rome."),
        ("दिल 7 A", "दाल 7 A"),
    ],
)
def test_a_detail_that_the_passage_has_as_another_number_or_word_is_missing(said, passage):
    assert missing(said, passage)
    assert not missing(said, said)


@pytest.mark.parametrize(
    ("said", "passage"),
    [("Rome has ٥ hills", "Rome has 5 hills"), ("In 1990! Bob", "Bob in 1990"), ("5 € for Bob", "Bob: €5")],
)
def test_a_detail_in_another_spelling_is_there(said, passage):
    assert not missing(said, passage)


def test_every_script_of_the_table():
    scripts = {unicodedata.name(c, "").split(" ")[0] for pair in OTHER for c in pair[0] if c.isalpha()}
    assert len(scripts - {"SUPERSCRIPT", "SUBSCRIPT", "ROMAN"}) >= 20, scripts
