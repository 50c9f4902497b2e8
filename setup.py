"""Builds the two things pip cannot describe: the native core and the canary.v1 messages.

CANARY_DEBUG=1 builds with -O0 and assertions, CANARY_SANITIZE=1 with ASan and UBSan,
CANARY_WERROR=1 turns every C warning into an error (lint does).
"""

import os
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]
C_ONLY = ["-std=c11", "-Wstrict-prototypes"]
CXX_ONLY = ["-std=c++17"]


def flag(name: str) -> bool:
    return os.environ.get(name, "") not in {"", "0"}


def compile_protos() -> None:
    """canary.v1 in official protobuf; flat, because our files do not import each other."""
    import grpc_tools
    from grpc_tools import protoc

    work = ROOT / "build" / "protos"
    work.mkdir(parents=True, exist_ok=True)
    files = sorted((ROOT / "protos").rglob("*.proto"))
    names = [str(path.relative_to(ROOT / "protos")) for path in files]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    options = [f"-I{ROOT / 'protos'}", f"-I{well_known}"]
    options += [f"--python_out={work}", f"--pyi_out={work}"]
    if protoc.main(["protoc", *options, *names]) != 0:
        raise SystemExit("setup.py: protoc refused protos/ (its message stands above)")
    for made in [*work.rglob("*_pb2.py"), *work.rglob("*_pb2.pyi")]:
        shutil.copy(made, ROOT / "sidecar" / "control" / "pb" / made.name)


def native_core() -> Extension:
    flags = [*WARNINGS]
    link = []
    if flag("CANARY_WERROR"):
        flags += ["-Werror"]
    if flag("CANARY_DEBUG"):
        flags += ["-O0", "-g", "-UNDEBUG"]
    else:
        flags += ["-O2"]
    if flag("CANARY_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
        flags += sanitize
        link += sanitize
    return Extension(
        "sidecar.routing._native",
        ["native/core.pyx", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("native/sc_*.c*"))],
        depends=sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("native/*.[hp]*")),
        include_dirs=["native"],
        libraries=["re2", "stdc++", "crypto", "m"],
        extra_compile_args=flags,
        extra_link_args=link,
    )


class BuildNative(build_ext):
    """One extension in two languages: each source with the flags of its own."""

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def by_language(obj, src, ext, cc_args, extra, pp_opts):  # noqa: PLR0913 - setuptools' own
            flags = CXX_ONLY if src.endswith(".cc") else C_ONLY
            compile_one(obj, src, ext, cc_args, [*flags, *extra], pp_opts)

        self.compiler._compile = by_language
        super().build_extensions()


compile_protos()
setup(
    cmdclass={"build_ext": BuildNative},
    ext_modules=cythonize(
        [native_core()],
        build_dir="build/cython",
        include_path=["native"],
        compiler_directives={"language_level": 3, "binding": True, "auto_pickle": False},
    )
)
