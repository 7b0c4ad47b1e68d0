"""What runs the network. ONNX Runtime is always there, and the boxes of the others are compared with its own.

An engine is safe to use from many threads at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeVar

import onnxruntime
from numpy.typing import NDArray

from savo_detection.engines.cpus import has_lower_priority
from savo_detection.engines.thread_budget import UNDER_WAY, Opened, threads_each
from savo_detection.photos.letterbox import STRIDE

__all__ = [
    "BUILDERS",
    "ONNX_RUNTIME",
    "ON_GPU",
    "REDUCED_PRECISION",
    "Engine",
    "OnnxRuntimeEngine",
    "OpenVinoEngine",
    "installed_engines",
]

ONNX_RUNTIME: Final = "onnxruntime"

_ON_PROCESSOR = "CPUExecutionProvider"
_SILENT = 4

_KERNELS = 200
"""That OpenVINO keeps compiled for the shapes of earlier inputs, about 70 each; it would keep 5,000."""

T = TypeVar("T")


class Engine(Protocol):
    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        """One pass of `tensor` (photos × 3 × height × width). `read` gets the output, whose memory it must not keep."""
        ...

    def open_all(self) -> None:
        """Open all that passes at once need, which the first of them would have to wait for."""
        ...


class OnnxRuntimeEngine:
    """On the processor, or on an NVIDIA GPU by CUDA or TensorRT where `onnxruntime-gpu` is installed.

    On the processor a pass that runs alone takes all `threads`, passes at once a share each: on two cores 50 ms a photo
    instead of 62.
    """

    def __init__(self, data: bytes, threads: int, providers: tuple[str, ...] = (_ON_PROCESSOR,)) -> None:
        self._data, self._threads, self._providers = data, threads, providers
        self._sessions = Opened[onnxruntime.InferenceSession]()
        self.session = self.session_for(1)
        self._input = next((place.name for place in self.session.get_inputs()), "")

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        with UNDER_WAY.one_more() as passes:
            output = self.session_for(passes).run(None, {self._input: tensor})[0]
        return read(output)

    def open_all(self) -> None:
        if self._providers[0] == _ON_PROCESSOR:
            self._sessions.all(self._threads, self._opened)

    def session_for(self, passes: int) -> onnxruntime.InferenceSession:
        """For one of so many passes at once: with its share of the threads."""
        if self._providers[0] != _ON_PROCESSOR:
            return self._sessions.of(self._threads, self._opened)
        # One in a thread of lower priority: others would be its children and inherit that for good.
        return self._sessions.of(1 if has_lower_priority() else threads_each(self._threads, passes), self._opened)

    def _opened(self, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        # Threads would spin on after a pass, 50 ms and longer: on two cores a whole scan took 10 ms more.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # One block for each pass under way, planned ahead, is no faster and 25 MB a session for yolov8n.
        options.enable_mem_pattern = False
        session = onnxruntime.InferenceSession(self._data, options, providers=list(self._providers), enable_fallback=0)
        if (runs_on := session.get_providers()[0]) != self._providers[0]:
            # ONNX Runtime takes the next provider silently where a driver or a library is missing.
            raise RuntimeError(f"{self._providers[0]} does not start here; ONNX Runtime would take {runs_on}")
        return session


class OpenVinoEngine:
    """OpenVINO's own API: as a provider of ONNX Runtime it gave no gain.

    In bfloat16 it is the fastest, where the processor computes in it, but moves boxes.

    A pass that runs alone takes all `threads`; passes at once run in as many of OpenVINO's streams: 57 ms a photo instead
    of 69 beside a neighbour that takes a third of a core, as Kafka and the gateway do.
    """

    def __init__(
        self, data: bytes, threads: int, shape: tuple[int, ...], precision: Literal["f32", "bf16"] = "f32"
    ) -> None:
        # With this package OpenVINO forks the process at its import, to report that to Google Analytics.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None stands for "not installed"
        import openvino

        self._core, self._threads, self._precision = openvino.Core(), threads, precision
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeError("this processor does not compute in bfloat16")
        self._model = self._core.read_model(data)
        if self._model.is_dynamic():
            sides = list(self._model.input(0).partial_shape)[2:]
            self._model.reshape(
                [
                    shape[0],
                    shape[1],
                    *(
                        most if side.is_static else openvino.Dimension(STRIDE, most)
                        for side, most in zip(sides, shape[2:], strict=True)
                    ),
                ]
            )
        self._networks = Opened[_OpenVinoNetwork]()
        self._networks.of(threads, self._opened)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        with UNDER_WAY.one_more() as passes:
            # A thread of lower priority compiles nothing: the network's threads would inherit it for good.
            network = self._networks.of(
                self._threads if has_lower_priority() else threads_each(self._threads, passes), self._opened
            )
            with network.request() as request:
                request.infer({0: tensor}, share_inputs=True)
                return read(request.get_output_tensor(0).data)

    def open_all(self) -> None:
        self._networks.all(self._threads, self._opened)

    def _opened(self, threads_each: int) -> _OpenVinoNetwork:
        settings = {
            "NUM_STREAMS": max(1, self._threads // threads_each),
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": self._precision,
            "ENABLE_CPU_PINNING": False,  # a container's quota is no set of cores: pinned threads would wait for each other
            "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS,
        }
        return _OpenVinoNetwork(self._core.compile_model(self._model, "CPU", settings))


class _OpenVinoNetwork:
    """A request belongs to one thread at a time; there are as many as threads ever asked at once."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: SimpleQueue[Any] = SimpleQueue()

    @contextmanager
    def request(self) -> Iterator[Any]:
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.put(request)


Builder = Callable[[bytes, int, tuple[int, ...]], Engine]
"""(ONNX, threads, input shape) → a ready engine. Raises whatever the library raises when it cannot run this network."""


def _on_gpu(provider: str) -> Builder:
    return lambda data, threads, _shape: OnnxRuntimeEngine(
        data, threads, (provider, "CUDAExecutionProvider", _ON_PROCESSOR)
    )


BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        ONNX_RUNTIME: lambda data, threads, _shape: OnnxRuntimeEngine(data, threads),
        "openvino": OpenVinoEngine,
        "openvino-bf16": partial(OpenVinoEngine, precision="bf16"),
        "cuda": _on_gpu("CUDAExecutionProvider"),
        "tensorrt": _on_gpu("TensorrtExecutionProvider"),
    }
)


ON_GPU = frozenset({"cuda", "tensorrt"})
"""Here several photos take less time in one pass than one by one, and each new shape is slow.

On a processor a pass of one photo keeps every core busy.
"""

REDUCED_PRECISION: frozenset[Literal["openvino-bf16"]] = frozenset({"openvino-bf16"})
"""They round: on 551 photos one box in twenty moved by more than a hundredth, in score or place, at the same mAP@0.5."""


def installed_engines() -> tuple[str, ...]:
    """Names of the engines that this machine could run, ONNX Runtime first."""
    providers = onnxruntime.get_available_providers()
    there = {
        ONNX_RUNTIME: True,
        "openvino": find_spec("openvino") is not None,
        "openvino-bf16": find_spec("openvino") is not None,
        "cuda": "CUDAExecutionProvider" in providers,
        "tensorrt": "TensorrtExecutionProvider" in providers,
    }
    return tuple(name for name, is_there in there.items() if is_there)
