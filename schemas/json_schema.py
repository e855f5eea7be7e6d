"""The JSON Schema of an event line, generated from the structs.

``python -m schemas.json_schema`` prints it; ``docs/reference/events.schema.json`` holds it. It
says what a schema can say. Exactness of decimals, positive quantities, doubled keys and the
limits of a line are the scanner's to check.
"""

import json
from typing import Any, Final

from msgspec import inspect

from schemas import events, wire

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_MONEY: Final[dict[str, Any]] = {"$ref": "#/$defs/Money"}


def event_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of one event, told apart by ``kind``."""
    definitions = {
        str(event_type.__struct_config__.tag): _kind_schema(event_type)
        for event_type in events.EVENT_TYPES
    }
    return {
        "$schema": DIALECT,
        "title": "Tapewatch event",
        "description": "One line of input: one event. null means absent.",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(events.KINDS)}},
        "allOf": [
            {"if": _present_as(kind), "then": {"$ref": f"#/$defs/{kind}"}} for kind in definitions
        ],
        "$defs": {"Money": _money_schema(), **definitions},
    }


def _money_schema() -> dict[str, Any]:
    """Return what the money fields say of themselves."""
    info: Any = inspect.type_info(events.MarketIndex)
    schema: dict[str, Any] = next(
        f.type for f in info.fields if f.name == "price"
    ).extra_json_schema
    return schema


def _kind_schema(event_type: type[events.Event]) -> dict[str, Any]:
    """Return the schema of one kind."""
    info: Any = inspect.type_info(event_type)
    required = ["account_id"] if events.requires_account(event_type) else []
    schema = _object_schema(info.fields, required)
    schema["properties"] = {"kind": {"const": str(info.tag)}, **schema["properties"]}
    schema["required"] = ["kind", *schema["required"]]
    schema["description"] = (event_type.__doc__ or "").strip()
    if str(info.tag) == wire.PRICE_NEEDED_KIND:
        schema["anyOf"] = [_present("price"), _priceless()]
    return schema


def _present_as(kind: str) -> dict[str, Any]:
    """Say that an event is of a kind."""
    return {"properties": {"kind": {"const": kind}}}


def _present(name: str) -> dict[str, Any]:
    """Say that a field is there and not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _priceless() -> dict[str, Any]:
    """Say that an order is of a type that needs no price."""
    types = {"enum": sorted(wire.PRICELESS_ORDER_TYPES)}
    return {"required": ["order_type"], "properties": {"order_type": types}}


def _object_schema(fields: Any, also_required: list[str]) -> dict[str, Any]:
    """Return the schema of an object with these fields; unknown ones are allowed."""
    properties, required = {}, []
    for field in fields:
        schema = _type_schema(wire.plain_type(field.type))
        needed = field.required or field.encode_name in also_required
        properties[field.encode_name] = schema if needed else _nullable(schema)
        if needed:
            required.append(field.encode_name)
    return {"type": "object", "properties": properties, "required": required}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow null, which means absent."""
    return {"anyOf": [schema, {"type": "null"}]}


def _type_schema(field_type: Any) -> dict[str, Any]:
    """Return the schema of one value."""
    if wire.is_money(field_type):
        return _MONEY
    match field_type:
        case inspect.StrType():
            limits = {
                "minLength": field_type.min_length,
                "maxLength": field_type.max_length,
                "pattern": field_type.pattern,
            }
            return {"type": "string", **{k: v for k, v in limits.items() if v is not None}}
        case inspect.IntType():
            low, high = wire.limits_of(field_type)
            return {"type": "integer", "minimum": low, "maximum": high}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.LiteralType():
            _, choices = wire.codes_of(field_type.values)
            return {"enum": list(choices)}
    return _container_schema(field_type)


def _container_schema(field_type: Any) -> dict[str, Any]:
    """Return the schema of a list, a dict or a struct."""
    match field_type:
        case inspect.ListType():
            return {"type": "array", "items": _type_schema(wire.plain_type(field_type.item_type))}
        case inspect.DictType():
            inner = _type_schema(wire.plain_type(field_type.value_type))
            return {"type": "object", "additionalProperties": inner}
        case inspect.StructType():
            return _object_schema(inspect.type_info(field_type.cls).fields, [])  # type: ignore[attr-defined]
    raise AssertionError(f"no schema for {field_type}: add one here")


def as_text() -> str:
    """Return the schema as the reference file holds it."""
    return json.dumps(event_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(as_text(), end="")  # noqa: T201 printing it is what the module is run for
