"""Inference engines: ONNX Runtime on CPU or GPU, and OpenVINO. ONNX Runtime is always installed.

Engines are safe for use from many threads.
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
from savo_detection.engines.thread_budget import RUNNING_PASSES, PerThreadCount, threads_per_pass
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

_CPU_PROVIDER = "CPUExecutionProvider"
_FATAL_ONLY = 4
"""ONNX Runtime's log severity level."""

_CACHED_KERNELS = 200
"""Kernels that OpenVINO keeps compiled, about 70 for each input shape. Its default is 5,000."""

T = TypeVar("T")


class Engine(Protocol):
    """Runs a network."""

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        """Run a pass of `tensor` (photos × 3 × height × width) and return `read` of the output.

        `read` must not keep the output's memory. Raises the errors of the engine's library.
        """
        ...

    def open_all(self) -> None:
        """Create the sessions for all numbers of concurrent passes, so that no pass waits for them."""
        ...


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU, or on an NVIDIA GPU by CUDA or TensorRT where `onnxruntime-gpu` is installed.

    On the CPU a single pass uses all `threads`, and concurrent passes share them: on two cores that takes 50 instead of
    62 ms a photo.
    """

    def __init__(self, data: bytes, threads: int, providers: tuple[str, ...] = (_CPU_PROVIDER,)) -> None:
        self._data, self._threads, self._providers = data, threads, providers
        self._sessions = PerThreadCount[onnxruntime.InferenceSession]()
        self.session = self.session_for(1)
        self._input = next((place.name for place in self.session.get_inputs()), "")

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        with RUNNING_PASSES.count() as passes:
            output = self.session_for(passes).run(None, {self._input: tensor})[0]
        return read(output)

    def open_all(self) -> None:
        if self._providers[0] == _CPU_PROVIDER:
            self._sessions.create_all(self._threads, self._create_session)

    def session_for(self, passes: int) -> onnxruntime.InferenceSession:
        """Session for each of this number of concurrent passes, with its share of the threads."""
        if self._providers[0] != _CPU_PROVIDER:
            return self._sessions.get(self._threads, self._create_session)
        # With one thread a pass runs in the calling thread. Further threads would inherit a lower priority permanently.
        threads = 1 if has_lower_priority() else threads_per_pass(self._threads, passes)
        return self._sessions.get(threads, self._create_session)

    def _create_session(self, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # Otherwise threads spin for 50 ms and longer after a pass: on two cores a scan took 10 ms more.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Memory planned ahead is no faster and takes 25 MB a session for yolov8n.
        options.enable_mem_pattern = False
        session = onnxruntime.InferenceSession(self._data, options, providers=list(self._providers), enable_fallback=0)
        if (runs_on := session.get_providers()[0]) != self._providers[0]:
            # ONNX Runtime falls back to the next provider silently when a driver or a library is missing.
            raise RuntimeError(f"{self._providers[0]} does not start here; ONNX Runtime would use {runs_on} instead")
        return session


class OpenVinoEngine:
    """OpenVINO by its own API, which is faster than OpenVINO as a provider of ONNX Runtime.

    bfloat16 is fastest on CPUs that compute in it, but moves boxes.

    A single pass uses all `threads`. Concurrent passes run in one OpenVINO stream each: 57 instead of 69 ms a photo
    beside a process that uses a third of a core, as Kafka and the gateway do.
    """

    def __init__(
        self, data: bytes, threads: int, shape: tuple[int, ...], precision: Literal["f32", "bf16"] = "f32"
    ) -> None:
        # With this package, importing OpenVINO forks the process and reports its use to Google Analytics.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None means "not installed"
        import openvino

        self._core, self._threads, self._precision = openvino.Core(), threads, precision
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeError("this CPU does not compute in bfloat16; use the engine openvino or onnxruntime")
        self._model = self._core.read_model(data)
        if self._model.is_dynamic():
            sides = zip(list(self._model.input(0).partial_shape)[2:], shape[2:], strict=True)
            ranges = [size if side.is_static else openvino.Dimension(STRIDE, size) for side, size in sides]
            self._model.reshape([*shape[:2], *ranges])
        self._networks = PerThreadCount[_OpenVinoNetwork]()
        self._networks.get(threads, self._compile)

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        with RUNNING_PASSES.count() as passes:
            # A thread of lower priority compiles no network: the network's threads would inherit it permanently.
            threads = self._threads if has_lower_priority() else threads_per_pass(self._threads, passes)
            with self._networks.get(threads, self._compile).request() as request:
                request.infer({0: tensor}, share_inputs=True)
                return read(request.get_output_tensor(0).data)

    def open_all(self) -> None:
        self._networks.create_all(self._threads, self._compile)

    def _compile(self, threads: int) -> _OpenVinoNetwork:
        settings = {
            "NUM_STREAMS": max(1, self._threads // threads),
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": self._precision,
            # A container's quota is not a set of cores: pinned threads would wait for each other.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _CACHED_KERNELS,
        }
        return _OpenVinoNetwork(self._core.compile_model(self._model, "CPU", settings))


class _OpenVinoNetwork:
    """A compiled network with a pool of inference requests. A thread uses a request exclusively."""

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
"""(ONNX file, threads, input shape) → a ready engine. Raises the library's error when it cannot run the network."""


def _on_gpu(provider: str) -> Builder:
    return lambda data, threads, _shape: OnnxRuntimeEngine(
        data, threads, (provider, "CUDAExecutionProvider", _CPU_PROVIDER)
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
"""Engines on a GPU, where a pass of several photos is faster than several passes, and each new input shape is slow.

On a CPU a pass of one photo uses all cores.
"""

REDUCED_PRECISION: frozenset[Literal["openvino-bf16"]] = frozenset({"openvino-bf16"})
"""Engines that round: on 551 photos one box in twenty changed by more than 0.01 in score or position, at equal mAP."""


def installed_engines() -> tuple[str, ...]:
    """Names of the engines whose packages are installed, ONNX Runtime first."""
    providers = onnxruntime.get_available_providers()
    is_installed = {
        ONNX_RUNTIME: True,
        "openvino": find_spec("openvino") is not None,
        "openvino-bf16": find_spec("openvino") is not None,
        "cuda": "CUDAExecutionProvider" in providers,
        "tensorrt": "TensorrtExecutionProvider" in providers,
    }
    return tuple(name for name, installed in is_installed.items() if installed)
