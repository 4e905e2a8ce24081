"""Questions that are calculated: arithmetic and Roman numerals.

Knows nothing about the tables in facts/, nor which questions are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.data.build.drafts import Draft
from guardrail.data.build.wording import number_forms, roman_numeral, slug

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMS = [(2, 3), (4, 5), (7, 8), (6, 9), (12, 15), (23, 34), (38, 27), (56, 78), (125, 250), (99, 47), (364, 289)]
SUMS += [(1, 6), (3, 5), (8, 9), (11, 14), (45, 55), (67, 86), (148, 253), (777, 444), (1250, 375)]
DIFFERENCES = [(9, 4), (10, 3), (15, 8), (20, 7), (50, 18), (100, 36), (81, 47), (250, 125), (1000, 373), (512, 64)]
DIFFERENCES += [(8, 2), (13, 5), (42, 17), (90, 61), (305, 148), (730, 256)]
PRODUCTS = [(2, 4), (3, 3), (5, 6), (7, 8), (6, 9), (9, 9), (8, 4), (7, 6), (11, 11), (12, 12), (15, 6), (13, 7)]
PRODUCTS += [(4, 5), (3, 8), (9, 7), (12, 8), (14, 5), (25, 8), (19, 6), (17, 13), (24, 16), (35, 27), (48, 52)]
QUOTIENTS = [(8, 2), (12, 3), (45, 9), (56, 7), (72, 8), (100, 4), (144, 12), (132, 11), (225, 15), (1001, 13)]
SQUARE_ROOTS = [9, 16, 49, 64, 81, 121, 169, 225, 400, 625]
PERCENTAGES = [(50, 80), (10, 90), (25, 40), (20, 60), (75, 200), (15, 300), (5, 260), (12, 150)]
ROMAN = [4, 6, 7, 9, 11, 14, 19, 24, 40, 49, 60, 90, 99, 150, 400, 500, 900, 1000, 1066, 1492, 1789, 1984]


def arithmetic_questions() -> Iterator[Draft]:
    tasks = [(f"{x} plus {y}", x + y) for x, y in SUMS]
    tasks += [(f"{x} minus {y}", x - y) for x, y in DIFFERENCES]
    tasks += [(f"{x} times {y}", x * y) for x, y in PRODUCTS]
    tasks += [(f"{x} divided by {y}", x // y) for x, y in QUOTIENTS]
    tasks += [(f"{x} percent of {y}", x * y // 100) for x, y in PERCENTAGES]
    tasks += [(f"the square root of {x}", round(x**0.5)) for x in SQUARE_ROOTS]
    for task, result in tasks:
        yield Draft("arithmetic", f"arithmetic-{slug(task)}", f"What is {task}?", number_forms(result))
    for n in ROMAN:
        question = f"Which number does the Roman numeral {roman_numeral(n)} stand for?"
        yield Draft("roman-numeral", f"roman-numeral-{n}", question, number_forms(n))
