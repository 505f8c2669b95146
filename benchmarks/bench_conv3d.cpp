// Every variant of the CUDA convolutions, cuDNN among them, at the shapes of the networks' layers: checked,
// then timed.
//   bench_conv3d --precision bf16 tf32 fp32 --extent 16 32 64 --seconds 120
// The check: the whole result is finite (it was NaN before), and elements drawn at random agree with their
// sums in double on the host. Exits non-zero when a variant is wrong.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <map>

#include "benchmarks/measure.h"
#include "benchmarks/network_shapes.h"
#include "benchmarks/sampled_conv3d.h"
#include "kernels/cuda/conv3d/variants.h"
#include "kernels/features.h"

namespace {

using namespace voxot;
using namespace voxot::bench;
using cuda::ConvCall;
using cuda::ConvMath;
using cuda::ConvPass;

struct Options {
  std::vector<std::string> precisions{"bf16", "tf32", "fp32"};
  std::vector<std::int64_t> extents{16, 32, 64};
  std::int64_t base = 32, nf = 64, batch = 64;
  double seconds = 120;
  bool naive = false, small = false;
  std::string output = "benchmarks/results/bench_conv3d.json";
};

/// Relative L2 against double. bf16: one rounding of the result. tf32: 11 bits of each factor. fp32: sums of
/// up to some hundred thousand products in an order of the variant's.
double limit(const std::string& precision) {
  return precision == "bf16" ? 6e-3 : precision == "tf32" ? 1e-3 : 5e-5;
}

class Bench {
 public:
  explicit Bench(const Options& o)
      : o_(o),
        watch_(Device::cuda, o.small),
        end_(Clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(1000 * o.seconds))) {
    fmt::print("cudnn: {}\n", describe_cudnn().empty() ? "not found" : describe_cudnn());
    for (const std::string& p : o.precisions) ceilings_[p] = product_ceiling(watch_, p);
  }

  int run() {
    fmt::print("{:<22}{:<12}{:<6}{:<26}{:>10}{:>18}{:>9}{:>7}\n", "layer", "pass", "", "variant", "median us",
               "min..max us", "TFLOP/s", "share");
    // The published size first, in every precision: what the time runs out on is the rest.
    for (const std::int64_t extent : o_.extents) {
      for (const std::string& precision : o_.precisions) {
        // As much work in each size, while it fits: 64 at 16³, 8 at 32³, 1 at 64³.
        const std::int64_t volumes =
            std::max<std::int64_t>(1, o_.batch * 16 * 16 * 16 / (extent * extent * extent));
        std::vector<Layer> layers = unet_layers(o_.base, extent <= 16 ? o_.batch : volumes, extent);
        for (const Layer& l : resnet_layers(o_.nf, extent <= 16 ? o_.batch : volumes, extent))
          layers.push_back(l);
        if (o_.small) layers = {layers[3], layers[9]};
        for (const Layer& layer : layers) run_layer(layer, precision, extent);
      }
    }
    if (left_out_ > 0) fmt::print("{} layers left out: {:.0f} s were over\n", left_out_, o_.seconds);
    nlohmann::ordered_json report = header(Device::cuda);
    report["over_cudnn"] = print_ratios();
    for (const auto& [precision, ceiling] : ceilings_) {
      report["ceiling_flop_per_second"][precision] = ceiling ? nlohmann::ordered_json(*ceiling) : nullptr;
    }
    report["left_out"] = left_out_;
    report["rows"] = rows_;
    write_report(o_.output, report);
    return wrong_ ? 1 : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// Sums of the logarithms of cuDNN's time over ours.
  struct Ratios {
    double own = 0, best = 0;
    int layers = 0;
  };

  /// Geometric means over the layers that cuDNN computes, for each precision and pass and over all passes.
  nlohmann::ordered_json print_ratios() {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const auto& [key, r] : ratios_) {
      const double own = std::exp(r.own / r.layers);
      const double best = std::exp(r.best / r.layers);
      fmt::print(
          "over cuDNN, {:<5}{:<12} best of ours {:.2f}x, after autotuning {:.2f}x (geometric means of {})\n",
          key.first, key.second, own, best, r.layers);
      all.push_back({{"precision", key.first},
                     {"pass", key.second},
                     {"ours", own},
                     {"autotuned", best},
                     {"layers", r.layers}});
    }
    return all;
  }

