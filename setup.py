"""Builds what pip cannot describe: the native core, the transport and the canary.v1 messages.

CANARY_DEBUG=1 builds with -O0 and assertions, CANARY_SANITIZE=1 with ASan and UBSan,
CANARY_WERROR=1 turns every C warning into an error (lint does). CANARY_NO_TRANSPORT=1 leaves the
native transport out, where there is no nghttp2: the engine `grpcio` is then the only one.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

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


def pkg_config(package: str, debian: str) -> tuple[list[str], list[str]]:
    """The compiler's and the linker's flags for a C library, or the end with the remedy."""
    try:
        found = [
            subprocess.run(
                ["pkg-config", what, package], check=True, capture_output=True, text=True
            ).stdout.split()
            for what in ("--cflags", "--libs")
        ]
    except (OSError, subprocess.CalledProcessError):
        without = "" if package != "libnghttp2" else "; or CANARY_NO_TRANSPORT=1 for grpcio alone"
        raise SystemExit(
            f"setup.py: {package} is missing: apt-get install {debian} pkg-config{without}"
        ) from None
    return found[0], found[1]


def flags() -> tuple[list[str], list[str]]:
    compile_flags = [*WARNINGS]
    link_flags = []
    if flag("CANARY_WERROR"):
        compile_flags += ["-Werror"]
    if flag("CANARY_DEBUG"):
        compile_flags += ["-O0", "-g", "-UNDEBUG"]
    else:
        # Many small files: what is called across them is inlined all the same.
        compile_flags += ["-O2", "-flto=auto", "-fvisibility=hidden"]
        link_flags += ["-O2", "-flto=auto"]
    if flag("CANARY_SANITIZE"):
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
        compile_flags += sanitize
        link_flags += sanitize
    return compile_flags, link_flags


def extension(
    name: str, glue: str, sources: list[str], libraries: list[tuple[str, str]]
) -> Extension:
    compile_flags, link_flags = flags()
    for package, debian in libraries:
        cflags, libs = pkg_config(package, debian)
        compile_flags += cflags
        link_flags += libs
    return Extension(
        name,
        [glue, *sources],
        depends=sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("native/*.[hp]*")),
        include_dirs=["native"],
        libraries=["stdc++", "m"],
        extra_compile_args=compile_flags,
        extra_link_args=link_flags,
    )


# Of the core: regular expressions, and the HMAC of force tokens.
LIBRARIES = [("re2", "libre2-dev"), ("libcrypto", "libssl-dev")]
# What the transport adds to the core; whatever else stands in native/ is the core.
TRANSPORT = [
    *["als", "buf", "call", "conn", "edition", "extproc", "health", "mem", "ring", "sampling"],
    *["server", "span", "worker"],
]


def extensions() -> list[Extension]:
    """The core, and the transport with a copy of its C, to read the tables that the core made."""
    transport = [f"native/sc_{noun}.c" for noun in TRANSPORT]
    every = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("native/sc_*.c*"))
    core = [path for path in every if path not in transport]
    made = [extension("sidecar.routing._native", "native/core.pyx", core, LIBRARIES)]
    made.append(extension("sidecar.routing._people", "native/people.pyx", [], []))
    if not flag("CANARY_NO_TRANSPORT"):
        libraries = [*LIBRARIES, ("libnghttp2", "libnghttp2-dev")]
        name = "sidecar.extproc._transport"
        made.append(extension(name, "native/transport.pyx", every, libraries))
    return made


class BuildNative(build_ext):
    """One extension in two languages: each source with the flags of its own."""

    def run(self) -> None:
        if flag("CANARY_NO_TRANSPORT"):
            self.warn("without the native transport: --engine grpcio is the only one")
            for earlier in ROOT.glob("sidecar/extproc/_transport*.so"):
                earlier.unlink()
        super().run()

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile  # noqa: SLF001 - setuptools has no other way

        def by_language(obj: str, source: str, *rest: Any) -> None:
            extension, cc_args, extra, *others = rest
            own = CXX_ONLY if source.endswith(".cc") else C_ONLY
            compile_one(obj, source, extension, cc_args, [*own, *extra], *others)

        self.compiler._compile = by_language  # noqa: SLF001
        super().build_extensions()


compile_protos()
setup(
    cmdclass={"build_ext": BuildNative},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=["native"],
        compiler_directives={"language_level": 3, "binding": True, "auto_pickle": False},
    ),
)
