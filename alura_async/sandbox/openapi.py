"""The OpenAPI 3.0.3 document of the sandbox, made from its route table and the SDK's own types."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from .._version import __version__
from ..groups.trading_sessions import ExecutionStrategy, StrategyDuration
from ..secret import Secret
from .market import INTERVALS
from .refusals import DUPLICATE_ASSET, ErrorBody, phrase
from .routing import ServerRoute
from .validation import LARGEST_INTEGER, Choice, Field, Text

_ABOUT = """
An Alura server in memory. Methods, paths, purposes, the sign-in and the bodies of the two creates are documented by
Alura; each operation says what is assumed. {bodies}

A token is had by signing in: `POST /auth/evm/challenge`, `personal_sign` of its message, `POST /auth/evm/verify`.
Where a token is optional, it decides only whose calls are counted, and an invalid one counts as none. Every refusal
has the same form. HEAD is answered like GET; other methods of these paths are 404.
"""

_CANONICAL_BODIES = """\
In the descriptions of replies, `[doc]` marks what Alura documents, `[conv]` what is usual for a server of its kind,
`[guess]` what is neither.

Amounts are decimal text, in USDC unless it says otherwise; times are ISO 8601 in UTC. A field without a value is left
out of a reply, never null."""

_OTHER_BODIES = """\
This server answers in another shape than Alura's clients know, to see how they cope: of replies, only those of the
sign-in are described here. Names, numbers, times, lists and refusals in all others may have any form, and a refusal's
body has a `message`. What requests hold is not changed by that: amounts in USDC, times in epoch milliseconds."""

_TAGS = {
    "auth": "Signing in with an EVM wallet, and the trading agent's key.",
    "trading-sessions": "Automated trading sessions: creating, reading and closing them.",
    "user": "The signed-in user: profile, fills, positions by asset, and moving USDC.",
    "indicators": "Market data.",
    "leaderboard": "Who trades how well.",
    "referrals": "Codes, who came by them, and what they earned.",
    "usdc-verification": "Deposits of USDC.",
    "health": "Whether the server and its parts are up.",
}

_PUBLIC = {"POST /auth/evm/challenge", "POST /auth/evm/verify"}
_DOCUMENTED_BODIES = {*_PUBLIC, "POST /trading-sessions", "POST /trading-sessions/advance"}
_DOCUMENTED_REPLIES = _PUBLIC

_PATH: dict[str, Field] = {
    field.name: field
    for field in (
        Text(name="sessionId", about="the session's id, as a create gives it"),
        Text(name="tradeId", about="the trade's id, as a create gives it"),
        Text(name="positionId", about="the position's id, as the current trade gives it"),
        Text(name="userId", about="the user's id, as the profile gives it"),
        Text(name="symbol", about="the asset's symbol in its own case; a slash in it is written %2F", example="BTC"),
        Choice(name="interval", choices=tuple(INTERVALS), about="the candles' interval", example="1h"),
    )
}

_DECIMAL = {"type": "string", "format": "decimal", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_ADDRESS = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBERED = {"type": "integer", "minimum": 1}

# What this server sends where the SDK's types, which must read any server's replies, say less: by name on the wire.
_NARROWER: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("o", "h", "l", "c", "v"), _DECIMAL),
    **dict.fromkeys(("address", "destination"), _ADDRESS),
    **dict.fromkeys(("n", "assetIndex", "totalUsers", "totalTrades", "totalReferrals", "activeReferrals"), _COUNT),
    **dict.fromkeys(("trades", "profitableUsers", "closedPositions", "synced", "deposits"), _COUNT),
    **dict.fromkeys(("rank", "page", "limit", "maxPositions"), _NUMBERED),
    "s": {"type": "string"},
    "i": {"type": "string", "enum": list(INTERVALS)},
    "interval": {"type": "string", "enum": list(INTERVALS)},
    # Of an asset that has too few candles yet, some are null.
    "indicators": {"type": "object", "additionalProperties": {**_DECIMAL, "nullable": True}},
    "txHash": {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
    "privateKey": {"type": "string", "format": "password", "pattern": "^0x[0-9a-f]{64}$"},
    "expiresIn": {"type": "integer"},
    "tokenType": {"type": "string", "enum": ["Bearer"]},
    "kind": {"type": "string", "enum": ["quick", "advance"]},
    "executionStrategy": {"type": "string", "enum": [strategy.value for strategy in ExecutionStrategy]},
    "strategyDuration": {"type": "string", "enum": [duration.value for duration in StrategyDuration]},
    "statusCode": {"type": "integer", "minimum": 400, "maximum": 599},
}

# The fields that a reply may lack, by schema. All others are always there.
_AT_TIMES: dict[str, set[str]] = {
    "TradingSession": {
        *("budget", "profitTarget", "lossThreshold", "maxPositions"),
        *("amount", "executionStrategy", "strategyDuration", "maxWalletBudget", "expiresAt"),
        *("closeReason", "closedAt"),
    },
    "Trade": {"closedAt"},
    # What this server never says: its pages go by their numbers.
    "Page": {"hasMore", "next"},
    "Position": {"liquidationPrice", "markPrice", "exitPrice", "closedAt"},
    "Closing": {"positionId", "tradeId", "assetIndex"},
    "Profile": {"referralCode"},
    "Referral": {"code", "referredBy", "createdAt"},
    "ReferralCheck": {"userId"},
    "ServiceHealth": {"details"},
    "ErrorBody": {"error"},
}

# Where what a reply holds can be used: operation, its reply's pointer, and the path parameter that takes it.
_CREATED = (
    ("GET /trading-sessions/:sessionId/logs", "/id", "sessionId"),
    ("GET /trading-sessions/trades/:tradeId/logs", "/tradeId", "tradeId"),
    ("POST /trading-sessions/trades/:tradeId/close", "/tradeId", "tradeId"),
)
_LINKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "POST /trading-sessions": _CREATED,
    "POST /trading-sessions/advance": _CREATED,
    "GET /trading-sessions/current-trade": (
        ("POST /trading-sessions/positions/:positionId/close", "/positions/0/id", "positionId"),
        ("POST /trading-sessions/positions/:positionId/close-signature", "/positions/0/id", "positionId"),
        ("GET /trading-sessions/trades/:tradeId/logs", "/id", "tradeId"),
    ),
    "GET /user/profile": (
        ("GET /api/leaderboard/user/:userId", "/id", "userId"),
        ("GET /referrals/:userId", "/id", "userId"),
        ("GET /referrals/:userId/stats", "/id", "userId"),
        ("POST /referrals/:userId/code", "/id", "userId"),
    ),
}

_REFUSALS = {
    400: "What was sent cannot be accepted. Broken rules of form come as a list, other reasons as one text.",
    401: "No valid token; of a sign-in: no open challenge, or another wallet's signature.",
    403: "It is somebody else's.",
    404: "There is no such thing.",
    413: "The body is larger than 1 MiB.",
    429: "Too many calls of this operation; wait for `Retry-After`.",
}

_EXAMPLES: dict[int, dict[str, ErrorBody]] = {
    400: {
        "form": ErrorBody(400, ["budget must not be less than 10"], phrase(400)),
        "duplicate": ErrorBody(400, DUPLICATE_ASSET, phrase(400)),
    },
    401: {"token": ErrorBody(401, "Unauthorized")},
    403: {"other": ErrorBody(403, "Forbidden resource", phrase(403))},
    404: {"user": ErrorBody(404, "User not found", phrase(404))},
    413: {"body": ErrorBody(413, "request entity too large", phrase(413))},
    429: {"throttled": ErrorBody(429, "ThrottlerException: Too Many Requests")},
}

_HEADERS = {
    "X-RateLimit-Limit": "Calls of this operation that one client may make in a window.",
    "X-RateLimit-Remaining": "How many of them are left.",
    "X-RateLimit-Reset": "Seconds until the window ends.",
    "Retry-After": "Seconds to wait.",
}
_REFERENCE = "#/components/schemas/{name}"


@functools.lru_cache(maxsize=16)
def document(routes: tuple[ServerRoute, ...], refusals: Any = ErrorBody) -> dict[str, Any]:
    """Describe routes, and refusals of a type. The result is shared: do not change it."""
    about = _ABOUT.strip().format(bodies=_CANONICAL_BODIES if refusals is ErrorBody else _OTHER_BODIES)
    types = list(dict.fromkeys([*(route.returns for route in routes), refusals]))
    schemas, components = msgspec.json.schema_components(types, schema_hook=_secret, ref_template=_REFERENCE)
    shapes = {repr(kind): _plain(schema) for kind, schema in zip(types, schemas, strict=True)}
    structs = {struct.cls.__name__: struct for struct in _structs(msgspec.inspect.multi_type_info(types))}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r":(\w+)", r"{\1}", route.template)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, shapes[repr(route.returns)])
    statuses = sorted({status for route in routes for status in _refused(route)})
    return {
        "openapi": "3.0.3",
        "info": {"title": "Alura API (sandbox)", "version": __version__, "description": about},
        "servers": [{"url": "/", "description": "The server that this document came from."}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            # Of a generic type, msgspec names each use: `Page_Ranking_`.
            "schemas": {
                name: _component(_plain(schema), schema.get("description", ""), structs.get(name.partition("_")[0]))
                for name, schema in components.items()
            },
            "responses": {_response(status): _refusal(status, refusals, shapes[repr(refusals)]) for status in statuses},
            "headers": {
                name: {
                    "description": about,
                    "required": name == "Retry-After",
                    "schema": {"type": "integer", "minimum": 0},
                }
                for name, about in _HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `accessToken` of a sign-in.",
                }
            },
        },
    }


def _operation(route: ServerRoute, reply: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route.name),
        "summary": route.about,
        "description": _provenance(route),
        "tags": [_tag(route)],
        "parameters": [
            *(_parameter(_PATH[name], "path") for name in route.parameters),
            *(_parameter(field, "query") for field in route.query),
        ],
        "responses": _responses(route, reply),
        "security": _security(route),
    }
    if route.method == "POST":
        operation["requestBody"] = _body(route.body)
    return operation


def _provenance(route: ServerRoute) -> str:
    """Which parts of an operation Alura documents, and which are assumed."""
    documented, assumed = ["method", "path", "purpose"], list[str]()
    tag = _tag(route)
    if tag in ("auth", "trading-sessions", "user"):
        documented.append("access")
    elif tag == "indicators":
        documented.append("that most of such calls are public")
    else:
        assumed.append("access")
    if route.query:
        assumed.append("query")
    if route.method == "POST":
        (documented if route.name in _DOCUMENTED_BODIES else assumed).append("body")
    (documented if route.name in _DOCUMENTED_REPLIES else assumed).append("reply")
    said = f"Documented by Alura: {', '.join(documented)}."
    return f"{said} Assumed: {', '.join(assumed)}." if assumed else said


def _security(route: ServerRoute) -> list[dict[str, list[str]]]:
    if route.bearer:
        return [{"bearer": []}]
    return [] if route.name in _PUBLIC else [{}, {"bearer": []}]


def _refused(route: ServerRoute) -> set[int]:
    refused = {*route.errors, 429}
    # Every POST looks at its body, if only to refuse what should not be there.
    if route.method == "POST":
        refused |= {400, 413}
    if route.query or "interval" in route.parameters:
        refused.add(400)
    if route.bearer:
        refused.add(401)
    return refused


def _responses(route: ServerRoute, reply: Any) -> dict[str, Any]:
    # What promises no schema promises no JSON either, and nothing in it to go on with.
    is_known = route.returns is not Any
    success: dict[str, Any] = {
        "description": "Success",
        "headers": _headers(name for name in _HEADERS if name != "Retry-After"),
        "content": {"application/json" if is_known else "*/*": {"schema": reply}},
    }
    links = _LINKS.get(route.name)
    if links is not None and is_known:
        success["links"] = {
            _operation_id(there): {
                "operationId": _operation_id(there),
                "parameters": {name: f"$response.body#{pointer}"},
            }
            for there, pointer, name in links
        }
    refusals = {
        str(status): {"$ref": f"#/components/responses/{_response(status)}"} for status in sorted(_refused(route))
    }
    return {"201" if route.method == "POST" else "200": success, **refusals}


def _refusal(status: int, kind: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if kind is ErrorBody:
        content["examples"] = {name: {"value": msgspec.to_builtins(body)} for name, body in _EXAMPLES[status].items()}
    return {
        "description": _REFUSALS[status],
        # A body that is too large is not counted, because it is not even read.
        "headers": {}
        if status == 413
        else _headers(name for name in _HEADERS if name != "Retry-After" or status == 429),
        "content": {"application/json": content},
    }


def _headers(names: Iterator[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _response(status: int) -> str:
    return phrase(status).replace(" ", "")


def _parameter(field: Field, place: str) -> dict[str, Any]:
    schema = field.schema()
    if schema["type"] == "integer":
        # More digits than these are no number to this server.
        schema = {"minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER, "format": "int64", **schema}
    parameter = {
        "name": field.name,
        "in": place,
        "required": field.required,
        "description": field.about,
        "schema": schema,
    }
    if field.example is not None:
        parameter["example"] = field.example
    return parameter


def _body(fields: Sequence[Field]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in fields:
        schema = {**field.schema(), "description": field.about}
        if field.example is not None:
            schema["example"] = field.example
        if not field.required:
            # Null counts as left out.
            schema["nullable"] = True
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        properties[field.name] = schema
    body: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    required = [field.name for field in fields if field.required]
    if required:
        body["required"] = required
    return {"required": bool(required), "content": {"application/json": {"schema": body}}}


def _operation_id(name: str) -> str:
    method, *pieces = [piece for piece in re.split(r"[ /:\-]+", name) if piece]
    return method.lower() + "".join(piece[:1].upper() + piece[1:] for piece in pieces)


def _tag(route: ServerRoute) -> str:
    pieces = route.template.split("/")
    return pieces[2] if pieces[1] == "api" else pieces[1]


def _secret(kind: type) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "format": "password"}
    raise NotImplementedError


def _structs(kinds: Sequence[msgspec.inspect.Type]) -> Iterator[msgspec.inspect.StructType]:
    """The Structs among types, and those within them."""
    for kind in kinds:
        if isinstance(kind, msgspec.inspect.StructType):
            yield kind
            yield from _structs([field.type for field in kind.fields])
        elif isinstance(kind, msgspec.inspect.ListType):
            yield from _structs([kind.item_type])
        elif isinstance(kind, msgspec.inspect.UnionType):
            yield from _structs(kind.types)


def _component(schema: dict[str, Any], text: str, struct: msgspec.inspect.StructType | None) -> dict[str, Any]:
    """A Struct's schema, with what its docstring says of the fields and what this server's replies always have."""
    if struct is None:
        return schema
    texts = _attributes(inspect.cleandoc(text))
    at_times = _AT_TIMES.get(struct.cls.__name__, set())
    properties: dict[str, Any] = {}
    for field in struct.fields:
        name = field.encode_name
        if name in schema["properties"]:
            narrower: dict[str, Any] = _NARROWER.get(name) or schema["properties"][name]
            # Beside a reference nothing else counts.
            described = {"allOf": [narrower]} if "$ref" in narrower else dict(narrower)
            properties[name] = {**described, "description": texts[field.name]}
    return {**schema, "properties": properties, "required": [name for name in properties if name not in at_times]}


def _attributes(text: str) -> dict[str, str]:
    """What a docstring's section `Attributes` says, by name."""
    section = text.partition("Attributes:\n")[2].partition("\n\n")[0]
    return {
        name: " ".join(about.split())
        for name, about in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    }


