"""Compile the plugin for Linux x86-64 or AArch64, and check what it asks of the device's C and C++ libraries.

zig (PyPI's `ziglang`) compiles against glibc 2.28 whatever this machine has; the C++ library is GCC's, as in TVM's
wheels, since C++ objects and exceptions cross between the two. Without zig: $CXX or c++, for this machine only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARCHES = ("x86_64", "aarch64")
GLIBC = "2.28"
# Newest symbol versions that the device must have: GCC 9's libstdc++ came with glibc 2.31's distributions.
CEILING = {"GLIBC": (2, 31), "GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12)}
WHEELS = ("apache-tvm==0.27.0.post1", "apache-tvm-ffi==0.1.15.post2", "wgpu==0.32.0")
WGPU_LIBRARY = "libwgpu_native.so"


class BuildError(Exception):
    """Why the plugin cannot be built, and what to do about it: one line for the user."""


@dataclass(frozen=True)
class Plan:
    """What to build: architecture, compiler, and where the libraries to link against come from."""

    arch: str
    zig: bool
    wheels: Path | None = None  # folder with the architecture's wheels; None: the packages installed here

    def __post_init__(self) -> None:
        if sys.platform != "linux":
            raise BuildError(f"the plugin builds on Linux, not on {sys.platform}: TVM's macOS wheel has Metal itself")
        if self.arch not in ARCHES:
            raise BuildError(f"architecture {self.arch!r} is not one of {', '.join(ARCHES)}")
        if self.arch != platform.machine() and self.wheels is None:
            names = " ".join(WHEELS)
            raise BuildError(
                f"building for {self.arch} on {platform.machine()} needs --wheels: a folder with the {self.arch} "
                f"wheels of {names} (pip download --no-deps --only-binary :all: --platform manylinux_2_28_{self.arch})"
            )
        if self.arch != platform.machine() and not self.zig:
            raise BuildError(f"building for {self.arch} on {platform.machine()} needs zig: pip install ziglang")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Plan:
        """From DUOMEM_VULKAN_ARCH and DUOMEM_VULKAN_WHEELS, which `main` sets for the setuptools build."""
        wheels = environment.get("DUOMEM_VULKAN_WHEELS")
        return cls(
            arch=environment.get("DUOMEM_VULKAN_ARCH") or platform.machine(),
            zig=importlib.util.find_spec("ziglang") is not None,
            wheels=Path(wheels) if wheels else None,
        )

    @property
    def wheel_platform(self) -> str:
        return f"manylinux_{GLIBC.replace('.', '_')}_{self.arch}" if self.zig else f"linux_{self.arch}"

    @property
    def triple(self) -> str:
        return f"{self.arch}-linux-gnu"


def compile_plugin(plan: Plan, out: Path) -> Path:
    """Put libduomem_vulkan.so and libwgpu_native.so into `out`; returns the former.

    Raises BuildError where an input is missing, the compiler fails, or the result needs newer libraries than CEILING.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="duomem-vulkan-") as work_name:
        work = Path(work_name)
        roots = _unpack(plan.wheels, plan.arch, work) if plan.wheels else _installed()
        shutil.copyfile(roots["wgpu"] / "resources" / "libwgpu_native-release.so", out / WGPU_LIBRARY)
        # The library has no SONAME: a link by path would record that path. The stub's SONAME is found beside us.
        stub = _wgpu_stub(plan, work)
        compiler, includes, libraries = _toolchain(plan)
        folders = [HERE / "src", roots["tvm"] / "include", roots["tvm_ffi"] / "include", roots["wgpu"] / "resources"]
        includes += [f"-I{folder}" for folder in folders]
        sources = sorted((HERE / "src").glob("*.cc"))
        sources += sorted((HERE / "src" / "compat").glob("*.cc")) if plan.zig else []
        flags = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
        objects = [work / f"{source.stem}.o" for source in sources]

        def compile_one(pair: tuple[Path, Path]) -> None:
            source, object_file = pair
            _run([*compiler, "-x", "c++", *flags, *includes, "-c", str(source), "-o", str(object_file)])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, zip(sources, objects, strict=True)))
        library = out / "libduomem_vulkan.so"
        link = [*compiler, "-shared", "-s", "-o", str(library), *map(str, objects), str(stub)]
        link += [str(roots["tvm"] / "lib" / "libtvm_runtime.so"), str(roots["tvm_ffi"] / "lib" / "libtvm_ffi.so")]
        _run([*link, *libraries, "-Wl,-rpath,$ORIGIN", "-Wl,-soname,libduomem_vulkan.so"])
    if plan.zig:
        check_symbol_versions(library)
        check_symbol_versions(out / WGPU_LIBRARY)
    return library


def symbol_versions(library: Path) -> dict[str, tuple[int, ...]]:
    """The newest version of each of CEILING's libraries that an ELF file names, such as {"GLIBC": (2, 14)}."""
    newest: dict[str, tuple[int, ...]] = {}
    for name, version in re.findall(rb"\0(GLIBC|GLIBCXX|CXXABI)_([0-9.]+)(?=\0)", library.read_bytes()):
        parts = tuple(int(part) for part in version.split(b"."))
        newest[name.decode()] = max(newest.get(name.decode(), ()), parts)
    return newest


