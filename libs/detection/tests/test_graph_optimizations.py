"""Graph optimisations: equal outputs of optimised graphs, and graphs that stay unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

from libs.detection.tests.tiny_models import METADATA
from savo_detection.graph_optimizations import optimized_graph

RNG = np.random.default_rng(5)

BLOCK = """
    joint = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, filters, bias)
    open = Sigmoid(joint)
    active = Mul(joint, open)
    left, right = Split<axis=1>(active, sizes)
    y = Concat<axis=1>(right, left)
"""
BLOCK_CONSTANTS = {"filters": RNG.normal(size=(8, 4, 3, 3)), "bias": RNG.normal(size=8), "sizes": np.asarray([3, 5])}

NECK = """
    features = Conv(x, kernel)
    fine = Relu(features)
    coarse = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(fine)
    enlarged = Resize<
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    >(coarse, , scales)
    both = Concat<axis=1>(enlarged, fine)
    y = Conv(both, mixing, bias)
"""
NECK_CONSTANTS = {
    "kernel": RNG.normal(size=(5, 4, 1, 1)),
    "scales": np.asarray([1, 1, 2, 2]),
    "mixing": RNG.normal(size=(6, 10, 1, 1)),
    "bias": RNG.normal(size=6),
}

HEAD = """
    probabilities = Softmax<axis=1>(x)
    y = Conv(probabilities, distances)
