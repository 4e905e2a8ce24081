"""Modules that stand elsewhere now: their old names import for one release, with a `DeprecationWarning` that says where.

Remove this file, and its line in guardrail/__init__.py, in the release after 0.2.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "actions.blocks": "claims.markdown",
    "actions.embedding": "retrieval.embedding",
    "actions.embedding_spec": "retrieval.embedding_spec",
    "actions.layout": "actions.rewriting.layout",
    "actions.passage_index": "retrieval.passage_index",
    "actions.passages": "retrieval.passages",
    "actions.pieces": "actions.rewriting.pieces",
    "actions.prose": "actions.rewriting.prose",
    "actions.pruning": "actions.rewriting.pruning",
    "actions.retrieve": "retrieval.evidence",
    "calibrated": "pipeline.calibrated",
    "case": "pipeline.conversation",
    "claim_stage": "pipeline.claims",
    "claim_stream": "pipeline.streaming",
    "claims.blocks": "claims.markdown",
    "evaluation.agreement": "grading.agreement",
    "evaluation.alias": "grading.alias",
    "evaluation.answer_files": "grading.answer_files",
    "evaluation.asking": "runs.asking",
    "evaluation.cache": "runs.cache",
    "evaluation.claim_grader": "grading.facts",
    "evaluation.claim_rows": "datasets.claims",
    "evaluation.collect": "runs.collect",
    "evaluation.collect_claims": "runs.collect_claims",
    "evaluation.cost": "runs.cost",
    "evaluation.datasets": "datasets.questions",
    "evaluation.fit_stacked": "evaluation.fit",
    "evaluation.fitting": "evaluation.fit",
    "evaluation.graders": "grading",
    "evaluation.graders.bem": "grading.bem",
    "evaluation.graders.judge": "grading.chat_judge",
    "evaluation.graders.protocol": "grading.protocol",
    "evaluation.graders.registry": "grading.registry",
    "evaluation.graders.replies": "grading.replies",
    "evaluation.graders.rules": "grading.rules",
    "evaluation.graders.semantic": "grading.semantic",
    "evaluation.grading": "grading.grade_answers",
    "evaluation.hand_labels": "grading.hand_labels",
    "evaluation.hub": "datasets.hub",
    "evaluation.hub_sets": "datasets.hub_sets",
    "evaluation.paraphrases": "datasets.paraphrases",
    "evaluation.paraphrasing": "datasets.paraphrasing",
    "evaluation.readings": "runs.readings",
    "evaluation.run_answers": "runs.run_answers",
    "evaluation.runs": "runs.run_file",
    "evaluation.scorer_pass": "runs.scorer_pass",
    "evaluation.scores": "runs.scores",
    "evaluation.splitting": "datasets.splitting",
    "evaluation.stacked_readings": "runs.scores",
    "evaluation.tables": "datasets.tables",
    "evaluation.words": "plain_text",
    "judge": "pipeline.answer_pass",
    "model.attention": "kernels.attention",
    "model.gated_mlp": "kernels.gated_mlp",
    "model.likelihood": "model.token_log_probs",
    "model.live": "kernels.live_rows",
    "model.memory": "kernels.memory",
    "model.prefix": "kernels.prefix",
    "model.replay": "kernels.replay",
    "model.untouched": "kernels.frozen",
    "observation": "observers.protocol",
    "scoring.baselines.rebuild": "scoring.registry",
    "scoring.baselines.registry": "scoring.registry",
    "telemetry": "observers.telemetry",
    "verdict_log": "observers.verdict_log",
    "verification.judge": "verification.model",
}
"""Old name -> new name, both within the package."""


class _MovedModule(Loader):
    """Gives the module of the new name in answer to the old one."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warnings.warn(f"{self.old} is {self.new} now; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
        module = import_module(self.new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has set that of the old name


class _Finder(MetaPathFinder):
    """Asked first: the empty folder of an old package, left by an update, would else be imported in its place."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != "guardrail" or old not in MOVED:
            return None
        spec = ModuleSpec(name, _MovedModule(name, f"guardrail.{MOVED[old]}"))
        spec.submodule_search_locations = []  # old packages have old modules
        return spec


def install() -> None:
    """Called once, at the import of the package."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
