"""A device plugin: tells a kubelet of accelerators, as the vendor's does, over gRPC (deviceplugin v1beta1).

The few messages are written and read by hand; they are strings in strings.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

_VERSION = "v1beta1"
_SERVICE = f"{_VERSION}.DevicePlugin"
_LOOK_S = 0.5


def _field(number: int, payload: bytes | str) -> bytes:
    """Return one field of a message that is a text or a message itself."""
    data = payload.encode() if isinstance(payload, str) else payload
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, payload) of a message that has nothing but texts and messages in it."""
    place = 0
    while place < len(message):
        number, size, shift = message[place] >> 3, 0, 0
        place += 1
        while True:
            byte = message[place]
            size |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                break
        yield number, message[place : place + size]
        place += size


class DevicePlugin:
    """Serves `resource` with devices 0, 1 ...; registers anew whenever the kubelet begins anew."""

    def __init__(self, folder: Path, resource: str, count: int) -> None:
        self.resource = resource
        self.allocated: list[str] = []
        """Devices in the order in which they were given to containers."""
        self._folder = folder
        self._socket = folder / f"{resource.replace('/', '-')}.sock"
        self._health = ["Healthy"] * count
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._server: grpc.Server | None = None
        self._registered = 0
        self._thread = threading.Thread(target=self._follow, name="device-plugin", daemon=True)

    def __enter__(self) -> DevicePlugin:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        if self._server is not None:
            self._server.stop(0).wait()

    def set_healthy(self, number: int, healthy: bool) -> None:
        """Say that a device is well, or that it is broken; the kubelet then offers one fewer."""
        with self._changed:
            self._health[number] = "Healthy" if healthy else "Unhealthy"
            self._changed.notify_all()

    def _follow(self) -> None:
        """Register with every kubelet that appears; a new one has emptied the folder, our socket included."""
        kubelet = self._folder / "kubelet.sock"
        while not self._stopped.wait(_LOOK_S):
            with contextlib.suppress(OSError, grpc.RpcError):
                number = kubelet.stat().st_ino
                if number != self._registered or not self._socket.exists():
                    self._serve()
                    self._register(kubelet)
                    self._registered = number

    def _serve(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
        self._socket.unlink(missing_ok=True)
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="device-plugin"))
        plain: dict[str, Callable[..., Any]] = {
            "GetDevicePluginOptions": lambda request, context: b"",
            "GetPreferredAllocation": lambda request, context: b"",
            "PreStartContainer": lambda request, context: b"",
            "Allocate": self._allocate,
        }
        handlers = {name: grpc.unary_unary_rpc_method_handler(work) for name, work in plain.items()}
        handlers["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(self._list_and_watch)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        self._server.add_insecure_port(f"unix://{self._socket}")
        self._server.start()

    def _register(self, kubelet: Path) -> None:
        request = _field(1, _VERSION) + _field(2, self._socket.name) + _field(3, self.resource)
        with grpc.insecure_channel(f"unix://{kubelet}") as channel:
            channel.unary_unary(f"/{_VERSION}.Registration/Register")(request, timeout=5)

    def _list_and_watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        told = None
        while not self._stopped.is_set() and context.is_active():
            with self._changed:
                if self._health == told:
                    self._changed.wait(1.0)
                    continue
                told = list(self._health)
            yield b"".join(_field(1, _field(1, f"gpu-{n}") + _field(2, health)) for n, health in enumerate(told))

    def _allocate(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        answer = b""
        for _, container in fields(request):
            names = [name.decode() for _, name in fields(container)]
            self.allocated += names
            variable = _field(1, "NVIDIA_VISIBLE_DEVICES") + _field(2, ",".join(names))
            answer += _field(1, _field(1, variable))
        return answer
