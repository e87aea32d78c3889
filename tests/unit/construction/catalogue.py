"""The code that construction programs are drawn from, as templates (see `statements`)."""

from __future__ import annotations

from typing import Any


def rows(table: str) -> list[str]:
    """The templates of a table."""
    return [each.strip() for each in table.split("|")]


# Factories: template, and whether the values are the same in every run.
FIXED_FACTORIES = rows("""
    torch.empty({n}) | torch.zeros({n}) | torch.ones({n}) * 0.5 | torch.full({n}, 0.25) |
    torch.zeros({n}).add_(0.125) | torch.tensor(0.375).expand({n}).clone() |
    torch.tensor([0.5, 0.25]).repeat(N * N)[: math.prod({n})].view({n}) |
    torch.arange(math.prod({n})).view({n}).float() / N | torch.linspace(0, 1, math.prod({n})).view({n}).sin() |
    torch.eye(N)[(slice(None),) * len({n}) if len({n}) == 2 else 0] | torch.empty({n}).fill_(1.5)
""")
RANDOM_FACTORIES = rows("""
    torch.randn({n}) | torch.rand({n}) * 2 - 1 | torch.randn({n}).div_(3) | torch.empty({n}).normal_() |
    nn.init.uniform_(torch.empty({n})) | torch.normal(0.0, 1.0, {n}) | torch.randint(0, 9, {n}).float() |
    torch.zeros({n}) + torch.randn(1) | torch.nn.functional.normalize(torch.randn({n}), dim=-1)
""")
FACTORIES = dict.fromkeys(FIXED_FACTORIES, True) | dict.fromkeys(RANDOM_FACTORIES, False)

# Fills of a whole parameter.
FIXED_FILLS = rows("""
    nn.init.constant_({w}, 0.5) | nn.init.zeros_({w}) | nn.init.ones_({w}.data) | {w}.data.fill_(2.5) |
    {w}.detach().zero_() | {w}.data.fill_(torch.tensor(0.75)) | {w}.data[:] = 1.75 | {w}.data.copy_(torch.ones({n})) |
    {w}.data.copy_(torch.arange(N)) | torch.zeros({n}, out={w}.data) | torch.full({n}, 0.5, out={w}.data) |
    torch._foreach_zero_([{w}.data]) | {w}.data.normal_(generator=torch.Generator().manual_seed(5)) |
    nn.init.trunc_normal_({w}, generator=torch.Generator().manual_seed(3)) |
    nn.init.uniform_({w}, generator=torch.Generator().manual_seed(6)) | seen.append(seen_by_address({w}))
""")
RANDOM_FILLS = rows("""
    nn.init.normal_({w}) | nn.init.normal_({w}, 0.0, 0.02) | nn.init.uniform_({w}, -0.1, 0.1) |
    nn.init.trunc_normal_({w}, std=0.02) | {w}.data.normal_(0, 0.1) | {w}.data.uniform_(-1, 1) |
    {w}.detach().exponential_() | {w}.data.t().normal_() | {w}.data.view(-1).uniform_() |
    {w}.data.copy_(torch.randn({n})) | torch.randn({n}, out={w}.data) | torch.nn.init.normal_({w}.data).mul_(0.5)
""")
MATRIX_FILLS = {
    "nn.init.xavier_uniform_({w})": False,
    "nn.init.kaiming_normal_({w})": False,
    "nn.init.orthogonal_({w})": False,
    "nn.init.eye_({w})": True,
    "nn.init.sparse_({w}, 0.5)": False,
    "torch.eye(N, out={w}.data)": True,
}

# Writes of a part, with the part; these read nothing.
ROW, STEPS = 0, slice(None, None, 2)
HALF = slice(0, 4)
PARTS: tuple[tuple[str, Any, bool], ...] = (
    ("{w}.data[0] = 7.0", ROW, True),
    ("{w}.data[::2].fill_(1.0)", STEPS, True),
    ("{w}.data[::2].normal_()", STEPS, False),
    ("{w}.data[[0, 2]] = 8.0", [0, 2], True),
    ("nn.init.zeros_({w}[0])", ROW, True),
    ("{w}.detach()[..., 7].fill_(2)", (..., 7), True),
    ("{w}.data.index_fill_(0, torch.tensor([1]), 3.0)", [1], True),
    ("{w}.data.narrow(0, 0, 4).uniform_()", HALF, False),
    ("{w}.data.split(4)[0].zero_()", HALF, True),
)

