"""What runs the network. ONNX Runtime is always there and is the measure of the others; what else is installed may be faster.

An engine is safe to use from many threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeVar

import onnxruntime
from numpy.typing import NDArray

__all__ = ["BUILDERS", "BY_NAME_ALONE", "GAIN_BY_BATCHES", "ONNX_RUNTIME", "Engine", "OnnxRuntimeEngine", "OpenVinoEngine", "installed_engines"]

ONNX_RUNTIME: Final = "onnxruntime"

_SILENT = 4

T = TypeVar("T")


class Engine(Protocol):
    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        """One pass of `tensor` (photos × 3 × height × width). `read` gets the output; after it the memory is the engine's own again."""
        ...


class OnnxRuntimeEngine:
    """On the processor, or on an NVIDIA GPU by CUDA or TensorRT where `onnxruntime-gpu` is installed."""

    def __init__(self, data: bytes, threads: int, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        self.session = onnxruntime.InferenceSession(data, options, providers=list(providers), enable_fallback=0)
        if (runs_on := self.session.get_providers()[0]) != providers[0]:
            # ONNX Runtime takes the next one without a word to the caller where a driver or a library is missing.
            raise RuntimeError(f"{providers[0]} does not start here; ONNX Runtime would take {runs_on}")
        self._input = next((place.name for place in self.session.get_inputs()), "")

    def run(self, tensor: NDArray[Any], read: Callable[[NDArray[Any]], T]) -> T:
        return read(self.session.run(None, {self._input: tensor})[0])


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
    return lambda data, threads, _shape: OnnxRuntimeEngine(data, threads, (provider, "CUDAExecutionProvider", "CPUExecutionProvider"))


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

BY_NAME_ALONE = frozenset({"openvino-bf16"})
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
