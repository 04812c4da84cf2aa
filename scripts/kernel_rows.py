"""The rows of kernel_report.py: which instantiation of which kernel, and how many bytes it moves.

Formulas are Python expressions in the shape letters of kernels/ops.h and
  b  bytes of an element, a  of what it is summed in, N  choices (T K), R  rows (N: none dropped)
  B  chunks of 1024 choices, P  runs of 512 tokens, W  warps that share the row of a token
  S  chunks of sort_chunks (ranks x local experts)
`least`: every argument read once, every result written once. `asked`: what the loads and stores ask
for, lanes of a warp at one address counted once; where it is more, caches have to serve the rest.
Both are computed here, not measured. One group; every expert has N / E choices; by probability half
of them stay.
"""

from typing import NamedTuple

BENCH_SHAPE = {"T": 4096, "D": 512, "E": 64, "K": 8, "F": 256}


class Architecture(NamedTuple):
    """What an SM holds (CUDA programming guide, compute capabilities)."""
    warps: int
    blocks: int
    registers: int
    shared_bytes: int


ARCHITECTURES = {
    "sm_80": Architecture(64, 32, 65536, 164 * 1024),
    "sm_90": Architecture(64, 32, 65536, 228 * 1024),
    "sm_100": Architecture(64, 32, 65536, 228 * 1024),
    "sm_120": Architecture(48, 24, 65536, 100 * 1024),
}


class Row(NamedTuple):
    kernel: str
    instantiations: tuple[str, ...]  # float32, bfloat16, as c++filt spells them
    mapping: str
    threads: int
    least: str
    asked: str
    dynamic_shared: int = 0
    moves_rows: bool = False  # must use 128-bit accesses

    @property
    def element_sizes(self) -> tuple[int, ...]:
        return (4, 2)[:len(self.instantiations)]


def bytes_of(formula: str, element_size: int) -> int:
    letters = dict(BENCH_SHAPE)
    letters["N"] = letters["R"] = letters["T"] * letters["K"]
    letters |= {"B": letters["N"] // 1024, "P": letters["T"] // 512, "S": letters["E"]}
    letters |= {"a": max(4, element_size), "b": element_size}
    letters["W"] = min(8, max(1, letters["D"] * element_size // 16 // 32))
    return eval(formula, {"__builtins__": {}}, letters)  # our own constants below


def both_types(pattern: str) -> tuple[str, str]:
    return pattern.replace("T", "float"), pattern.replace("T", "__nv_bfloat16")


def vector_types(kernel: str) -> tuple[str, str]:
    return f"{kernel}<float, 4>", f"{kernel}<__nv_bfloat16, 8>"


UNITS = ("Pack<unsigned int, 4>",) * 2  # 16 bytes, whatever the element
E = BENCH_SHAPE["E"]
ROWS = (
    Row("route_tokens_kernel", both_types("route_tokens_kernel<T, 2>"),
        "min(T/8, 65536) x 256, a warp a token", 256,
        "T*E*(b+a) + T*K*(8+a) + T*a", "T*E*(b+a) + T*K*(8+a) + T*a"),
    Row("route_tokens_backward_kernel", ("route_tokens_backward_kernel<float>",),
        "min(T/8, 65536) x 256, a warp a token", 256,
        "3*T*E*a + T*K*(8+2*a) + T*a", "5*T*E*a + T*K*(24+9*a) + T*a"),
    Row("sum_runs_kernel", ("sum_runs_kernel<float>",),
        "P (E+1)/32 x (32 columns, 8 rows)", 256,
        "T*E*a + T*a + 8*P*(E+1)", "T*E*a + T*a + 8*P*(E+1)"),
    Row("sum_partials_kernel", ("sum_partials_kernel",),
        "(E+1)/256 x 256, a thread a column", 256,
        "8*(P+1)*(E+1)", "8*(P+1)*(E+1)"),
    Row("count_choices_kernel", ("count_choices_kernel",),
        "(B, E/512) x 256, a block a chunk", 256,
        "8*N + 4*B*E", "8*N + 4*B*E", dynamic_shared=4 * E),
    Row("scan_chunks_kernel", ("scan_chunks_kernel",),
        "E/32 x (32 experts, 32 runs of chunks)", 1024,
        "8*B*E + 24*E", "12*B*E + 32*E"),
    Row("assign_rows_kernel", ("assign_rows_kernel",),
        "(B, E/512) x 256, a warp 128 choices", 256,
        "24*N + 4*B*E + 16*E", "32*N + 20*B*E", dynamic_shared=40 * E),
    Row("list_candidates_kernel", both_types("list_candidates_kernel<T>"),
        "(B, E/512) x 256, a warp 128 choices", 256,
        "(20+b)*N + 4*B*E + 16*E", "(28+b)*N + 36*B*E", dynamic_shared=48 * E),
    Row("select_candidates_kernel", ("select_candidates_kernel<unsigned int>",),
        "E x 256, a block an expert", 256,
        "24*N + 24*E", "40*N + 64*E*E + 16*E"),
    Row("permute_tokens_kernel",
        tuple(f"permute_tokens_kernel<{unit}>" for unit in UNITS),
        "T W/8 x (32 W lanes, 8/W tokens)", 256,
        "(T+R)*D*b + 8*N", "(T+R)*D*b + 8*N*W", moves_rows=True),
    Row("unpermute_tokens_kernel", vector_types("unpermute_tokens_kernel"),
        "T W/8 x (32 W lanes, 8/W tokens)", 256,
        "(T+R)*D*b + (8+a)*N", "(T+R)*D*b + (8+a)*N*W", moves_rows=True),
    Row("unpermute_tokens_backward_kernel", both_types("unpermute_tokens_backward_kernel<T, true>"),
        "T/4 x 128, a warp a token", 128,
        "(T+2*R)*D*b + (8+2*a)*N", "(T*K/4+2*R)*D*b + (8+2*a)*N", moves_rows=True),
    Row("row_dot_kernel", both_types("row_dot_kernel<T, true>"),
        "R/8 x 256, a warp a row", 256,
        "2*R*F*b + R*a", "2*R*F*b + R*a"),
    Row("gated_activation_kernel", vector_types("gated_activation_kernel"),
        "R F b/4096 x 256, 16 bytes a thread", 256,
        "3*R*F*b", "3*R*F*b", moves_rows=True),
    Row("gated_activation_backward_kernel", vector_types("gated_activation_backward_kernel"),
        "R F b/4096 x 256, 16 bytes a thread", 256,
        "5*R*F*b", "5*R*F*b", moves_rows=True),
    Row("chunk_table_kernel", ("chunk_table_kernel",),
        "1 x 256", 256,
        "24*S + 8", "48*S + 8"),
    Row("sort_chunks_kernel", tuple(f"sort_chunks_kernel<{unit}>" for unit in UNITS),
        "R W/8 x (32 W lanes, 8/W rows)", 256,
        "2*R*D*b + 16*S", "2*R*D*b + 80*R*W", moves_rows=True),
)
