"""A quotation is not cut in two, whatever the script."""

import pytest

from guardrail.claims import SentenceClaims


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("彼は「都だ。古い。」と言った。大阪は西だ。", ["彼は「都だ。古い。」と言った。", "大阪は西だ。"]),
        ("『吾輩は猫である。名前はまだ無い。』は小説だ。", ["『吾輩は猫である。名前はまだ無い。』は小説だ。"]),
        ("『はい。そうです。』彼は答えた。", ["『はい。そうです。』", "彼は答えた。"]),
        ("『雨だ。』とても寒い。", ["『雨だ。』", "とても寒い。"]),
        ("「A。『B。C。』D。」E。F。", ["「A。『B。C。』D。」", "E。", "F。"]),
        ("他说：“巴黎很大。里昂很小。”他走了。", ["他说：“巴黎很大。里昂很小。”", "他走了。"]),
        ("他說「巴黎很大。里昂很小。」然後走了。", ["他說「巴黎很大。里昂很小。」", "然後走了。"]),
        ("《红楼梦。上》是小说。他看了。", ["《红楼梦。上》是小说。", "他看了。"]),
        ("قال: «باريس كبيرة. ليون صغيرة.» ثم غادر.", ["قال: «باريس كبيرة. ليون صغيرة.»", "ثم غادر."]),
        ("Il a dit « Paris est grand. Lyon aussi. » hier.", ["Il a dit « Paris est grand. Lyon aussi. » hier."]),
        ("『開いた引用。閉じない。次の文。", ["『開いた引用。", "閉じない。", "次の文。"]),
    ],
)  # fmt: skip
def test_quotations_stay_whole(answer, claims):
    assert [claim.text for claim in SentenceClaims().extract(answer).claims] == claims
