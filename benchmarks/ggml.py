"""CPU kernels beside ggml's: products with a Q4_1 file's weights, forward passes, whole replies.

    python benchmarks/ggml.py [MODEL.gguf] [--threads 1] [--llama-python PYTHON] [--json]

The model is the default one unless another GGUF file is named; products are measured for one with
Q4_1 layers. ``python -m dllm_core.bench.geometry`` writes files of published sizes. ggml comes with
llama-cpp-python, which onebreath does not need: install it into an environment of its own,

    python -m venv llama && llama/bin/pip install llama-cpp-python    # builds from source, minutes

and name that environment's interpreter with ``--llama-python`` (default: this one). Its libraries
are loaded into this process, so that both sides run in turn on the same processor.

``"what": "product"``: the rows of one projection's input times its weights in all layers, one
layer after another, so that weights come from memory as in a step; ``us`` is the median time of
one layer. ``"what": "step"``: a forward pass over so many tokens behind 200 cached ones, with the
logits of all of them and their largest. llama.cpp runs the file itself and, of a Q4_1 file, as
``q4_0`` the same model requantised to the 4-bit format that ggml repacks for this processor.
``"what": "reply"``: 24 greedy tokens behind the 200, token by token on both sides.

Of one thread the CPU time is taken, which other programs on the machine hardly lengthen, of
several the wall clock. ``times_faster`` is the median, over the rounds, of ggml's time over this
project's. ``error`` is the largest deviation from float32 over the same weights (of an output, of
a logit), over the largest magnitude there.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from agent.models import store  # noqa: E402
from dllm_core import Engine  # noqa: E402
from dllm_core.bench.timing import CACHED, Row, Time, in_turn  # noqa: E402
from dllm_core.cpu import product  # noqa: E402
from dllm_core.cpu.formats import FOUR_BITS  # noqa: E402
from dllm_core.cpu.packed import PackedRows  # noqa: E402
from dllm_core.cpu.team import Program  # noqa: E402
from dllm_core.decode.denoise import Forward, run  # noqa: E402
from dllm_core.model.cache import KeyValues  # noqa: E402
from dllm_core.model.transformer import Span  # noqa: E402

ROWS = (1, 2, 4, 8, 16, 32)
REPLY = 24
"""Tokens of a reply."""
MODEL = "smollm2-135m-instruct"
PROJECTIONS = {
    "qkv": ("attn_q", "attn_k", "attn_v"),
    "out": ("attn_output",),
    "gate_up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
}
"""Matrices of a block and the tensors of the file that each is made of."""
_F32, _Q4_1 = 0, 3
"""ggml's numbers of these types (ggml.h)."""
_CONTEXT = 1024


class _InitParams(ctypes.Structure):
    """``struct ggml_init_params`` of ggml.h."""

    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


class _Plan(ctypes.Structure):
    """``struct ggml_cplan`` of ggml-cpu.h."""

    _fields_ = (
        ("work_size", ctypes.c_size_t),
        ("work_data", ctypes.c_void_p),
        ("n_threads", ctypes.c_int),
        ("threadpool", ctypes.c_void_p),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        ("use_ref", ctypes.c_bool),
    )


class Weights(NamedTuple):
    """One projection of one layer: its blocks as they lie in the file, and as float32."""

    raw: bytes
    values: Tensor


class Ggml:
    """The few functions of ggml that a chain of products takes."""

    def __init__(self, folder: Path) -> None:
        base, cpu = (ctypes.CDLL(str(_library(folder, name))) for name in ("ggml-base", "ggml-cpu"))
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        self.init = _function(base.ggml_init, pointer, _InitParams)
        self.free = _function(base.ggml_free, None, pointer)
        self.tensor = _function(base.ggml_new_tensor_2d, pointer, pointer, ctypes.c_int, size, size)
        self.data = _function(base.ggml_get_data, pointer, pointer)
        self.product = _function(base.ggml_mul_mat, pointer, pointer, pointer, pointer)
        self.graph = _function(base.ggml_new_graph, pointer, pointer)
        self.expand = _function(base.ggml_build_forward_expand, None, pointer, pointer)
        self.plan = _function(cpu.ggml_graph_plan, _Plan, pointer, ctypes.c_int, pointer)
        self.compute = _function(
            cpu.ggml_graph_compute, ctypes.c_int, pointer, ctypes.POINTER(_Plan)
        )
        cpu.ggml_cpu_init()


