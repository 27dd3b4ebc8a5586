"""The cluster as the user's own kubeconfig sees it: what the command line needs beyond the operator's requests."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from millrace.cli.errors import Refused
from millrace.cli.streams import Connection
from millrace.kube.api import Api, ApiError, Object, Resource
from millrace.kube.resources import JOBRUN

if TYPE_CHECKING:
    import aiohttp

MANAGER = "millrace-cli"
APPLY = "application/apply-patch+yaml"
WATCH_SECONDS = 60  # the server ends a watch after that, so that a silent one is noticed
SILENCE_SECONDS = 75
REFRESH_SECONDS = 60  # between two looks at the age of a plugin's token
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PODS = Resource("Pod", "v1", "pods")
SERVICES = Resource("Service", "v1", "services")
SECRETS = Resource("Secret", "v1", "secrets")
CONFIG_MAPS = Resource("ConfigMap", "v1", "configmaps")
PORT_FORWARD = "v4.channel.k8s.io"


@dataclass(frozen=True)
class Kind:
    """A kind as the API server's discovery names it."""

    resource: Resource
    namespaced: bool


class Cluster(Api):
    """Requests with the user's rights; raises ApiError. `namespace` is the one that commands work in."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        super().__init__(client)
        self.namespace = namespace
        self._kinds: dict[str, dict[str, Kind]] = {}

    async def kind(self, api_version: str, name: str) -> Kind:
        """Where a kind lives. Refused where the cluster does not know it."""
        if name not in self._kinds.get(api_version, {}):
            path = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
            try:
                listed = (await self._request("GET", path))["resources"]
            except ApiError as error:
                if error.status != 404:
                    raise
                listed = []
            self._kinds[api_version] = {
                entry["kind"]: Kind(Resource(entry["kind"], api_version, entry["name"]), bool(entry["namespaced"]))
                for entry in listed
                if "/" not in entry["name"]
            }
        try:
            return self._kinds[api_version][name]
        except KeyError:
            if api_version == JOBRUN.api_version and not self._kinds[api_version]:
                raise ApiError(404, "", "no such kind") from None
            raise Refused(
                f"this cluster knows no kind {name} of {api_version}", "kubectl api-resources lists what it knows"
            ) from None

    async def apply_own(self, kind: Kind, manifest: Object, *, force: bool) -> Object:
        """Server-side apply as millrace-cli; ApiError 409 where another manager set a field to another value."""
        meta = manifest["metadata"]
        path = kind.resource.path(meta["namespace"] if kind.namespaced else None, meta["name"])
        query = {"fieldManager": MANAGER, "force": str(force).lower()}
        return await self._request("PATCH", path, manifest, query=query, content_type=APPLY)

    async def post(self, resource: Resource, manifest: Object, *, dry_run: bool = False) -> Object:
        """POSTs an object, unknown fields refused; ApiError 409 where one of that name exists."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return await self._request("POST", resource.path(manifest["metadata"]["namespace"]), manifest, query=query)

    async def cancel_run(self, name: str) -> Object:
        """Sets spec.cancel."""
        query = {"fieldManager": MANAGER}
        path = JOBRUN.path(self.namespace, name)
        return await self._request(
            "PATCH", path, {"spec": {"cancel": True}}, query=query, content_type="application/merge-patch+json"
        )

    async def names(self, resource: Resource, namespace: str) -> list[str]:
        """Names of all objects of a kind in a namespace."""
        pages = self.pages(resource, namespace, metadata_only=True)
        return [item["metadata"]["name"] async for page in pages for item in page]

    async def select(self, resource: Resource, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The objects with these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return [item async for page in self.pages(replace(resource, selector=selector), namespace) for item in page]

    async def watch(self, resource: Resource, namespace: str, name: str, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Changes of one object after a resource version, until the server ends the watch."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async for line in self.lines(resource.path(namespace), query):
            event = json.loads(line)
            yield event["type"], event["object"]

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Lines of a streamed answer, as they come. Raises ApiError; also 0 when the connection breaks or stays silent."""
        async with self._answer(path, query) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    yield line
            if rest:
                yield rest

    @asynccontextmanager
    async def _answer(self, path: str, query: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
        url = f"{self._client.configuration.host}{path}?{urlencode(query)}"
        try:
            async with self._session().get(url, timeout=timeout, **await self._extras(path)) as response:
                if response.status >= 400:
                    raise _error(response.status, await response.read())
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error

    async def dial(self, namespace: str, pod: str, port: int) -> Connection:
        """A connection to a port of a pod, through the API server."""
        import aiohttp

        path = PODS.path(namespace, pod, "portforward")
        url = f"{self._client.configuration.host}{path}?{urlencode({'ports': port})}"
        closing = aiohttp.ClientWSTimeout(ws_close=5)
        extras = await self._extras(path)
        try:
            far = await self._session().ws_connect(url, protocols=(PORT_FORWARD,), max_msg_size=0, timeout=closing, **extras)
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(error.status, "Forbidden" if error.status == 403 else "", error.message) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error
        return Connection(far)

    def _session(self) -> aiohttp.ClientSession:
        rest = self._client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - the documented place to override it
        session: aiohttp.ClientSession = rest.pool_manager
        return session

    async def _extras(self, path: str) -> dict[str, Any]:
        """Credentials and what else the kubeconfig says about connections."""
        headers: dict[str, str] = {}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        settings = self._client.configuration
        found: dict[str, Any] = {"headers": headers}
        if settings.tls_server_name:
            found["server_hostname"] = settings.tls_server_name
        if settings.proxy:
            found["proxy"] = settings.proxy
        return found


def _error(status: int, body: bytes) -> ApiError:
    try:
        found = json.loads(body)
        return ApiError(status, found.get("reason", ""), found.get("message", ""))
    except (ValueError, AttributeError):
        return ApiError(status, "", body[:512].decode(errors="replace"))


@asynccontextmanager
async def connected(namespace: str | None, context: str | None = None) -> AsyncIterator[Cluster]:
    """The cluster of the kubeconfig's context; inside a pod without a kubeconfig, the pod's own."""
    logging.getLogger("kubernetes").setLevel(logging.ERROR)  # it warns of a kubeconfig that is not there
    settings = Configuration()
    loader = None
    try:
        loader = await config.load_kube_config(context=context, client_configuration=settings)  # type: ignore[no-untyped-call]
        listed, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
        chosen = context or active["name"]
        default = next(found["context"] for found in listed if found["name"] == chosen).get("namespace") or "default"
    except config.ConfigException as error:
        if context:
            raise Refused(
                f"the kubeconfig has no usable context {context}: {error}", "kubectl config get-contexts"
            ) from None
        default = _in_pod(settings, str(error))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Refused(f"the kubeconfig cannot be read: {error}", "kubectl config view") from None
    settings.connection_pool_maxsize = 32
    cluster = Cluster(ApiClient(settings), namespace or default)
    fresh = asyncio.create_task(_keep_token(loader, settings)) if loader and settings.api_key else None
    try:
        yield cluster
    finally:
        if fresh:
            fresh.cancel()
        await cluster.close()


async def _keep_token(loader: Any, settings: Configuration) -> None:
    """Asks the kubeconfig's plugin for the next token when one is about to expire: those of clouds live for minutes, a run
    may be followed for days. Where the plugin fails, the old one is used until it is refused.
    """
    await config.refresh_token(loader, settings, interval=REFRESH_SECONDS)  # type: ignore[no-untyped-call]


def _in_pod(settings: Configuration, problem: str) -> str:
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        return NAMESPACE_FILE.read_text().strip()
    except (config.ConfigException, OSError):
        raise Refused(
            f"no cluster to talk to: {problem}",
            "set KUBECONFIG to a kubeconfig, or make ~/.kube/config (kubectl config view shows what is used)",
        ) from None
