"""What an answer is to be: JSON of a schema, or a call of a tool; whether decoding keeps it so, and what its fields are.

Knows nothing about how the fields are judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from guardrail.claims.fields import JsonFields, allows_null, keys_of
from guardrail.errors import DataError
from guardrail.json_text import parse
from guardrail.model.constraint import Constraint
from guardrail.types import Claims

Schema = Mapping[str, Any] | type[BaseModel]
"""A JSON schema, or a pydantic class, which stands for its own."""


@dataclass(frozen=True)
class AnswerForm:
    """The form of one answer.

    Attributes:
        schema: Of the JSON that the answer is; None for calls.
        tools: Where the answer is a call: the schema of each tool's arguments, by its name.
        constraint: What decoding keeps the answer to; None: the answer is only checked.
    """

    schema: Mapping[str, Any] | None = None
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    constraint: Constraint | None = None

    @classmethod
    def of(cls, schema: Schema) -> AnswerForm:
        """JSON of a schema, to which decoding is kept."""
        found = json_schema(schema)
        return cls(found, constraint=Constraint.json(found))

    @property
    def extractor(self) -> JsonFields:
        """What takes such an answer apart."""
        return JsonFields(self.tools)

    def fields(self, answer: str) -> Claims | None:
        """The fields of an answer; None where it has not this form, or nobody asked for its fields."""
        return self.extractor.fields(answer) if self.tools or self.schema is not None else None

    def may_be_null(self, pointer: str) -> bool:
        """Whether null may stand for a field, whatever else the answer holds."""
        schemas = list(self.tools.values()) if self.tools else [self.schema]
        return all(allows_null(schema, keys_of(pointer)) for schema in schemas)


def json_schema(schema: Schema) -> dict[str, Any]:
    """A schema as JSON. Raises `DataError` for what is none."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        try:
            found: Any = schema.model_json_schema()
        except PydanticUserError as error:
            raise DataError(
                f"{schema.__name__} has no JSON schema: {error.message}; use fields of plain types"
            ) from error
    else:
        found = schema
    if not isinstance(found, Mapping):
        raise DataError(f"a schema is a JSON schema or a pydantic class, not {schema!r:.80}")
    try:
        return dict(parse(json.dumps(dict(found), allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"a schema is plain JSON, and this one is not: {error}") from error


def forms_of(schema: Schema | Sequence[Schema | None] | None, n: int) -> list[AnswerForm | None]:
    """The form of each of `n` answers. Raises `DataError` for what is no schema, and for a list of another length."""
    if schema is None or isinstance(schema, (Mapping, type)):
        return [None if schema is None else AnswerForm.of(schema)] * n
    if isinstance(schema, str) or not isinstance(schema, Sequence) or len(schema) != n:
        raise DataError(f"give a schema, or a list of one for each of the {n} conversations, not {schema!r:.80}")
    return [None if each is None else AnswerForm.of(each) for each in schema]
