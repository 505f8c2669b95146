// The convolutions of cuDNN as one more variant, where its library is found at run time: the rival, and a
// candidate of the autotuner. A plan is the fastest of the engines that cuDNN proposes for a call, in the
// arithmetic that was asked for; the engine's own is deterministic, the rival's may not be. Volumes N×D×H×W×C
// and weights [C_out, kD, kH, kW, C_in] are strides to it. What follows the sum runs in a kernel of ours.
// Source: the cuDNN backend API, https://docs.nvidia.com/deeplearning/cudnn.
#include <cudnn.h>
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "kernels/cuda/conv3d/autotune.h"
#include "kernels/cuda/conv3d/variants.h"
#include "kernels/elementwise.h"
#include "kernels/simt/runtime.h"
#include "kernels/sizes.h"

// Handles of plans are deprecated since 9.19 and needed before.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace voxot::cuda {
namespace {

constexpr int kCandidates = 10;  // measured for a call, as many as PyTorch tries (cudnn.benchmark_limit)
constexpr int kRepetitions = 3;
constexpr std::int64_t kAlignment = 16;
constexpr std::int64_t kInputId = 1;
constexpr std::int64_t kOtherId = 2;
constexpr std::int64_t kOutputId = 3;

/// What cuDNN cannot do for a call; the variant does not take it then.
struct Refused {};

struct Library {
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnGetVersion) version = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendSetAttribute) set = nullptr;
  decltype(&cudnnBackendGetAttribute) get = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;
  cudnnHandle_t handle = nullptr;  // lives as long as the program
};

const Library& library() {
  static const Library found = [] {
    Library l;
    void* file = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (file == nullptr) return l;
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, name));
      return function != nullptr;
    };
    const bool whole = take(l.create, "cudnnCreate") && take(l.version, "cudnnGetVersion") &&
                       take(l.set_stream, "cudnnSetStream") &&
                       take(l.create_descriptor, "cudnnBackendCreateDescriptor") &&
                       take(l.destroy_descriptor, "cudnnBackendDestroyDescriptor") &&
                       take(l.finalize, "cudnnBackendFinalize") && take(l.set, "cudnnBackendSetAttribute") &&
                       take(l.get, "cudnnBackendGetAttribute") && take(l.execute, "cudnnBackendExecute");
    if (!whole || l.create(&l.handle) != CUDNN_STATUS_SUCCESS) l.handle = nullptr;
    return l;
  }();
  return found;
}

void check(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) throw Refused{};
}

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(library().create_descriptor(type, &handle_));
  }
  ~Descriptor() { library().destroy_descriptor(handle_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
           const void* values) {
    check(library().set(handle_, name, type, count, values));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.handle_);
  }
  /// How many values came.
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                   void* values) const {
    std::int64_t came = 0;
    check(library().get(handle_, name, type, count, &came, values));
    return came;
  }
  void finalize() { check(library().finalize(handle_)); }
  [[nodiscard]] cudnnBackendDescriptor_t handle() const { return handle_; }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

using Held = std::unique_ptr<Descriptor>;
Held make(cudnnBackendDescriptorType_t type) { return std::make_unique<Descriptor>(type); }

/// `outer` × extent × channels with channels innermost, as cuDNN's [outer, channels, extent].
Held tensor(std::int64_t id, DType dtype, std::int64_t outer, std::int64_t channels,
            const std::array<std::int64_t, 3>& extent) {
  const std::int64_t dims[5] = {outer, channels, extent[0], extent[1], extent[2]};
  const std::int64_t strides[5] = {extent[0] * extent[1] * extent[2] * channels, 1,
                                   extent[1] * extent[2] * channels, extent[2] * channels, channels};
  const cudnnDataType_t type = dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  Held t = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t->set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  t->set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 5, dims);
  t->set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 5, strides);
  t->set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  t->set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &kAlignment);
  t->finalize();
  return t;
}

Held convolution(const Conv3dParams& p) {
  const cudnnDataType_t accumulate = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const std::int64_t axes = 3;
  Held c = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  c->set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &accumulate);
  c->set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  c->set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
  c->set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, p.dilation.data());
  c->set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3, p.stride.data());
  c->set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3, p.padding.data());
  c->set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3, p.padding.data());
  c->finalize();
  return c;
}

/// The pass with its attributes in cuDNN's order: alpha, beta, convolution, then three tensors.
struct Names {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t alpha, beta, convolution, input, other, output;
};
Names names_of(ConvPass pass) {
  if (pass == ConvPass::forward) {
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y};
  }
  if (pass == ConvPass::grad_input) {
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX};
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW};
}

/// A configured engine, ready to run.
struct Plan {
  Held config, plan;
  std::int64_t workspace = 0;
  double seconds = 0;
};

/// Everything that plans refer to, and the plans.
struct Search {
  Held x, y, weight, convolution, operation, graph, heuristics;
  std::optional<Plan> deterministic, in_any_order;  // the fastest of each kind
};