def _function(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


def _library(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*{name}.*"))
    if not found:
        raise SystemExit(f"{folder} has no library {name}: is llama-cpp-python built for a CPU?")
    return found[0]


def llama_cpp(python: str) -> Any:
    """The package of the interpreter ``python``, imported here."""
    command = [python, "-c", "import llama_cpp; print(llama_cpp.__path__[0])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise SystemExit(
            f"no llama.cpp ({''.join(last)}): pip install llama-cpp-python into an environment "
            "and name its interpreter with --llama-python."
        )
    # At the end of the path: everything that both environments have is taken from this one.
    sys.path.append(str(Path(done.stdout.strip()).parent))
    return importlib.import_module("llama_cpp")


def has_q4_1(path: Path) -> bool:
    """Whether the file's first projection is of that format."""
    kinds = {tensor.name: int(tensor.tensor_type) for tensor in GGUFReader(path).tensors}
    return kinds.get("blk.0.ffn_gate.weight") == _Q4_1


def read_weights(path: Path) -> dict[str, list[Weights]]:
    """The Q4_1 projections of all layers."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    layers = sum(name.endswith(".ffn_down.weight") for name in tensors)
    found: dict[str, list[Weights]] = {}
    for name, parts in PROJECTIONS.items():
        for layer in range(layers):
            chosen = [tensors[f"blk.{layer}.{part}.weight"] for part in parts]
            if any(int(tensor.tensor_type) != _Q4_1 for tensor in chosen):
                raise SystemExit(f"{path}: layer {layer}, {name}: not Q4_1")
            raw = b"".join(tensor.data.tobytes() for tensor in chosen)
            values = [dequantize(tensor.data, tensor.tensor_type) for tensor in chosen]
            weights = Weights(raw, torch.from_numpy(np.concatenate(values)))
            found.setdefault(name, []).append(weights)
    return found


class GgmlProducts:
    """``x`` times the weights of all layers: one graph of ``ggml_mul_mat``."""

    def __init__(self, ggml: Ggml, layers: list[Weights], x: Tensor, threads: int) -> None:
        rows, width = x.shape
        outputs = len(layers[0].values)
        memory = sum(len(layer.raw) + 4 * rows * outputs for layer in layers) + 2**24
        self._ggml, self._context = ggml, ggml.init(_InitParams(memory, None, False))
        given = ggml.tensor(self._context, _F32, width, rows)
        ctypes.memmove(ggml.data(given), x.data_ptr(), x.nbytes)
        self._graph = ggml.graph(self._context)
        self._last = None
        for layer in layers:
            weights = ggml.tensor(self._context, _Q4_1, width, outputs)
            ctypes.memmove(ggml.data(weights), layer.raw, len(layer.raw))
            self._last = ggml.product(self._context, weights, given)
            ggml.expand(self._graph, self._last)
        self._plan = ggml.plan(self._graph, threads, None)
        self._work = ctypes.create_string_buffer(self._plan.work_size + 64)
        self._plan.work_data = ctypes.addressof(self._work)
        self._shape = (rows, outputs)

    def __call__(self) -> None:
        self._ggml.compute(self._graph, ctypes.byref(self._plan))

    def last(self) -> Tensor:
        """Outputs (rows, outputs) of the last layer."""
        count = self._shape[0] * self._shape[1]
        numbers = (ctypes.c_float * count).from_address(self._ggml.data(self._last))
        return torch.tensor(np.array(numbers)).view(self._shape)

    def close(self) -> None:
        """Free the tensors."""
        self._ggml.free(self._context)


class OwnProducts:
    """``x`` times the weights of all layers: one program of ``dllm_core.cpu``."""

    def __init__(self, layers: list[PackedRows], x: Tensor) -> None:
        sizes = [product.workspace_sizes(len(x), weights) for weights in layers]
        workspace = [torch.empty(size, dtype=torch.uint8) for size in sizes[0]]
        self._out = torch.empty(len(x), layers[0].padded)
        addresses = [part.data_ptr() for part in workspace]
        launches = [product.launch(x, weights, self._out, addresses) for weights in layers]
        self._kept, self._outputs = (layers, x, workspace), layers[0].out_features
        self._program = Program(launches)

    def __call__(self) -> None:
        self._program.run()

    def last(self) -> Tensor:
        """Outputs (rows, outputs) of the last layer."""
        return self._out[:, : self._outputs]


def packed(weights: Weights) -> PackedRows:
    """The weights in the layout of this project's kernel, with the values of Q4_1."""
    outputs, inputs = weights.values.shape
    rows = PackedRows(inputs, outputs, FOUR_BITS)
    if not rows.store(0, weights.values):
        raise SystemExit("these weights do not lie on a grid of 4 bits")
    return rows


def products(
    ggml: Ggml,
    weights: dict[str, list[Weights]],
    threads: int,
    repeats: int,
    counts: Sequence[int],
) -> Iterator[Row]:
    """A row for each projection and number of input rows."""
    for name, layers in weights.items():
        own_weights = [packed(layer) for layer in layers]
        outputs, inputs = layers[0].values.shape
        for rows in counts:
            x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(rows))
            exact = (x.double() @ layers[-1].values.double().T).float()
            own, theirs = OwnProducts(own_weights, x), GgmlProducts(ggml, layers, x, threads)
            times = in_turn([own, theirs], repeats)
            shape = f"{name} {inputs}x{outputs}"
            label: Row = {"what": "product", "shape": shape, "rows": rows, "threads": threads}
            yield {
                **label,
                **_compared(times, threads, 1e3 / len(layers), "us"),
                "error": _error(own.last(), exact),
                "ggml_error": _error(theirs.last(), exact),
            }
            theirs.close()


def _compared(times: list[list[Time]], threads: int, scale: float, unit: str) -> Row:
    own, theirs = ([t.cpu if threads == 1 else t.wall for t in taken] for taken in times)
    return {
        unit: round(median(own) * scale, 2),
        f"ggml_{unit}": round(median(theirs) * scale, 2),
        "times_faster": round(median(b / a for a, b in zip(own, theirs, strict=True)), 2),
    }


def _error(found: Tensor, exact: Tensor) -> float:
    return float(f"{(found - exact).abs().max() / exact.abs().max():.2e}")


class LlamaSteps:
    """llama.cpp's forward pass over some tokens behind cached ones, again and again."""

    def __init__(self, package: Any, path: Path, ids: list[int], threads: int) -> None:
        self._package = package
        # Logits of all rows of a batch, as the denoiser has them.
        self._llama = package.Llama(
            str(path),
            n_ctx=_CONTEXT,
            n_threads=threads,
            n_threads_batch=threads,
            logits_all=True,
            verbose=False,
        )
        self._ids = ids
        self._llama.eval(ids[:CACHED])
        self._memory = package.llama_get_memory(self._llama.ctx)

    def step(self, rows: int) -> Callable[[], object]:
        """An action that runs ``rows`` tokens and takes the largest logit of each."""
        package, context = self._package, self._llama.ctx
        batch = package.llama_batch_init(rows, 0, 1)
        batch.n_tokens = rows
        for i in range(rows):
            batch.token[i], batch.pos[i] = self._ids[CACHED + i], CACHED + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1

        def work() -> object:
            package.llama_memory_seq_rm(self._memory, 0, CACHED, -1)
            if package.llama_decode(context, batch):
                raise SystemExit("llama_decode failed")
            return self.logits(rows).argmax(-1).tolist()

        return work

    def reply(self) -> Callable[[], object]:
        """An action that runs ``REPLY`` tokens, each the likeliest after the one before."""
        package, context = self._package, self._llama.ctx
        batch = package.llama_batch_init(1, 0, 1)
        batch.n_tokens, batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 1, 0, 1

        def work() -> object:
            package.llama_memory_seq_rm(self._memory, 0, CACHED, -1)
            token = self._ids[CACHED]
            for i in range(REPLY):
                batch.token[0], batch.pos[0] = token, CACHED + i
                if package.llama_decode(context, batch):
                    raise SystemExit("llama_decode failed")
                token = int(self.logits(1)[0].argmax())
            return token

        return work

    def logits(self, rows: int) -> Tensor:
        """Logits (rows, vocabulary) of the last step, where llama.cpp keeps them."""
        vocabulary = self._llama.n_vocab()
        pointer = self._package.llama_get_logits(self._llama.ctx)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, (rows, vocabulary)))


