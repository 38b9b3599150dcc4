"""Files as Hypothesis strategies: those that deeplim writes and reads, whole, damaged, and made up."""

import io
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from deeplim.array_files import sealed
from deeplim.testing.strategies import activations, networks, paths

_NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"1e999",
    b"nan",
    b"-",
    b"{",
    b"\r\n",
    b"\xef\xbb\xbf",
]


@st.composite
def damaged(draw: DrawFn, whole: SearchStrategy[bytes]) -> bytes:
    """Return such bytes after some of: bits flipped, a part cut out, doubled, or overwritten, the end cut off."""
    found = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(found) - 1, 0)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["flip", "cut", "double", "write", "end"]))
        if kind == "flip" and found:
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del found[at : at + length]
        elif kind == "double":
            found[at:at] = found[at : at + length]
        elif kind == "write":
            new = draw(st.sampled_from(_NUMBERS) | st.binary(max_size=8))
            found[at : at + len(new)] = new
        elif kind == "end":
            del found[at:]
    return bytes(found)


@st.composite
def archives(draw: DrawFn) -> bytes:
    """Return .npz files as ``Paths.save`` writes them, with a right digest, in which some arrays are others."""
    fields = _fields(draw(paths()))
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*sorted(fields), "layer_names", "features", "more"]))
        if draw(st.booleans()):
            fields.pop(name, None)
        else:
            fields[name] = draw(st.sampled_from(_ARRAYS))
    into = io.BytesIO()
    np.savez_compressed(into, **sealed(fields))  # type: ignore[arg-type]
    return into.getvalue()


_ARRAYS: list[np.ndarray] = [
    np.zeros((2, 3, 1)),
    np.zeros((0, 1, 1)),
    np.full((1, 1, 1), np.nan),
    np.array(-1),
    np.array(2**62),
    np.array("layer"),
    np.array("\ud7ff\0"),
    np.array(["a", "b"]),
    np.zeros((1, 1), dtype=bool),
    np.array([0.0, 0.0]),
    np.array([np.inf]),
    np.array(1j),
    np.zeros(3, dtype=">f8"),
    np.array([b"x"]),
]


def _fields(of: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in vars(of).items() if value is not None}


@st.composite
def _tables(draw: DrawFn) -> np.ndarray:
    shape = draw(st.sampled_from([(2, 3), (1, 1), (3,), (2, 2, 2), (0, 3), ()]))
    kind = draw(st.sampled_from(["f8", "f4", "f2", "i8", "u1", "?", ">f8", "U3", "c16"]))
    return np.random.default_rng(draw(st.integers(0, 99))).integers(-3, 9, shape).astype(kind)


def _saved(table: np.ndarray) -> bytes:
    into = io.BytesIO()
    np.save(into, table)
    return into.getvalue()


def _csv() -> SearchStrategy[bytes]:
    cells = st.sampled_from(
        ["1", "-2.5", "1e3", "", "x", "nan", "inf", "1e999", '"2"', " 3 ", "0x1", "1_000", "é", "#"]
    )
    rows = st.lists(st.lists(cells, min_size=1, max_size=4).map(",".join), max_size=5)
    return st.tuples(rows, st.sampled_from(["\n", "\r\n", "\n\n"])).map(lambda one: one[1].join(one[0]).encode())


def files() -> SearchStrategy[tuple[str, bytes]]:
    """Return names and bytes of files that deeplim reads, .npz, .npy, .csv and .json: whole, damaged and made up."""
    whole: dict[str, SearchStrategy[bytes]] = {
        "x.npz": archives(),
        "x.npy": _tables().map(_saved),
        "x.csv": _csv(),
        "x.json": networks(activations()).map(lambda network: network.to_json().encode()),
    }
    named = [st.tuples(st.just(name), one | damaged(one) | st.binary(max_size=64)) for name, one in whole.items()]
    return st.one_of(named)
