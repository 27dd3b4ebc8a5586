"""The Kubernetes API on plain dicts. The only importer of `kubernetes`.

Model classes cost 28 ms an object where a dict costs 24 µs, so there are none.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientError, TraceConfig
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException

Object = dict[str, Any]

FIELD_MANAGER = "millrace"
PAGE = 500
TIMEOUT = 30  # seconds for one request; lists and writes are small
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Resource:
    """Where a kind lives."""

    kind: str
    api_version: str
    plural: str
    selector: str = ""  # of those that are ours

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of a collection or an object."""
        prefix = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return prefix + scope + "/" + "/".join(part for part in (self.plural, name, subresource) if part)


class ApiError(Exception):
    """What the API server refused: `status` is the HTTP status (0: no answer), `reason` the machine's word.

    `causes` are the single complaints, (field, message), where the server lists them; `retry_after` are the seconds
    that it asks us to wait.
    """

    def __init__(
        self, status: int, reason: str, message: str, causes: Sequence[tuple[str, str]] = (), retry_after: float = 0
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message, self.causes = status, reason, message, tuple(causes)
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Whether the same request may go through later."""
        return self.status in {0, 408, 429} or self.status >= 500

    @property
    def unanswered(self) -> bool:
        """Whether the API server gave no answer, or said that it has none."""
        return self.status == 0 or self.status >= 500

    @property
    def namespace_goes(self) -> bool:
        """Whether the namespace is being deleted, or is gone: nothing can be made there, and nothing needs to be."""
        return (self.status == 403 and "because it is being terminated" in self.message) or (
            self.status == 404 and self.message.startswith('namespaces "')
        )


class NotLeader(Exception):
    """A write was not sent: the lease that allows it has run out."""


def _fence(left: Callable[[], float]) -> TraceConfig:
    """Keeps back the body of a write whose time ran out on its way to the socket: the process may have slept there."""

    async def before_sending(*_: object) -> None:
        if left() <= 0:
            raise NotLeader

    found = TraceConfig()
    found.on_request_chunk_sent.append(before_sending)
    return found


async def connect(left: Callable[[], float] | None = None) -> Api:
    """The API server, from the pod's ServiceAccount or, outside of a cluster, from the kubeconfig."""
    configuration = Configuration(trace_configs=[_fence(left)] if left else None)
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = 32
    # Else each request asks two threads for a proxy and for a .netrc, which costs more than the request.
    configuration.client_session_kwargs = {"trust_env": False}
    return Api(ApiClient(configuration), left)


class Api:
    """Requests to the API server; raises ApiError.

    `left` gives the seconds for which we may still write: a write ends within them, or is not sent (NotLeader).
    """

    def __init__(self, client: ApiClient, left: Callable[[], float] | None = None) -> None:
        self._client, self._left = client, left

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        headers: dict[str, str] = {"Accept": accept, "Content-Type": content_type}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        seconds: float = TIMEOUT
        if self._left and method != "GET":
            seconds = min(seconds, self._left())
            if seconds <= 0:
                raise NotLeader
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=seconds
            )
            data = await response.read()
        except ApiException as error:
            raise ApiError(error.status or 0, str(error.reason), str(error.body or "")) from error
        except (OSError, TimeoutError, ClientError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error
        if response.status >= 400:
            raise _refused(response.status, data, response.headers.get("Retry-After", ""))
        found: Object = json.loads(data)
        return found

    async def answers(self) -> bool:
        """Whether the API server is there, whatever it says."""
        try:
            await self._request("GET", "/version")
        except ApiError as error:
            return not error.unanswered
        return True

    async def create(self, resource: Resource, manifest: Object) -> Object:
        """POSTs an object under its name; ApiError 409 where it exists."""
        path = resource.path(manifest["metadata"]["namespace"])
        # Strict: a field that does not exist is refused instead of dropped, so that a run does not start without it.
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return await self._request("POST", path, manifest, query=query)

    async def apply(self, resource: Resource, manifest: Object) -> Object:
        """Server-side apply."""
        meta = manifest["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._request("PATCH", path, manifest, query=query, content_type="application/apply-patch+yaml")

    async def replace(self, resource: Resource, manifest: Object) -> Object:
        """PUTs an object in the place of that with its resourceVersion; ApiError 409 where there is another."""
        path = resource.path(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        return await self._request("PUT", path, manifest, query={"fieldManager": FIELD_MANAGER})

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self._request("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str | None = None
    ) -> Object:
        """JSON merge patch; with metadata.resourceVersion in it, ApiError 409 where the object has changed."""
        path = resource.path(namespace, name, subresource)
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", path, patch, query=query, content_type="application/merge-patch+json")

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Deletes the object with that UID, its children by the garbage collector; none is fine."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", resource.path(namespace, name), body)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def pages(
        self, resource: Resource, namespace: str | None, *, metadata_only: bool = False, field_selector: str = ""
    ) -> AsyncIterator[list[Object]]:
        """Lists by pages of 500; from the API server's cache where it can."""
        query = {"limit": str(PAGE), "labelSelector": resource.selector, "fieldSelector": field_selector}
        query = {key: value for key, value in query.items() if value}
        accept = f"{METADATA_ONLY},application/json" if metadata_only else "application/json"
        while True:
            page = await self._request("GET", resource.path(namespace), query=query, accept=accept)
            yield page.get("items") or []
            if not (following := page["metadata"].get("continue")):
                return
            query = {**query, "continue": following}

    async def may_watch(self, resource: Resource, namespace: str) -> bool:
        """Whether we may watch a resource in a namespace (SelfSubjectAccessReview)."""
        group = "" if resource.api_version == "v1" else resource.api_version.partition("/")[0]
        attributes = {"namespace": namespace, "verb": "watch", "group": group, "resource": resource.plural}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"].get("allowed"))


def _refused(status: int, data: bytes, retry_after: str) -> ApiError:
    wait = float(retry_after) if retry_after.isdecimal() else 0  # Kubernetes writes seconds, never a date
    try:
        found = json.loads(data)
        causes = (found.get("details") or {}).get("causes") or []
        listed = [(cause.get("field", ""), cause.get("message", "")) for cause in causes]
        return ApiError(status, found.get("reason", ""), found.get("message", ""), listed, wait)
    except (ValueError, AttributeError):
        return ApiError(status, "", data[:512].decode(errors="replace"), retry_after=wait)