class OwnSteps:
    """The same pass by an engine of this project."""

    def __init__(self, engine: Engine, ids: list[int]) -> None:
        self._model, self._ids = engine.model, torch.tensor(ids)
        self._store = KeyValues(engine.config, _CONTEXT, torch.float32, torch.device("cpu"))
        self._store.reserve(len(ids), keep=0)
        self._logits(0, CACHED)

    @torch.inference_mode()
    def _logits(self, start: int, rows: int, given: Tensor | None = None) -> Tensor:
        """Logits of ``rows`` tokens from ``start`` on; each sees itself and those before it."""
        visible = start + rows
        mask = torch.ones(rows, visible, dtype=torch.bool).tril(start)
        span = Span(self._store, start, rows, visible, mask)
        ids = (self._ids if given is None else given)[start:visible]
        return run(self._model, Forward(ids, (span,), torch.arange(rows)))

    def step(self, rows: int) -> Callable[[], object]:
        """An action that runs ``rows`` tokens and takes the largest logit of each."""
        return lambda: self._logits(CACHED, rows).argmax(-1).tolist()

    def reply(self) -> Callable[[], object]:
        """An action that runs ``REPLY`` tokens, each the likeliest after the one before."""

        def work() -> object:
            given = self._ids.clone()
            for i in range(REPLY):
                at = CACHED + i
                given[at + 1] = self._logits(at, 1, given)[0].argmax()
            return given

        return work

    def logits(self, rows: int) -> Tensor:
        """Logits (rows, vocabulary) of a step."""
        return self._logits(CACHED, rows)


