"""JSON Schema of the intent documents, for editors and for whoever writes them by program."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ringfence.policy.documents import Document
from ringfence.policy.part import API_VERSION


def json_schema() -> dict[str, Any]:
    """One schema (draft 2020-12) for every kind, told apart by `kind`.

    It holds the shape of one document; what needs several (references, clashes) only `policy validate` sees.
    """
    adapter: TypeAdapter[Document] = TypeAdapter(Annotated[Document, Field(discriminator="kind")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Ringfence intent, {API_VERSION}",
        **_without_null(adapter.json_schema(by_alias=True)),
    }


def _without_null(schema: Any) -> Any:
    """Takes the null out of optional fields: documents leave a field out, an empty one is refused."""
    if isinstance(schema, list):
        return [_without_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _without_null(value) for key, value in schema.items() if key != "anyOf"}
    if kept.get("default", "") is None:
        del kept["default"]
    arms = [_without_null(arm) for arm in schema.get("anyOf", ()) if arm != {"type": "null"}]
    return {**kept, **arms[0]} if len(arms) == 1 else {**kept, **({"anyOf": arms} if arms else {})}
