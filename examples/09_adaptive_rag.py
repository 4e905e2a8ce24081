"""A RAG chain that searches only where the model is not sure on its own."""

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

from guardrail import Guard
from guardrail.langchain import ChatGuarded, as_retriever_gate
from guardrail.retrieval import reference_text


class Index(BaseRetriever):
    """Stands for any index: slow, or paid by the query."""

    def _get_relevant_documents(self, query, *, run_manager):
        print(f"  [searching: {query}]")
        return [Document(page_content="Burkina Faso is a country in Africa. Its capital is Ouagadougou.")]


def as_context(documents):
    return reference_text([document.page_content for document in documents])


guard = Guard.from_pretrained("smollm2-135m")
gate = as_retriever_gate(guard, Index(), below=0.5)
model = ChatGuarded(model=guard.model, policy="default", as_question="single")
prompt = ChatPromptTemplate.from_template("{context}{question}")
chain = {"context": gate | as_context, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()

for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
    print(question)
    print(f"  {chain.invoke(question)}")
print(f"asked: {gate.asked}, searched: {gate.retrieved}, searches saved: {gate.saved}")
