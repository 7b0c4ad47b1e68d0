"""What runs the network. ONNX Runtime is always there and is the measure of the others; what else is installed may be faster.

An engine is safe to use from many threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeVar

import onnxruntime
from numpy.typing import NDArray

from savo_detection.cpus import gives_way

__all__ = ["BUILDERS", "BY_NAME_ALONE", "GAIN_BY_BATCHES", "ONNX_RUNTIME", "Engine", "OnnxRuntimeEngine", "OpenVinoEngine", "installed_engines"]

ONNX_RUNTIME: Final = "onnxruntime"

_ON_PROCESSOR = "CPUExecutionProvider"
_SILENT = 4

T = TypeVar("T")


class Engine(Protocol):
    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        """One pass of `tensor` (photos × 3 × height × width). `read` gets the output; after it the memory is the engine's own again."""
        ...


class _UnderWay:
    """Passes under way in this process, of whatever network: they share its cores."""

    def __init__(self) -> None:
        self._lock, self._passes = Lock(), 0

    @contextmanager
    def one_more(self) -> Iterator[int]:
        """How many there are, this one included."""
        with self._lock:
            self._passes += 1
            passes = self._passes
        try:
            yield passes
        finally:
            with self._lock:
                self._passes -= 1


_UNDER_WAY = _UnderWay()


class OnnxRuntimeEngine:
    """On the processor, or on an NVIDIA GPU by CUDA or TensorRT where `onnxruntime-gpu` is installed.

    On the processor a pass that runs alone takes all `threads`, passes at once a share each. Threads of one pass wait for each other at every layer, so
    whatever else wants a core holds up all of them: on two cores two passes of a thread each brought 1.2 times the photos of two passes of two threads.
    """

    def __init__(self, data: bytes, threads: int, providers: tuple[str, ...] = (_ON_PROCESSOR,)) -> None:
        self._data, self._threads, self._providers = data, threads, providers
        self._opening = Lock()
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}
        self.session = self.session_for(1)
        self._input = next((place.name for place in self.session.get_inputs()), "")

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        with _UNDER_WAY.one_more() as passes:
            output = self.session_for(passes).run(None, {self._input: tensor})[0]
        return read(output)

    def session_for(self, passes: int) -> onnxruntime.InferenceSession:
        """For one of so many passes at once: with its share of the threads. Opened when it is first needed."""
        width = self._width(passes)
        with self._opening:
            if width not in self._sessions:
                self._sessions[width] = self._opened(width)
            return self._sessions[width]

    def _width(self, passes: int) -> int:
        if self._providers[0] != _ON_PROCESSOR:
            return self._threads
        if gives_way():
            return 1  # any other thread would be a child of this one, and give way for good
        if passes == 1:
            return self._threads
        return 1 << max(1, self._threads // passes).bit_length() - 1  # a power of two: few sessions do

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
            # ONNX Runtime takes the next one without a word to the caller where a driver or a library is missing.
            raise RuntimeError(f"{self._providers[0]} does not start here; ONNX Runtime would take {runs_on}")
        return session


class OpenVinoEngine:
    """OpenVINO's own API: as a provider of ONNX Runtime it gave no gain. In bfloat16 it is the fastest, where the processor computes in it, but moves boxes."""

    def __init__(self, data: bytes, threads: int, shape: tuple[int, ...], precision: Literal["f32", "bf16"] = "f32") -> None:
        import openvino

        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeError("this processor does not compute in bfloat16")
        model = core.read_model(data)
        if model.is_dynamic():
            model.reshape(list(shape))
        # A container's quota is no set of cores: pinned threads would wait for each other.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": precision}
        self._network = core.compile_model(model, "CPU", settings)
        self._idle: SimpleQueue[Any] = SimpleQueue()

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        request = self._request()
        try:
            request.infer({0: tensor}, share_inputs=True)
            return read(request.get_output_tensor(0).data)
        finally:
            self._idle.put(request)

    def _request(self) -> Any:
        """A request belongs to one thread at a time; there are as many as threads ever asked at once."""
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._network.create_infer_request()


Builder = Callable[[bytes, int, tuple[int, ...]], Engine]
"""(ONNX, threads, input shape) → a ready engine. Raises whatever the library raises when it cannot run this network."""


def _on_gpu(provider: str) -> Builder:
    return lambda data, threads, _shape: OnnxRuntimeEngine(data, threads, (provider, "CUDAExecutionProvider", _ON_PROCESSOR))


BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        ONNX_RUNTIME: lambda data, threads, _shape: OnnxRuntimeEngine(data, threads),
        "openvino": OpenVinoEngine,
        "openvino-bf16": partial(OpenVinoEngine, precision="bf16"),
        "cuda": _on_gpu("CUDAExecutionProvider"),
        "tensorrt": _on_gpu("TensorrtExecutionProvider"),
    }
)


GAIN_BY_BATCHES = frozenset({"cuda", "tensorrt"})
"""Engines that take several photos in one pass in less time than one by one. On a processor a pass of one has every core at work."""

BY_NAME_ALONE: frozenset[Literal["openvino-bf16"]] = frozenset({"openvino-bf16"})
"""Never chosen by measuring: on 551 photos one box in twenty moved by more than a hundredth of score or of its place, at the same mAP@0.5."""


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