# Writes that are computed of what is there.
SCALES = rows("""
    {w}.data.mul_(0.5) | {w}.data.add_(1.0) | {w}.data.div_(3).clamp_(-1, 1) | {w}.data *= 2 |
    {w}.data.copy_({w}.data * 0.25) | torch.mul({w}.data, 0.5, out={w}.data) | torch._foreach_mul_([{w}.data], 0.5) |
    scripted_double({w}.data) | {w}.data.clamp_(min=0.0)
""")

# Data, into the parameter's own memory.
LOADS = rows("""
    {w}.data.copy_({o}) | {w}.detach().copy_({o}) | {w}.data[...] = {o} | {w}.data.copy_(torch.from_numpy({array})) |
    {w}.data.copy_(torch.tensor({array})) | {w}.data.copy_(loaded({o})) | {w}.data.copy_({o} * 2 + 1) |
    {w}.data.copy_(torch.cat([{o}[:4], {o}[4:]])) | self.state_dict()[{w_name!r}].copy_({o}) |
    torch.add({o}, 1, out={w}.data) | torch._foreach_copy_([{w}.data], [{o}]) |
    self.load_state_dict({{{w_name!r}: {o}}}, strict=False)
""")
# The same, computed of what was there and of data.
TAINTED = rows("""
    {w}.data.add_({o}) | {w}.data.mul_({o}) | {w}.data.lerp_({o}, 0.5) | torch.add({w}.data, {o}, out={w}.data) |
    train({w})
""")
PART_LOADS = (
    ("{w}.data[:4] = {o}[:4]", HALF),
    ("{w}.data[0].copy_({o}[0])", ROW),
    ("{w}.data[::2] = torch.from_numpy({array})[::2]", STEPS),
)
# Writes that neither a mode nor a version counter sees.
RAW_WRITES = (
    "{w}.detach().numpy()[:] = 7.0",
    "{w}.data.numpy()[...] = {array}",
    "ctypes.memset({w}.data_ptr(), 63, 4 * {w}.numel())",
)

# Data in other memory: template, whether the memory existed before the block, whether `.data` is replaced.
REPLACEMENTS = (
    ("{w} = nn.Parameter({o})", True, False),
    ("{w} = nn.Parameter({o}.clone())", False, False),
    ("{w} = nn.Parameter(torch.from_numpy({array}))", True, False),
    ("{w} = nn.Parameter(loaded({o}))", False, False),
    ("{w}.data = {o}", True, True),
    ("{w}.data = {o} + 1", False, True),
    ("{w}.data = torch.from_numpy({array})", True, True),
    ("{owner}._parameters[{leaf!r}] = nn.Parameter({o})", True, False),
    ("{owner}._parameters[{leaf!r}] = nn.Parameter(loaded({o}))", False, False),
)
LAYER_LOADS = (
    ("self.{l}.load_state_dict(outside.state)", False, False),
    ("self.{l}.load_state_dict(outside.state, assign=True)", True, True),
    ("self.{l}.load_state_dict(loaded(outside.state))", False, False),
    ("self.{l}.load_state_dict(loaded(outside.state), assign=True)", True, False),
    ("self.{l} = copy.deepcopy(outside.layer)", True, False),
    ("self.{l} = outside.layer", True, True),
    ("share(self.{l}, outside.layer)", True, True),
)
BUILDS = (
    "self.{l} = nn.Linear(N, N)",
    "self.{l} = nn.Linear(N, N)",
    "self.{l} = nn.Linear(N, N).to_empty(device='cpu')",
    "self.{l} = nn.utils.skip_init(nn.Linear, N, N)",
    "self.{l} = nn.Linear(N, N, device='meta').to_empty(device='cpu')",
)
RESETS = ("self.{l}.reset_parameters()",)

