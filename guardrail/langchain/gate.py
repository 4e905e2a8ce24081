"""Adaptive retrieval for chains: ask the index only where the model is not sure on its own."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from pydantic import Field, PrivateAttr

from guardrail.errors import CalibrationError, DataError, GuardrailError, PolicyError
from guardrail.langchain.events import adispatch_verdict, dispatch_verdict
from guardrail.langchain.metadata import verdict_metadata
from guardrail.pipeline.failures import MISTAKES, ON_ERROR, failed, noted
from guardrail.pipeline.shared_scores import shared_scores
from guardrail.policy import AskFirst
from guardrail.retrieval.evidence import documents_of, overran
from guardrail.types import Attempt, Confidence, Decision, Score, Trace, Verdict
from guardrail.waiting import OverdueError, aovertaken, awithin, within

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun

    from guardrail.guard import Guard
    from guardrail.scoring.protocol import Scorer


LOG = logging.getLogger("guardrail")


class GatedRetriever(BaseRetriever):
    """A retriever that is asked only where it may help; made by `as_retriever_gate`, which explains it.

        >>> gate = as_retriever_gate(guard, index, below=0.5)
        >>> [document.page_content for document in gate.invoke("What is the capital of France?")]
        ['A passage.']

    Counts since it was made, over all threads: `asked` questions, of which `retrieved` went to the index and `saved` did not.

    Attributes:
        guard: The guard whose model is asked first.
        retriever: The retriever behind the gate.
        below: See `as_retriever_gate`.
        ask_first: See `as_retriever_gate`.
    """

    guard: Any = Field(repr=False)
    retriever: Any = Field(repr=False)
    below: float | None = None
    ask_first: bool = False
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _asked: int = PrivateAttr(default=0)
    _retrieved: int = PrivateAttr(default=0)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> GatedRetriever:
        """A gate of its own, with counts from zero, on the same guard and retriever: weights and locks are not copied."""
        return GatedRetriever(guard=self.guard, retriever=self.retriever, below=self.below, ask_first=self.ask_first)

    @property
    def asked(self) -> int:
        """Questions put to the gate."""
        return self._asked

    @property
    def retrieved(self) -> int:
        """Questions that went on to the index."""
        return self._retrieved

    @property
    def saved(self) -> int:
        """Questions that the model was sure of, so that nothing was retrieved for them."""
        with self._lock:
            return self._asked - self._retrieved

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        child = {"callbacks": run_manager.get_child()}
        needed, verdict = self._judge(query)
        if verdict is not None:
            dispatch_verdict(verdict_metadata(verdict), child)  # type: ignore[arg-type]
        if not needed:
            return []
        try:
            return within(self._seconds, lambda: documents_of(self.retriever, self.retriever.invoke(query, child)))
        except Exception as error:
            return self._without(error)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        child = {"callbacks": run_manager.get_child()}
        needed, verdict = await asyncio.to_thread(self._judge, query)
        if verdict is not None:
            await adispatch_verdict(verdict_metadata(verdict), child)  # type: ignore[arg-type]
        if not needed:
            return []
        try:
            if _is_async(self.retriever):
                searched = aovertaken(self._seconds, self.retriever.ainvoke(query, child))
                return documents_of(self.retriever, await searched)
            return await awithin(
                self._seconds, lambda: documents_of(self.retriever, self.retriever.invoke(query, child))
            )
        except Exception as error:
            return self._without(error)

    @property
    def _seconds(self) -> float:
        return float(self.guard.policy.limits.retriever)

    def _without(self, error: Exception) -> list[Document]:
        """No documents where the policy says `on_error: continue`; else raises what the search came to."""
        if self.guard.policy.on_error == "continue":
            LOG.warning("a chain goes on without documents: %s", error, exc_info=error)
            return []
        if isinstance(error, OverdueError):
            raise overran(self.retriever, error) from error
        raise error

    def _judge(self, query: str) -> tuple[bool, Verdict | None]:
        """Whether to search, and the verdict on the closed-book answer; None where no answer was asked for."""
        if self.ask_first:
            verdict, needed = None, self._is_unknown(query)
        else:
            verdict = self.guard.answer(query)
            needed = self._is_unsure(verdict)
        with self._lock:
            self._asked += 1
            self._retrieved += needed
        return needed, verdict

    def _is_unknown(self, query: str) -> bool:
        rule = self.guard.policy.ask_first if self.below is None else AskFirst(below=self.below)
        return not query.strip() or bool(rule.decide(self._p_ik(query))[0])

    def _p_ik(self, query: str) -> Confidence:
        """P(IK); without a number where asking fails and the policy says `on_error: continue`, and else that is raised."""
        try:
            (found,) = self.guard.questions.p_ik([query])
            return found  # type: ignore[no-any-return]
        except GuardrailError as error:
            if self.guard.policy.on_error != "continue" or isinstance(error, MISTAKES):
                raise
            return Confidence.none(noted(error))

    def _is_unsure(self, verdict: Verdict) -> bool:
        if self.below is not None:
            p = verdict.confidence.p_correct
            return p is None or p < self.below  # what cannot be measured is looked up
        attempt = verdict.attempts[-1]
        if attempt.decision.rule == ON_ERROR:
            return True
        how: dict[str, Any] = {"finish_reason": attempt.finish_reason, "retriever": True}
        decide = partial(self.guard.policy.decide, attempt.confidence, attempt.score, **how)
        return bool(decide(consistency=self._share(attempt, decide)).action == "retrieve")

    def _share(self, attempt: Attempt, decide: Callable[..., Decision]) -> float | None:
        """Of the samples that agree, where the decision hangs on it; None where that cannot be measured, as if none did."""
        samples = self.guard.samples
        if attempt.consistency is not None or samples is None or not samples.sampling.undecided(decide):
            return attempt.consistency.share if attempt.consistency else None
        found = samples.agreeing(attempt.trace, self.guard.usual_length, self._scores)
        return found.share  # type: ignore[no-any-return]

    def _scores(self, traces: Sequence[Trace], scorer: Scorer) -> list[Score]:
        try:
            return shared_scores(self.guard.model, scorer, traces)
        except Exception as caught:
            error = failed("scorer", scorer, caught)
            if self.guard.policy.on_error == "raise" or isinstance(error, MISTAKES):
                raise error from caught
            return [Score.none("error", noted(error), length=len(trace.response_ids)) for trace in traces]


def _is_async(retriever: Any) -> bool:
    """Whether `ainvoke` is more than `invoke` in one of the event loop's threads: the process cannot end before those do."""
    kind = type(retriever)
    if not isinstance(retriever, BaseRetriever):
        return kind.ainvoke is not Runnable.ainvoke
    if isinstance(retriever, VectorStoreRetriever):
        return type(retriever.vectorstore).asimilarity_search is not VectorStore.asimilarity_search
    return kind._aget_relevant_documents is not BaseRetriever._aget_relevant_documents