def _plain(schema: Any) -> Any:
    """A schema of JSON Schema 2020-12, as msgspec makes it, in the dialect of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    choices = schema.get("anyOf")
    if choices is not None:
        return _choice({key: value for key, value in schema.items() if key != "anyOf"}, choices)
    if schema.get("format") == "decimal":
        return dict(_DECIMAL)
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            # What the SDK keeps unknown fields under is not part of any reply.
            plain[key] = {name: _plain(inner) for name, inner in value.items() if name != "$extra$"}
        elif key == "default":
            # A field without a value is left out, never null; defaults say nothing else.
            continue
        elif key == "additionalProperties" and isinstance(value, bool):
            # That this version of the SDK knows no other fields is no promise of the server.
            continue
        elif key == "title" or value == []:
            # A title repeats the name, and 3.0 has no empty list of required fields.
            continue
        elif key == "description":
            plain[key] = inspect.cleandoc(value).partition("\n\n")[0].replace("\n", " ")
        elif key == "enum":
            plain |= {"type": "string", "enum": value}
        else:
            plain[key] = _plain(value) if isinstance(value, dict | list) else value
    return plain


def _choice(rest: dict[str, Any], choices: list[Any]) -> Any:
    """One of several schemas; null, which 3.0 has no type for, is said by `nullable`, which counts beside a type."""
    real = [_plain(choice) for choice in choices if choice != {"type": "null"}]
    has_null = len(real) < len(choices)
    # A field that may be null in the SDK is one that the server leaves out; only a bare null is really sent.
    is_field = "default" in rest
    rest = _plain(rest)
    if len(real) == 1 and (is_field or not has_null):
        return {**rest, **real[0]}
    if has_null and not is_field:
        return {**rest, "anyOf": [*real, {"type": "object", "nullable": True, "enum": [None]}]}
    return {**rest, "anyOf": real}
