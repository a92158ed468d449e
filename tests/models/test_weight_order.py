"""Weights under other names: what is matched with what, and what is refused as ambiguous."""

from __future__ import annotations

import pytest

from tenfold.models.weight_order import NotMatchedError, Shapes, matched

NETWORK = {
    "body.0.weight": (4, 1, 3, 3),
    "body.0.bias": (4,),
    "body.2.weight": (4, 4, 3, 3),
    "body.2.bias": (4,),
    "head.weight": (10, 64),
    "head.bias": (10,),
}
HEAD = ("head.weight", "head.bias")
NAMES = ("c1.weight", "c1.bias", "c2.weight", "c2.bias", "fc.weight", "fc.bias")
FOUND = dict(zip(NAMES, NETWORK.values(), strict=True))
ALL = dict(zip(NAMES, NETWORK, strict=True))


def match(found: Shapes, wanted: Shapes = NETWORK, *, keeps_order: bool = True) -> dict[str, str]:
    return matched(wanted, found, last=HEAD, keeps_order=keeps_order)


def test_by_order() -> None:
    assert match(FOUND) == ALL


def test_the_last_layer_may_have_other_rows_or_be_missing() -> None:
    other = FOUND | {"fc.weight": (7, 64), "fc.bias": (7,)}
    assert match(other) == ALL
    body = {name: FOUND[name] for name in NAMES[:4]}
    assert match(body) == {name: ALL[name] for name in NAMES[:4]}


def test_counts_of_batches_may_be_missing_and_are_matched_in_order() -> None:
    counted = {"n.weight": (4,), "n.num_batches_tracked": (), **NETWORK}
    assert match({"bn.weight": (4,), **FOUND}, counted) == {"bn.weight": "n.weight", **ALL}
    found = {"bn.weight": (4,), "bn.seen": (), **FOUND}
    assert match(found, counted)["bn.seen"] == "n.num_batches_tracked"
    with pytest.raises(NotMatchedError, match="the file has 1 single number, the network 0"):
        match({**FOUND, "step": ()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": (3,)}, "the file has 7 tensors, the network 6"),
        (
            {"c2.weight": (4, 4, 5, 5)},
            r"in order, c2.weight \[4, 4, 5, 5\] of the file meets body.2.weight \[4, 4, 3, 3\]",
        ),
    ],
)
def test_what_does_not_fit(change: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(NotMatchedError, match=message):
        match({**FOUND, **change})


def test_where_the_order_is_another_only_different_shapes_are_matched() -> None:
    backwards = dict(reversed(FOUND.items()))
    with pytest.raises(NotMatchedError, match=r"body.0.bias, body.2.bias are all \[4\]"):
        match(backwards)
    few = {"body.0.weight": (4, 1, 3, 3), "head.weight": (10, 64), "head.bias": (10,)}
    found = {"fc.bias": (10,), "fc.weight": (10, 64), "c.weight": (4, 1, 3, 3)}
    wanted = {"c.weight": "body.0.weight", "fc.weight": "head.weight", "fc.bias": "head.bias"}
    assert match(found, few) == wanted
    assert match(found, few, keeps_order=False) == wanted
    others = {**found, "fc.bias": (7,), "fc.weight": (7, 64)}
    assert match(others, few, keeps_order=False) == wanted


def test_an_order_that_means_nothing_is_not_used() -> None:
    with pytest.raises(NotMatchedError, match=r"tell them apart: body\.0\.bias, body"):
        match(FOUND, keeps_order=False)


def test_names_that_contradict_the_order() -> None:
    """All of these shapes are the same, so that the order alone would decide."""
    network = {"a.weight": (4,), "a.bias": (4,), "b.weight": (4,), "b.bias": (4,)}
    for found in (
        ("x.bias", "x.weight", "y.weight", "y.bias"),
        ("x.weight", "x.bias", "a.weight", "z"),
    ):
        with pytest.raises(NotMatchedError, match="shapes do not tell them apart"):
            matched(network, dict.fromkeys(found, (4,)), last=(), keeps_order=True)
    wrong = {"x.bias": (3, 2), "x.weight": (3,)}
    with pytest.raises(NotMatchedError, match="but their names say otherwise"):
        matched({"w.weight": (3, 2), "w.bias": (3,)}, wrong, last=(), keeps_order=True)
