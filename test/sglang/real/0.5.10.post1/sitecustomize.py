"""Lets SGLang 0.5.10.post1 run where there is no GPU: as the file above this folder does, and more.

It imports sgl_kernel, which needs CUDA, whether it calls it or not. What stands here in its place fails where something of
it is really called. sgl_kernel.scalar_type must stay missing: SGLang takes that for a build without it.
"""

import importlib.machinery
import importlib.util
import pathlib
import sys
import types

above = pathlib.Path(__file__).resolve().parents[1] / "sitecustomize.py"
spec = importlib.util.spec_from_file_location("without_gpu", above)
sys.modules["without_gpu"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["without_gpu"])


class StandIn(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args, **_options):
            raise RuntimeError(f"sgl_kernel.{name} was called without a GPU")

        return missing


class KernelFinder:
    @staticmethod
    def find_spec(name, _path=None, _target=None):
        if name.split(".")[0] != "sgl_kernel" or name == "sgl_kernel.scalar_type":
            return None
        return importlib.machinery.ModuleSpec(name, KernelFinder, is_package=True)

    @staticmethod
    def create_module(spec):
        return StandIn(spec.name)

    @staticmethod
    def exec_module(_module):
        pass


sys.meta_path.insert(0, KernelFinder)
