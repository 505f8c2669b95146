#include "datasets/device_samples.h"

#include <utility>

#include "kernels/check.h"
#include "kernels/volumes.h"

namespace voxot {

DeviceSamples::DeviceSamples(const VolumeParams& params, Tensor images, Order order)
    : params_(params), table_(std::move(images)), order_(order) {
  params.validate();
  const Shape& s = table_.shape();
  VOXOT_CHECK(s.rank() == 3 && s[0] >= 1 && s[1] == params.image_height() && s[2] == params.image_width() &&
                  table_.dtype() == DType::f32,
              "device samples: images {} {}, expected items×{}×{} fp32", s.text(), name_of(table_.dtype()),
              params.image_height(), params.image_width());
}

DeviceSamples::DeviceSamples(Tensor volumes, Order order) : table_(std::move(volumes)), order_(order) {
  const Shape& s = table_.shape();
  VOXOT_CHECK(s.rank() == 5 && s.count() >= 1 && table_.dtype() == DType::f32,
              "device samples: volumes {} {}, expected items×D×H×W×C fp32", s.text(),
              name_of(table_.dtype()));
}

Tensor DeviceSamples::choose(const RandomState& state, std::int64_t count) const {
  VOXOT_CHECK(count >= 1 && count <= (std::int64_t{1} << 20), "draw: expected 1 to 2^20 samples, got {}",
              count);
  constexpr std::int64_t kWords = sizeof(VolumeSample) / sizeof(double);
  Tensor samples = Tensor::empty({count * kWords}, DType::f64, device());
  kernels::draw_samples(samples.stream(), params_.value_or(VolumeParams{}), table_.extent(0),
                        {state, count, order_}, samples.as<VolumeSample>());
  return samples;
}

Tensor DeviceSamples::draw(const RandomState& state, std::int64_t count) const {
  const Tensor chosen = choose(state, count);
  const auto* const samples = chosen.as<VolumeSample>();
  const Shape& s = table_.shape();
  if (!params_) {
    Tensor out = Tensor::empty({count, s[1], s[2], s[3], s[4]}, DType::f32, device());
    kernels::gather_volumes(out.stream(), s.count() / s[0], table_.as<float>(), count, samples,
                            out.as<float>());
    return out;
  }
  Tensor out =
      Tensor::empty({count, params_->extent[0], params_->extent[1], params_->extent[2], params_->channels()},
                    DType::f32, device());
  kernels::paint_volumes(out.stream(), *params_, table_.as<float>(), count, samples, out.as<float>());
  return out;
}

}  // namespace voxot
