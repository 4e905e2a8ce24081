"""An SPS profile of two layers and two tokens, for what shows one."""

from __future__ import annotations

import json

from guardrail.calibration.sps_profile import SpsProfile


def profile() -> SpsProfile:
    sure = {"value": 0.3, "low": 0.2, "high": 0.4, "n": 20}
    rival = {"token": -2, "difference": sure}
    return SpsProfile.model_validate_json(json.dumps({
        "model": {"name": "tiny", "weights": "a" * 64, "dtype": "float32", "chat_template": "b" * 64, "architecture": "llama"},
        "data": {"name": "q.jsonl", "hash": "c" * 64, "questions": 20, "paraphrases": 40},
        "prompt": "{question}", "system": "Be brief.", "layers": [0, 1], "offsets": [-2, -1], "sps": [[0.1, 0.2], [0.2, 0.3]],
        "upper": [1, 1], "upper_mean": [0.2, 0.3], "token": -1, "template_token": -2,
        "tokens": [{"text": "<|im_start|>", "share": 1.0}, {"text": "\n", "share": 0.9}],
        "evidence": {"upper_mean": [sure, sure], "chosen_in": 0.9, "runner_up": rival, "template": rival},
        "created": "2026-01-01", "command": "guardrail sps", "versions": {"torch": "2"},
    }))  # fmt: skip
