"""Tensors that tell what is done to them: a network's forward is run once, on drawn numbers, and its calls become operations.

Unlike a symbolic trace this knows every shape, and goes through loops, unpacked sizes and assertions as Python does.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from fourfold.deploy.frontend.layers import LAYERS, kind_of, lower_layer
from fourfold.deploy.frontend.lowering import Lowering, called, refusal
from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.ir.ops import Constant
from fourfold.record import UserError

IMAGES = 3
"""That are drawn: a number that few shapes of networks have, by which the axis of images is found again."""

_ASKS_NUMBERS = {"item", "__bool__", "__float__", "__int__", "__index__", "tolist", "numpy", "equal", "allclose", "nonzero"}

_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))


class Traced(Tensor):
    """A tensor computed from the image: its numbers for a few drawn images, and the value of the program that it is.

    `axis` is that of the images, of which each has `fold` entries: where they were joined with another axis, as heads are.
    """

    value: int
    axis: int
    fold: int

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Hand a call over to the current trace."""
        return _CURRENT.get().call(func, args, dict(kwargs or {}))


def plain(thing: Any) -> Any:
    """Return arguments with ordinary tensors for those that are traced; within `DisableTorchFunctionSubclass`."""
    if isinstance(thing, Traced):
        return thing.as_subclass(Tensor)
    if isinstance(thing, list | tuple):
        items = [plain(item) for item in thing]
        return tuple(items) if isinstance(thing, tuple) else items
    return {key: plain(item) for key, item in thing.items()} if isinstance(thing, dict) else thing


def holds_tensors(thing: Any) -> bool:
    """Return whether a result has tensors in it."""
    return isinstance(thing, Tensor) or (isinstance(thing, list | tuple) and any(map(holds_tensors, thing)))


def short(function: Any) -> str:
    """Return the name of a function, of a method, of an operator on the left or right, or of a property."""
    name = str(function.__self__.__name__) if function.__name__ == "__get__" else str(function.__name__)
    if name.startswith("__") and name not in _ASKS_NUMBERS:
        name = name.strip("_")
        return _OPERATORS.get(name, name)
    return name.rstrip("_") if not name.startswith("_") else name


_OPERATORS = {
    **{letter + name: name for letter in "ri" for name in ("add", "mul", "and", "or")},
    "isub": "sub",
    "truediv": "div",
    "itruediv": "div",
    "rtruediv": "rdiv",
    "rsub": "rsub",
    "ipow": "pow",
    "imatmul": "matmul",
}

_IN_PLACE = ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__")


