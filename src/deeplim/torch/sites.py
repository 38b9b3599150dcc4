"""What there is to change in a PyTorch model: its chain of layers as read, its parameters and its activations."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from deeplim.activations import NAMED_FUNCTIONS, Elementwise, Shaped, Transformed
from deeplim.architecture import MLP, Network, ResNet
from deeplim.errors import InputError, SpecError
from deeplim.probe.chain_parts import Chain, NotDescribed
from deeplim.probe.description import scales
from deeplim.probe.initializations import plain
from deeplim.probe.torch_activations import described
from deeplim.probe.torch_reading import read_chain
from deeplim.probe.torch_steps import Step, Trace
from deeplim.probe.world import undisturbed
from deeplim.specs import kind_of
from deeplim.torch.modules import ShapedActivation, ShapedReLU, TransformedActivation


@dataclass(frozen=True)
class Site:
    """A model, its parts, the network of its form with critical weights, and its parameters by their addresses."""

    model: nn.Module
    chain: Chain
    trace: Trace
    network: Network
    parameters: dict[int, tuple[str, Tensor]]

    def heads(self) -> list[Step]:
        """The linear steps that follow the chain."""
        own = {weights.step for weights in (self.chain.first, *self.chain.hidden)}
        values = (*self.trace.recorded.values(), *self.trace.points.values(), self.trace.output)
        return [step for step in _steps_before(value.step for value in values) if step not in own]

    def parameter(self, tensor: Tensor, what: str) -> tuple[str, Tensor]:
        """The parameter that a linear step uses, and its name; InputError when it is none, frozen or quantized."""
        name, found = self.parameters.get(tensor.data_ptr(), ("", tensor[:0]))
        if found.numel() != tensor.numel():
            raise InputError(f"{what} are no parameter of their own in the model, and cannot be drawn anew.")
        if not found.is_floating_point():
            raise InputError(f"{name} is quantized ({found.dtype}); shape the model before it is quantized.")
        if not found.requires_grad:
            raise InputError(f"{name} is frozen, requires_grad=False; thaw it, or freeze it after shaping.")
        return name, found

    def activation(self, step: Step) -> nn.Module:
        """The module that an activation step is, and nothing else; InputError when it is called in other code."""
        module = self.model.get_submodule(step.module)
        if any(True for _ in (*module.parameters(), *module.buffers())) and step.whole:
            raise InputError(
                f"{step.name} is {kind_of(module)} with parameters of its own; put an activation without there."
            )
        if module is self.model or not (step.whole or _bare(module)):
            raise InputError(
                f"{step.name} is called in code, where it cannot be replaced; make it a module, such as "
                "torch.nn.ReLU(), and call that."
            )
        return module


def site_of(model: Any, inputs: Any) -> Site:
    """Return what there is to change in a model; InputError when it is no model or none of deeplim's networks."""
    if not isinstance(model, nn.Module):
        raise InputError(f"{kind_of(model)} was given; give a torch.nn.Module.")
    model = plain(model)
    _refuse_unready(model)
    try:
        with undisturbed(model, inputs):
            chain, trace = read_chain(model, inputs)
        network = _network(chain)
    except (NotDescribed, SpecError) as reason:
        raise InputError(f"the model cannot be shaped: {reason}") from None
    parameters: dict[int, tuple[str, Tensor]] = {one.data_ptr(): (name, one) for name, one in model.named_parameters()}
    return Site(model, chain, trace, network, parameters)


def activation_module(network: Network, present: Network, old: nn.Module) -> nn.Module:
    """Return a module that computes the network's activation; ``old`` computes that of ``present``.

    SpecError for a function of NumPy arrays that is neither a named one nor the model's own.
    """
    activation = network.activation
    if not isinstance(activation, Elementwise | Shaped | Transformed):
        s_plus, s_minus = network.slopes
        return nn.ReLU() if (s_plus, s_minus) == (1, 0) else ShapedReLU(s_plus, s_minus)
    function: Any = activation.name
    if function not in NAMED_FUNCTIONS:
        if getattr(present.activation, "function", None) != activation.function:
            raise SpecError(
                f"{activation} is a function of arrays; a model takes {', '.join(NAMED_FUNCTIONS)} or its own."
            )
        function = _innermost(old)
    if isinstance(activation, Shaped):
        return ShapedActivation(function, activation.scale(network.width, network.depth), name=activation.name)
    names = ("input_scale", "input_shift", "output_scale", "output_shift")
    constants = {name: getattr(activation, name) for name in names if isinstance(activation, Transformed)}
    return TransformedActivation(function, **constants, name=activation.name)


def _innermost(module: nn.Module) -> Any:
    """The function that a shaped activation was made of, or another module itself."""
    if isinstance(module, TransformedActivation):
        return module.plain
    return module.normalised.function if isinstance(module, ShapedActivation) else module


def _network(chain: Chain) -> Network:
    fields: dict[str, Any] = {
        "width": chain.width,
        "depth": chain.depth,
        "activation": described(chain.activation, chain.width),
        "normalization": chain.normalization,
        "placement": chain.placement,
    }
    if chain.kind == "mlp":
        return MLP(**fields)
    return ResNet(**fields, **scales(chain.skip, chain.branch, chain.depth))


def _steps_before(steps: Iterable[Step]) -> list[Step]:
    """All linear steps among these and those that lead to them, in the order they were given."""
    waiting, seen = list(steps), dict[Step, None]()
    while waiting:
        step = waiting.pop(0)
        if step not in seen:
            seen[step] = None
            waiting += [value.step for value in step.of]
    return [step for step in seen if step.kind == "linear"]


def _bare(module: nn.Module) -> bool:
    return not any(True for _ in (*module.children(), *module.parameters(), *module.buffers()))


def _refuse_unready(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(f"{name} has no shape yet; run the lazy model on one batch first.")
        if parameter.is_meta:
            raise InputError(
                f"{name} is on the meta device, without numbers; give it some, model.to_empty(device=...)."
            )
        if parameter.is_inference():
            raise InputError(
                f"{name} was made under torch.inference_mode() and cannot be changed outside; make the model without."
            )
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__:
            raise InputError(f"{name} is quantized ({type(module).__name__}); shape the model before it is quantized.")
