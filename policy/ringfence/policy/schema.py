"""JSON Schema of the intent documents, for editors and for whoever writes them by program."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ringfence.policy.documents import API_VERSION, Document


def json_schema() -> dict[str, Any]:
    """One schema (draft 2020-12) for every kind, told apart by `kind`.

    It holds the shape of one document; what needs several (references, clashes) only `policy validate` sees.
    """
    adapter: TypeAdapter[Document] = TypeAdapter(Annotated[Document, Field(discriminator="kind")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Ringfence intent, {API_VERSION}",
        **adapter.json_schema(by_alias=True),
    }
