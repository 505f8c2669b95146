// The autotuner of the convolutions. A line of its file: the call, a tab, the variant, a tab, the
// microseconds.
#include "kernels/cuda/conv3d/autotune.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>

#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"

namespace voxot::cuda {
namespace {

constexpr int kRepetitions = 5;
constexpr const char* kFormat = "conv3d-2";  // rises when variants change their meaning

struct Decision {
  std::string variant;
  double microseconds = 0;  // 0: not measured
  bool recorded = false;    // in the file that the caller named
};

struct State {
  std::mutex mutex;
  kernels::AutotuneOptions options;
  bool loaded = false;
  std::map<std::string, Decision> decisions;
};

State& state() {
  static State& state = *new State;
  return state;
}

std::filesystem::path cache_file() {
  std::filesystem::path folder;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    folder = cache;
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};
  }
  const simt::DeviceProperties& p = simt::device_properties();
  const std::string cudnn = describe_cudnn();
  std::string name =
      fmt::format("{}-{}-{}-{}-sm_{}{}-{}.tsv", kFormat, VOXOT_VERSION, cudnn.empty() ? "no cuDNN" : cudnn,
                  p.name, p.major, p.minor, p.multiprocessors);
  std::replace(name.begin(), name.end(), ' ', '_');
  std::replace(name.begin(), name.end(), '/', '_');
  return folder / "voxot" / name;
}

/// Lines that make no sense fail a pinned file and are passed over elsewhere.
void read(State& s, const std::filesystem::path& path, bool own) {
  const bool pinned = s.options.mode == kernels::Autotune::pinned;
  std::ifstream file(path);
  VOXOT_CHECK(file || !pinned, "autotune: cannot read {}", path.string());
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string call;
    Decision d;
    const bool whole = static_cast<bool>(std::getline(fields, call, '\t') &&
                                         std::getline(fields, d.variant, '\t') && fields >> d.microseconds);
    VOXOT_CHECK(whole || !pinned, "autotune: {}: no choice in the line '{}'", path.string(), line);
    d.recorded = own;
    if (whole) s.decisions[call] = d;
  }
}

void load(State& s) {
  if (s.loaded) return;
  s.loaded = true;
  if (s.options.mode == kernels::Autotune::off) return;
  if (s.options.mode == kernels::Autotune::measure && !simt::emulated()) read(s, cache_file(), false);
  if (!s.options.file.empty()) read(s, s.options.file, true);
}

/// Appends a line in one write, so that processes that tune at the same time leave whole lines.
void append(const std::filesystem::path& path, const std::string& call, const Decision& d) {
  if (path.empty()) return;
  std::error_code ignored;  // what cannot be remembered is measured again
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream file(path, std::ios::app);
  file << fmt::format("{}\t{}\t{:.3f}\n", call, d.variant, d.microseconds) << std::flush;
}

std::size_t output_bytes(const ConvCall& c) {
  const Conv3dParams& p = c.params;
  if (c.pass == ConvPass::grad_weight)
    return static_cast<std::size_t>(p.weight_count()) * (c.dtype == DType::f64 ? 8 : 4);
  const std::int64_t count = c.pass == ConvPass::forward ? p.batch * p.out_voxels() * p.out_channels
                                                         : p.batch * p.in_voxels() * p.in_channels;
  return static_cast<std::size_t>(count) * size_of(c.dtype);
}

/// Device memory of one measurement.
struct Output {
  explicit Output(std::size_t bytes) : block(simt::allocate(bytes)) {}
  ~Output() {
    try {
      simt::free(block);
    } catch (const Error&) {
      // A device that has failed takes nothing back.
    }
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  void* block;
};

/// The least of some runs, in microseconds.
double least_time(const Stream& stream, const ConvVariant& v, const ConvCall& call) {
  v.run(stream, call);
  double least = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    simt::Event start;
    simt::Event stop;
    start.record(stream);
    v.run(stream, call);
    stop.record(stream);
    stop.wait();
    const double seconds = stop.seconds_since(start);
    if (i == 0 || seconds < least) least = seconds;
  }
  return least * 1e6;
}

/// The fastest of the variants that take the call, into memory of their own. One that fails is out of the
/// running.
Decision measure(const Stream& stream, ConvCall call) {
  const Output output(output_bytes(call));
  if (output.block == nullptr) return {};
  simt::clear(stream, output.block, output_bytes(call));  // an accumulating call reads it
  call.output = output.block;
  Decision best;
  for (const ConvVariant& v : variants(call.pass)) {
    if (!v.takes(call) || v.name == std::string_view("naive")) continue;
    try {
      const double microseconds = least_time(stream, v, call);
      if (best.variant.empty() || microseconds < best.microseconds) best = {v.name, microseconds};
    } catch (const Error& e) {
      fmt::print(stderr, "autotune: {} is left out for {}: {}\n", v.name, describe(call), e.what());
    }
  }
  simt::synchronize(stream);
  return best;
}

/// Whether this build on this machine has the variant, whatever the addresses of a call.
bool has_variant(ConvPass pass, const std::string& name) {
  if (name == "cudnn" && describe_cudnn().empty()) return false;
  const auto all = variants(pass);
  return std::any_of(all.begin(), all.end(), [&](const ConvVariant& v) { return name == v.name; });
}

