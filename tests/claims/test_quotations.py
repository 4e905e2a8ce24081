"""A quotation is not cut in two, whatever the script."""

import pytest

from guardrail.claims import SentenceClaims


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("彼は「都だ。古い。」と言った。大阪は西だ。", ["彼は「都だ。古い。」と言った。", "大阪は西だ。"]),
        ("『吾輩は猫である。名前はまだ無い。』は小説だ。", ["『吾輩は猫である。名前はまだ無い。』は小説だ。"]),
        ("『はい。そうです。』彼は答えた。", ["『はい。そうです。』", "彼は答えた。"]),
        ("〝雨だ。風だ。〟と言った。〝雪だ。〞彼は答えた。", ["〝雨だ。風だ。〟と言った。", "〝雪だ。〞", "彼は答えた。"]),
        ("『雨だ。』とても寒い。", ["『雨だ。』", "とても寒い。"]),
        ("「A。『B。C。』D。」E。F。", ["「A。『B。C。』D。」", "E。", "F。"]),
        ("他说：“巴黎很大。里昂很小。”他走了。", ["他说：“巴黎很大。里昂很小。”", "他走了。"]),
        ("他說「巴黎很大。里昂很小。」然後走了。", ["他說「巴黎很大。里昂很小。」", "然後走了。"]),
        ("《红楼梦。上》是小说。他看了。", ["《红楼梦。上》是小说。", "他看了。"]),
        ("قال: «باريس كبيرة. ليون صغيرة.» ثم غادر.", ["قال: «باريس كبيرة. ليون صغيرة.»", "ثم غادر."]),
        ("Il a dit « Paris est grand. Lyon aussi. » hier.", ["Il a dit « Paris est grand. Lyon aussi. » hier."]),
        ("הוא אמר: ”פריז גדולה. ליון קטנה.” והלך.", ["הוא אמר: ”פריז גדולה. ליון קטנה.”", "והלך."]),
        ("קרא ״פריז גדולה. ליון קטנה.״ והלך לארה״ב. שם נשאר.", ["קרא ״פריז גדולה. ליון קטנה.״", "והלך לארה״ב.", "שם נשאר."]),
        ("Hij zei: „Parijs is groot. Lyon niet.” Hij ging.", ["Hij zei: „Parijs is groot. Lyon niet.”", "Hij ging."]),
        ("Er sagte: „Paris ist groß. Lyon nicht.“ Er ging.", ["Er sagte: „Paris ist groß. Lyon nicht.“", "Er ging."]),
        ("Er sagte: »Paris ist groß. Lyon nicht.« Er ging.", ["Er sagte: »Paris ist groß. Lyon nicht.«", "Er ging."]),
        ("Er sagte: ‚Paris ist groß. Lyon nicht.‘ Er ging.", ["Er sagte: ‚Paris ist groß. Lyon nicht.‘", "Er ging."]),
        ("Han sa: ”Paris är stort. Lyon är litet.” Han gick.", ["Han sa: ”Paris är stort. Lyon är litet.”", "Han gick."]),
        ("Hän sanoi: »Pariisi on suuri. Lyon ei.» Hän lähti.", ["Hän sanoi: »Pariisi on suuri. Lyon ei.»", "Hän lähti."]),
        ("Il dit «\u00a0A est là. B aussi.\u00a0» ici. Il part.", ["Il dit «\u00a0A est là. B aussi.\u00a0» ici.", "Il part."]),
        ("Il dit «\u202fA est là. B aussi.\u202f» ici. Il part.", ["Il dit «\u202fA est là. B aussi.\u202f» ici.", "Il part."]),
        ("He said “Yes. ‘Lyon is small. So.’ Right.” He went.", ["He said “Yes. ‘Lyon is small. So.’ Right.”", "He went."]),
        ("«Париж. „Лион. Ницца.“ Да.» Потом.", ["«Париж. „Лион. Ницца.“ Да.»", "Потом."]),
        ("A 5” pipe is thin. A 6” pipe is thick.", ["A 5” pipe is thin.", "A 6” pipe is thick."]),
        ("It's „open. It never ends.", ["It's „open.", "It never ends."]),
        ("『開いた引用。閉じない。次の文。", ["『開いた引用。", "閉じない。", "次の文。"]),
    ],
)  # fmt: skip
def test_quotations_stay_whole(answer, claims):
    assert [claim.text for claim in SentenceClaims().extract(answer).claims] == claims


@pytest.mark.parametrize(
    "answer",
    ["Goethe wrote \"Who is Faust?\"", "Kant asked, “What is man?”", "孔子说：“学而时习之。不亦说乎？”",
     "Il demande : « Pourquoi ? »",
     '"Paris is big. Why?"', "“巴黎很大。为什么？”", "**Goethe** wrote *“Who?”*", "Er schrieb „Wer ist Faust?”"],
)  # fmt: skip
def test_what_says_that_somebody_asks_is_a_claim(answer):
    found = SentenceClaims().extract(answer)
    assert ([claim.text.strip("*") for claim in found.claims], found.asides) == ([answer.strip("*")], ())


@pytest.mark.parametrize("answer", ['"Who is Faust?"', "“Why?”", "*«Pourquoi ?»*", "Is it Tom's?", "Who wrote it?"])
def test_a_question_is_none(answer):
    assert [aside.reason for aside in SentenceClaims().extract(answer).asides] == ["question"]
