"""What a PyTorch model does to its input, step by step: seen by running it once, so that Python code counts too.

Every function of tensors that the model calls is met on the way (a ``TorchFunctionMode``), whether a module calls it,
``F.relu``, or ``x.relu()``. Multiplications by constants are not steps: they are carried along as factors.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from deeplim.probe.torch_activations import Key, activation_key, shaped_key
from deeplim.probe.torch_hooks import first_floating, kept_as_it_was
from deeplim.probe.torch_states import version_of

Kind = Literal["input", "linear", "activation", "normalization", "sum", "other"]
_PASS = {
    *("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "to", "float", "double"),
    *("data", "type", "type_as", "bfloat16", "half", "requires_grad", "view_as", "reshape_as", "ravel", "unflatten"),
}
_WORDS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "is a convolution"),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), "concatenates signals"),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), "is attention"),
    **dict.fromkeys(("softmax", "bmm", "einsum"), "applies {} to the signal, as attention does"),
    **dict.fromkeys(("mul", "multiply"), "multiplies two signals, a gate"),
    "matmul": "multiplies two signals as matrices, as attention does",
    "embedding": "looks up embeddings",
    **dict.fromkeys(("dropout", "alpha_dropout"), "drops entries in evaluation mode too"),
    **dict.fromkeys(("add", "sub", "radd", "rsub"), "adds a constant to the signal"),
    **dict.fromkeys(("getitem", "chunk", "split", "unbind", "narrow"), "takes a part of the signal"),
    **dict.fromkeys(("mean", "sum", "max", "amax", "avg_pool1d", "max_pool1d"), "pools the signal"),
}


@dataclass(frozen=True, eq=False)
class Step:
    """One step: what it is, in which module's forward, by which function of tensors, and what it acts on.

    whole: whether the module has none inside and so is this step. weight and bias are those of a linear step, tensors
    (or None); ``what`` is the key of an activation, the word of a normalization, or why a step is not deeplim's.
    """

    kind: Kind
    module: str
    function: str = ""
    of: tuple["Value", ...] = ()
    whole: bool = False
    what: Any = None
    weight: Any = None
    bias: Any = None

    @property
    def name(self) -> str:
        """The step in words: its module's name, or its function in a module or in the model's own forward."""
        if self.kind == "input":
            return "the input"
        where = self.module or "the model's forward"
        return where if self.whole or (self.kind == "sum" and self.module) else f"{self.function} in {where}"


class Value(NamedTuple):
    """``factor`` times what a step gives."""

    step: Step
    factor: float


class Trace(NamedTuple):
    """What a model gives, and what its modules do in the order of execution; where there is dropout; what it was given.

    points: what functions in modules give, by module.function, the second time module.function#2; modules of that name
    are in ``deeplim.probe.observable(model)``.
    """

    output: Value
    recorded: dict[str, Value]
    points: dict[str, Value]
    dropouts: tuple[str, ...]
    given: tuple[str, ...]


def follow(model: nn.Module, *args: Any, **kwargs: Any) -> Trace | None:
    """Run the model on a batch as the probe does, and return its steps; None when what it gives was not followed.

    All tensors given are one input, whose value is that step's.
    """
    steps = _Follow(model, _tensors((*args, *kwargs.values())))
    hooks: list[Any] = []
    try:
        for name, module in model.named_modules():
            hooks.append(module.register_forward_pre_hook(steps.entering(name)))
            hooks.append(module.register_forward_hook(steps.leaving(name)))
        # in inference mode tensors would not tell whether they are changed in place
        with kept_as_it_was(model), torch.inference_mode(False), torch.no_grad(), steps:
            result = model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    value = steps.value(first_floating(result))
    given = {str(i): x for i, x in enumerate(args)} | kwargs
    tensors = tuple(name for name, x in given.items() if isinstance(x, torch.Tensor))
    return None if value is None else Trace(value, steps.recorded, steps.points, tuple(steps.dropouts), tensors)


def comes_from(step: Step, earlier: Step, order: Mapping[Step, int]) -> bool:
    """Return whether a step is computed from an earlier one, or is it; order: places, each after those it acts on."""
    seen, waiting = set(), [step]
    while waiting:
        step = waiting.pop()
        if step is earlier:
            return True
        if step not in seen and order[step] > order[earlier]:
            seen.add(step)
            waiting += [value.step for value in step.of]
    return False


def uniform(tensor: Any) -> float | None:
    """Return the number that all entries of a tensor, or a number itself, are; None when they differ."""
    if isinstance(tensor, int | float):
        return float(tensor)
    if not isinstance(tensor, torch.Tensor) or not tensor.numel():
        return None
    first = tensor.reshape(-1)[0]
    if not bool((tensor == first).all()):
        return None
    # 0.3 in single precision is meant to be 0.3.
    return float(f"{float(first):.7g}") if tensor.dtype == torch.float32 else float(first)


def function_name(function: Any) -> str:
    """Return the name of a function of tensors: relu for F.relu, torch.relu_ and x.relu() alike."""
    name = str(getattr(function, "__name__", function)).strip("_")
    return str(getattr(function.__self__, "__name__", name)) if name == "get" else name  # x.T, x.shape


def has_inside(module: nn.Module) -> bool:
    """Return whether a module has modules inside, or is a model of functions alone, and so is more than one step."""
    inside = any(name != "parametrizations" for name, _ in module.named_children())
    return inside or not type(module).__module__.startswith("torch.nn.")


def point_of(module: nn.Module, function: str) -> str:
    """Return the name, in a module, of the one that observes a function there: the function's where that is free."""
    return f"{function}_" if hasattr(module, function) else function