const ConvVariant* find(const ConvCall& call, std::string_view name) {
  for (const ConvVariant& v : variants(call.pass)) {
    if (name == v.name && v.takes(call)) return &v;
  }
  return nullptr;
}

}  // namespace

std::string describe(const ConvCall& c) {
  const auto triple = [](const std::array<std::int64_t, 3>& t) {
    return fmt::format("{}x{}x{}", t[0], t[1], t[2]);
  };
  const Conv3dParams& p = c.params;
  const char* type = c.dtype == DType::f32 && c.math == ConvMath::tf32 ? "tf32" : name_of(c.dtype);
  std::string text = fmt::format("{} {} N{} {} C{}-{} k{} s{} p{} d{}", name_of(c.pass), type, p.batch,
                                 triple(p.in_extent), p.in_channels, p.out_channels, triple(p.kernel),
                                 triple(p.stride), triple(p.padding), triple(p.dilation));
  if (c.epilogue.statistics.mean != nullptr) text += " statistics";
  return text;
}

const ConvVariant& rule_of_thumb(const ConvCall& c) {
  const Conv3dParams& p = c.params;
  const bool weight = c.pass == ConvPass::grad_weight;
  const std::int64_t width = c.pass == ConvPass::grad_input ? p.in_channels : p.out_channels;
  const std::int64_t rows = p.batch * (c.pass == ConvPass::grad_input ? p.in_voxels() : p.out_voxels());
  std::vector<const char*> order;
  if (p.in_channels >= 512 && rows * width <= 4096) order.push_back("row_products");
  if (weight) {
    if (width > 64) order.push_back("implicit_gemm_128x128");
    order.push_back(width > 32 ? "implicit_gemm_64x128" : "implicit_gemm_32x128");
  } else {
    const std::int64_t blocks = (rows + 127) / 128 * ((width + 127) / 128);
    if (width > 64 && blocks >= simt::device_properties().multiprocessors)
      order.push_back("implicit_gemm_128x128");
    if (width > 32)
      order.push_back(blocks < simt::device_properties().multiprocessors ? "implicit_gemm_64x64"
                                                                         : "implicit_gemm_128x64");
    order.push_back(width > 16 ? "implicit_gemm_128x32" : "implicit_gemm_128x16");
  }
  order.push_back(rows > 4096 ? "tiled_128x64" : "tiled_64x64");
  for (const char* name : order) {
    if (const ConvVariant* v = find(c, name)) return *v;
  }
  return variants(c.pass)[0];
}

const ConvVariant& choose(const Stream& stream, const ConvCall& call) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  load(s);
  const std::string key = describe(call);
  auto found = s.decisions.find(key);
  if (found != s.decisions.end() && s.options.mode == kernels::Autotune::measure &&
      !has_variant(call.pass, found->second.variant)) {
    s.decisions.erase(found);
    found = s.decisions.end();
  }
  if (found == s.decisions.end()) {
    Decision d;
    const bool possible = (!simt::emulated() || s.options.even_emulated) && !simt::capturing(stream);
    if (s.options.mode == kernels::Autotune::measure && possible) {
      d = measure(stream, call);
      if (!d.variant.empty() && !simt::emulated()) append(cache_file(), key, d);
    }
    if (d.variant.empty()) d.variant = rule_of_thumb(call).name;
    found = s.decisions.emplace(key, d).first;
  }
  if (s.options.mode == kernels::Autotune::measure && !found->second.recorded) {
    append(s.options.file, key, found->second);
    found->second.recorded = true;
  }
  // A remembered variant may not take this call: an address less aligned than the measured one's.
  const ConvVariant* v = find(call, found->second.variant);
  return v != nullptr ? *v : rule_of_thumb(call);
}

void configure(const kernels::AutotuneOptions& options) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.options = options;
  s.decisions.clear();
  s.loaded = false;
  load(s);
  for (const auto& [call, d] : s.decisions) {
    const auto known = [&](ConvPass pass) {
      const auto all = variants(pass);
      return std::any_of(all.begin(), all.end(), [&](const ConvVariant& v) { return d.variant == v.name; });
    };
    VOXOT_CHECK(
        options.mode != kernels::Autotune::pinned || known(ConvPass::forward) || known(ConvPass::grad_weight),
        "autotune: {}: no variant {} (for {})", options.file.string(), d.variant, call);
  }
}

std::vector<kernels::KernelChoice> choices() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  load(s);
  std::vector<kernels::KernelChoice> list;
  for (const auto& [call, d] : s.decisions) {
    list.push_back(
        {call, d.variant,
         d.microseconds > 0 ? fmt::format("measured {:.1f} us", d.microseconds) : "rule of thumb"});
  }
  return list;
}

}  // namespace voxot::cuda

namespace voxot::kernels {
namespace {

const Implement registered[] = {
    {configure_autotune, Device::cuda, [](const Stream&, const AutotuneOptions& o) { cuda::configure(o); }},
    {list_choices, Device::cuda,
     [](const Stream&, std::vector<KernelChoice>* list) { *list = cuda::choices(); }},
};

}  // namespace
}  // namespace voxot::kernels