  void run_layer(const Layer& layer, const std::string& precision, std::int64_t extent) {
    if (Clock::now() > end_) {
      ++left_out_;
      return;
    }
    const DType dtype = precision == "bf16" ? DType::bf16 : DType::f32;
    SampledConv3d sampled(layer, dtype);
    for (const ConvPass pass : {ConvPass::forward, ConvPass::grad_input, ConvPass::grad_weight}) {
      if (Clock::now() > end_) break;  // cuDNN's search may have taken seconds
      // No gradient of the first layers' input is wanted by anyone but a potential's; it is measured all the
      // same.
      ConvCall call = sampled.call(pass);
      call.math = precision == "tf32" ? ConvMath::tf32 : ConvMath::exact;
      const std::vector<double> exact = sampled.exact(pass);
      const cuda::ConvVariant* best = nullptr;
      double fastest = 0;
      double fastest_own = 0;
      // Asked first: its search leaves the variant cudnn what it needs.
      const cuda::ConvVariant& rival = cuda::fastest_cudnn();
      double cudnn = rival.takes(call) ? measure(rival, call, sampled, exact, layer, precision, extent) : 0;
      for (const cuda::ConvVariant& v : cuda::variants(pass)) {
        if (!v.takes(call) || (v.name == std::string("naive") && !o_.naive)) continue;
        const double median = measure(v, call, sampled, exact, layer, precision, extent);
        if (v.name == std::string("cudnn")) {
          if (median > 0 && (cudnn == 0 || median < cudnn)) cudnn = median;
        } else if (median > 0 && (fastest_own == 0 || median < fastest_own)) {
          fastest_own = median;
        }
        if (median > 0 && (best == nullptr || median < fastest)) {
          best = &v;
          fastest = median;
        }
      }
      if (cudnn > 0 && fastest_own > 0) {
        for (const char* name : {cuda::name_of(pass), "all"}) {
          Ratios& r = ratios_[{precision, name}];
          r.own += std::log(cudnn / fastest_own);
          r.best += std::log(cudnn / fastest);
          ++r.layers;
        }
      }
      if (best != nullptr)
        fmt::print("{:<22}{:<12}{:<6}best: {}\n", layer.name, cuda::name_of(pass), precision, best->name);
    }
  }

  /// The median, or 0 when the result was wrong.
  double measure(const cuda::ConvVariant& v, const ConvCall& call, const SampledConv3d& sampled,
                 const std::vector<double>& exact, const Layer& layer, const std::string& precision,
                 std::int64_t extent) {
    const Stream stream = kernels::stream_of(Device::cuda);
    sampled.poison(call.pass);
    v.run(stream, call);
    const double error = relative_error(sampled.values(call.pass), exact);
    const bool right = error < limit(precision) && sampled.finite(call.pass);
    const Timing t = watch_.time([&] { v.run(stream, call); }, 0.01);
    const double rate = flop(call.params) / t.median;
    fmt::print("{:<22}{:<12}{:<6}{:<26}{:>10.1f}{:>18}{:>9.2f}{:>7}{}\n", layer.name,
               cuda::name_of(call.pass), precision, v.name, 1e6 * t.median,
               fmt::format("{:.1f}..{:.1f}", 1e6 * t.least, 1e6 * t.most), rate / 1e12,
               share(rate, ceilings_.at(precision)),
               right ? "" : fmt::format("  WRONG: error {:.1e}", error));
    rows_.push_back({{"layer", layer.name},
                     {"extent", extent},
                     {"batch", call.params.batch},
                     {"in_channels", call.params.in_channels},
                     {"out_channels", call.params.out_channels},
                     {"kernel", call.params.kernel[0]},
                     {"pass", cuda::name_of(call.pass)},
                     {"precision", precision},
                     {"variant", v.name},
                     {"median_seconds", t.median},
                     {"least_seconds", t.least},
                     {"most_seconds", t.most},
                     {"runs", t.runs},
                     {"flop_per_second", rate},
                     {"error", error},
                     {"right", right}});
    wrong_ = wrong_ || !right;
    return right ? t.median : 0;
  }

  Options o_;
  Stopwatch watch_;
  Clock::time_point end_;
  std::map<std::string, std::optional<double>> ceilings_;
  std::map<std::pair<std::string, std::string>, Ratios> ratios_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  int left_out_ = 0;
  bool wrong_ = false;
};

int run_main(int argc, char** argv) {
  Options o;
  CLI::App app("The CUDA convolutions at the networks' shapes, every variant", "bench_conv3d");
  app.add_option("--precision", o.precisions)
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--extent", o.extents, "sides of the volumes")->capture_default_str();
  app.add_option("--base", o.base, "UNet3D's width")->capture_default_str();
  app.add_option("--nf", o.nf, "ResNet3D's width")->capture_default_str();
  app.add_option("--batch", o.batch, "at 16³; larger volumes come as many as make the same number of voxels")
      ->capture_default_str();
  app.add_option("--seconds", o.seconds, "start no further layer after these")->capture_default_str();
  app.add_flag("--naive", o.naive, "the naive variant too");
  app.add_flag("--small", o.small, "two tiny layers, for tests");
  app.add_option("--output", o.output)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (o.small) {
    o.extents = {8};
    o.base = o.nf = 8;
    o.batch = 1;
  }
  std::string why;
  if (kernels::cuda_devices(&why) == 0) {
    fmt::print("skipped: bench_conv3d needs a CUDA device, and none can be used: {}\n", why);
    return 0;
  }
  return Bench(o).run();
}

}  // namespace

int main(int argc, char** argv) {
  return bench::guarded("bench_conv3d", [&] { return run_main(argc, argv); });
}
