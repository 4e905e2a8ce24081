"""Self-contained HTML pages.

from guardrail.html import claims_page

Path("claims.html").write_text(claims_page(verdict, question=question), encoding="utf-8")
"""

from __future__ import annotations

from guardrail.html.claims import claims_page
from guardrail.html.report import claim_report_page, report_page
from guardrail.html.sps import sps_page

__all__ = ["claim_report_page", "claims_page", "report_page", "sps_page"]
