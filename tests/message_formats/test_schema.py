"""The documents for tools: they are what their standards say, and complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, NotRequired, TypedDict

import jsonschema
import pytest

from trunkline.message_formats import (
    Format,
    asyncapi,
    exactly_one,
    formats,
    get,
    json_schema,
    names,
    record_of,
    to_json,
)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Find every dict inside a value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def known(name: str) -> Format:
    format = get(name)
    assert format is not None
    return format


@pytest.mark.parametrize("name", names())
def test_every_schema_is_one(name: str) -> None:
    schema = json_schema(known(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == name
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("name", names())
def test_the_examples_fit_and_misfit(name: str, examples: dict[str, dict[str, Any]]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(known(name)))
    example = to_json(examples[name])
    validator.validate(example)
    assert not validator.is_valid({**example, "unknown": 1})
    for field in known(name).fields:
        assert validator.is_valid({**example, field.name: None}) is not (
            field.required or field.name == example_only(name)
        )


def example_only(name: str) -> str:
    """The key without which the example has none of those of which there must be one."""
    return "text" if name == "websocket.receive" else ""


def test_documentation_and_defaults_are_in_the_schema() -> None:
    schema = json_schema(known("http.request"))
    for field in known("http.request").fields:
        assert schema["properties"][field.name]["description"] == field.doc
    assert schema["properties"]["scheme"]["default"] == "http"
    assert schema["properties"]["body"]["default"] == {"$bytes": ""}
    assert schema["description"] == known("http.request").doc


class Leaf(TypedDict):
    """A leaf."""

    a: NotRequired[Annotated[str, "One."]]
    b: NotRequired[Annotated[str, "Or the other."]]


class Tree(TypedDict):
    """Made of the same leaf with and without a rule, and of itself."""

    free: Annotated[Leaf, "Any leaf."]
    ruled: Annotated[Annotated[Leaf, exactly_one("a", "b")], "A leaf with something in it."]
    trees: Annotated[list[Tree], "More."]


def test_records_with_different_rules_have_different_schemas_and_may_hold_themselves() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(Format("tree", record_of(Tree))))
    validator.validate({"free": {}, "ruled": {"a": ""}, "trees": [{"free": {}, "ruled": {"b": ""}, "trees": []}]})
    assert not validator.is_valid({"free": {}, "ruled": {}, "trees": []})
    assert not validator.is_valid({"free": {}, "ruled": {"a": ""}, "trees": [{}]})


def test_asyncapi_names_every_format_and_every_reply() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert json.loads(json.dumps(document)) == document
    messages = {message["name"] for message in document["components"]["messages"].values()}
    assert messages == set(names()) | {format.reply.name for format in formats() if format.reply}


def test_asyncapi_references_resolve() -> None:
    document = asyncapi()
    references = [part["$ref"] for part in parts(document) if "$ref" in part]
    assert len(references) > 40
    for reference in references:
        spot: Any = document
        for step in reference.removeprefix("#/").split("/"):
            spot = spot[step]


def test_asyncapi_payloads_are_schemas_of_the_draft_that_its_tools_know(examples: dict[str, dict[str, Any]]) -> None:
    document = asyncapi()
    for name, message in document["components"]["messages"].items():
        jsonschema.Draft7Validator.check_schema(message["payload"])
        if message["name"] in examples:
            whole = {**document, "$ref": f"#/components/messages/{name}/payload"}
            jsonschema.Draft202012Validator(whole).validate(to_json(examples[message["name"]]))


def test_asyncapi_is_from_a_workers_point_of_view() -> None:
    document = asyncapi()
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    assert {name for name, action in actions.items() if action == "send"} == {"email.send", "asgi.delay"}
    request = document["operations"]["http.request"]
    assert request["reply"]["address"] == {"location": "$message.payload#/reply_channel"}
    assert document["channels"]["http.reply"]["address"] is None
    assert document["channels"]["http.request.body"]["address"] == "http.request.body?{name}"