class _Follow(TorchFunctionMode):
    def __init__(self, model: nn.Module, inputs: list[torch.Tensor]) -> None:
        super().__init__()
        self.values: dict[int, Value] = {}
        # by their memory; kept, for an id names a tensor only while the tensor lives
        self.sharing: defaultdict[int, dict[int, torch.Tensor]] = defaultdict(dict)
        self.inside: list[str] = []
        self.silent = 0
        self.recorded: dict[str, Value] = {}
        self.points: dict[str, Value] = {}
        self.calls: dict[str, int] = {}
        self.function = ""
        self.dropouts: list[str] = []
        self.modules = dict(model.named_modules())
        given = Value(Step("input", ""), 1.0)
        for x in inputs:
            self._keep(x, given)

    def value(self, tensor: Any) -> Value | None:
        return self.values.get(id(tensor)) if isinstance(tensor, torch.Tensor) else None

    def _keep(self, tensor: Any, value: Value) -> None:
        self.values[id(tensor)] = value
        self.sharing[_memory(tensor)][id(tensor)] = tensor

    def entering(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.inside.append(name)
            self.silent += _whole(module) is not None

        return hook

    def leaving(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            whole = _whole(module)
            if whole is not None:
                self.silent -= 1
                given = self.value(args[0]) if args else None
                if given is not None and not self.silent:
                    self._keep(output, self._new(whole[0], (given,), what=whole[1], whole=True))
            self.inside.pop()
            value = self.value(first_floating(output))
            if value is not None:
                self.recorded[self._numbered(name or "output")] = value

        return hook

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        signals = [a for a in _tensors((*args, *kwargs.values())) if id(a) in self.values]
        known = [self.values[id(a)] for a in signals]
        versions = [version_of(a) for a in signals]
        result = function(*args, **kwargs)
        if not known or self.silent:
            return result
        name = self.function = function_name(function)
        for tensor in _tensors((result,)):
            self._keep(tensor, self._step(name, known, args, kwargs))
        if _writes(function):
            self._keep(args[0], self._written(known, "a part of the signal"))
        changed = [a for a, version in zip(signals, versions, strict=True) if version_of(a) != version]
        self._change_views(changed, known, {id(tensor) for tensor in _tensors((result,))})
        if isinstance(result, torch.Tensor) and self.inside and has_inside(self.modules[self.inside[-1]]):
            point = point_of(self.modules[self.inside[-1]], name)
            self.points[self._numbered(f"{self.inside[-1]}.{point}".lstrip("."))] = self.values[id(result)]
        return result

    def _written(self, known: list[Value], where: str) -> Value:
        return self._new("other", tuple(known), what=f"writes into {where}")

    def _change_views(self, changed: list[torch.Tensor], known: list[Value], returned: set[int]) -> None:
        """What shares memory with a tensor that was changed in place is no longer what it was."""
        for tensor in changed:
            for at, view in list(self.sharing[_memory(tensor)].items() if _memory(tensor) else ()):
                if at not in returned:
                    self._keep(view, self._written(known, "memory that it shares with the signal"))

    def _numbered(self, name: str) -> str:
        """The name of a module's output: its second run is name#2."""
        count = self.calls[name] = self.calls.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _new(self, kind: Kind, of: tuple[Value, ...], factor: float = 1.0, whole: bool = False, **fields: Any) -> Value:
        """Another step, in the module that is running."""
        module = self.inside[-1] if self.inside else ""
        whole = whole or not has_inside(self.modules[module])
        return Value(Step(kind, module, self.function, of, whole, **fields), factor)

    def _step(self, name: str, known: list[Value], args: Any, kwargs: Any) -> Value:
        if len(known) == 1:
            value = self._of_one(name, known[0], args, kwargs)
        else:
            value = self._of_two(name, known, args, kwargs)
        if value is None:
            words = _WORDS.get(name, "applies {}, which is no part of a deeplim network").format(name)
            value = self._new("other", tuple(known), what=words)
        return value

    def _of_one(self, name: str, value: Value, args: Any, kwargs: Any) -> Value | None:
        if name in _PASS:
            return value
        if "dropout" in name:
            self.dropouts.append(self.inside[-1] or "the model's forward")
            return None if _argument(args, kwargs, 2, "training") in (None, True) else value
        if name in ("mul", "multiply", "div", "true_divide", "neg", "add", "sub", "radd", "rsub", "rmul"):
            return self._with_constant(name, value, args, kwargs)
        if name == "linear":
            weight, bias = _argument(args, kwargs, 1, "weight"), _argument(args, kwargs, 2, "bias")
            return self._linear(value, weight, bias)
        if name in ("matmul", "mm") and args and self.value(args[0]) is not None:
            other = _argument(args, kwargs, 1, "other")
            return self._linear(value, other.T if other.ndim == 2 else None, None)
        if name in ("layer_norm", "rms_norm", "batch_norm"):
            return self._normalization(name, value, args, kwargs)
        key = activation_key(name, args, kwargs)
        return None if key is None else self._new("activation", (value,), what=key)

    def _with_constant(self, name: str, value: Value, args: Any, kwargs: Any) -> Value | None:
        """x times, over, plus or less a constant."""
        if name == "neg":
            return Value(value.step, -value.factor)
        first = self.value(args[0]) is not None
        constant = args[1] if first and len(args) > 1 else kwargs.get("other", args[0])
        number = uniform(constant)
        if name in ("mul", "multiply", "rmul") and number is not None:
            return Value(value.step, value.factor * number)
        if name in ("div", "true_divide") and first and number and not kwargs.get("rounding_mode"):
            return Value(value.step, value.factor / number)
        if name in ("add", "radd", "sub", "rsub"):
            if number == 0:
                minus = (name == "sub" and not first) or (name == "rsub" and first)
                return Value(value.step, -value.factor) if minus else value
            if name == "add" and value.step.kind == "linear" and value.step.bias is None and value.factor:
                biased = self._linear(value.step.of[0], value.step.weight, constant / value.factor)
                return None if biased is None else Value(biased.step, value.factor)
        return None

    def _linear(self, value: Value, weight: Any, bias: Any) -> Value | None:
        if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
            return None
        if isinstance(bias, torch.Tensor) and bias.shape != weight.shape[:1]:
            return None
        return self._new("linear", (value,), weight=weight, bias=bias)

    def _normalization(self, name: str, value: Value, args: Any, kwargs: Any) -> Value | None:
        at = {"layer_norm": 2, "rms_norm": 2, "batch_norm": 3}[name]
        weight = _argument(args, kwargs, at, "weight")
        bias = _argument(args, kwargs, at + 1, "bias") if name != "rms_norm" else None
        factor, offset = 1.0 if weight is None else uniform(weight), 0.0 if bias is None else uniform(bias)
        over = 1 if name == "batch_norm" else len(_argument(args, kwargs, 1, "normalized_shape"))
        if factor is None or offset != 0 or over != 1:
            words = "normalizes with weights and biases that are not at their initial 1 and 0, or over several axes"
            return self._new("other", (value,), what=words)
        return self._new("normalization", (value,), factor, what=name.replace("_", ""))

    def _of_two(self, name: str, known: list[Value], args: Any, kwargs: Any) -> Value | None:
        if name not in ("add", "sub", "radd", "iadd", "isub") or len(known) != 2:
            return None
        first, second = known
        sign = float(kwargs.get("alpha", 1)) * (-1 if "sub" in name else 1)
        if first.step is second.step:
            return Value(first.step, first.factor + sign * second.factor)
        return self._new("sum", (first, Value(second.step, sign * second.factor)))


def _memory(tensor: torch.Tensor) -> int:
    """Where the numbers of a tensor begin; 0 where it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # inside a transformation of torch.func, or of another layout
        return 0


def _writes(function: Any) -> bool:
    """Whether a function writes into its first argument and returns nothing: x[...] = y, and x.data = y."""
    name = getattr(function, "__name__", "")
    return name == "__setitem__" or (name == "__set__" and getattr(function.__self__, "__name__", "") == "data")


def _tensors(values: Any) -> list[torch.Tensor]:
    """The tensors in arguments or results, those in lists and tuples among them."""
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors(value)
    return found


def _argument(args: Any, kwargs: Any, at: int, name: str) -> Any:
    return args[at] if len(args) > at else kwargs.get(name)


def _whole(module: nn.Module) -> tuple[Kind, Key | str] | None:
    """What a module is when it is to be taken as one step, whatever it calls: a shaped activation or an RMSNorm."""
    shaped = shaped_key(module)
    if shaped is not None:
        return "activation", shaped
    own = type(module).__name__.lower().endswith("rmsnorm") and not isinstance(module, nn.RMSNorm)
    parameters = list(module.parameters())
    if own and all(uniform(p.detach()) == 1 for p in parameters):
        return "normalization", "rmsnorm"
    return None