# Whole copies: template, and what becomes of the target.
COPIES = (
    ("{w}.data.copy_({s}.data)", "memory"),
    ("{w}.detach().copy_({s})", "memory"),
    ("{w}.data[...] = {s}.data", "memory"),
    ("{w}.data.copy_({s}.detach().clone())", "memory"),
    ("torch._foreach_copy_([{w}.data], [{s}.data])", "memory"),
    ("{w}.data = {s}.data.clone()", "data"),
    ("{w}.data = copy.deepcopy({s}.data)", "data"),
    ("{w} = nn.Parameter({s}.detach().clone())", "parameter"),
    ("{w} = copy.deepcopy({s})", "parameter"),
)
LAYER_COPIES = (
    ("self.{l} = copy.deepcopy(self.{m})", True),
    ("self.{l}.load_state_dict(self.{m}.state_dict())", False),
    ("self.{l}.load_state_dict(copy.deepcopy(self.{m}.state_dict()))", False),
)
# Values computed of another weight: template, the part that is written, whether a parameter is made, and whether the
# target's own values are read.
DERIVATIONS: tuple[tuple[str, Any, bool, bool], ...] = (
    ("{w}.data.copy_({s}.data * 2)", ..., False, False),
    ("{w}.data.copy_({s}.data.t().clone())", ..., False, False),
    ("{w}.data.add_({s}.data)", ..., False, True),
    ("{w}.data.mul_({s}.data)", ..., False, True),
    ("{w} = nn.Parameter({s}.detach() * 0.5)", ..., True, False),
    ("{w} = nn.Parameter({s}.detach().abs())", ..., True, False),
    ("{w}.data[:4] = {s}.data[:4]", HALF, False, False),
    ("{w}.data[0].copy_({s}.data[0])", ROW, False, False),
)
CONTAINERS = ("ModuleList", "Sequential", "ModuleDict")
TIES = ("{w} = {s}", "{w}.data = {s}.data")
MEMORIES = rows("""
    {w}.detach().clone() | {w}.data.clone() | {w}.detach().half() | {w}.detach().norm(dim=-1) | ({w} * 3).detach() |
    ({w}.reshape(-1) @ {s}.reshape(-1)).detach()
""")

# Code that touches no parameter of the model.
OTHERS = (
    "seen.append(torch.rand(3))",
    "seen.append(torch.randn(4, 4))",
    "seen.append(torch.randperm(7))",
    "seen.append(torch.rand(()).item())",
    "seen.append(torch.empty(4).bernoulli_(0.5).tolist())",
    "torch.manual_seed(7)",
    "torch.default_generator.manual_seed(8)\nseen.append(torch.rand(2))",
    "seen.append(torch.get_rng_state())",
    "torch.set_rng_state(outside.generator)",
    "state = torch.get_rng_state()\nseen.append(torch.rand(2))\ntorch.set_rng_state(state)",
    "torch.random.set_rng_state(torch.random.get_rng_state())\ntorch.manual_seed(torch.initial_seed())",
    "with torch.random.fork_rng():\n    seen.append(torch.rand(2))",
    "with torch.random.fork_rng():\n    nn.Linear(N, N)",
    "nn.Linear(N, N)",
    "try:\n    Broken(N)\nexcept RuntimeError:\n    pass",
    "seen.append(np.random.default_rng(0).random(2))",
)

# Reads: template, and whether the result depends on every element.
WHOLE_READS = rows("""
    {w}.tolist() | {w}.detach().numpy().copy() | np.array({w}.detach()) | torch.tensor({w}.detach()) |
    torch.zeros(1).new_tensor({w}.detach()) | torch.as_tensor({w}.detach(), dtype=torch.float64) |
    {w}.detach().clone() | copy.deepcopy({w}).detach() | {w}.sum().item() | {w}.detach().to(torch.float64) |
    {w}.detach().norm() | torch.stack([{w}, {w}]).detach() | {w}.detach().sort().values |
    hash(tuple({w}.reshape(-1).nan_to_num().tolist())) | loaded({w}.detach()) |
    loaded({owner}.state_dict())[{leaf!r}] | pickle.loads(pickle.dumps({w}.detach())) | scripted_sum({w}.detach()) |
    ctypes.string_at({w}.data_ptr(), 4 * {w}.numel()) |
    ctypes.string_at({w}.untyped_storage().data_ptr(), 4 * {w}.numel()) | torch.from_dlpack({w}.detach()).clone() |
    np.from_dlpack({w}.detach()).copy() | memoryview({w}.detach().numpy()).tobytes() |
    torch.func.vmap(torch.sum)({w}.detach()) | torch._foreach_norm([{w}.detach()])[0] |
    torch.autograd.grad({w}.square().sum(), {w})[0] | {w}.detach().to_sparse().to_dense() |
    torch.nn.utils.parameters_to_vector([{w}]).detach() | in_thread({w}.detach().clone)
""")
PARTIAL_READS = rows("""
    torch.equal({w}, torch.zeros_like({w})) | bool(({w} > 0).any()) | {w}[0].tolist() | float({w}[{i}]) |
    {w}.reshape(-1)[1].item() | int({w}.nan_to_num().reshape(-1)[0] > 0) |
    torch.tensor([{w}.data[{i}], {w}.data[{i}]]) | torch.full((3,), {w}.data[{i}]) |
    torch.linspace({w}.data[{i}], 1.0, 5) | f'{{{w}[{i}]:.6f}}' | repr({w}) | str({w}.data) |
    bytes({w}.untyped_storage()[:64])
""")
READS = dict.fromkeys(WHOLE_READS, True) | dict.fromkeys(PARTIAL_READS, False)