def requantised(package: Any, path: Path, folder: str) -> Path:
    """The model of ``path`` with Q4_0 layers, written to ``folder``."""
    target = Path(folder) / "q4_0.gguf"
    options = package.llama_model_quantize_default_params()
    options.ftype, options.allow_requantize = package.LLAMA_FTYPE_MOSTLY_Q4_0, True
    if package.llama_model_quantize(bytes(path), bytes(target), ctypes.byref(options)):
        raise SystemExit(f"llama.cpp could not write {target}")
    return target


def steps(
    package: Any, path: Path, threads: int, repeats: int, counts: Sequence[int], exact: bool
) -> Iterator[Row]:
    """A row for each number of tokens and one for a reply: an engine in int4 beside llama.cpp.

    With `exact`, logits are compared with those of float32.
    """
    engines = {
        dtype: Engine.load(path, dtype=dtype, device="cpu", threads=threads)  # type: ignore[arg-type]
        for dtype in ("int4", "float32")[: 1 + exact]
    }
    generator = torch.Generator().manual_seed(0)
    vocabulary = engines["int4"].config.vocab_size
    ids = torch.randint(vocabulary, (CACHED + ROWS[-1],), generator=generator).tolist()
    own, *plain = (OwnSteps(engine, ids) for engine in engines.values())
    with TemporaryDirectory() as folder:
        files = {path.stem: path}
        if has_q4_1(path):
            files = {"q4_1": path, "q4_0": requantised(package, path, folder)}
        theirs = {kind: LlamaSteps(package, file, ids, threads) for kind, file in files.items()}
    for rows in counts:
        actions = [own.step(rows), *(each.step(rows) for each in theirs.values())]
        times = in_turn(actions, repeats)
        ours = own.logits(rows)
        for taken, (kind, each) in zip(times[1:], theirs.items(), strict=True):
            label: Row = {"what": "step", "ggml": kind, "rows": rows, "threads": threads}
            compared = _compared([times[0], taken], threads, 1.0, "ms")
            errors: Row = {}
            if plain:
                truth, found = plain[0].logits(rows), each.logits(rows)
                errors = {"error": _error(ours, truth), "ggml_error": _error(found, truth)}
            yield label | compared | errors
    replies = in_turn([own.reply(), *(each.reply() for each in theirs.values())], -(-repeats // 5))
    for taken, kind in zip(replies[1:], theirs, strict=True):
        label = {"what": "reply", "ggml": kind, "tokens": REPLY, "threads": threads}
        yield label | _compared([replies[0], taken], threads, 1.0, "ms")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="a GGUF file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30, help="rounds per row")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, help="rows of products and steps"
    )
    parser.add_argument(
        "--no-errors", action="store_true", help="do not load the model in float32, too"
    )
    parser.add_argument("--no-products", action="store_true", help="measure whole passes only")
    parser.add_argument("--llama-python", default=sys.executable)
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    path = given.model or store.locate(MODEL)
    package = llama_cpp(given.llama_python)
    torch.set_num_threads(given.threads)
    ggml = Ggml(Path(package.__file__).parent / "lib")
    system = package.llama_print_system_info().decode().strip()
    head: Row = {"what": "llama.cpp", "version": package.__version__, "system": system}
    wanted = has_q4_1(path) and not given.no_products
    measured: Iterator[Row] = iter(())
    if wanted:
        weights = read_weights(path)
        measured = products(ggml, weights, given.threads, given.repeats, given.rows)
    exact = not given.no_errors
    passes = steps(package, path, given.threads, given.repeats, given.rows, exact)
    for rows in ([head], measured, passes):
        for row in rows:
            line = "  ".join(f"{name} {value}" for name, value in row.items())
            print(json.dumps(row) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