void describe_operation(Search& s, const ConvCall& c) {
  const Conv3dParams& p = c.params;
  const bool of_weight = c.pass == ConvPass::grad_weight;
  const bool of_input = c.pass == ConvPass::grad_input;
  s.x = tensor(of_input ? kOutputId : kInputId, c.dtype, p.batch, p.in_channels, p.in_extent);
  s.y = tensor(of_input    ? kInputId
               : of_weight ? kOtherId
                           : kOutputId,
               c.dtype, p.batch, p.out_channels, p.out_extent());
  s.weight = tensor(of_weight ? kOutputId : kOtherId, of_weight ? DType::f32 : c.dtype, p.out_channels,
                    p.in_channels, p.kernel);
  s.convolution = convolution(p);
  const Names names = names_of(c.pass);
  const float alpha = c.pass == ConvPass::forward ? 1.0F : c.epilogue.scale;
  const float beta = c.write == Write::accumulate ? 1.0F : 0.0F;
  s.operation = make(names.operation);
  s.operation->set(names.convolution, *s.convolution);
  s.operation->set(names.input, of_input ? *s.y : *s.x);
  s.operation->set(names.other, of_weight ? *s.y : *s.weight);
  s.operation->set(names.output, of_weight ? *s.weight : of_input ? *s.x : *s.y);
  s.operation->set(names.alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
  s.operation->set(names.beta, CUDNN_TYPE_FLOAT, 1, &beta);
  s.operation->finalize();
  s.graph = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  s.graph->set(CUDNN_ATTR_OPERATIONGRAPH_OPS, *s.operation);
  s.graph->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &library().handle);
  s.graph->finalize();
}

/// What an engine says of its arithmetic.
struct Arithmetic {
  bool asked_for = true;
  bool deterministic = true;
};
Arithmetic arithmetic_of(const Descriptor& config, const ConvCall& c) {
  const Held engine = make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine->handle();
  config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  const std::int64_t count = engine->get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                         CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
  const bool exact = c.dtype == DType::f32 && c.math == ConvMath::exact;
  Arithmetic arithmetic;
  for (const cudnnBackendNumericalNote_t note : std::span(notes, to_size(count))) {
    if (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) arithmetic.deterministic = false;
    if (note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
        (exact &&
         (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)))
      arithmetic.asked_for = false;
  }
  return arithmetic;
}

void execute(const Stream& stream, const Plan& plan, const void* input, const void* other, void* output,
             void* workspace) {
  const std::int64_t ids[3] = {kInputId, kOtherId, kOutputId};
  const void* pointers[3] = {input, other, output};
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  check(library().set_stream(library().handle, static_cast<cudaStream_t>(stream.handle)));
  check(library().execute(library().handle, plan.plan->handle(), pack.handle()));
}

std::size_t result_bytes(const ConvCall& c) {
  const Conv3dParams& p = c.params;
  if (c.pass == ConvPass::grad_weight) return to_size(p.weight_count()) * 4;
  const std::int64_t count = c.pass == ConvPass::forward ? p.batch * p.out_voxels() * p.out_channels
                                                         : p.batch * p.in_voxels() * p.in_channels;
  return to_size(count) * size_of(c.dtype);
}

/// The least of some runs, on memory of the search's own, whose values do not matter. One that twice takes
/// more than twice as long as `fastest` (0: none yet) is not run again.
double measure(const Plan& plan, const ConvCall& c, double fastest) {
  const Stream stream{Device::cuda, simt::create_stream()};
  const Conv3dParams& p = c.params;
  const auto bytes = [&](std::int64_t count) { return to_size(count) * 4; };
  void* blocks[4] = {
      simt::allocate(
          bytes(p.batch * std::max(p.in_voxels() * p.in_channels, p.out_voxels() * p.out_channels))),
      simt::allocate(bytes(std::max(p.weight_count(), p.batch * p.out_voxels() * p.out_channels))),
      simt::allocate(result_bytes(c)), simt::allocate(to_size(plan.workspace) + 1)};
  const bool whole = std::find(blocks, blocks + 4, nullptr) == blocks + 4;
  double least = 0;
  bool works = whole;
  try {
    for (int i = 0; whole && i <= kRepetitions; ++i) {
      simt::Event start;
      simt::Event stop;
      start.record(stream);
      execute(stream, plan, blocks[0], blocks[1], blocks[2], blocks[3]);
      stop.record(stream);
      stop.wait();
      const double seconds = stop.seconds_since(start);
      if (i == 1 || (i > 1 && seconds < least)) least = seconds;  // the first warms up
      if (i > 1 && fastest > 0 && least > 2 * fastest) break;
    }
  } catch (const Refused&) {
    works = false;
  }
  simt::synchronize(stream);
  for (void* block : blocks) {
    if (block != nullptr) simt::free(block);
  }
  simt::destroy_stream(stream.handle);
  if (!works) throw Refused{};
  return least;
}

/// The configurations that cuDNN proposes, the most promising first.
std::vector<Held> proposals(Search& s, cudnnBackendHeurMode_t mode) {
  s.heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  s.heuristics->set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, *s.graph);
  s.heuristics->set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  s.heuristics->finalize();
  const std::int64_t count =
      s.heuristics->get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  std::vector<Held> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < count; ++i) {
    configs.push_back(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    handles.push_back(configs.back()->handle());
  }
  configs.resize(to_size(s.heuristics->get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                           count, handles.data())));
  return configs;
}

