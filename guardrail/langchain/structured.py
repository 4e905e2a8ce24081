"""An answer read as JSON: structured output for models whose template takes no tools. Knows nothing about guards."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from pydantic import BaseModel


def json_output(chat: BaseChatModel, schema: dict[str, Any] | type, include_raw: bool) -> Runnable[Any, Any]:
    """The model, and a parser of its answer: an object of a pydantic class, else a dict.

    include_raw: a dict of `raw`, `parsed` and `parsing_error`, as LangChain has it; else what cannot be parsed raises
    `OutputParserException`, whose text is what the guard let through.
    """
    parser: Runnable[Any, Any] = JsonOutputParser()
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        parser = PydanticOutputParser(pydantic_object=schema)
    if not include_raw:
        return chat | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=chat) | parsed.with_fallbacks([failed], exception_key="parsing_error")