"""
HEAD_CONSTANTS = {"distances": np.arange(4).reshape(1, 4, 1, 1)}

PARTS = {"block": (BLOCK, BLOCK_CONSTANTS), "neck": (NECK, NECK_CONSTANTS), "head": (HEAD, HEAD_CONSTANTS)}


def network(
    text: str,
    constants: Mapping[str, NDArray[Any]],
    *,
    inputs: str = "float[1, 4, H, W] x",
    outputs: str = "float[N, C, H, W] y",
    opset: int = 17,
) -> bytes:
    """An ONNX file of these nodes. Constants are float32, except `sizes`."""
    model = parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}, "other" : 1]> made ({inputs}) => ({outputs}) {{ {text} }}'
    )
    for name, value in constants.items():
        model.graph.initializer.append(
            numpy_helper.from_array(value.astype(np.int64 if name == "sizes" else np.float32), name)
        )
    helper.set_model_props(model, METADATA)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def operators(data: bytes) -> Counter[str]:
    """Number of nodes by operator."""
    return Counter(node.op_type for node in onnx.load_model_from_string(data).graph.node)


def outputs_of(data: bytes, picture: NDArray[Any]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, {"x": picture})
    return found


def picture(height: int = 6, width: int = 10, spread: float = 3) -> NDArray[Any]:
    return np.random.default_rng(height).normal(scale=spread, size=(1, 4, height, width)).astype(np.float32)


def optimized_with_same_outputs(data: bytes, *pictures: NDArray[Any]) -> bytes:
    """The optimised file, after a check of its outputs."""
    optimized = optimized_graph(data)
    assert optimized is not None
    for example in pictures or (picture(), picture(8, 2)):
        for before, after in zip(outputs_of(data, example), outputs_of(optimized, example), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    return optimized


def test_a_split_convolution_becomes_two_convolutions() -> None:
    optimized = optimized_with_same_outputs(network(BLOCK, BLOCK_CONSTANTS))
    assert operators(optimized) == {"Conv": 2, "Sigmoid": 2, "Mul": 2, "Concat": 1}


def test_a_convolution_without_bias_is_divided_into_three_parts() -> None:
    text = (
        BLOCK.replace(", bias)", ")")
        .replace("left, right", "left, middle, right")
        .replace("(right, left)", "(right, left, middle)")
    )
    optimized = optimized_with_same_outputs(
        network(text, {"filters": BLOCK_CONSTANTS["filters"], "sizes": np.asarray([1, 5, 2])})
    )
    assert operators(optimized)["Split"] == 0


def test_a_small_map_is_convolved_before_it_is_upscaled() -> None:
    optimized = optimized_with_same_outputs(network(NECK, NECK_CONSTANTS))
    assert operators(optimized) == {"MaxPool": 1, "Relu": 1, "Conv": 3, "Resize": 1, "Add": 1}
    sizes = {tuple(constant.dims) for constant in onnx.load_model_from_string(optimized).graph.initializer}
    assert sizes == {(5, 4, 1, 1), (4,), (6, 5, 1, 1), (6,)}


def test_the_order_of_the_two_maps_does_not_matter() -> None:
    text = NECK.replace("(enlarged, fine)", "(fine, enlarged)")
    assert operators(optimized_with_same_outputs(network(text, NECK_CONSTANTS)))["Concat"] == 0


def test_both_optimisations_apply_to_the_same_convolution() -> None:
    text = NECK.replace("y = Conv", "joint = Conv") + BLOCK[BLOCK.index("open") :]
    optimized = optimized_with_same_outputs(network(text, {**NECK_CONSTANTS, "sizes": np.asarray([2, 4])}))
    assert operators(optimized) == {
        "MaxPool": 1,
        "Relu": 1,
        "Conv": 5,
        "Resize": 2,
        "Add": 2,
        "Sigmoid": 2,
        "Mul": 2,
        "Concat": 1,
    }


@pytest.mark.parametrize("spread", [0.01, 3, 100, 1e30])
@pytest.mark.parametrize("opset", [13, 17, 18, 20])
def test_the_mean_of_a_softmax_becomes_a_quotient_of_sums(spread: float, opset: int) -> None:
    optimized = optimized_with_same_outputs(
        network(HEAD, HEAD_CONSTANTS, opset=opset), picture(spread=spread), picture(spread=spread) - 200
    )
    assert operators(optimized) == {"ReduceMax": 1, "Sub": 1, "Exp": 1, "Conv": 1, "Split": 1, "Div": 1}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinite_and_nan_inputs_give_nan(value: float) -> None:
    example = picture()
    example[:, :, 0] = value
    (mean,) = outputs_of(optimized_with_same_outputs(network(HEAD, HEAD_CONSTANTS), example), example)
    assert np.isnan(mean[:, :, 0]).all()
    assert np.isfinite(mean[:, :, 1:]).all()


def test_constants_can_be_nodes() -> None:
    text = "sizes = Constant<value = int64[2] {3, 5}>()" + BLOCK
    optimized = optimized_with_same_outputs(
        network(text, {name: BLOCK_CONSTANTS[name] for name in ("filters", "bias")})
    )
    assert operators(optimized)["Split"] == 0


def test_metadata_inputs_and_outputs_are_kept() -> None:
    data = network(BLOCK, BLOCK_CONSTANTS)
    optimized = onnx.load_model_from_string(optimized_graph(data) or b"")
    before = onnx.load_model_from_string(data)
    assert (optimized.metadata_props, optimized.graph.input, optimized.graph.output) == (
        before.metadata_props,
        before.graph.input,
        before.graph.output,
    )


@pytest.mark.parametrize("part", PARTS)
def test_an_optimised_graph_is_not_changed_again(part: str) -> None:
    assert optimized_graph(optimized_graph(network(*PARTS[part])) or b"") is None


Case = tuple[str, dict[str, str], dict[str, NDArray[Any]]]
"""A part, text replacements in it, and other constants."""

UNSUPPORTED: dict[str, Case] = {
    "grouped filters": (
        "block",
        {"kernel_shape": "group=2, kernel_shape"},
        {"filters": np.ones((8, 2, 3, 3))},
    ),
    "computed filters": ("block", {"joint =": "made = Relu(filters) joint =", "(x, filters": "(x, made"}, {}),
    "another activation": ("block", {"Mul(joint, open)": "Mul(joint, joint)"}, {}),
    "a sigmoid of another tensor": (
        "block",
        {"Mul(joint, open)": "Mul(other, open)"},
        {"other": np.ones((1, 8, 1, 1))},
    ),
    "the unsplit tensor is used": ("block", {"(right, left)": "(right, left, active)"}, {}),
    "the convolution's output is used": ("block", {"(right, left)": "(right, left, joint)"}, {}),
    "the sigmoid's output is used": ("block", {"(right, left)": "(right, left, open)"}, {}),
    "another library's Split": ("block", {"Split<": "other.Split<"}, {}),
    "split by rows": ("block", {"axis=1>(active": "axis=2>(active"}, {"sizes": np.asarray([2, 4])}),
    "upscaled with linear interpolation": ("neck", {'"nearest", c': '"linear", c'}, {}),
    "upscaled to a size": ("neck", {"enlarged =": "size = Shape(fine) enlarged =", ", , scales": ", , , size"}, {}),
    "upscaled with a border": (
        "neck",
        {", , scales": ", around, scales"},
        {"around": np.asarray([0, 0, -0.5, -0.5, 1, 1, 0.5, 0.5])},
    ),
    "channels upscaled": (
        "neck",
        {},
        {"scales": np.asarray([1, 2, 2, 2]), "mixing": np.ones((6, 15, 1, 1))},
    ),
    "concatenated by rows": ("neck", {"axis=1>(enlarged": "axis=2>(enlarged"}, {"mixing": np.ones((6, 5, 1, 1))}),
    "filters of 3 × 3": (
        "neck",
        {"Conv(both": "Conv<pads=[1, 1, 1, 1]>(both"},
        {"mixing": np.ones((6, 10, 3, 3))},
    ),
    "grouped 1 × 1 filters": ("neck", {"Conv(both": "Conv<group=2>(both"}, {"mixing": np.ones((6, 5, 1, 1))}),
    "1 × 1 filters with padding": ("neck", {"Conv(both": "Conv<pads=[1, 1, 1, 1]>(both"}, {}),
    "1 × 1 filters with stride 2": ("neck", {"Conv(both": "Conv<strides=[2, 2]>(both"}, {}),
    "three maps": ("neck", {"(enlarged, fine)": "(enlarged, fine, enlarged)"}, {"mixing": np.ones((6, 15, 1, 1))}),
    "an unknown number of channels": (
        "neck",
        {"Conv(x, kernel)": "Conv(x, made)", "features =": "made = Relu(kernel) features ="},
        {},
    ),
    "maps from an unknown operator": ("neck", {"fine = Relu": "fine = Selu"}, {}),
    "the concatenated maps are used": ("neck", {"y =": "other = Relu(both) y ="}, {}),
    "a softmax over rows": ("head", {"axis=1": "axis=2"}, {}),
    "the softmax's output is used before": ("head", {"y =": "other = Relu(probabilities) y ="}, {}),
    "the softmax's output is used after": (
        "head",
        {"Conv(probabilities, distances)": "Conv(probabilities, distances) other = Relu(probabilities)"},
        {},
    ),
    "a mean with a bias": ("head", {"distances)": "distances, one)"}, {"one": np.ones(1)}),
    "two means": ("head", {}, {"distances": np.ones((2, 4, 1, 1))}),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_other_graphs_stay_unchanged(case: str) -> None:
    part, changes, others = UNSUPPORTED[case]
    text, constants = PARTS[part]
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert optimized_graph(network(text, {**constants, **others})) is None


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ("block", "active"),
        ("block", "joint"),
        ("block", "open"),
        ("neck", "both"),
        ("neck", "enlarged"),
        ("head", "probabilities"),
    ],
)
def test_outputs_of_the_network_are_kept(part: str, kept: str) -> None:
    assert optimized_graph(network(*PARTS[part], outputs=f"float[N, C, H, W] y, float[N, D, H, W] {kept}")) is None


def test_an_existing_tensor_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="its graph already has a tensor 'left/weight'"):
        optimized_graph(network(BLOCK, {**BLOCK_CONSTANTS, "left/weight": np.ones(1)}))


def test_constants_of_nested_graphs_are_kept() -> None:
    then_branch, else_branch = (
        f"g{name} () => (float[N, C, H, W] {name}) {{ {name} = {kind}(z, much) }}"
        for name, kind in (("a", "Mul"), ("b", "Add"))
    )
    text = (
        BLOCK.replace("y =", "z =")
        + f"yes = Less(nothing, much) y = If(yes) <then_branch = {then_branch}, else_branch = {else_branch}>"
    )
    optimized = optimized_with_same_outputs(
        network(text, {**BLOCK_CONSTANTS, "nothing": np.zeros(()), "much": np.ones(())})
    )
    assert (operators(optimized)["Split"], operators(optimized)["If"]) == (0, 1)


def test_files_of_older_opsets_stay_unchanged() -> None:
    assert optimized_graph(network(*PARTS["head"], opset=12)) is None
