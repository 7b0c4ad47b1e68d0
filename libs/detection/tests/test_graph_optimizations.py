"""An optimised graph answers as before; a graph that is built in another way stays as it is."""

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

DRAW = np.random.default_rng(5)

BLOCK = """
    joint = Conv<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x, filters, bias)
    open = Sigmoid(joint)
    active = Mul(joint, open)
    left, right = Split<axis=1>(active, sizes)
    y = Concat<axis=1>(right, left)
"""
BLOCK_CONSTANTS = {"filters": DRAW.normal(size=(8, 4, 3, 3)), "bias": DRAW.normal(size=8), "sizes": np.asarray([3, 5])}

NECK = """
    seen = Conv(x, seeing)
    fine = Relu(seen)
    coarse = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(fine)
    enlarged = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(coarse, , scales)
    both = Concat<axis=1>(enlarged, fine)
    y = Conv(both, mixing, bias)
"""
NECK_CONSTANTS = {
    "seeing": DRAW.normal(size=(5, 4, 1, 1)),
    "scales": np.asarray([1, 1, 2, 2]),
    "mixing": DRAW.normal(size=(6, 10, 1, 1)),
    "bias": DRAW.normal(size=6),
}

HEAD = """
    chances = Softmax<axis=1>(x)
    y = Conv(chances, distances)
"""
HEAD_CONSTANTS = {"distances": np.arange(4).reshape(1, 4, 1, 1)}

PARTS = {"block": (BLOCK, BLOCK_CONSTANTS), "neck": (NECK, NECK_CONSTANTS), "head": (HEAD, HEAD_CONSTANTS)}


def network(
    text: str,
    constants: Mapping[str, NDArray[Any]],
    *,
    sees: str = "float[1, 4, H, W] x",
    answers: str = "float[N, C, H, W] y",
    opset: int = 17,
) -> bytes:
    """A file of these steps. Constants are float32, but for sizes."""
    model = parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}, "other" : 1]> made ({sees}) => ({answers}) {{ {text} }}'
    )
    for name, value in constants.items():
        model.graph.initializer.append(
            numpy_helper.from_array(value.astype(np.int64 if name == "sizes" else np.float32), name)
        )
    helper.set_model_props(model, METADATA)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def steps(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(data).graph.node)


def answers_of(data: bytes, picture: NDArray[Any]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, {"x": picture})
    return found


def picture(height: int = 6, width: int = 10, spread: float = 3) -> NDArray[Any]:
    return np.random.default_rng(height).normal(scale=spread, size=(1, 4, height, width)).astype(np.float32)


