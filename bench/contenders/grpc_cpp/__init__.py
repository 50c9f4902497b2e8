"""C++: gRPC's callback API, from the distribution's libgrpc++."""

from collections.abc import Sequence
from pathlib import Path

from bench.contenders import building
from bench.contenders.base import MESSAGES, Program

HERE = Path(__file__).parent
MADE = building.BUILT / "grpc-cpp"
PACKAGES = "libgrpc++-dev protobuf-compiler-grpc"
FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", f"-I{MADE}", f"-I{HERE}")


class GrpcCpp(Program):
    """gRPC's own threads."""

    name = "grpc++"

    def prepare(self) -> None:
        """Compile messages and server, in about half a minute."""
        building.need_tool("c++", "g++")
        building.need_tool("protoc", PACKAGES)
        plugin = building.need_tool("grpc_cpp_plugin", PACKAGES)
        grpc = building.libraries(["grpc++", "protobuf"], PACKAGES)
        sources = [MESSAGES, *HERE.glob("*.cc"), *HERE.glob("*.h")]
        if building.newer(sources, MADE / "server"):
            MADE.mkdir(parents=True, exist_ok=True)
            self._build(plugin, grpc)

    @staticmethod
    def _build(plugin: str, grpc: Sequence[str]) -> None:
        protoc = ["protoc", f"-I{MESSAGES.parent}", "--cpp_out=.", "--grpc_out=."]
        building.build([*protoc, f"--plugin=protoc-gen-grpc={plugin}", MESSAGES.name], MADE)
        made = [str(MADE / f"{MESSAGES.stem}{end}") for end in (".pb.cc", ".grpc.pb.cc")]
        server = ["c++", *FLAGS, str(HERE / "server.cc"), *made, "-o", "server"]
        building.build([*server, *grpc], MADE)

    def command(self) -> Sequence[str]:
        """Return the program."""
        return [str(MADE / "server")]
