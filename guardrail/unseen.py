"""Characters that nobody sees, or that act on what shows them."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls; a tab and a line feed are what they are
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # direction and lines, which make text read as other text
    "\xad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # the joiners stay, scripts need them
    "\ud800-\udfff"  # halves of surrogate pairs: UTF-8 cannot hold them
    "\ufdd0-\ufdef\ufffe\uffff]"  # noncharacters, which HTML forbids
)
"""One character of those."""