def same_when_optimized(data: bytes, *pictures: NDArray[Any]) -> bytes:
    short = optimized_graph(data)
    assert short is not None
    for each in pictures or (picture(), picture(8, 2)):
        for before, after in zip(answers_of(data, each), answers_of(short, each), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    return short


def test_halves_are_made_apart_and_not_split() -> None:
    short = same_when_optimized(network(BLOCK, BLOCK_CONSTANTS))
    assert steps(short) == {"Conv": 2, "Sigmoid": 2, "Mul": 2, "Concat": 1}


def test_without_a_bias_and_into_three_parts_as_well() -> None:
    text = (
        BLOCK.replace(", bias)", ")")
        .replace("left, right", "left, middle, right")
        .replace("(right, left)", "(right, left, middle)")
    )
    short = same_when_optimized(network(text, {"filters": BLOCK_CONSTANTS["filters"], "sizes": np.asarray([1, 5, 2])}))
    assert steps(short)["Split"] == 0


def test_a_small_map_is_mixed_before_it_is_enlarged() -> None:
    short = same_when_optimized(network(NECK, NECK_CONSTANTS))
    assert steps(short) == {"MaxPool": 1, "Relu": 1, "Conv": 3, "Resize": 1, "Add": 1}
    sizes = {tuple(constant.dims) for constant in onnx.load_model_from_string(short).graph.initializer}
    assert sizes == {(5, 4, 1, 1), (4,), (6, 5, 1, 1), (6,)}


def test_whichever_of_the_two_maps_is_named_first() -> None:
    text = NECK.replace("(enlarged, fine)", "(fine, enlarged)")
    assert steps(same_when_optimized(network(text, NECK_CONSTANTS)))["Concat"] == 0


def test_halves_of_what_is_mixed_are_made_apart_too() -> None:
    text = NECK.replace("y = Conv", "joint = Conv") + BLOCK[BLOCK.index("open") :]
    short = same_when_optimized(network(text, {**NECK_CONSTANTS, "sizes": np.asarray([2, 4])}))
    assert steps(short) == {
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
def test_the_mean_of_a_distribution_is_two_sums(spread: float, opset: int) -> None:
    short = same_when_optimized(
        network(HEAD, HEAD_CONSTANTS, opset=opset), picture(spread=spread), picture(spread=spread) - 200
    )
    assert steps(short) == {"ReduceMax": 1, "Sub": 1, "Exp": 1, "Conv": 1, "Split": 1, "Div": 1}


@pytest.mark.parametrize("absurd", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_does_not_become_one(absurd: float) -> None:
    seen = picture()
    seen[:, :, 0] = absurd
    (mean,) = answers_of(same_when_optimized(network(HEAD, HEAD_CONSTANTS), seen), seen)
    assert np.isnan(mean[:, :, 0]).all()
    assert np.isfinite(mean[:, :, 1:]).all()


def test_constants_may_be_steps() -> None:
    text = "sizes = Constant<value = int64[2] {3, 5}>()" + BLOCK
    short = same_when_optimized(network(text, {name: BLOCK_CONSTANTS[name] for name in ("filters", "bias")}))
    assert steps(short)["Split"] == 0


def test_what_the_file_says_of_itself_stays() -> None:
    data = network(BLOCK, BLOCK_CONSTANTS)
    short = onnx.load_model_from_string(optimized_graph(data) or b"")
    before = onnx.load_model_from_string(data)
    assert (short.metadata_props, short.graph.input, short.graph.output) == (
        before.metadata_props,
        before.graph.input,
        before.graph.output,
    )


@pytest.mark.parametrize("part", PARTS)
def test_once_is_enough(part: str) -> None:
    assert optimized_graph(optimized_graph(network(*PARTS[part])) or b"") is None


Case = tuple[str, dict[str, str], dict[str, NDArray[Any]]]
"""A part, what is written otherwise in it, and other constants."""

OTHERWISE: dict[str, Case] = {
    "filters that see some channels alone": (
        "block",
        {"kernel_shape": "group=2, kernel_shape"},
        {"filters": np.ones((8, 2, 3, 3))},
    ),
    "filters that are computed": ("block", {"joint =": "made = Relu(filters) joint =", "(x, filters": "(x, made"}, {}),
    "another activation": ("block", {"Mul(joint, open)": "Mul(joint, joint)"}, {}),
    "a gate over something else": ("block", {"Mul(joint, open)": "Mul(other, open)"}, {"other": np.ones((1, 8, 1, 1))}),
    "halves and the whole": ("block", {"(right, left)": "(right, left, active)"}, {}),
    "halves and what comes before": ("block", {"(right, left)": "(right, left, joint)"}, {}),
    "a gate that is of use itself": ("block", {"(right, left)": "(right, left, open)"}, {}),
    "another library's Split": ("block", {"Split<": "other.Split<"}, {}),
    "split by rows": ("block", {"axis=1>(active": "axis=2>(active"}, {"sizes": np.asarray([2, 4])}),
    "enlarged by new values": ("neck", {'"nearest", c': '"linear", c'}, {}),
    "enlarged to a size": ("neck", {"enlarged =": "size = Shape(fine) enlarged =", ", , scales": ", , , size"}, {}),
    "enlarged with something around": (
        "neck",
        {", , scales": ", around, scales"},
        {"around": np.asarray([0, 0, -0.5, -0.5, 1, 1, 0.5, 0.5])},
    ),
    "channels that are repeated as well": (
        "neck",
        {},
        {"scales": np.asarray([1, 2, 2, 2]), "mixing": np.ones((6, 15, 1, 1))},
    ),
    "joined by rows": ("neck", {"axis=1>(enlarged": "axis=2>(enlarged"}, {"mixing": np.ones((6, 5, 1, 1))}),
    "filters that look around": (
        "neck",
        {"Conv(both": "Conv<pads=[1, 1, 1, 1]>(both"},
        {"mixing": np.ones((6, 10, 3, 3))},
    ),
    "mixing in groups": ("neck", {"Conv(both": "Conv<group=2>(both"}, {"mixing": np.ones((6, 5, 1, 1))}),
    "mixing that adds a border": ("neck", {"Conv(both": "Conv<pads=[1, 1, 1, 1]>(both"}, {}),
    "mixing that leaves pixels out": ("neck", {"Conv(both": "Conv<strides=[2, 2]>(both"}, {}),
    "three maps": ("neck", {"(enlarged, fine)": "(enlarged, fine, enlarged)"}, {"mixing": np.ones((6, 15, 1, 1))}),
    "maps of so many channels that nobody knows": (
        "neck",
        {"Conv(x, seeing)": "Conv(x, made)", "seen =": "made = Relu(seeing) seen ="},
        {},
    ),
    "maps that are made in a way not known here": ("neck", {"fine = Relu": "fine = Selu"}, {}),
    "joined maps that are of use themselves": ("neck", {"y =": "other = Relu(both) y ="}, {}),
    "a distribution over rows": ("head", {"axis=1": "axis=2"}, {}),
    "chances that are of use themselves": ("head", {"y =": "other = Relu(chances) y ="}, {}),
    "chances that are of use themselves, later": (
        "head",
        {"Conv(chances, distances)": "Conv(chances, distances) other = Relu(chances)"},
        {},
    ),
    "a mean and something": ("head", {"distances)": "distances, one)"}, {"one": np.ones(1)}),
    "two means": ("head", {}, {"distances": np.ones((2, 4, 1, 1))}),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_is_built_in_another_way_stays_whole(case: str) -> None:
    part, changes, others = OTHERWISE[case]
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
        ("head", "chances"),
    ],
)
def test_what_the_network_answers_with_stays(part: str, kept: str) -> None:
    assert optimized_graph(network(*PARTS[part], answers=f"float[N, C, H, W] y, float[N, D, H, W] {kept}")) is None


def test_a_name_that_is_taken_is_no_place_for_something_else() -> None:
    with pytest.raises(ValueError, match="it has a tensor 'left/weight' already"):
        optimized_graph(network(BLOCK, {**BLOCK_CONSTANTS, "left/weight": np.ones(1)}))


def test_constants_that_a_step_within_a_step_reads_stay() -> None:
    one, other = (
        f"g{name} () => (float[N, C, H, W] {name}) {{ {name} = {kind}(z, much) }}"
        for name, kind in (("a", "Mul"), ("b", "Add"))
    )
    text = (
        BLOCK.replace("y =", "z =")
        + f"yes = Less(nothing, much) y = If(yes) <then_branch = {one}, else_branch = {other}>"
    )
    short = same_when_optimized(network(text, {**BLOCK_CONSTANTS, "nothing": np.zeros(()), "much": np.ones(())}))
    assert (steps(short)["Split"], steps(short)["If"]) == (0, 1)


def test_older_files_mean_other_things_by_the_same_names() -> None:
    assert optimized_graph(network(*PARTS["head"], opset=12)) is None
