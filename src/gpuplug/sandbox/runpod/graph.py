"""RunPod's GraphQL: one route, checked against the schema in `schema.graphql`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from graphql import (
    GraphQLError,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    build_schema,
    execute_sync,
    parse,
    specified_rules,
    validate,
)

from gpuplug.sandbox.runpod.graph_changes import Changes
from gpuplug.sandbox.runpod.graph_prices import Prices
from gpuplug.sandbox.runpod.graph_rows import Rows
from gpuplug.sandbox.runpod.problems import Problem
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from graphql.execution import ExecutionResult

    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.runpod.cloud import Cloud

SCHEMA = build_schema(Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8"))
RULES = (*specified_rules, NoSchemaIntrospectionCustomRule)
UNAUTHORIZED = 401
GONE = 410


class Graph:
    """The handler of `/graphql`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        rows = Rows(cloud)
        self._root = {**Prices(cloud).fields(), **rows.fields(), **Changes(cloud, rows).fields()}

    def routes(self) -> list[Route]:
        """Return the route; the prices need no key."""
        return [Route("POST", "/graphql", "graphql", self._answer, open=True)]

    async def _answer(self, request: web.Request) -> web.Response:
        fault = self._cloud.faults.take("graphql", "hide_graphql")
        if fault is not None:
            return _hidden(fault)
        try:
            body = json.loads(await request.text())
            query, variables = str(body["query"]), dict(body.get("variables") or {})
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refuse([GraphQLError("POST body must be a JSON object with a query")], "BAD_REQUEST")
        try:
            document = parse(query)
        except GraphQLSyntaxError as error:
            return _refuse([error], "GRAPHQL_PARSE_FAILED")
        if errors := validate(SCHEMA, document, RULES):
            return _refuse(errors, "GRAPHQL_VALIDATION_FAILED")
        done = execute_sync(
            SCHEMA,
            document,
            root_value=self._root,
            context_value=request.get("caller"),
            variable_values=variables,
            operation_name=body.get("operationName"),
        )
        return _reply(done)


def _reply(done: ExecutionResult) -> web.Response:
    errors = done.errors or []
    problems = [one.original_error for one in errors if isinstance(one.original_error, Problem)]
    if any(problem.status == UNAUTHORIZED for problem in problems):
        return _refuse(errors, "UNAUTHENTICATED", UNAUTHORIZED)
    if done.data is None and errors:
        # Nothing was executed: the variables are not what the document declares.
        return _refuse(errors, "BAD_USER_INPUT")
    answer: dict[str, Any] = {"data": done.data}
    if errors:
        answer["errors"] = [one.formatted for one in errors]
    return web.json_response(answer)


def _refuse(errors: list[GraphQLError], code: str, status: int = 400) -> web.Response:
    told = [{**one.formatted, "extensions": {"code": code}} for one in errors]
    return web.json_response({"errors": told}, status=status)


def _hidden(fault: Fault) -> web.Response:
    code = int(fault.number("code", GONE))
    if code == 400:  # noqa: PLR2004 - Bad Request
        return _refuse([GraphQLError('Cannot query field "gpuTypes" on type "Query".')], "GRAPHQL_VALIDATION_FAILED")
    raise Problem(code, "the GraphQL API has been retired")