def check_symbol_versions(library: Path) -> None:
    """Raise BuildError where `library` needs newer C or C++ libraries than CEILING."""
    for name, version in symbol_versions(library).items():
        if version > CEILING[name]:
            found, allowed = (".".join(map(str, parts)) for parts in (version, CEILING[name]))
            raise BuildError(f"{library.name} needs {name}_{found}, above {allowed}: older devices cannot load it")


def _installed() -> dict[str, Path]:
    roots = {}
    for package in ("tvm", "tvm_ffi", "wgpu"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise BuildError(f"the Python package {package} is missing: pip install {' '.join(WHEELS)}")
        roots[package] = Path(spec.origin).parent
    return roots


def _unpack(wheels: Path, arch: str, work: Path) -> dict[str, Path]:
    roots = {}
    for package, requirement in zip(("tvm", "tvm_ffi", "wgpu"), WHEELS, strict=True):
        name, version = requirement.split("==")
        found = sorted(wheels.glob(f"{name.replace('-', '_')}-{version}-*{arch}*.whl"))
        if not found:
            raise BuildError(f"{wheels}: no {arch} wheel of {requirement}")
        with zipfile.ZipFile(found[0]) as archive:
            wanted = [item for item in archive.namelist() if re.search(r"\.h$|libtvm_(runtime|ffi)\.so$|libwgpu", item)]
            archive.extractall(work / "wheels", wanted)
        roots[package] = work / "wheels" / package
    return roots


def _toolchain(plan: Plan) -> tuple[list[str], list[str], list[str]]:
    """Compiler command, include flags that go first, libraries that go last."""
    if not plan.zig:
        own_compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
        if own_compiler is None:
            raise BuildError("no C++ compiler: pip install ziglang, or install g++")
        return [own_compiler], [], []
    triple = plan.triple
    layouts = [
        (Path("/usr/include/c++"), f"/usr/include/{triple}/c++/{{}}", f"/usr/lib/gcc/{triple}", f"/usr/lib/{triple}"),
        (Path(f"/usr/{triple}/include/c++"), f"/usr/{triple}/include/c++/{{}}/{triple}", f"/usr/lib/gcc-cross/{triple}",
         f"/usr/{triple}/lib"),
    ]  # fmt: skip
    for headers, own_headers, gcc, system in layouts:
        versions = sorted((int(p.name) for p in headers.glob("*") if p.name.isdigit()), reverse=True)
        for version in versions:
            own = Path(own_headers.format(version))
            library, unwinder = Path(gcc) / str(version) / "libstdc++.so", Path(system) / "libgcc_s.so.1"
            if own.is_dir() and library.exists() and unwinder.exists():
                # -I, not -isystem: zig puts its own C headers, which these include, after -I only.
                includes = [f"-I{HERE / 'src' / 'compat'}", f"-I{headers / str(version)}", f"-I{own}"]
                compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{triple}.{GLIBC}"]
                return compiler, [*includes, "-Wno-gnu-include-next"], [str(library), str(unwinder)]
    debian = {"aarch64": "arm64", "x86_64": "amd64"}[plan.arch]
    package = "g++" if plan.arch == platform.machine() else f"libstdc++-12-dev-{debian}-cross"
    raise BuildError(f"no libstdc++ headers and library for {triple}: install them (Debian: apt install {package})")


def _wgpu_stub(plan: Plan, work: Path) -> Path:
    """A library with the wgpu functions that the sources call, to link against in place of the real one."""
    text = "".join(file.read_text() for file in (HERE / "src").glob("*.cc"))
    used = sorted(set(re.findall(r"\bwgpu[A-Z]\w+", text)))
    source, stub = work / "wgpu_stub.c", work / WGPU_LIBRARY
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in used))
    compiler = _toolchain(plan)[0]
    _run([*compiler, "-x", "c", "-shared", "-fPIC", f"-Wl,-soname,{WGPU_LIBRARY}", "-o", str(stub), str(source)])
    return stub


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"{' '.join(command)}\nfailed:\n{result.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=ARCHES, default=platform.machine())
    parser.add_argument("--wheels", type=Path, help="folder with that architecture's wheels of TVM, TVM FFI and wgpu")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the wheel")
    arguments = parser.parse_args()
    environment = {**os.environ, "DUOMEM_VULKAN_ARCH": arguments.arch}
    if arguments.wheels:
        environment["DUOMEM_VULKAN_WHEELS"] = str(arguments.wheels.resolve())
    try:
        Plan.from_environment(environment)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # A copy: setuptools leaves build folders behind, and two architectures must not share them.
    with tempfile.TemporaryDirectory(prefix="duomem-vulkan-") as work:
        tree = Path(work) / "source"
        shutil.copytree(HERE, tree, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", "*.so"))
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        return subprocess.run([*pip, "-w", str(arguments.out), str(tree)], env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