@dataclass(eq=False)
class Tracing:
    """A trace: the operations so far, and the module whose forward runs."""

    lowering: Lowering
    calls: Mapping[str, Callable[..., Any]]
    """What lowers a call, by the short name of its function."""
    whole_layers: Mapping[type[nn.Module], Callable[..., Any]]
    """What stands for the forward of layers that give more than one value."""
    names: dict[nn.Module, str]
    rows: int = 0
    """Of the table that the network's first input looks up; 0 where it is numbers."""
    streaming: bool = False
    """Whether a run continues where the last one ended."""
    _modules: list[nn.Module] = field(default_factory=list)
    _used: dict[str, int] = field(default_factory=dict)
    _alive: "WeakSet[Traced]" = field(default_factory=WeakSet)

    # ---- values

    def wrap(self, numbers: Tensor, value: int, axis: int = 0, fold: int = 1) -> Traced:
        """Return a tensor that stands for a value."""
        with torch._C.DisableTorchFunctionSubclass():
            traced: Traced = numbers.detach().as_subclass(Traced)
        traced.value, traced.axis, traced.fold = value, axis, fold
        self._alive.add(traced)
        return traced

    def like(self, numbers: Tensor, value: int, other: Traced, axis: int | None = None) -> Traced:
        """Return a tensor for a value whose images lie as those of another."""
        return self.wrap(numbers, value, other.axis if axis is None else axis, other.fold)

    def shape(self, value: int) -> Shape:
        """Return the shape of a value."""
        return self.lowering.shapes[value]

    def add(self, make: Any, *inputs: int, **settings: Any) -> int:
        """Append an operation named by the call that is being lowered."""
        return self.lowering.add(make, self._name, *inputs, **settings)

    def dim(self, x: Traced, dim: int) -> int:
        """Return the axis of a value that is an axis of a tensor.

        Raises:
            UserError: it is that of the images.
        """
        dim = dim % x.ndim
        if dim == x.axis and x.fold == 1:
            raise self.refuse(", as it mixes images: its axis is that of the batch")
        return dim - (dim > x.axis and x.fold == 1)

    def constant(self, numbers: Tensor, axis: int, ndim: int, fold: int = 1) -> Tensor:
        """Return a tensor that does not depend on the image as it is for each image, of as many axes as values of `ndim`."""
        with torch._C.DisableTorchFunctionSubclass():
            numbers = numbers.detach().reshape((1,) * (ndim - numbers.ndim) + tuple(numbers.shape))
            images = numbers.shape[axis]
            if fold > 1 and images > 1:
                numbers = numbers.reshape(*numbers.shape[:axis], -1, fold, *numbers.shape[axis + 1 :])
            first = numbers.narrow(axis, 0, 1)
            if not torch.equal(numbers, first.expand_as(numbers)):
                raise self.refuse(", given a tensor that differs from image to image")
            first = first.squeeze(axis)
            return first.unsqueeze(axis) if fold > 1 and images == 1 else first

    def constant_value(self, numbers: Tensor) -> int:
        """Append a constant of the shape of a tensor for one image."""
        with torch._C.DisableTorchFunctionSubclass():
            array = numbers.detach().to("cpu", torch.float32).contiguous().numpy().copy()
        return self.add(Constant, shape=tuple(array.shape) or (1,), numbers=array.reshape(-1))

    # ---- calls

    @property
    def path(self) -> str:
        """Of the module whose forward runs; empty for the network's own."""
        return next((self.names[module] for module in reversed(self._modules) if module in self.names), "")

    def refuse(self, why: str = "") -> UserError:
        """Return the error for the call that is being lowered, with the user's line that makes it."""
        module = self._modules[-1] if self._modules else None
        line = next((frame for frame in reversed(traceback.extract_stack()) if not frame.filename.startswith(_FOREIGN)), None)
        place = f" (line {line.lineno} of {Path(line.filename).name})" if line and Path(line.filename).is_file() else ""
        if module is not None and type(module).__module__.startswith(("torch.nn.", "fourfold.nn.")):
            return refusal(called(module, self.path), why or f": it calls {self._call!r}; docs/deploy.md lists what can be")
        return refusal(f"{self._call!r} in the forward of {self.path or 'the network'}{place}", why)

    _call = ""
    _name = ""

    def _begin(self, call: str, name: str = "") -> None:
        """Name the operations of a call: by its layer, or by the function behind the path of the module that calls it."""
        module = self._modules[-1] if self._modules else None
        simple = module is not None and type(module).__module__.startswith("torch.nn.") and not any(module.children())
        name = name or (self.path if simple and self.path else f"{self.path}.{call}" if self.path else call)
        number = self._used[name] = self._used.get(name, -1) + 1
        self._call, self._name = call, f"{name}_{number}" if number else name

    def call(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a function on the drawn images, and append what it does."""
        name = short(function)
        result = self._run(function, args, kwargs, name)
        if not holds_tensors(result) and name not in _ASKS_NUMBERS:
            return result
        self._begin(name)
        if name in _ASKS_NUMBERS:
            raise self.refuse(", as what the network does would depend on the numbers that it is given")
        if name not in self.calls:
            raise self.refuse()
        try:
            y = self.calls[name](self, result, *args, **kwargs)
        except TypeError as error:
            raise self.refuse(f" as it is called ({error})") from error
        in_place = function.__name__ in _IN_PLACE or (function.__name__[-1:] == "_" and function.__name__[0] != "_")
        if in_place or kwargs.get("inplace", False):
            return self._replaced(args[0], y)
        return y

    def _run(self, function: Any, args: Any, kwargs: dict[str, Any], name: str) -> Any:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            arguments = plain(args)
            if name == "embedding":  # of indices, which were drawn as floats
                arguments = (arguments[0].long().clamp(0, len(arguments[1]) - 1), *arguments[1:])
            return function(*arguments, **plain(kwargs))

    def _replaced(self, old: Any, new: Traced) -> Any:
        """Let all tensors that share the memory of one that was changed in place stand for what it is now."""
        if not isinstance(old, Traced):
            raise self.refuse(", which changes a tensor of its own by the image")
        value = old.value
        with torch._C.DisableTorchFunctionSubclass():
            memory = old.untyped_storage().data_ptr()
            for other in list(self._alive):
                if other.untyped_storage().data_ptr() == memory and other.value == value:
                    other.value = new.value
        return old

    # ---- modules

    def module(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a module: as a layer where one is known, else its own forward."""
        traced = [argument for argument in (*args, *kwargs.values()) if isinstance(argument, Traced)]
        if not traced:
            return original(module, *args, **kwargs)
        self._modules.append(module)
        try:
            handler = next((self.whole_layers[kind] for kind in type(module).__mro__ if kind in self.whole_layers), None)
            if handler is not None and _is_known(module):
                self._begin("forward")
                return handler(self, module, *args, **kwargs)
            kind = kind_of(module)
            if kind is None or len(args) != 1 or kwargs:
                return original(module, *args, **kwargs)
            return self._layer(module, kind, args[0])
        finally:
            self._modules.pop()

    def _layer(self, module: nn.Module, kind: type[nn.Module], x: Traced) -> Any:
        self._begin("layer", self.path)
        if not (kind is nn.Linear or (x.axis == 0 and x.fold == 1)):
            raise self.refuse(", given images along another axis than the first")
        assert kind in LAYERS
        value = lower_layer(self.lowering, module, self._name, x.value)
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            weight = next(module.parameters(), None)
            inputs = x.as_subclass(Tensor)
            numbers = type(module).forward(module, inputs if weight is None else inputs.to(weight.dtype)).float()
        if getattr(module, "inplace", False):
            return self._replaced(x, self.like(numbers, value, x))
        return self.like(numbers, value, x)


def _is_known(module: nn.Module) -> bool:
    """Return whether a module's forward is torch's or ours, and not its user's."""
    owner = next(base for base in type(module).__mro__ if "forward" in vars(base))
    return "forward" not in vars(module) and owner.__module__.startswith(("torch.", "fourfold.nn."))


_CURRENT: ContextVar[Tracing] = ContextVar("tracing")


@contextmanager
def tracing(trace: Tracing) -> Iterator[None]:
    """Let calls of modules and functions on traced tensors become operations of a trace."""
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        current = _CURRENT.get(None)
        return original(module, *args, **kwargs) if current is None else current.module(original, module, args, kwargs)

    token = _CURRENT.set(trace)
    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
        _CURRENT.reset(token)
