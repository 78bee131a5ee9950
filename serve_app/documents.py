"""JSON bodies: read strictly, once, before anything else looks at them."""

from __future__ import annotations

import json
from typing import Any

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.text import MAX_DEPTH, check_document


def read(body: bytes) -> Any:
    """The document; raises ``InvalidInput`` for what is not JSON (RFC 8259) in UTF-8.

    So are NaN and infinity, a name that an object has twice, and whatever ``check_document`` refuses.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("The body must be JSON in UTF-8.") from None
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"The body must be JSON; at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise InvalidInput(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:
        # More digits than Python turns into a number.
        raise InvalidInput("The body holds a number with too many digits.") from None
    # NaN and infinity are no JSON, though Python reads them: they are refused here, by the name of the field.
    check_document(document)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"The body names {twice!r:.100} twice in one object; name it once.")
    return found