Plan build(Held config) {
  Plan plan;
  plan.config = std::move(config);
  plan.plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.plan->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &library().handle);
  plan.plan->set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, *plan.config);
  plan.plan->finalize();
  plan.plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &plan.workspace);
  return plan;
}

/// Measures the first engines, of those that are deterministic and, on request, of the others.
void measure_proposals(Search& s, const ConvCall& c, cudnnBackendHeurMode_t mode, bool any_order) {
  int left = kCandidates;
  int others_left = any_order ? kCandidates : 0;
  std::vector<Held> configs;
  try {
    configs = proposals(s, mode);
  } catch (const Refused&) {
    return;  // nothing to propose in this mode
  }
  for (Held& config : configs) {
    try {
      const Arithmetic a = arithmetic_of(*config, c);
      int& of_its_kind = a.deterministic ? left : others_left;
      if (!a.asked_for || of_its_kind == 0) continue;
      --of_its_kind;
      Plan plan = build(std::move(config));
      std::optional<Plan>& best = a.deterministic ? s.deterministic : s.in_any_order;
      plan.seconds = measure(plan, c, best ? best->seconds : 0);
      if (!best || plan.seconds < best->seconds) best = std::move(plan);
    } catch (const Refused&) {
      // This engine does not do it here; another may.
    }
  }
}

Search search(const ConvCall& c, bool any_order) {
  Search s;
  try {
    describe_operation(s, c);
    measure_proposals(s, c, CUDNN_HEUR_MODE_A, any_order);
    if (!s.deterministic) measure_proposals(s, c, CUDNN_HEUR_MODE_FALLBACK, any_order);
  } catch (const Refused&) {
    // cuDNN does not know such calls.
  }
  return s;
}

/// The call's plan, searched for once; null where cuDNN has none.
const Plan* plan_of(const ConvCall& c, bool any_order) {
  static std::mutex mutex;
  static auto& searches = *new std::map<std::pair<std::string, bool>, Search>;
  const std::lock_guard lock(mutex);
  ConvCall plain = c;
  plain.epilogue.statistics = {};  // they change nothing about the convolution
  const std::string key =
      fmt::format("{} {} {}", describe(plain), c.pass == ConvPass::forward ? 1.0F : c.epilogue.scale,
                  static_cast<int>(c.write));
  auto found = searches.find({key, any_order});
  if (found == searches.end()) found = searches.find({key, true});  // has what either wants
  if (found == searches.end())
    found = searches.emplace(std::pair(key, any_order), search(c, any_order)).first;
  const std::optional<Plan>& same_bits = found->second.deterministic;
  const std::optional<Plan>& other = found->second.in_any_order;
  if (any_order && other && (!same_bits || other->seconds < same_bits->seconds)) return &*other;
  return same_bits ? &*same_bits : nullptr;
}

bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % kAlignment == 0; }

bool takes(const ConvCall& c, bool any_order) {
  if (c.dtype == DType::f64 || library().handle == nullptr) return false;
  if (!aligned(c.input) || !aligned(c.other) || !aligned(c.output)) return false;
  return plan_of(c, any_order) != nullptr;
}

void run(const Stream& stream, const ConvCall& c, bool any_order) {
  const Plan* plan = plan_of(c, any_order);
  VOXOT_CHECK(plan != nullptr, "conv3d: cuDNN has no engine for {}", describe(c));
  const bool copies = c.dtype == DType::bf16 && c.pass != ConvPass::grad_weight;
  const std::int64_t weights = c.params.weight_count();
  const std::size_t copied = copies ? (to_size(weights) * 2 + 255) / 256 * 256 : 0;
  auto* scratch = static_cast<std::byte*>(simt::scratch(copied + to_size(plan->workspace) + 1));
  if (copies) {
    kernels::cast(stream,
                  {.count = weights, .from = DType::f32, .x = c.other, .to = DType::bf16, .y = scratch});
  }
  try {
    execute(stream, *plan, c.input, copies ? scratch : c.other, c.output, scratch + copied);
  } catch (const Refused&) {
    fail("conv3d: cuDNN failed in {}", describe(c));
  }
  if (c.pass != ConvPass::forward) return;
  conv3d_epilogue(stream, c);
  conv3d_statistics(stream, c);
}

}  // namespace

std::string describe_cudnn() {
  if (library().handle == nullptr) return "";
  const std::size_t v = library().version();  // 91400: 9.14.0
  return fmt::format("cuDNN {}.{}.{}", v / 10000, v % 10000 / 100, v % 100);
}

bool takes_cudnn(const ConvCall& c) { return takes(c, false); }
void conv3d_cudnn(const Stream& stream, const ConvCall& c) { run(stream, c, false); }

const ConvVariant& fastest_cudnn() {
  static const ConvVariant variant{"cudnn, any order", [](const ConvCall& c) { return takes(c, true); },
                                   [](const Stream& stream, const ConvCall& c) { run(stream, c, true); }};
  return variant;
}

}  // namespace voxot::cuda
