"""Lets SGLang's prefill and decode engines run where there is no GPU.

Their KV transfer asks torch for pinned memory, CUDA streams and CUDA events also with --device cpu. Python imports this
file by its name from PYTHONPATH, and it changes torch as soon as that was imported: nothing is pinned, and what waits
for a GPU has already happened. Nothing of SGLang is changed.
"""

import importlib.util
import sys

FACTORIES = (
    "arange",
    "empty",
    "empty_like",
    "full",
    "ones",
    "rand",
    "randn",
    "tensor",
    "zeros",
    "zeros_like",
)


class Done:
    """A stream or an event on which nothing is outstanding."""

    cuda_stream = 0

    def __init__(self, *_args, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return False

    def query(self):
        return True

    def elapsed_time(self, _other):
        return 0.0

    def record_event(self, *_args):
        return Done()

    def wait(self, *_args):
        pass

    record = synchronize = wait_event = wait_stream = wait


def without_pinning(create):
    def call(*args, pin_memory=False, **options):
        return create(*args, **options)

    return call


def adapt(torch):
    if torch.cuda.is_available():
        return
    for name in FACTORIES:
        setattr(torch, name, without_pinning(getattr(torch, name)))
    torch.Tensor.pin_memory = lambda tensor, *_args, **_options: tensor
    torch.cuda.Event = torch.cuda.Stream = Done
    torch.cuda.current_stream = Done
    torch.cuda.synchronize = lambda *_args, **_options: None


class Finder:
    """Finds torch as the others do, and adapts it once it is loaded."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(Finder)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            adapt(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