def as_retriever_gate(
    guard: Guard, retriever: BaseRetriever, *, below: float | None = None, ask_first: bool = False
) -> GatedRetriever:
    """A retriever for a RAG chain that retrieves only where the model's own answer is too unsure, and else returns [].

        >>> gate = as_retriever_gate(guard, index, below=0.5)
        >>> rag = {"context": gate, "question": RunnablePassthrough()} | prompt | model
        >>> rag.invoke("What is the capital of France?").text
        'Paris.'
        >>> gate.asked, gate.retrieved, gate.saved  # the guard had no calibrator: what is not known is looked up
        (1, 1, 0)

    The query is put to the guard as a question, so it should read like one; the guard's own retriever is not asked.

    Each question costs a closed-book answer and its score, also where passages are fetched then. What it saves is the
    search, and a longer prompt: worth it where the index is slow, metered or noisy. Where the guarded model answers as
    well, `ChatGuarded` or a `Guard` with a retriever does both in one pass.

    The policy's `limits.retriever` bounds the search. One that fails raises, or, where the policy says `on_error: continue`,
    finds nothing. Asking first that fails raises, too; there `continue` takes P(IK) for unknown, and searches. Of what a
    retriever gives, 1,000 documents are handed on at most.

    Args:
        guard: On the model whose closed-book answer decides.
        retriever: What is asked where that answer is too unsure.
        below: Retrieve where the calibrated probability of the closed-book answer is below this, in [0, 1], or unknown. None
            leaves it to the guard's policy: retrieve where its `retrieve` rules say so.
        ask_first: Decide from P(IK), before anything is generated: the guard needs a `question_calibrator`, `below` is then a
            bound on P(IK), and None takes the policy's `ask_first`. Nothing is answered, so there is no verdict either.

    Returns:
        The gate, itself a LangChain retriever.

    Raises:
        PolicyError: Where the policy never retrieves, or does not ask first, and no `below` is given.
        CalibrationError: For `ask_first` without a calibrator of questions.
        DataError: For a `below` that is no probability, or 0 with `ask_first`.
        GuardrailError: In a run, where asking first fails, and the policy does not say `on_error: continue`.
        RetrievalError: In a run, for a search that overruns its limit, or gives something else than documents.
    """
    if below is not None and not 0.0 <= below <= 1.0:
        raise DataError(f"below is {below}; it is a probability, from 0 to 1")
    if ask_first and below == 0.0:
        raise DataError("below is 0, so that nothing would ever be searched; with ask_first it is above 0")
    if ask_first:
        if guard.questions is None:
            raise CalibrationError(
                "the guard has no question_calibrator to ask first with; make one: guardrail calibrate --scorer pik"
            )
        if below is None and guard.policy.ask_first is None:
            raise PolicyError(f"policy {guard.policy.name!r} has no ask_first; add it, or give below=, say 0.5")
    elif below is None and not guard.policy.retrieves:
        raise PolicyError(
            f"policy {guard.policy.name!r} never retrieves, so the gate would never open; give below=, say 0.5, or a policy "
            "with a retrieve rule"
        )
    closed = copy.copy(guard)
    closed.retriever = None
    return GatedRetriever(guard=closed, retriever=retriever, below=below, ask_first=ask_first)
