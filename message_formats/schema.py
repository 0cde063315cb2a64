"""The formats for tools: JSON Schema 2020-12 and AsyncAPI 3.0, of the messages' JSON form.

A schema says what senders may send: no unknown keys. What the characters of byte strings may be, it cannot say,
because they stand in base64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .format import Format
from .json_form import to_json
from .kinds import Field, Record
from .registry import formats

Schema = dict[str, Any]


def json_schema(format: Format) -> Schema:
    """Return the JSON Schema (2020-12) of a format's messages in their JSON form."""
    shared = _Shared("#/$defs/")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format.name,
        **_object(format.record, shared.refer),
    }
    if shared.schemas:
        schema["$defs"] = shared.schemas
    return schema


def asyncapi(chosen: Iterable[Format] | None = None) -> Schema:
    """Return an AsyncAPI 3.0 document of the chosen formats, or of all, from a worker's point of view."""
    from importlib.metadata import version  # slow to import, and needed nowhere else

    shared = _Shared("#/components/schemas/")
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    messages: dict[str, Schema] = {}

    def add(format: Format, channel: Schema) -> str:
        name = _identifier(format)
        if name not in channels:
            messages[name] = {"name": format.name, "payload": _object(format.record, shared.refer)}
            reference = {"$ref": f"#/components/messages/{name}"}
            channels[name] = {**channel, "description": format.doc, "messages": {name: reference}}
        return name

    for format in formats() if chosen is None else chosen:
        name = add(format, _channel(format))
        operation: Schema = {"action": "send" if _is_for_sending(format) else "receive"}
        operation["channel"] = {"$ref": f"#/channels/{name}"}
        if format.reply is not None:
            operation["reply"] = {
                "address": {"location": "$message.payload#/reply_channel"},
                "channel": {"$ref": f"#/channels/{add(format.reply, {'address': None})}"},
            }
        operations[name] = operation
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trunkline message formats",
            "version": version("trunkline"),
            "description": "On the wire messages are MessagePack; the schemas describe their JSON form, in which "
            'bytes are `{"$bytes": "<base64>"}`.',
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": shared.schemas},
    }


class _Shared:
    """The schemas of records that others refer to by name."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._names: dict[Record, str] = {}
        self.schemas: dict[str, Schema] = {}

    def refer(self, record: Record) -> Schema:
        name = self._names.get(record)
        if name is None:
            same = sum(1 for known in self._names if known.name == record.name)
            name = self._names[record] = f"{record.name}{same + 1}" if same else record.name
            self.schemas[name] = {}  # it may refer to itself
            self.schemas[name].update(_object(record, self.refer))
        return {"$ref": f"{self._where}{name}"}


def _object(record: Record, refer: Callable[[Record], Schema]) -> Schema:
    schema: Schema = {"description": record.doc} if record.doc else {}
    schema["type"] = "object"
    schema["properties"] = {field.name: _property(field, refer) for field in record.fields}
    schema["required"] = [field.name for field in record.fields if field.required]
    schema["additionalProperties"] = False
    if record.rules:
        schema["allOf"] = [rule.schema() for rule in record.rules]
    return schema


def _property(field: Field, refer: Callable[[Record], Schema]) -> Schema:
    schema = field.kind.schema(refer)
    if not field.required:
        schema = {"anyOf": [schema, {"type": "null"}]}
    schema["description"] = field.doc
    if field.default is not None:
        schema["default"] = to_json(field.default)
    return schema


def _identifier(format: Format) -> str:
    return format.name.rstrip("?").replace(" ", ".")


def _channel(format: Format) -> Schema:
    if format.name.endswith("?"):
        parameters = {"name": {"description": "Made new for each body."}}
        return {"address": f"{format.name}{{name}}", "parameters": parameters}
    return {"address": format.name}


def _is_for_sending(format: Format) -> bool:
    return not format.published and format.reply is None and not format.name.endswith("?")
