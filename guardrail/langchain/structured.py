"""An answer read as JSON: structured output for models whose template takes no tools."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ValidationError

from guardrail.json_text import parse
from guardrail.langchain.metadata import read_metadata


def schema_of(schema: dict[str, Any] | type) -> dict[str, Any]:
    """The JSON schema of what LangChain takes for one: pydantic classes, TypedDicts, tools, JSON schemas."""
    if isinstance(schema, dict) and schema.keys().isdisjoint(("name", "function", "title")):
        return schema
    return convert_to_json_schema(schema)


def response_format(schema: dict[str, Any], *, kept: bool) -> dict[str, Any]:
    """OpenAI's way to say it. kept: decoding keeps to the schema."""
    named = {"name": str(schema.get("title", "answer")), "schema": schema, "strict": kept}
    return {"type": "json_schema", "json_schema": named}


def json_output(chat: Runnable[Any, AIMessage], schema: dict[str, Any] | type, include_raw: bool) -> Runnable[Any, Any]:
    """The model, and a parser of its answer: an object of a pydantic class, else a dict.

    include_raw: a dict of `raw`, `parsed` and `parsing_error`, as LangChain has it; else what is no answer, or no whole JSON
    object, raises `OutputParserException`, whose text is what the guard let through.
    """

    def read(message: BaseMessage) -> Any:
        return _object(message, schema)

    parser = RunnableLambda(read)
    if not include_raw:
        return chat | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=chat) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _object(message: BaseMessage, schema: dict[str, Any] | type) -> Any:
    text, verdict = str(message.text), read_metadata(message)
    if verdict is None or verdict["action"] != "answer":
        # A hedge may show the JSON, but not as a fact, which an object of its fields would be.
        decided = "nothing" if verdict is None else verdict["action"]
        raise OutputParserException(f"the policy decided {decided!r}, so there is no object: {text}", llm_output=text)
    try:
        # Not LangChain's parser: it completes JSON that was cut off, and half an answer is another answer.
        value = parse(_unfenced(text))
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return schema.model_validate(value)
    except (ValidationError, ValueError) as error:
        raise OutputParserException(f"the answer is no such JSON object ({error}): {text}", llm_output=text) from error
    if not isinstance(value, dict):
        raise OutputParserException(f"the answer is JSON, but no object: {text}", llm_output=text)
    return value


def _unfenced(text: str) -> str:
    """What one fence around the whole text holds, or the text."""
    lines = text.strip().split("\n")
    if len(lines) > 2 and lines[0].rstrip() in ("```", "```json") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return text
