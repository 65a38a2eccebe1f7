"""What the first list told and no watch has told of since: it may have gone before the watches began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.model import Object, key_of

_NAMES: Final = ("namespace", "name", "uid", "resourceVersion", "labels")


class Unconfirmed:
    """The listed objects, by uid. Only what it takes to look for one again is kept: there are thousands of them."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}

    def add(self, obj: Mapping[str, Any]) -> None:
        """Take in an object of the list."""
        meta = {name: obj["metadata"].get(name) for name in _NAMES}
        self._objects[meta["uid"]] = {"kind": obj["kind"], "metadata": meta}

    def drop(self, obj: Mapping[str, Any]) -> None:
        """A watch has told of the object."""
        self._objects.pop(obj["metadata"]["uid"], None)

    async def look_again(self, cluster: Cluster, most: int) -> AsyncIterator[tuple[str | None, Mapping[str, Any]]]:
        """Yield what has become of up to `most` objects: a change, as a watch has it, and the object."""
        look = {"Pod": cluster.get_pod, "ResourceQuota": cluster.get_quota}
        for obj in list(self._objects.values())[:most]:
            try:
                found = await look.get(obj["kind"], cluster.get_job)(*key_of(obj))
            except ApiError as error:
                if error.kind is not Kind.GONE:
                    continue
                found = None
            if found is not None and found["metadata"]["uid"] == obj["metadata"]["uid"]:
                yield None, {**found, "kind": obj["kind"]}
            else:
                yield "DELETED", obj
