"""A log of verdicts against the data of the calibration: are scores, confidences and errors still what they were?"""

from guardrail.monitoring.findings import Monitoring
from guardrail.monitoring.monitor import monitor

__all__ = ["Monitoring", "monitor"]
