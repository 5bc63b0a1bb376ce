"""What a schema refused, in the words of whoever wrote the file."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

# How much of what was found an error quotes.
FOUND_LENGTH = 80
# By the beginning of pydantic's name for what went wrong; the braces are of its context.
_REQUIRED = {
    "missing": "a value",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "finite_number": "a finite number",
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_too_short": "some text",
    "string_pattern_mismatch": "text of the pattern {pattern}",
    "string_": "text",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
    "tuple_": "a list",
    "list_": "a list",
    "model_": "a table of names and values",
    "dict_": "a table of names and values",
    "json_invalid": "a whole JSON file ({error})",
}


def required(error: Any) -> str:
    """Say what one of a `ValidationError`'s errors required."""
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return "no such field"
    if error["type"] == "value_error":
        return str(context["error"])
    for kind, sentence in _REQUIRED.items():
        if error["type"].startswith(kind):
            return sentence.format(**context)
    return str(error["msg"])


def quoted(found: Any) -> str:
    """Quote what was found, as a person wrote it: no more than `FOUND_LENGTH` of it."""
    if isinstance(found, dict):
        return f"a table of {', '.join(map(str, found)) or 'nothing'}"[:FOUND_LENGTH]
    if isinstance(found, bytes):
        return f"{len(found)} bytes"
    try:
        text = repr(found) if isinstance(found, str) else json.dumps(found)
    except (TypeError, ValueError):
        text = str(found)
    text = {"NaN": "nan", "null": "nothing"}.get(text, text)
    return text if len(text) <= FOUND_LENGTH else text[:FOUND_LENGTH] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask for the nearest spelling, where there is one: "; did you mean lr?"."""
    names = list(known)
    # A name that somebody knows from elsewhere may be part of ours, or ours of it.
    found = difflib.get_close_matches(name, names, 1, 0.6) or [
        one for one in names if one in name.split("_") or name in one.split("_")
    ]
    return f"; did you mean {found[0]}?" if found else ""


def table_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Give the schema of a table within a schema."""
    for name in location:
        field = model.model_fields.get(str(name))
        choices = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((one for one in choices if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if inner is None:
            break
        model = inner
    return model
